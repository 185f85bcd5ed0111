"""
The grounding encoder: find in an image what an instruction names.

An image encoder computes one key for each cell of a feature map. A text adapter computes three
queries from the instruction: effector, source and target. Query and keys give a heat map over the
image, and its maximum gives a point.

Letters: ``B`` batch, ``L`` word pieces, ``Q`` queries (3), ``D`` key size, ``C`` cells of the
feature map. Image coordinates are x to the right and y down, each from -1 to 1 over the image.
Camera calibration is not needed.
"""

from __future__ import annotations

from efm_model.text import STATE_SIZE
import torch
from torch import nn
from torch.nn import functional

EFFECTOR, SOURCE, TARGET = range(3)
QUERIES = 3
KEY_SIZE = 32
QUERY_SIZE = KEY_SIZE + 3  # a key, image coordinates and the weight of the coordinates
SHARPEST = 100.0  # largest weight of the coordinates: a peak about one cell wide
STRIDE = 4  # pixels per cell
WINDOW = 2  # cells on each side of a heat map's maximum that contribute to the point
# A logit that softmax turns into 0. It is finite, so that infinity and NaN always show a fault.
NEVER = -1e9


class ImageEncoder(nn.Module):
    """
    A convolutional network that computes a key and an occupancy for each cell of 4 x 4 pixels.

    :ivar rows: rows of the feature map.
    :ivar columns: columns of the feature map; ``C`` is rows times columns.
    :ivar cells: centres of the cells in image coordinates, ``(C, 2)`` float32.
    """

    cells: torch.Tensor

    def __init__(self, size: tuple[int, int]):
        """
        Create random weights.

        :param size: height and width of the frames [px], multiples of 4.
        """
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
        Return the key of each cell and the logit that a thing is there.

        :param frames: ``(B, H, W, 3)`` uint8 RGB.
        :return: keys ``(B, D, C)`` and occupancy logits ``(B, C)``, both float32.
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
    Attention over an instruction's token states that computes one query for each thing.

    The things are effector, source and target. There is no position embedding: the token states
    depend on the order of the words already, and a second embedding overfits to trained phrasings.
    """

    def __init__(self, width: int = 64, heads: int = 2):
        """
        Create random weights.

        :param width: size of the attention.
        :param heads: attention heads; a divisor of ``width``.
        """
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
        Return the queries, ``(B, Q, D + 3)`` float32.

        :param text: token states, ``(B, L, 384)`` float32.
        :param mask: 1 for a word piece, 0 for padding, ``(B, L)`` float32.
        """
        states = self.dropout(self.states(text))
        key, value = (
            self.key_value(states)
            .unflatten(2, (2 * self.heads, -1))
            .transpose(1, 2)
            .chunk(2, dim=1)
        )
        # query (heads, Q, width / heads), scores (B, heads, Q, L)
        query = self.learned.unflatten(1, (self.heads, -1)).transpose(0, 1)
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5
        attention = torch.softmax(scores + (1 - mask[:, None, None]) * NEVER, dim=-1)
        found = self.out((attention @ value).transpose(1, 2).flatten(2))
        return self.mlp(self.norm(found + self.learned))


class GroundingEncoder(nn.Module):
    """
    Image encoder and text adapter, with the heat maps and points that follow from them.

    :ivar image: the ``ImageEncoder``.
    :ivar text: the ``TextAdapter``.
    """

    def __init__(self, size: tuple[int, int]):
        """
        Create random weights.

        :param size: height and width of the frames [px].
        """
        super().__init__()
        self.image = ImageEncoder(size)
        self.text = TextAdapter()

    def heat(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """
        Return the logits of the heat maps, ``(..., Q, C)`` float32.

        The logit is the product of query and key, less the weighted distance to the coordinates
        in the query. So a query can name a thing, or a place such as a corner.

        :param queries: key, image coordinates and their weight, ``(..., Q, D + 3)``.
        :param keys: ``(..., D, C)``.
        """
        thing, place, certainty = queries.split([KEY_SIZE, 2, 1], dim=-1)
        away = (place[..., None, :] - self.image.cells).square().sum(dim=-1)
        return thing @ keys / KEY_SIZE**0.5 - SHARPEST * torch.sigmoid(certainty - 5) * away

    def points(self, heat: torch.Tensor) -> torch.Tensor:
        """
        Return the image coordinates of each heat map: its mean around its maximum.

        :param heat: logits, ``(..., Q, C)``.
        :return: ``(..., Q, 2)`` float32.
        """
        return torch.softmax(self._window(heat), dim=-1) @ self.image.cells

    def _window(self, heat: torch.Tensor) -> torch.Tensor:
        """
        Return ``heat`` with all cells set to ``NEVER`` that are far from its maximum.

        The mean over the whole map would lie between two candidate blocks, where no block is.
        """
        best = heat.argmax(dim=-1, keepdim=True)
        cells = torch.arange(heat.shape[-1], device=heat.device)
        columns = self.image.columns
        near_row = (cells // columns - best // columns).abs() <= WINDOW
        near_column = (cells % columns - best % columns).abs() <= WINDOW
        return torch.where(near_row & near_column, heat, NEVER)


def cell_centres(rows: int, columns: int) -> torch.Tensor:
    """Return the centre of each cell in image coordinates, ``(C, 2)`` float32 as x, y."""
    y, x = (
        (2 * torch.arange(count, dtype=torch.float32) + 1) / count - 1 for count in (rows, columns)
    )
    return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=1)


def sample_around(
    values: torch.Tensor, point: torch.Tensor, rows: int, columns: int
) -> torch.Tensor:
    """
    Return the values of a map at 5 x 5 places, one cell apart, around a point.

    Values between cells are interpolated linearly; outside the image they are 0.

    :param values: ``(B, C)`` float32.
    :param point: centre of the places in image coordinates, ``(B, 2)``.
    :param rows: rows of the map.
    :param columns: columns of the map.
    :return: ``(B, 25)`` float32.
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
