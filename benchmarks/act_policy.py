"""
LeRobot's ACT with its default architecture and random weights, for comparison.

LeRobot and torchvision are installed in a separate folder without their dependencies, from
``requirements/act.txt``. No module of the suite imports them. Empty modules replace LeRobot's
imports for data sets and training. The files of the policy itself run unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
import os
from pathlib import Path
import sys
from types import ModuleType
from typing import Any

UNUSED = (
    'datasets',
    'datasets.utils',
    'datasets.utils.logging',
    'lerobot.configs.train',
    'lerobot.datasets',
    'lerobot.datasets.utils',
    'lerobot.optim',
    'lerobot.optim.optimizers',
    'lerobot.optim.schedulers',
    'lerobot.processor',
)
PACKAGES = Path(os.environ.get('EFM_ACT', Path(sys.prefix) / 'act'))
REGISTERED: list[Any] = []  # libraries of operators; a deleted library removes its operators


def make(
    sizes: Sequence[tuple[int, int]], state: int, actions: int, *, threads: int
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """
    Return the policy, an input, and facts about both.

    :param sizes: height and width of each camera's image [px].
    :param state: numbers of the robot's state.
    :param actions: dimensions of an action.
    :param threads: threads of torch.
    :raises ImportError: when LeRobot is not installed.
    """
    if not PACKAGES.is_dir():
        raise ImportError(f'LeRobot: expected it in {PACKAGES}, got no such folder')
    sys.path.append(str(PACKAGES))
    torchvision = import_torchvision()
    sys.modules |= {name: Unused(name) for name in UNUSED}
    policies = ModuleType('lerobot.policies')  # without the other policies
    policies.__path__ = [str(PACKAGES / 'lerobot' / 'policies')]
    sys.modules['lerobot.policies'] = policies
    from lerobot import __version__
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    import torch

    torch.set_num_threads(threads)
    cameras = {f'observation.images.camera_{i}': (3, *size) for i, size in enumerate(sizes)}
    images = {name: PolicyFeature(FeatureType.VISUAL, shape) for name, shape in cameras.items()}
    measured = {'observation.state': PolicyFeature(FeatureType.STATE, (state,))}
    config = ACTConfig(
        input_features={**images, **measured},
        output_features={'action': PolicyFeature(FeatureType.ACTION, (actions,))},
        pretrained_backbone_weights=None,
        device='cpu',
    )
    policy = ACTPolicy(config).eval()
    facts = {
        'lerobot': __version__,
        'torchvision': torchvision.__version__,
        'parameters': sum(value.numel() for value in policy.parameters()),
        'chunk': config.n_action_steps,
    }
    batch = {name: torch.rand(1, *shape) for name, shape in cameras.items()}
    batch['observation.state'] = torch.rand(1, state)
    return policy, batch, facts


class Unused(ModuleType):
    """A module in which every name is an empty class, so that imports from it succeed."""

    def __init__(self, name: str):
        super().__init__(name)
        self.__path__ = []  # a package, so that it may have submodules

    def __getattr__(self, name: str) -> type:
        """Return an empty class."""
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {})


def import_torchvision() -> Any:
    """
    Return torchvision; without its compiled operators if they do not fit the installed torch.

    ACT uses none of these operators. The import of torchvision fails when two of them are not
    registered, so that this function registers their names.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition('.')[0] == 'torchvision']:
            del sys.modules[name]
        library = torch.library.Library('torchvision', 'DEF')
        REGISTERED.append(library)
        for operator in ('nms', 'qnms'):
            library.define(
                f'{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
            )
        import torchvision
    return torchvision
