"""A checkpoint: a directory with weights and their card, written whole or not at all."""

from __future__ import annotations

from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.files import whole_directory
from efm_model.config import ModelConfig
from efm_model.network import CompactModel
from efm_model.protocol import Model
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

WEIGHTS = 'weights.safetensors'
CARD = 'config.json'


def save_checkpoint(
    directory: str | Path,
    model: Model,
    embodiment: Embodiment,
    kind: str,
    version: int,
    **notes: Any,
) -> Path:
    """
    Write ``model`` into the new ``directory``.

    :param kind: ``policy`` or ``reward``.
    :param notes: anything that JSON holds and a reader may want to know, such as losses and seeds.
    :raises FileExistsError: when the directory is there already; a checkpoint never changes.
    """
    with whole_directory(directory) as unfinished:
        save_file(
            {name: value.contiguous() for name, value in model.state_dict().items()},
            unfinished / WEIGHTS,
        )
        card = {
            'kind': kind,
            'version': version,
            'family': model.family,
            'model': asdict(model.config),
            **identify(embodiment),
            **notes,
        }
        (unfinished / CARD).write_text(json.dumps(card, indent=1))
    return Path(directory)


def load_checkpoint(
    directory: str | Path, embodiment: Embodiment, base: str = ''
) -> tuple[Model, dict[str, Any]]:
    """
    Return the model in ``directory``, ready for inference, and its card.

    :param base: where a vision-language model's base folder is now; empty for where it was.
    :raises FileNotFoundError: when there is no checkpoint.
    :raises ValueError: when it was made for another embodiment or base model, or is torn.
    """
    directory = Path(directory)
    if not (directory / CARD).is_file():
        raise FileNotFoundError(f'checkpoint: expected {directory / CARD}, got no such file')
    try:
        card = json.loads((directory / CARD).read_text())
        embodiment.check_same(card['embodiment_hash'], str(directory), card.get('embodiment'))
        model = _build(card, base)
        model.load_state_dict(load_file(directory / WEIGHTS))
    except (
        json.JSONDecodeError,
        KeyError,
        SafetensorError,
        FileNotFoundError,
        RuntimeError,
    ) as error:
        raise ValueError(f'checkpoint: expected a whole one, got {directory} ({error})') from error
    return model.eval(), card


def identify(embodiment: Embodiment) -> dict[str, Any]:
    """Return the lines of a card that say for which embodiment something was made."""
    return {'embodiment_hash': embodiment.hash, 'embodiment': asdict(embodiment)}


def _build(card: dict[str, Any], base: str) -> Model:
    """Return the model that a card describes, without its weights."""
    if card.get('family') != 'vlm':
        return CompactModel(_to_config(card['model']))
    from efm_model.vlm.config import VlmModelConfig
    from efm_model.vlm.network import restore_vlm

    return restore_vlm(VlmModelConfig.from_plain(card['model'], base))


def _to_config(plain: dict[str, Any]) -> ModelConfig:
    """Return the config that ``asdict`` and JSON made lists of."""
    return ModelConfig(
        **{key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
    )
