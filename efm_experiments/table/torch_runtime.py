"""Models that are still learning, in torch: no export between two updates."""

from __future__ import annotations

from efm_model.network import CompactModel
import numpy as np
import torch


class FeatureCache:
    """
    What a frozen encoder sees, computed once for all who look at the same moment.

    The judge looks at every episode, then the policy at those that go on. A frame is seen again as
    the previous one of the next moment.
    """

    def __init__(self, model: CompactModel):
        self._model = model
        self._features = {}
        self._frames = {}

    @torch.no_grad()
    def features(self, observations: np.ndarray, text: np.ndarray, mask: np.ndarray):
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
        """Return the features, of which only new frames are looked at."""
        names = [tuple(frame.tobytes() for frame in pair) for pair in observations]
        pairs = zip(names, observations, strict=True)
        new = {n: f for both, pair in pairs for n, f in zip(both, pair, strict=True)}
        new = {name: frame for name, frame in new.items() if name not in self._frames}
        if new:
            keys, occupancy = self._model.encode_frames(
                torch.from_numpy(np.stack(list(new.values())))
            )
            self._frames |= dict(zip(new, zip(keys, occupancy, strict=True), strict=True))
        keys = torch.stack([torch.stack([self._frames[n][0] for n in both]) for both in names])
        occupancy = torch.stack([self._frames[now][1] for _, now in names])
        self._frames = {now: self._frames[now] for _, now in names}
        return self._model.ground(keys, occupancy, text, mask)


class LiveRuntime:
    """Answers as ``efm_model.runtime.Runtime`` does, from a torch model as it is now."""

    def __init__(self, model: CompactModel, sight: FeatureCache, *, version: int = 1):
        self._model = model
        self._sight = sight
        self.version = version

    def input_shape(self, _: str) -> list[int | str]:
        """Return the shape of the noise."""
        vocabulary = self._model.config.vocabulary
        return ['B', len(vocabulary), max(vocabulary)]

    @torch.no_grad()
    def run(
        self,
        observations: np.ndarray,
        text: np.ndarray,
        text_mask: np.ndarray,
        gumbel: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Return a prediction, or with noise an action."""
        features = self._sight.features(observations, text, text_mask)
        if gumbel is None:
            logits = self._model.steps_to_go_logits(features)
            return {'probabilities': torch.softmax(logits, dim=-1).numpy()}
        tokens, log_probability, _ = self._model.sample(features, torch.from_numpy(gumbel))
        return {'tokens': tokens.numpy(), 'log_probability': log_probability.numpy()}
