"""
Where is what this sentence names? The image encoder and the text adapter that answer it.

Letters: ``B`` batch, ``N`` frames, ``L`` word pieces, ``Q`` queries, ``D`` key size, ``C`` cells
of the feature map. Points are in the image plane, x to the right and y down, each from -1 to 1
over the picture; no camera calibration.
"""

from __future__ import annotations

from efm_model.text import STATE_SIZE
import torch
from torch import nn
from torch.nn import functional

EFFECTOR, SOURCE, TARGET = range(3)
QUERIES = 3
KEY_SIZE = 32
QUERY_SIZE = KEY_SIZE + 3  # what to look for, and a place with the certainty of it
SHARPEST = 100.0  # certainty of a place at most: about a cell wide
STRIDE = 4
WINDOW = 2  # cells on each side of a heat map's maximum that count for the position
NEVER = (
    -1e9
)  # a logit that no softmax notices; finite, so that NaN and infinity always mean a fault


class ImageEncoder(nn.Module):
    """Turn frames into a map of keys and of occupancy, one cell for every 4 x 4 pixels."""

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.rows = size[0] // STRIDE
        self.columns = size[1] // STRIDE
        self.first = nn.Conv2d(3, 16, 5, stride=2, padding=2)
        self.second = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.third = nn.Conv2d(32, 32, 3, padding=1)
        self.fourth = nn.Conv2d(32, 32, 3, padding=1)
        self.mix = nn.Conv2d(32 + 2, 64, 1)
        self.keys = nn.Conv2d(64, KEY_SIZE + 1, 1)
        self.register_buffer('cells', cell_centres(self.rows, self.columns), persistent=False)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return keys, ``(B, D, C)``, and occupancy logits, ``(B, C)``.

        :param frames: ``(B, H, W, 3)`` uint8 RGB.
        """
        x = frames.permute(0, 3, 1, 2).to(torch.float32) / 255 - 0.5
        x = functional.relu(self.first(x))
        x = functional.relu(self.second(x))
        x = x + functional.relu(self.third(x))
        x = x + functional.relu(self.fourth(x))
        where = self.cells.T.reshape(1, 2, self.rows, self.columns).expand(x.shape[0], -1, -1, -1)
        x = torch.cat([x, where], dim=1)
        x = self.keys(functional.relu(self.mix(x))).flatten(2)
        return x[:, :KEY_SIZE], x[:, KEY_SIZE]


class TextAdapter(nn.Module):
    """
    Turn a sentence's token states into queries for effector, source and target.

    No position embedding of its own: the token states carry the order already, and a second one
    overfits to the trained phrasings.
    """

    def __init__(self, width: int = 64, heads: int = 2):
        super().__init__()
        self.heads = heads
        self.states = nn.Linear(STATE_SIZE, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.learned = nn.Parameter(0.5 * torch.randn(QUERIES, width))
        self.out = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, QUERY_SIZE))
        self.dropout = nn.Dropout(0.1)

    def forward(self, text: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """
        Return the queries, ``(B, Q, D + 3)``.

        :param text: token states, ``(B, L, 384)``.
        :param mask: 1 for a word piece, 0 for padding, ``(B, L)`` float.
        """
        states = self.dropout(self.states(text))
        key, value = (
            self.key_value(states)
            .unflatten(2, (2 * self.heads, -1))
            .transpose(1, 2)
            .chunk(2, dim=1)
        )
        query = self.learned.unflatten(1, (self.heads, -1)).transpose(
            0, 1
        )  # (heads, Q, width / heads)
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5  # (B, heads, Q, L)
        attention = torch.softmax(scores + (1 - mask[:, None, None]) * NEVER, dim=-1)
        found = self.out((attention @ value).transpose(1, 2).flatten(2))
        return self.mlp(self.norm(found + self.learned))


class GroundingEncoder(nn.Module):
    """Image encoder and text adapter together: a heat map over the picture for each query."""

    def __init__(self, size: tuple[int, int]):
        super().__init__()
        self.image = ImageEncoder(size)
        self.text = TextAdapter()

    def heat(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """
        Return the heat maps' logits, ``(..., Q, C)``.

        A query looks for a thing by its key, and for a place, such as a corner, by where it is.

        :param queries: ``(..., Q, D + 3)``: what to look for, and a place and its certainty.
        :param keys: ``(..., D, C)``.
        """
        thing, place, certainty = queries.split([KEY_SIZE, 2, 1], dim=-1)
        away = (place[..., None, :] - self.image.cells).square().sum(dim=-1)
        return thing @ keys / KEY_SIZE**0.5 - SHARPEST * torch.sigmoid(certainty - 5) * away

    def points(self, heat: torch.Tensor) -> torch.Tensor:
        """Return the point of each heat map, its mean around its maximum, ``(..., Q, 2)``."""
        return torch.softmax(self._window(heat), dim=-1) @ self.image.cells

    def _window(self, heat: torch.Tensor) -> torch.Tensor:
        """
        Return ``heat`` with everything but the surroundings of its maximum suppressed.

        Without it the mean of two candidate blocks is a point between them, where there is
        nothing.
        """
        best = heat.argmax(dim=-1, keepdim=True)
        cells = torch.arange(heat.shape[-1], device=heat.device)
        columns = self.image.columns
        near_row = (cells // columns - best // columns).abs() <= WINDOW
        near_column = (cells % columns - best % columns).abs() <= WINDOW
        return torch.where(near_row & near_column, heat, NEVER)


def cell_centres(rows: int, columns: int) -> torch.Tensor:
    """Return the centre of each cell in the image plane, ``(C, 2)`` as x, y."""
    y, x = (
        (2 * torch.arange(count, dtype=torch.float32) + 1) / count - 1 for count in (rows, columns)
    )
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)


def sample_around(
    values: torch.Tensor, point: torch.Tensor, rows: int, columns: int
) -> torch.Tensor:
    """
    Return a map's values at 5 x 5 places, one cell apart, around a point, ``(B, 25)``.

    :param values: ``(B, C)``; read by linear interpolation, zero outside the picture.
    :param point: centre of the places in the image plane, ``(B, 2)``.
    """
    steps = torch.arange(-2, 3, device=values.device)
    across, down = (
        functional.relu(
            1
            - ((at[:, None] + 1) * count / 2 - 0.5 + steps)[..., None]
            .sub(torch.arange(count, device=values.device))
            .abs()
        )
        for at, count in ((point[:, 0], columns), (point[:, 1], rows))
    )  # (B, 5, columns), (B, 5, rows)
    return (down @ values.unflatten(1, (rows, columns)) @ across.transpose(1, 2)).flatten(1)
