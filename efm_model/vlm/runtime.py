"""A vision-language model as policy and judge take it: in torch, in the process that learns."""

from __future__ import annotations

from efm_model.vlm.network import VlmModel
import numpy as np
import torch


class VlmRuntime:
    """Answers as ``efm_model.runtime.Runtime`` does, from the model as it is now."""

    def __init__(self, model: VlmModel, version: int = 1):
        self.model = model
        self.version = version

    def input_shape(self, name: str) -> list[int | str]:
        """
        Return the shape of the noise.

        :raises ValueError: for any other input, which may have any size.
        """
        if name != 'gumbel':
            raise ValueError(f'input_shape: expected gumbel, got {name!r}')
        vocabulary = self.model.config.vocabulary
        return ['B', len(vocabulary), max(vocabulary)]

    def run(self, gumbel: np.ndarray | None = None, **seen: np.ndarray) -> dict[str, np.ndarray]:
        """
        Return a prediction, or with noise an action.

        :param seen: ``observations``, ``text`` and ``text_mask`` as ``glimpses`` makes them.
        :raises ValueError: when what the model says is not finite.
        """
        names = ('observations', 'text', 'text_mask')
        parts = [torch.from_numpy(seen[n]).split(self.model.max_batch_size) for n in names]
        noise = (
            None if gumbel is None else torch.from_numpy(gumbel).split(self.model.max_batch_size)
        )
        found = [
            self._answer(self.model.features(*part), None if noise is None else noise[i])
            for i, part in enumerate(zip(*parts, strict=True))
        ]
        joined = {name: torch.cat([part[name] for part in found]).numpy() for name in found[0]}
        for name, value in joined.items():
            if not np.isfinite(value).all():
                raise ValueError(f'{name}: expected finite numbers, got {value}')
        return joined

    @torch.no_grad()
    def _answer(self, glimpse, noise: torch.Tensor | None) -> dict[str, torch.Tensor]:
        if noise is None:
            logits = self.model.steps_to_go_logits(glimpse)
            return {'probabilities': torch.softmax(logits, dim=-1)}
        tokens, log_probability, _ = self.model.sample(glimpse, noise)
        return {'tokens': tokens, 'log_probability': log_probability}
