"""Numbers of a vision-language model, and everything that its checkpoint must say."""

from __future__ import annotations

from dataclasses import dataclass, fields, KW_ONLY
from typing import Any

from efm_core.config import check, parameter
from efm_core.embodiment import Embodiment
from efm_core.tokeniser import ActionTokeniser


@dataclass(frozen=True, kw_only=True)
class VlmConfig:
    """Which model, what of it learns, and how it fits into memory."""

    base: str = parameter('', 'Folder of the model and its processor, as transformers saves them')
    tuning: str = parameter(
        'lora', 'What learns: adapters, or everything', choices=('lora', 'full')
    )
    rank: int = parameter(16, 'Rank of the adapters', '', 1, 1024)
    alpha: float = parameter(32.0, 'Weight of the adapters, before / rank', '', 1e-3, 4096.0)
    lora_dropout: float = parameter(0.05, 'Dropout before the adapters', '', 0.0, 0.9)
    token_source: str = parameter(
        'least_used',
        'Ids for actions and steps-to-go: the last ones of the vocabulary, or new ones behind it',
        choices=('least_used', 'added'),
    )
    precision: str = parameter(
        'float32', 'Of the base model; adapters are float32', choices=('float32', 'bfloat16')
    )
    device: str = parameter('auto', 'Where the model is; auto: a GPU if there is one')
    max_batch_size: int = parameter(
        8, 'Prompts in one pass; batches are put together of them', '', 1, 4096
    )
    recompute: bool = parameter(
        False, 'Gradient checkpointing: a third more time for much less memory'
    )

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when one is out of range.
        """
        check(self)


@dataclass(frozen=True)
class TokenMap:
    """
    Which ids of the vocabulary answer, the same at every position of an action.

    :param action: id of each action token, as many as the largest position has.
    :param steps_to_go: id of each bin.
    :param words: what the tokenizer calls them, first those of actions.
    """

    action: tuple[int, ...]
    steps_to_go: tuple[int, ...]
    _: KW_ONLY
    words: tuple[str, ...]


@dataclass(frozen=True)
class VlmModelConfig:
    """
    Everything that fixes one model for one embodiment.

    :param base_hash: of the folder with the base model.
    :param vocabulary: number of action tokens at each of the ``K`` positions.
    """

    options: VlmConfig
    base_hash: str
    _: KW_ONLY
    tokens: TokenMap
    vocabulary: tuple[int, ...]
    steps_to_go_bins: int

    @property
    def encoder_is_frozen(self) -> bool:
        """There are no features to keep: the instruction is read together with the picture."""
        return False

    @classmethod
    def from_plain(cls, plain: dict[str, Any], base: str = '') -> VlmModelConfig:
        """Return the config that ``asdict`` and JSON made of one; ``base``: where it is now."""
        options = {**plain['options'], **({'base': base} if base else {})}
        tokens = {f.name: tuple(plain['tokens'][f.name]) for f in fields(TokenMap)}
        return cls(
            VlmConfig(**options),
            plain['base_hash'],
            tokens=TokenMap(**tokens),
            vocabulary=tuple(plain['vocabulary']),
            steps_to_go_bins=plain['steps_to_go_bins'],
        )


def answers_of(embodiment: Embodiment) -> tuple[tuple[int, ...], int]:
    """Return the action vocabulary of each position, and the number of steps-to-go bins."""
    return ActionTokeniser(embodiment.action).vocabulary, embodiment.steps_to_go.bins
