"""
The loss with which every grounding encoder is pretrained: distance between points.

Letters and image coordinates as in ``grounding.py``.
"""

from __future__ import annotations

from efm_model.grounding import GroundingEncoder
import torch
from torch.nn import functional


def cell_weights(points: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """
    Return weights of the cells whose weighted mean is the given point.

    The weights are those of bilinear interpolation between the four nearest cell centres.

    :param points: image coordinates, ``(..., 2)`` float32.
    :param rows: rows of the feature map.
    :param columns: columns of the feature map.
    :return: ``(..., C)`` float32; they sum to 1.
    """
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
    """
    Return the error of heat maps against true points: cross-entropy plus distance of the mean.

    :param heat: logits of the heat maps, ``(B, Q, C)``.
    :param points: true image coordinates, ``(B, Q, 2)``.
    """
    weights = cell_weights(points, grounding.image.rows, grounding.image.columns)
    entropy = -(weights * torch.log_softmax(heat, dim=-1)).sum(dim=-1).mean()
    means = torch.softmax(heat, dim=-1) @ grounding.image.cells
    return entropy + 2 * functional.smooth_l1_loss(means, points, beta=0.1)
