"""
Checkpoints: directories with the weights of a model and a model card, written whole or not at all.

The model card ``config.json`` holds the kind (policy or reward), the version, the model's family
and settings, and the embodiment that the model was made for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
import json
from pathlib import Path
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.files import whole_directory
from efm_model.config import BackboneConfig, ModelConfig, VisuomotorConfig
from efm_model.network import GroundingModel
from efm_model.protocol import Model
from efm_model.visuomotor import VisuomotorModel
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
    Write a model into a new directory; return the directory.

    :param kind: ``policy`` or ``reward``.
    :param version: of the model, from 1.
    :param notes: further entries of the model card, JSON values such as losses and seeds.
    :raises FileExistsError: when the directory exists; checkpoints are never overwritten.
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
    Return the model in a checkpoint, in evaluation mode, and its model card.

    :param base: folder of a vision-language model's base model; empty: the folder in the card.
    :raises FileNotFoundError: when there is no checkpoint.
    :raises ValueError: when the checkpoint is damaged, of an unknown family, or made for another
        embodiment or base model.
    """
    directory = Path(directory)
    if not (directory / CARD).is_file():
        raise FileNotFoundError(f'checkpoint: expected {directory / CARD}, got no such file')
    try:
        card = json.loads((directory / CARD).read_text())
        embodiment.check_same(card['embodiment_hash'], str(directory), card.get('embodiment'))
        if card['kind'] == 'reward':
            embodiment.check_bins(card.get('embodiment', {}), str(directory))
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
    model.eval()
    return model, card


def identify(embodiment: Embodiment) -> dict[str, Any]:
    """Return the entries of a model card that name the embodiment."""
    return {'embodiment_hash': embodiment.hash, 'embodiment': asdict(embodiment)}


def _build(card: dict[str, Any], base: str) -> Model:
    """
    Return the model that a card describes, without its weights.

    :raises ValueError: when the family is unknown.
    """
    family = card.get('family', 'grounding')
    family = FORMER_NAMES.get(family, family)
    if family not in FAMILIES:
        raise ValueError(f'family: expected one of {", ".join(FAMILIES)}, got {family!r}')
    return FAMILIES[family](card['model'], base)


def _build_grounding(plain: dict[str, Any], base: str) -> Model:
    """Return a grounding model from the settings in a card; ``base`` is not used."""
    return GroundingModel(ModelConfig(**_to_tuples(plain)))


def _build_visuomotor(plain: dict[str, Any], base: str) -> Model:
    """Return a visuomotor model from the settings in a card; ``base`` is not used."""
    described = plain.get('backbone')  # missing in checkpoints of earlier versions
    backbone = BackboneConfig.from_plain(described) if described else None
    return VisuomotorModel(VisuomotorConfig(**{**_to_tuples(plain), 'backbone': backbone}))


def _to_tuples(plain: Any) -> Any:
    """Return JSON values with tuples for lists, as they were before they became JSON."""
    if isinstance(plain, dict):
        return {key: _to_tuples(value) for key, value in plain.items()}
    return tuple(map(_to_tuples, plain)) if isinstance(plain, list) else plain


def _build_vlm(plain: dict[str, Any], base: str) -> Model:
    """Return a vision-language model from the settings in a card."""
    from efm_model.vlm.config import VlmModelConfig
    from efm_model.vlm.network import restore_vlm

    return restore_vlm(VlmModelConfig.from_plain(plain, base))


# One entry for each model family: a function that builds the model, without its weights, from the
# settings in a model card (``dataclasses.asdict`` of its config) and the argument ``base``.
FAMILIES: dict[str, Callable[[dict[str, Any], str], Model]] = {
    'grounding': _build_grounding,
    'visuomotor': _build_visuomotor,
    'vlm': _build_vlm,
}
FORMER_NAMES = {'compact': 'grounding'}  # in checkpoints of earlier versions
