"""Inference with a vision-language model in torch, in the process that trains it."""

from __future__ import annotations

from efm_model.vlm.network import VlmModel
from efm_model.vlm.prompts import PromptInputs
import numpy as np
import torch

INPUTS = ('observations', 'text', 'text_mask')


class VlmRuntime:
    """
    An ``InferenceBackend`` that runs the present weights of a model.

    :ivar version: version of the model.
    """

    def __init__(self, model: VlmModel, version: int = 1):
        """Keep the model; later changes of its weights take effect at once."""
        self._model = model
        self.version = version

    def input_shape(self, name: str) -> list[int | str]:
        """
        Return the shape of the noise.

        :raises ValueError: for any other input; those have no fixed size.
        """
        if name != 'gumbel':
            raise ValueError(f'input_shape: expected gumbel, got {name!r}')
        vocabulary = self._model.config.vocabulary
        return ['B', len(vocabulary), max(vocabulary)]

    def run(self, gumbel: np.ndarray | None = None, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """
        Run the model once, in parts of ``max_batch_size``.

        :param gumbel: standard Gumbel noise for an action, ``(B, K, V)`` float32; None for
            steps-to-go.
        :param inputs: ``observations``, ``text`` and ``text_mask``, as from ``model_inputs``.
        :return: as ``InferenceBackend.run``.
        :raises ValueError: when an output is not finite.
        """
        size = self._model.max_batch_size
        parts = zip(*(torch.from_numpy(inputs[name]).split(size) for name in INPUTS), strict=True)
        features = [self._model.features(*part) for part in parts]
        if gumbel is None:
            outputs = [self._predict(part) for part in features]
        else:
            noise = torch.from_numpy(gumbel).split(size)
            outputs = [self._act(*pair) for pair in zip(features, noise, strict=True)]
        joined = {
            name: torch.cat([output[name] for output in outputs]).numpy() for name in outputs[0]
        }
        for name, value in joined.items():
            if not np.isfinite(value).all():
                raise ValueError(f'{name}: expected finite numbers, got {value}')
        return joined

    @torch.no_grad()
    def _predict(self, features: PromptInputs) -> dict[str, torch.Tensor]:
        logits = self._model.steps_to_go_logits(features)
        return {'probabilities': torch.softmax(logits, dim=-1)}

    @torch.no_grad()
    def _act(self, features: PromptInputs, noise: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens, log_probability, _ = self._model.sample(features, noise)
        return {'tokens': tokens, 'log_probability': log_probability}
