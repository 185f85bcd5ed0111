"""
Random changes of training images: shift, brightness and colour.

Letters: ``B`` batch, ``H, W`` height and width of a frame [px].
"""

from __future__ import annotations

from efm_model.protocol import Inputs
import torch

SHIFT = 1 / 16  # largest shift as a fraction of the frame: 4 px of 64
GAIN = 0.1  # largest relative change of the brightness, and of each colour
IMAGES = 'observations'  # the inputs with images begin with this


class Augmentation:
    """Changes all images of a batch; both frames of a sample change in the same way."""

    def __init__(self, seed: int):
        """Start the random numbers."""
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(self, inputs: Inputs) -> dict[str, torch.Tensor]:
        """Return the inputs of ``Model.features`` with changed images."""
        return {
            name: self._recoloured(self._shifted(value)) if name.startswith(IMAGES) else value
            for name, value in inputs.items()
        }

    def _shifted(self, frames: torch.Tensor) -> torch.Tensor:
        """Return shifted frames, ``(B, 2, H, W, 3)``; the margin repeats the last pixels."""
        count = len(frames)
        rows, columns = (self._places(count, length) for length in frames.shape[2:4])
        sample = torch.arange(count)[:, None, None, None]
        pair = torch.arange(2)[None, :, None, None]
        return frames[sample, pair, rows[:, None, :, None], columns[:, None, None, :]]

    def _places(self, count: int, length: int) -> torch.Tensor:
        """Return the source of each row or column of each sample, ``(count, length)`` int64."""
        most = round(SHIFT * length)
        shift = torch.randint(-most, most + 1, (count, 1), generator=self._generator)
        return (torch.arange(length) + shift).clamp(0, length - 1)

    def _recoloured(self, frames: torch.Tensor) -> torch.Tensor:
        """Return frames with another brightness and other colours, uint8."""
        brightness = self._factors(len(frames), 1)
        colours = self._factors(len(frames), 3)
        gain = (brightness * colours)[:, None, None, None]
        return (frames * gain).round().clamp(0, 255).to(torch.uint8)

    def _factors(self, *shape: int) -> torch.Tensor:
        """Return random factors around 1, float32."""
        return 1 + GAIN * (2 * torch.rand(shape, generator=self._generator) - 1)
