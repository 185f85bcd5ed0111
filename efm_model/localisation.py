"""
What it costs to point at the wrong place: the loss of every pretraining of an encoder.

Letters and points as in ``grounding.py``.
"""

from __future__ import annotations

from efm_model.grounding import GroundingEncoder
import torch
from torch.nn import functional


def cell_weights(points: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """Return the weights, ``(..., C)``, with which the cells' centres give ``points``."""
    across, down = (
        functional.relu(
            1
            - (
                ((points[..., axis] + 1) * count / 2 - 0.5).clamp(0, count - 1)[..., None]
                - torch.arange(count)
            ).abs()
        )
        for axis, count in ((0, columns), (1, rows))
    )
    return (down[..., :, None] * across[..., None, :]).flatten(-2)


def localisation_loss(
    grounding: GroundingEncoder, heat: torch.Tensor, points: torch.Tensor
) -> torch.Tensor:
    """Return how badly heat maps, ``(B, Q, C)``, mean ``points``, as maps and positions."""
    weights = cell_weights(points, grounding.image.rows, grounding.image.columns)
    entropy = -(weights * torch.log_softmax(heat, dim=-1)).sum(dim=-1).mean()
    means = torch.softmax(heat, dim=-1) @ grounding.image.cells
    return entropy + 2 * functional.smooth_l1_loss(means, points, beta=0.1)
