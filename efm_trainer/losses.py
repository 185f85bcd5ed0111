"""
The four losses: action, steps-to-go, instruction and REINFORCE.

Letters: ``B`` batch, ``K`` action tokens, ``V`` vocabulary, ``P`` word pieces.
"""

from __future__ import annotations

from efm_model.network import log_probability
import torch
from torch.nn import functional

NO_PIECE = -1  # padding after the end of an instruction


def action_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """
    Return L_BC = -E[log p(a | o, g)], summed over the tokens of an action [nats].

    :param logits: ``(B, K, V)``.
    :param tokens: ``(B, K)`` int64.
    """
    return -log_probability(logits, tokens).mean()


def smooth_targets(bins: torch.Tensor, count: int, width: float) -> torch.Tensor:
    """
    Return Gaussians around the true bins as distributions, ``(B, count)`` float32.

    :param bins: ``(B,)`` int64.
    :param width: standard deviation [bins]; 0 gives the true bin alone.
    """
    if width == 0:
        return functional.one_hot(bins, count).to(torch.float32)
    away = torch.arange(count, device=bins.device)[None] - bins[:, None]
    return torch.softmax(-0.5 * (away / width) ** 2, dim=-1)


def steps_to_go_loss(logits: torch.Tensor, bins: torch.Tensor, width: float) -> torch.Tensor:
    """
    Return L_stg = -E[log p(t' - t | o, g)] against smoothed targets [nats].

    :param logits: ``(B, bins)``.
    :param bins: the true bins, ``(B,)`` int64.
    """
    return functional.cross_entropy(logits, smooth_targets(bins, logits.shape[-1], width))


def instruction_loss(logits: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
    """
    Return -E[log p(next word piece | those before, first and last frame)] [nats].

    :param logits: ``(B, P, V)``.
    :param pieces: the next piece at each position, ``(B, P)`` int64; ``NO_PIECE`` for none.
    """
    return functional.cross_entropy(logits.flatten(0, 1), pieces.flatten(), ignore_index=NO_PIECE)


def reinforce_loss(
    logits: torch.Tensor, tokens: torch.Tensor, returns: torch.Tensor, scale: float
) -> torch.Tensor:
    """
    Return -E[c R log p(a | o, g)], without baseline, clipping or KL.

    :param returns: R, ``(B,)`` [steps]; ``scale`` is c.
    """
    return -(scale * returns * log_probability(logits, tokens)).mean()


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean entropy of an action given its true tokens, summed over them [nats]."""
    logs = torch.log_softmax(logits, dim=-1)
    return -(logs.exp() * logs).sum(dim=-1).sum(dim=-1).mean()
