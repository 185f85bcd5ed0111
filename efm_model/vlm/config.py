"""Options of a vision-language model, and the content of its checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, fields, KW_ONLY
from typing import Any

from efm_core.config import config, parameter
from efm_core.embodiment import Embodiment
from efm_core.tokeniser import ActionTokeniser


@config
class VlmConfig:
    """Which vision-language model is fine-tuned, and how it fits into memory."""

    base: str = parameter(
        '', 'Folder of the model and its processor, in the format of transformers'
    )
    tuning: str = parameter(
        'lora', 'Trained weights; lora: adapters only; full: all', choices=('lora', 'full')
    )
    rank: int = parameter(16, 'Rank of the adapters', '', 1, 1024)
    alpha: float = parameter(
        32.0, 'Scale of the adapters, which is divided by the rank', '', 1e-3, 4096.0
    )
    lora_dropout: float = parameter(0.05, 'Dropout before the adapters', '', 0.0, 0.9)
    token_source: str = parameter(
        'least_used',
        'Token ids for actions and steps-to-go; least_used: the last of the vocabulary; added: '
        'new ones after it',
        choices=('least_used', 'added'),
    )
    precision: str = parameter(
        'float32',
        'Precision of the base model; adapters are float32',
        choices=('float32', 'bfloat16'),
    )
    device: str = parameter('auto', 'Device of the model; auto: a GPU if there is one')
    max_batch_size: int = parameter(
        8, 'Prompts per forward pass; larger batches take several passes', '', 1, 4096
    )
    recompute: bool = parameter(
        False, 'Use gradient checkpointing, which saves memory and takes a third more time'
    )


@dataclass(frozen=True)
class TokenMap:
    """
    Token ids of actions and steps-to-go, the same at each position of an action.

    :param action: id of each action token, as many as the largest position has.
    :param steps_to_go: id of each bin.
    :param words: their names in the tokenizer, those of actions first.
    """

    action: tuple[int, ...]
    steps_to_go: tuple[int, ...]
    _: KW_ONLY
    words: tuple[str, ...]


@dataclass(frozen=True)
class VlmModelConfig:
    """
    The complete description of one model for one embodiment.

    :param base_hash: hash of the folder with the base model.
    :param vocabulary: number of action tokens at each of the ``K`` positions.
    :param cameras: name of each camera, in the order of the pictures.
    :param proprioception: name of each number of the measured state; none for a model without.
    """

    options: VlmConfig
    base_hash: str
    _: KW_ONLY
    tokens: TokenMap
    vocabulary: tuple[int, ...]
    steps_to_go_bins: int
    cameras: tuple[str, ...]
    proprioception: tuple[str, ...]

    @classmethod
    def from_plain(cls, plain: dict[str, Any], base: str = '') -> VlmModelConfig:
        """
        Return the config from its JSON form.

        Earlier versions stored no cameras; their models see the first camera and nothing else.

        :param plain: the result of ``asdict``, read back from JSON.
        :param base: present folder of the base model; empty: the stored one.
        """
        options = {**plain['options'], **({'base': base} if base else {})}
        tokens = {f.name: tuple(plain['tokens'][f.name]) for f in fields(TokenMap)}
        return cls(
            VlmConfig(**options),
            plain['base_hash'],
            tokens=TokenMap(**tokens),
            vocabulary=tuple(plain['vocabulary']),
            steps_to_go_bins=plain['steps_to_go_bins'],
            cameras=tuple(plain.get('cameras', ('first',))),
            proprioception=tuple(plain.get('proprioception', ())),
        )


def contract_of(embodiment: Embodiment) -> dict[str, Any]:
    """Return the fields of ``VlmModelConfig`` that depend on the embodiment alone."""
    return {
        'vocabulary': ActionTokeniser(embodiment.action).vocabulary,
        'steps_to_go_bins': embodiment.steps_to_go.bins,
        'cameras': tuple(camera.name for camera in embodiment.cameras),
        'proprioception': embodiment.proprioception_names,
    }
