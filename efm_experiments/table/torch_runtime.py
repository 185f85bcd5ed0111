"""Inference with torch models that are still being trained, without an export to ONNX."""

from __future__ import annotations

from efm_model.network import CompactModel
import numpy as np
import torch


class FeatureCache:
    """
    Features of a frozen encoder, computed once for all models that share it.

    The reward model evaluates every episode, then the policy evaluates those that continue. Each
    frame also becomes the previous frame of the next observation.
    """

    def __init__(self, model: CompactModel):
        self._model = model
        self._features: dict[tuple[bytes, bytes], torch.Tensor] = {}
        self._frames: dict[bytes, tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def features(
        self, observations: np.ndarray, text: np.ndarray, mask: np.ndarray
    ) -> torch.Tensor:
        """Return the features, ``(B, F)`` float32; arguments as ``CompactModel.features``."""
        keys = [
            (pair.tobytes(), states[: int(valid.sum())].tobytes())
            for pair, states, valid in zip(observations, text, mask, strict=True)
        ]
        if not all(key in self._features for key in keys):
            found = self._compute(observations, torch.from_numpy(text), torch.from_numpy(mask))
            self._features = dict(zip(keys, found, strict=True))
        return torch.stack([self._features[key] for key in keys])

    def _compute(
        self, observations: np.ndarray, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the features, ``(B, F)``; the image encoder runs on new frames only."""
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
    """A torch model with its current weights behind the interface of ``InferenceBackend``."""

    def __init__(self, model: CompactModel, feature_cache: FeatureCache, *, version: int = 1):
        self._model = model
        self._feature_cache = feature_cache
        self.version = version

    def input_shape(self, _: str) -> list[int | str]:
        """Return the shape of the noise input, ``['B', K, V]``."""
        vocabulary = self._model.config.vocabulary
        return ['B', len(vocabulary), max(vocabulary)]

    @torch.no_grad()
    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """
        Return a steps-to-go prediction, or an action when ``inputs`` holds ``gumbel`` noise.

        :param inputs: ``observations``, ``text`` and ``text_mask`` as ``CompactModel.features``,
            and for an action ``gumbel``, ``(B, K, V)`` float32.
        """
        features = self._feature_cache.features(
            inputs['observations'], inputs['text'], inputs['text_mask']
        )
        if 'gumbel' not in inputs:
            logits = self._model.steps_to_go_logits(features)
            return {'probabilities': torch.softmax(logits, dim=-1).numpy()}
        gumbel = torch.from_numpy(inputs['gumbel'])
        tokens, log_probability, _ = self._model.sample(features, gumbel)
        return {'tokens': tokens.numpy(), 'log_probability': log_probability.numpy()}
