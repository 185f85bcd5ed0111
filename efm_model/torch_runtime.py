"""Inference with torch models: a model in training needs no export between two updates."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from efm_model.protocol import encodes_frames, FrameEncoder, Model
from efm_model.runtime import InferenceBackend
import numpy as np
import torch


@contextmanager
def single_threaded() -> Iterator[None]:
    """
    Let torch compute in one thread.

    In networks as small as the grounding model's, several threads mostly wait for each other.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class TorchRuntime:
    """
    An ``InferenceBackend`` that runs the present weights of any model.

    :ivar model: the model; later changes of its weights take effect at once.
    :ivar version: version of the weights.
    """

    def __init__(self, model: Model, *, version: int = 1):
        """Keep the model."""
        self.model = model
        self.version = version

    def input_shape(self, name: str) -> list[int | str]:
        """
        Return the shape of the noise.

        :raises ValueError: for any other input; those have no fixed size.
        """
        if name != 'gumbel':
            raise ValueError(f'input_shape: expected gumbel, got {name!r}')
        vocabulary = self.model.config.vocabulary
        return ['B', len(vocabulary), max(vocabulary)]

    @torch.no_grad()
    def run(self, gumbel: np.ndarray | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """
        Run the model once, in parts of ``max_batch_size``.

        :param gumbel: standard Gumbel noise for an action, ``(B, K, V)`` float32; None for
            steps-to-go.
        :param inputs: as from ``model_inputs``.
        :return: as ``InferenceBackend.run``.
        :raises ValueError: when an output is not finite.
        """
        arrays = inputs if gumbel is None else {**inputs, 'gumbel': gumbel}
        size = self.model.max_batch_size or len(inputs['text'])
        split = (torch.from_numpy(array).split(size) for array in arrays.values())
        outputs = []
        for values in zip(*split, strict=True):
            part = dict(zip(arrays, values, strict=True))
            noise = part.pop('gumbel', None)
            outputs.append(predict(self.model, self.model.features(part), noise))
        joined = {
            name: torch.cat([output[name] for output in outputs]).numpy() for name in outputs[0]
        }
        for name, value in joined.items():
            if not np.isfinite(value).all():
                raise ValueError(f'{name}: expected finite numbers, got {value}')
        return joined


class FeatureCache:
    """
    Features of an encoder, computed once for all models that have this encoder.

    The reward model reads each observation before the policy does. A frame is also the previous
    frame of the next observation.
    """

    def __init__(self, model: FrameEncoder):
        """
        Start with an empty cache.

        :param model: has the encoder; its weights must not change while the cache is in use.
        """
        self._model = model
        self._features: dict[tuple[bytes, bytes], torch.Tensor] = {}
        self._frames: dict[bytes, tuple[torch.Tensor, torch.Tensor]] = {}

    @torch.no_grad()
    def features(
        self, observations: np.ndarray, text: np.ndarray, mask: np.ndarray
    ) -> torch.Tensor:
        """Return ``Model.features`` as ``(B, F)`` float32; arguments as there, in numpy."""
        keys = [
            (pair.tobytes(), states[: int(valid.sum())].tobytes())
            for pair, states, valid in zip(observations, text, mask, strict=True)
        ]
        if not all(key in self._features for key in keys):
            found = self._compute(observations, *map(torch.from_numpy, (text, mask)))
            self._features = dict(zip(keys, found, strict=True))
        return torch.stack([self._features[key] for key in keys])

    def _compute(
        self, observations: np.ndarray, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """Return the features; the image encoder runs on new frames only."""
        names = [tuple(frame.tobytes() for frame in pair) for pair in observations]
        pairs = zip(names, observations, strict=True)
        new = {n: f for both, pair in pairs for n, f in zip(both, pair, strict=True)}
        new = {name: frame for name, frame in new.items() if name not in self._frames}
        if new:
            encoded = self._model.encode_frames(torch.from_numpy(np.stack(list(new.values()))))
            self._frames |= dict(zip(new, zip(*encoded, strict=True), strict=True))
        keys = torch.stack([torch.stack([self._frames[n][0] for n in both]) for both in names])
        occupancy = torch.stack([self._frames[now][1] for _, now in names])
        self._frames = {now: self._frames[now] for _, now in names}
        return self._model.ground(keys, occupancy, text, mask)


class CachedRuntime(TorchRuntime):
    """A ``TorchRuntime`` that takes its features from a cache; it runs in one thread."""

    def __init__(self, model: Model, cache: FeatureCache, *, version: int = 1):
        """
        Keep model and cache.

        :param cache: with the encoder of the model.
        """
        super().__init__(model, version=version)
        self._cache = cache

    @torch.no_grad()
    @single_threaded()
    def run(self, gumbel: np.ndarray | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Run the model once; arguments and result as ``TorchRuntime.run``."""
        features = self._cache.features(
            inputs['observations'], inputs['text'], inputs['text_mask']
        )
        noise = None if gumbel is None else torch.from_numpy(gumbel)
        outputs = predict(self.model, features, noise)
        return {name: value.numpy() for name, value in outputs.items()}


def predict(
    model: Model, features: Any, gumbel: torch.Tensor | None = None
) -> dict[str, torch.Tensor]:
    """
    Return an action for ``gumbel``; without it the distribution over steps-to-go.

    :param features: from ``Model.features``.
    :param gumbel: standard Gumbel noise, ``(B, K, V)`` float32.
    :return: as ``InferenceBackend.run``, as tensors.
    """
    if gumbel is None:
        return {'probabilities': torch.softmax(model.steps_to_go_logits(features), dim=-1)}
    tokens, log_probability, _ = model.sample(features, gumbel)
    return {'tokens': tokens, 'log_probability': log_probability}


def make_runtimes(
    policy: Model, reward_model: Model, *, version: int = 1
) -> tuple[InferenceBackend, InferenceBackend]:
    """
    Return the backends of a policy and a reward model; a common encoder runs once for both.

    :param version: of the policy.
    """
    if not (encodes_frames(policy) and encodes_frames(reward_model)):
        return TorchRuntime(policy, version=version), TorchRuntime(reward_model)
    cache = FeatureCache(reward_model)
    own = cache if share_frozen_encoder(policy, reward_model) else FeatureCache(policy)
    return CachedRuntime(policy, own, version=version), CachedRuntime(reward_model, cache)


def share_frozen_encoder(one: Model, other: Model) -> bool:
    """Return whether the features of two models are frozen and equal."""
    if not (one.features_are_frozen and other.features_are_frozen):
        return False
    mine, its = (model.encoder.state_dict() for model in (one, other))
    return mine.keys() == its.keys() and all(torch.equal(mine[name], its[name]) for name in mine)
