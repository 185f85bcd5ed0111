"""
LeRobot's ACT with the defaults of its architecture and random weights, to compare with.

LeRobot and torchvision lie in a folder of their own, without what else they ask for:
``requirements/act.txt``. Nothing of the suite imports them. What LeRobot imports for data sets and
for training has empty modules in its place; the policy's own files run as they are.
"""

from __future__ import annotations

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
SITE = Path(os.environ.get('EFM_ACT', Path(sys.prefix) / 'act'))


def make(height: int, width: int, threads: int) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """
    Return the policy, an observation of one camera of that size, and facts about both.

    :raises ImportError: when LeRobot is not there.
    """
    if not SITE.is_dir():
        raise ImportError(f'LeRobot: expected it in {SITE}, got no such folder')
    sys.path.append(str(SITE))
    torchvision = import_torchvision()
    sys.modules |= {name: Unused(name) for name in UNUSED}
    sys.modules['lerobot.policies'] = ModuleType('lerobot.policies')  # without all other policies
    sys.modules['lerobot.policies'].__path__ = [str(SITE / 'lerobot' / 'policies')]
    from lerobot import __version__
    from lerobot.configs.types import FeatureType, PolicyFeature
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy
    import torch

    torch.set_num_threads(threads)
    camera = 'observation.images.table'
    config = ACTConfig(
        input_features={
            camera: PolicyFeature(FeatureType.VISUAL, (3, height, width)),
            'observation.state': PolicyFeature(FeatureType.STATE, (2,)),
        },
        output_features={'action': PolicyFeature(FeatureType.ACTION, (2,))},
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
    batch = {camera: torch.rand(1, 3, height, width), 'observation.state': torch.rand(1, 2)}
    return policy, batch, facts


class Unused(ModuleType):
    """A module whose every name is an empty class: enough to be imported."""

    __path__: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> type:
        """Return an empty class."""
        if name.startswith('__'):
            raise AttributeError(name)
        return type(name, (), {})


def import_torchvision() -> Any:
    """
    Return torchvision, if need be without its compiled operators, of which ACT uses none.

    Where those were built for another torch, torchvision fails to import because two of them, for
    boxes, are not registered. So their names are.
    """
    import torch

    try:
        import torchvision
    except RuntimeError:
        for name in [n for n in sys.modules if n.partition('.')[0] == 'torchvision']:
            del sys.modules[name]
        import_torchvision.names = torch.library.Library('torchvision', 'DEF')
        for operator in ('nms', 'qnms'):
            import_torchvision.names.define(
                f'{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'
            )
        import torchvision
    return torchvision
