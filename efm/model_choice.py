"""Which family of model stage 1 trains: the user's choice, or the one that fits the robot."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from efm_core.config import config, expect, parameter
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.embodiment_files import find_embodiment
from efm_trainer.config import STAGE_ONE

AUTO = 'auto'
# Options that only one family reads.
ONLY_FOR = {
    'pretrained': 'grounding',
    'encoder_weights': 'grounding',
    'vision_backbone': 'visuomotor',
    'backbone_learning_rate': 'visuomotor',
    'reward_proprioception': 'visuomotor',
}


@config
class ModelChoice:
    """Which kind of model is fine-tuned."""

    model: str = parameter(
        AUTO,
        'Model to fine-tune; grounding: finds three points, with an encoder that was trained for '
        'this world; visuomotor: learns from demonstrations alone, in any world; vlm: the '
        'vision-language model in --base; auto: grounding where such an encoder exists, else '
        'visuomotor',
        choices=(AUTO, *STAGE_ONE),
    )


@dataclass(frozen=True)
class ChosenModel:
    """A family of models, a key of ``STAGE_ONE``, and the reason for it."""

    family: str
    reason: str


def choose_model(
    choice: str, embodiment: Embodiment, *, own_encoder: bool, options: Collection[str]
) -> ChosenModel:
    """
    Return the family of model for a robot.

    :param choice: a field of ``ModelChoice``.
    :param own_encoder: whether the run has an encoder of `efm pretrain`.
    :param options: names of the fields of ``SftConfig`` that the user gave.
    :raises ValueError: when another family than the chosen one reads an option.
    """
    named = {name: family for name, family in ONLY_FOR.items() if name in options}
    chosen = choice if choice != AUTO else next(iter(named.values()), AUTO)
    for name, family in named.items():
        expect(chosen == family, name, f'--model {family}, the only one with it', chosen)
    if choice != AUTO:
        return ChosenModel(choice, 'it was named')
    if named:
        return ChosenModel(chosen, f'only this model has the option {next(iter(named))}')
    if own_encoder:
        return ChosenModel('grounding', 'the run has an encoder of `efm pretrain`')
    if is_simulated_table(embodiment):
        return ChosenModel('grounding', 'its shipped encoder was trained for the simulated table')
    return ChosenModel('visuomotor', 'no encoder was trained for the images of this robot')


def is_simulated_table(embodiment: Embodiment) -> bool:
    """Return whether a robot sees what the shipped encoder was trained on."""
    table = load_embodiment(find_embodiment(''))
    return (embodiment.cameras, embodiment.observation_size, embodiment.command) == (
        table.cameras,
        table.observation_size,
        table.command,
    )
