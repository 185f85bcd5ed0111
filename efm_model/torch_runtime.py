"""Compact models in torch as inference backends: a model that still learns needs no export."""

from __future__ import annotations

from typing import Any

from efm_model.network import CompactModel
from efm_model.protocol import Model
from efm_model.runtime import InferenceBackend
import numpy as np
import torch


class FeatureCache:
    """
    Features of a frozen encoder, computed once for every model that has this encoder.

    The reward model reads every observation before the policy does. A frame is also the previous
    frame of the next observation.
    """

    def __init__(self, model: CompactModel):
        self._model = model
        self._features: dict[tuple[bytes, bytes], torch.Tensor] = {}
        self._frames: dict[bytes, tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def features(
        self, observations: np.ndarray, text: np.ndarray, mask: np.ndarray
    ) -> torch.Tensor:
        """Return the features, ``(B, F)``; arguments as ``CompactModel.features``."""
        keys = [
            (pair.tobytes(), states[: int(valid.sum())].tobytes())
            for pair, states, valid in zip(observations, text, mask, strict=True)
        ]
        if not all(key in self._features for key in keys):
            found = self._relate(observations, *map(torch.from_numpy, (text, mask)))
            self._features = dict(zip(keys, found, strict=True))
        return torch.stack([self._features[key] for key in keys])

    def _relate(
        self, observations: np.ndarray, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the features; the image encoder runs on new frames only."""
        names = [tuple(frame.tobytes() for frame in pair) for pair in observations]
        pairs = zip(names, observations, strict=True)
        new = {n: f for both, pair in pairs for n, f in zip(both, pair, strict=True)}
        new = {name: frame for name, frame in new.items() if name not in self._frames}
        if new:
            keys, occupancy = self._model.see(torch.from_numpy(np.stack(list(new.values()))))
            self._frames |= dict(zip(new, zip(keys, occupancy, strict=True), strict=True))
        keys = torch.stack([torch.stack([self._frames[n][0] for n in both]) for both in names])
        occupancy = torch.stack([self._frames[now][1] for _, now in names])
        self._frames = {now: self._frames[now] for _, now in names}
        return self._model.relate(keys, occupancy, text, mask)


class TorchRuntime:
    """
    An ``InferenceBackend`` around a torch model with its present weights.

    :ivar model: the torch model.
    :ivar version: of these weights.
    """

    def __init__(self, model: CompactModel, cache: FeatureCache, *, version: int = 1):
        self.model = model
        self.version = version
        self._cache = cache

    def input_shape(self, name: str) -> list[int | str]:
        """Return the shape of ``gumbel``, the only input of a fixed size."""
        vocabulary = self.model.config.vocabulary
        return ['B', len(vocabulary), max(vocabulary)]

    @torch.no_grad()
    def run(
        self,
        observations: np.ndarray,
        text: np.ndarray,
        text_mask: np.ndarray,
        gumbel: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return an action for ``gumbel``; without it the steps-to-go distribution."""
        features = self._cache.features(observations, text, text_mask)
        if gumbel is None:
            logits = self.model.steps_to_go_logits(features)
            return {'probabilities': torch.softmax(logits, dim=-1).numpy()}
        tokens, log_probability, _ = self.model.sample(features, torch.from_numpy(gumbel))
        return {'tokens': tokens.numpy(), 'log_probability': log_probability.numpy()}


def make_runtimes(
    policy: Model, reward_model: Model, *, version: int = 1
) -> tuple[InferenceBackend, InferenceBackend]:
    """
    Return the backends of a policy and a reward model; a common encoder runs once for both.

    :param version: of the policy.
    """
    if policy.family == 'vlm':
        from efm_model.vlm.runtime import VlmRuntime

        return VlmRuntime(policy, version), VlmRuntime(reward_model)
    cache = FeatureCache(reward_model)
    own = cache if share_frozen_encoder(policy, reward_model) else FeatureCache(policy)
    return TorchRuntime(policy, own, version=version), TorchRuntime(reward_model, cache)


def share_frozen_encoder(one: Any, other: Any) -> bool:
    """Return whether two compact models have the same encoder, and never train it."""
    if not (one.config.encoder_is_frozen and other.config.encoder_is_frozen):
        return False
    pairs = zip(one.grounding.parameters(), other.grounding.parameters(), strict=True)
    return all(torch.equal(left, right) for left, right in pairs)
