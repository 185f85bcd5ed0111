"""The trainer's state as one file, replaced as a whole: weights, optimiser, random numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from efm_core.files import whole_file
from efm_trainer.reinforce import Reinforce
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch

WEIGHT = 'policy.'
DEPLOYED = 'deployed.'
MOMENT = 'optimiser.'
RANDOM = 'generator'


def write_state(path: Path, learner: Reinforce, facts: dict[str, Any]) -> None:
    """
    Replace the state file by the learner's weights, optimiser and random numbers, and ``facts``.

    :param facts: anything that JSON holds.
    :raises OSError: when it cannot be written; the previous state is then still there.
    """
    try:
        with whole_file(path) as unfinished:
            save_file(_to_tensors(learner), unfinished, {'facts': json.dumps(facts)})
    except (OSError, SafetensorError) as error:
        raise OSError(
            f'trainer state: expected to write {path}, got: {error}; the state before is intact'
        ) from error


def read_facts(path: Path) -> dict[str, Any]:
    """
    Return the facts in a state file.

    :raises ValueError: when the file is damaged.
    """
    try:
        with safe_open(path, 'pt') as file:
            return json.loads(file.metadata()['facts'])
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f'trainer state: expected a whole file, got {path} ({error})') from error


def restore(path: Path, learner: Reinforce) -> None:
    """
    Bring a learner to where it was when the state file was written.

    :raises ValueError: when the file is of another model.
    """
    with safe_open(path, 'pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        learner.policy.load_state_dict(_below(tensors, WEIGHT))
        if learner.deployed is not learner.policy:
            # A run that goes on with an average, and had none, begins with what learned.
            learner.deployed.load_state_dict(_below(tensors, DEPLOYED) or _below(tensors, WEIGHT))
    except RuntimeError as error:
        raise ValueError(f'trainer state: expected one of this model, got {path}') from error
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _below(tensors, MOMENT).items():
        index, key = name.split('.')
        moments.setdefault(int(index), {})[key] = value
    learner.optimiser.load_state_dict({**learner.optimiser.state_dict(), 'state': moments})
    learner.generator.set_state(tensors[RANDOM])


def _to_tensors(learner: Reinforce) -> dict[str, torch.Tensor]:
    weights = {WEIGHT + name: value for name, value in learner.policy.state_dict().items()}
    if learner.deployed is not learner.policy:
        weights |= {
            DEPLOYED + name: value for name, value in learner.deployed.state_dict().items()
        }
    moments = {
        f'{MOMENT}{index}.{key}': value
        for index, entry in learner.optimiser.state_dict()['state'].items()
        for key, value in entry.items()
    }
    tensors = {**weights, **moments, RANDOM: learner.generator.get_state()}
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n[len(prefix) :]: value for n, value in tensors.items() if n.startswith(prefix)}
