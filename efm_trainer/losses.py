"""
The losses: action, steps-to-go, instruction, and REINFORCE with and without PPO's clip.

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


def clipped_loss(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    returns: torch.Tensor,
    before: torch.Tensor,
    clip: float,
    scale: float,
) -> torch.Tensor:
    """
    Return -E[c min(w R, clip(w, 1 - clip, 1 + clip) R)] with w = p(a | o, g) / p(a when acted).

    Source: PPO (Schulman et al. 2017, arXiv:1707.06347, equation 7). Where w is 1 its gradient is
    that of ``reinforce_loss``.

    :param returns: R or an advantage, ``(B,)`` [steps]; ``scale`` is c.
    :param before: log p of the policy that acted, ``(B,)``.
    """
    weight = (log_probability(logits, tokens) - before).exp()
    return -(scale * clipped(weight, returns, clip)).mean()


def clipped(weight: torch.Tensor, returns: torch.Tensor, clip: float) -> torch.Tensor:
    """Return min(w R, clip(w, 1 - clip, 1 + clip) R), ``(B,)``."""
    return torch.minimum(weight * returns, weight.clamp(1 - clip, 1 + clip) * returns)


def linear_baseline(returns: torch.Tensor, steps_to_go: torch.Tensor) -> torch.Tensor:
    """
    Return the straight line through returns over d by least squares, ``(B,)`` [steps].

    A baseline, since it depends on what was seen and hardly on what was done. R_t begins with
    d(o_t) itself, so most of the noise of d goes with it.

    :param returns: ``(B,)`` [steps]; ``steps_to_go`` d of the same observations, ``(B,)``.
    """
    away = steps_to_go - steps_to_go.mean()
    mean = returns.mean()
    spread = away.square().sum()
    slope = (away * (returns - mean)).sum() / spread if spread > 0 else 0.0
    return mean + slope * away


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the mean entropy of an action given its true tokens, summed over them [nats]."""
    logs = torch.log_softmax(logits, dim=-1)
    return -(logs.exp() * logs).sum(dim=-1).sum(dim=-1).mean()
