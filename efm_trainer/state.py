"""
The state file of the trainer: weights, optimiser, random numbers and metadata in one file.

The file is replaced as a whole, so that a crash leaves the old state or the new one.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from efm_core.files import whole_file
from efm_trainer.reinforce import Reinforce
from safetensors import safe_open, SafetensorError
from safetensors.torch import save_file
import torch

# Names of tensors in the file begin with one of these.
POLICY = 'policy.'
DEPLOYED = 'deployed.'
OPTIMISER = 'optimiser.'
GENERATOR = 'generator'
METADATA = 'metadata'


def write_state(path: Path, learner: Reinforce, metadata: dict[str, Any]) -> None:
    """
    Replace the state file.

    :param learner: its weights, optimiser and random numbers are written.
    :param metadata: JSON values to write beside them.
    :raises OSError: when the file cannot be written; the previous state then remains.
    """
    try:
        with whole_file(path) as unfinished:
            save_file(_to_tensors(learner), unfinished, {METADATA: json.dumps(metadata)})
    except (OSError, SafetensorError) as error:
        raise OSError(
            f'trainer state: expected to write {path}, got: {error}; the state before is intact'
        ) from error


def read_metadata(path: Path) -> dict[str, Any]:
    """
    Return the metadata in a state file.

    :raises ValueError: when the file is damaged.
    """
    try:
        with safe_open(path, 'pt') as file:
            return json.loads(file.metadata()[METADATA])
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f'trainer state: expected a whole file, got {path} ({error})') from error


def restore(path: Path, learner: Reinforce) -> None:
    """
    Load weights, optimiser and random numbers of a state file into a learner.

    :raises ValueError: when the file is of another model.
    """
    with safe_open(path, 'pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    try:
        policy = _with_prefix(tensors, POLICY)
        learner.policy.load_state_dict(policy)
        if learner.deployed is not learner.policy:
            # A run without a moving average so far starts the average at the trained policy.
            learner.deployed.load_state_dict(_with_prefix(tensors, DEPLOYED) or policy)
    except RuntimeError as error:
        raise ValueError(f'trainer state: expected one of this model, got {path}') from error
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _with_prefix(tensors, OPTIMISER).items():
        index, key = name.split('.')
        moments.setdefault(int(index), {})[key] = value
    learner.optimiser.load_state_dict({**learner.optimiser.state_dict(), 'state': moments})
    learner.generator.set_state(tensors[GENERATOR])


def _to_tensors(learner: Reinforce) -> dict[str, torch.Tensor]:
    """Return everything of a learner that the state file holds, by name."""
    weights = {POLICY + name: value for name, value in learner.policy.state_dict().items()}
    if learner.deployed is not learner.policy:
        weights |= {
            DEPLOYED + name: value for name, value in learner.deployed.state_dict().items()
        }
    moments = {
        f'{OPTIMISER}{index}.{key}': value
        for index, entry in learner.optimiser.state_dict()['state'].items()
        for key, value in entry.items()
    }
    tensors = {**weights, **moments, GENERATOR: learner.generator.get_state()}
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """Return the tensors whose names begin with ``prefix``, under the rest of their names."""
    return {n[len(prefix) :]: value for n, value in tensors.items() if n.startswith(prefix)}
