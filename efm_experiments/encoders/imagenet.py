"""EfficientNet-Lite0 as an image encoder, pretrained on ImageNet-1k; an optional dependency."""

from __future__ import annotations

from efm_model.efficientnet import make_blocks, MEAN, SCALE
from efm_model.grounding import cell_centres, KEY_SIZE, STRIDE
import torch
from torch import nn
from torch.nn import functional

# number of blocks up to a resolution of 4 and of 8 pixels a cell
FINE = 3
COARSE = 5
WIDTHS = (24, 40)  # channels of their feature maps


class ImageNetEncoder(nn.Module):
    """
    An image encoder with the outputs of ``ImageEncoder``: keys and occupancy.

    It joins the network's maps of 4 and of 8 pixels a cell. Deeper maps are too coarse for blocks
    of 8 pixels. The batch norms keep the statistics of ImageNet.
    """

    cells: torch.Tensor

    def __init__(self, size: tuple[int, int]):
        """
        Load the network's first blocks; all later layers are newly initialised.

        :param size: height and width of the frames [pixels].
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
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub

    def train(self, mode: bool = True) -> ImageNetEncoder:
        """Set training mode; the batch norms of the pretrained part stay in inference mode."""
        super().train(mode)
        self.pretrained.eval()
        return self

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys, ``(B, D, C)``, and occupancy logits, ``(B, C)``, of uint8 RGB frames."""
        x = (frames.permute(0, 3, 1, 2).to(torch.float32) - MEAN) / SCALE
        for layer in list(self.pretrained)[:-1]:
            x = layer(x)
        fine = self.fine(x)
        coarse = self.coarse(self.pretrained[-1](x))
        where = self.where(self.cells.T.reshape(1, 2, self.rows, self.columns))
        x = fine + functional.interpolate(coarse, fine.shape[-2:], mode='bilinear') + where
        x = self.keys(functional.relu(x)).flatten(2)
        return x[:, :KEY_SIZE], x[:, KEY_SIZE]


def first_blocks() -> nn.Sequential:
    """
    Return the stem and the first blocks of EfficientNet-Lite0.

    The last layer holds the blocks with 8 pixels a cell.

    :raises ModuleNotFoundError: when the packages are not installed.
    """
    layers = make_blocks(COARSE)
    fine = len(layers) - (COARSE - FINE)
    return nn.Sequential(*layers[:fine], nn.Sequential(*layers[fine:])).eval()
