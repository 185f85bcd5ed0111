"""
Robots that improve by practice: the public Python API.

``import efm`` is cheap, because each name loads its module when it is first used. ``run_graph``
needs ROS 2. ``fine_tune``, ``load_checkpoints``, ``practise`` and ``publish_release`` need torch.
The other names need neither.
"""

from __future__ import annotations

import importlib
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from efm.embodiments import load_embodiment
    from efm.graphs import run_graph
    from efm.learning import fine_tune, load_checkpoints, practise
    from efm.releases import load_release, publish_release
    from efm.rollouts import demonstrate, rollout
    from efm_core.embodiment import Embodiment
    from efm_core.episode import Episode
    from efm_data.episodes import read_episodes
    from efm_data.labels import LabelledAttempt, read_labelled_attempts
    from efm_evaluation.metrics import evaluate
    from efm_policy.policy import Policy
    from efm_reward.model import RewardModel
    from efm_sim.worlds import make_world

__all__ = [
    'Embodiment',
    'Episode',
    'LabelledAttempt',
    'Policy',
    'RewardModel',
    'demonstrate',
    'evaluate',
    'fine_tune',
    'load_checkpoints',
    'load_embodiment',
    'load_release',
    'make_world',
    'practise',
    'publish_release',
    'read_episodes',
    'read_labelled_attempts',
    'rollout',
    'run_graph',
]

_MODULES = {
    'Embodiment': 'efm_core.embodiment',
    'Episode': 'efm_core.episode',
    'LabelledAttempt': 'efm_data.labels',
    'Policy': 'efm_policy.policy',
    'RewardModel': 'efm_reward.model',
    'demonstrate': 'efm.rollouts',
    'evaluate': 'efm_evaluation.metrics',
    'fine_tune': 'efm.learning',
    'load_checkpoints': 'efm.learning',
    'load_embodiment': 'efm.embodiments',
    'load_release': 'efm.releases',
    'make_world': 'efm_sim.worlds',
    'practise': 'efm.learning',
    'publish_release': 'efm.releases',
    'read_episodes': 'efm_data.episodes',
    'read_labelled_attempts': 'efm_data.labels',
    'rollout': 'efm.rollouts',
    'run_graph': 'efm.graphs',
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return all names, the lazy ones included."""
    return sorted({*globals(), *__all__})
