"""
Two frames and a sentence as the input of a vision-language model; the prompt says what is asked.

Letters: ``B`` batch, ``L`` bytes of the longest sentence, ``T`` tokens of the longest prompt.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from PIL import Image
import torch

QUESTIONS = {
    'action': 'Instruction: {} Question: what action does the robot take now? Answer:',
    'steps_to_go': 'Instruction: {} Question: how many steps are left to do it? Answer:',
    'instruction': 'Question: what did the robot do between these pictures? Answer:',
}
CAUSAL = {'paligemma': 1}  # token type of an answer; elsewhere that of the prompt's last token


class Glimpse(NamedTuple):
    """
    What the model is shown: it has no features apart from its answers.

    :param frames: ``(B, 2, H, W, 3)`` uint8 RGB.
    :param text: UTF-8 bytes of the instructions, ``(B, L, 1)``, with their ``mask``, ``(B, L)``.
    """

    frames: torch.Tensor
    text: torch.Tensor
    mask: torch.Tensor

    def sentences(self) -> list[str]:
        """Return the instructions."""
        rows = zip(self.text[..., 0].to(torch.uint8), self.mask.bool(), strict=True)
        return [bytes(row[valid].tolist()).decode() for row, valid in rows]


class Sentences:
    """
    Stands where the compact model has its sentence encoder: a sentence is itself, as UTF-8.

    The model reads it in its prompt. ``pieces`` are those of its tokenizer.
    """

    def __init__(self, tokenizer: Any):
        self._tokenizer = tokenizer

    def encode(self, sentence: str) -> np.ndarray:
        """
        Return the bytes of ``sentence``, ``(L, 1)`` float32.

        :raises ValueError: when it is empty.
        """
        if not sentence.strip():
            raise ValueError('instruction: expected a sentence, got an empty one')
        return np.frombuffer(sentence.encode(), np.uint8).astype(np.float32)[:, None]

    def pieces(self, sentence: str) -> list[str]:
        """Return the pieces of ``sentence``, without marks of begin and end."""
        return self._tokenizer.tokenize(' ' + sentence, add_special_tokens=False)

    def check_language(self, language: str) -> None:
        """Accept any: which ones it understands only the model's card says."""


class Prompter:
    """Builds inputs with the model's own processor and chat template."""

    def __init__(self, processor: Any, model_type: str, *, device: torch.device):
        self._processor = processor
        self._device = device
        self._answer_type = CAUSAL.get(model_type)
        self.tokenizer = processor.tokenizer

    def ask(self, question: str, glimpse: Glimpse) -> dict[str, torch.Tensor]:
        """Return the model's inputs for ``question``, padded on the left, ``(B, T)`` ids."""
        texts = [self._text(QUESTIONS[question].format(s)) for s in glimpse.sentences()]
        pictures = [[Image.fromarray(frame) for frame in pair] for pair in glimpse.frames.numpy()]
        inputs = self._processor(text=texts, images=pictures, padding=True, return_tensors='np')
        inputs.pop('labels', None)
        return {name: torch.as_tensor(inputs[name]).to(self._device) for name in inputs}

    def append(self, inputs: dict, ids: torch.Tensor, mask: torch.Tensor | None = None) -> dict:
        """
        Return ``inputs`` with the beginning of the answers behind the prompts.

        :param ids: ``(B, K)`` int64.
        :param mask: 0 for padding on the right, ``(B, K)``; none for no padding.
        """
        ids = ids.to(self._device)
        mask = torch.ones_like(ids) if mask is None else mask.to(self._device)
        types = {
            'input_ids': ids,
            'attention_mask': mask,
            'mm_token_type_ids': torch.zeros_like(ids),
            'token_type_ids': self._types(inputs, ids),
        }
        longer = {
            name: torch.cat([inputs[name], value.to(inputs[name].dtype)], dim=1)
            for name, value in types.items()
            if name in inputs
        }
        return {**inputs, **longer}

    def _types(self, inputs: dict, ids: torch.Tensor) -> torch.Tensor:
        if self._answer_type is not None or 'token_type_ids' not in inputs:
            return torch.full_like(ids, self._answer_type or 0)
        return inputs['token_type_ids'][:, -1:].expand_as(ids)

    def _text(self, question: str) -> str:
        """Return the prompt with a mark for each picture; a chat model's in its template."""
        template = self._processor.chat_template or self.tokenizer.chat_template
        if not template:
            return 2 * self._processor.image_token + question
        content = [{'type': 'image'}, {'type': 'image'}, {'type': 'text', 'text': question}]
        return self.tokenizer.apply_chat_template(
            [{'role': 'user', 'content': content}],
            chat_template=template,
            tokenize=False,
            add_generation_prompt=True,
        )
