"""
Losses of both stages: behaviour cloning, steps-to-go, instruction, REINFORCE and clipped PPO.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), unless a function names another.

Letters: ``B`` batch, ``K`` tokens of an action, ``V`` largest number of values of a token or word
pieces of the instruction head, ``P`` word pieces of an instruction.
"""

from __future__ import annotations

from efm_model.network import log_probability
import torch
from torch.nn import functional

NO_PIECE = -1  # padding after the end of an instruction


def action_loss(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """
    Return L_BC = -E[log p(a | o, g)], summed over the tokens of an action [nats].

    :param logits: ``(B, K, V)`` float32.
    :param tokens: demonstrated actions, ``(B, K)`` int64.
    """
    return -log_probability(logits, tokens).mean()


def smooth_targets(bins: torch.Tensor, count: int, width: float) -> torch.Tensor:
    """
    Return distributions around the true bins, ``(B, count)`` float32: discretised Gaussians.

    :param bins: true bins, ``(B,)`` int64.
    :param count: number of bins.
    :param width: standard deviation [bins]; 0 for the true bin alone.
    """
    if width == 0:
        return functional.one_hot(bins, count).to(torch.float32)
    distance = torch.arange(count, device=bins.device)[None] - bins[:, None]
    return torch.softmax(-0.5 * (distance / width) ** 2, dim=-1)


def steps_to_go_loss(logits: torch.Tensor, bins: torch.Tensor, width: float) -> torch.Tensor:
    """
    Return L_stg = -E[log p(t' - t | o, g)] against smoothed targets [nats].

    :param logits: ``(B, bins)`` float32.
    :param bins: true bins, ``(B,)`` int64.
    :param width: standard deviation of the targets [bins].
    """
    return functional.cross_entropy(logits, smooth_targets(bins, logits.shape[-1], width))


def instruction_loss(logits: torch.Tensor, pieces: torch.Tensor) -> torch.Tensor:
    """
    Return -E[log p(next word piece | earlier pieces, first and last frame)] [nats].

    :param logits: ``(B, P, V)`` float32.
    :param pieces: the next piece at each position, ``(B, P)`` int64; ``NO_PIECE`` for padding.
    """
    return functional.cross_entropy(logits.flatten(0, 1), pieces.flatten(), ignore_index=NO_PIECE)


def reinforce_loss(
    logits: torch.Tensor, tokens: torch.Tensor, returns: torch.Tensor, scale: float
) -> torch.Tensor:
    """
    Return -E[c R log p(a | o, g)].

    :param logits: ``(B, K, V)`` float32.
    :param tokens: executed actions, ``(B, K)`` int64.
    :param returns: R or an advantage, ``(B,)`` float32 [steps].
    :param scale: c.
    """
    return -(scale * returns * log_probability(logits, tokens)).mean()


def clipped_loss(
    logits: torch.Tensor,
    tokens: torch.Tensor,
    returns: torch.Tensor,
    log_probs: torch.Tensor,
    clip_range: float,
    scale: float,
) -> torch.Tensor:
    """
    Return -E[c min(w R, clip(w, 1 - e, 1 + e) R)] with w = p(a | o, g) / p_old(a | o, g).

    Source: PPO (Schulman et al. 2017, arXiv:1707.06347, equation 7). Where w is 1, its gradient
    is that of ``reinforce_loss``.

    :param logits: ``(B, K, V)`` float32.
    :param tokens: executed actions, ``(B, K)`` int64.
    :param returns: R or an advantage, ``(B,)`` float32 [steps].
    :param log_probs: log p_old of the policy that sampled the actions, ``(B,)`` float32 [nats].
    :param clip_range: e.
    :param scale: c.
    """
    weight = (log_probability(logits, tokens) - log_probs).exp()
    return -(scale * clipped(weight, returns, clip_range)).mean()


def clipped(weight: torch.Tensor, returns: torch.Tensor, clip_range: float) -> torch.Tensor:
    """
    Return min(w R, clip(w, 1 - e, 1 + e) R), ``(B,)`` float32 [steps].

    :param weight: w, ``(B,)`` float32.
    :param returns: R, ``(B,)`` float32 [steps].
    :param clip_range: e.
    """
    limited = weight.clamp(1 - clip_range, 1 + clip_range)
    return torch.minimum(weight * returns, limited * returns)


def linear_baseline(returns: torch.Tensor, steps_to_go: torch.Tensor) -> torch.Tensor:
    """
    Return the least-squares line of returns over steps-to-go, ``(B,)`` float32 [steps].

    It depends on the observation and hardly on the action, so that it can be a baseline. The
    return R_t starts with d(o_t) itself; subtracting the line removes most of the noise of d.

    :param returns: ``(B,)`` float32 [steps].
    :param steps_to_go: d of the same observations, ``(B,)`` float32 [steps].
    """
    centred = steps_to_go - steps_to_go.mean()
    mean = returns.mean()
    spread = centred.square().sum()
    slope = (centred * (returns - mean)).sum() / spread if spread > 0 else 0.0
    return mean + slope * centred


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """
    Return the mean entropy of actions, summed over their tokens [nats].

    The entropy of each token is that given the executed tokens before it.

    :param logits: ``(B, K, V)`` float32.
    """
    logs = torch.log_softmax(logits, dim=-1)
    return -(logs.exp() * logs).sum(dim=-1).sum(dim=-1).mean()
