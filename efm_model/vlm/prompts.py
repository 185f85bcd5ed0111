"""
Prompts of a vision-language model: two frames, an instruction and the question of the task.

Letters: ``B`` batch, ``L`` bytes of the longest instruction, ``T`` tokens of the longest prompt,
``K`` tokens of an answer.
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
# Token type of the answer. Models that are not listed use the type of the prompt's last token.
ANSWER_TYPES = {'paligemma': 1}


class PromptInputs(NamedTuple):
    """
    The inputs of a prompt; the vision-language model has no other features.

    :param frames: previous and current frame, ``(B, 2, H, W, 3)`` uint8 RGB.
    :param text: UTF-8 bytes of the instructions, ``(B, L, 1)`` float32.
    :param mask: 1 for a byte, 0 for padding, ``(B, L)`` float32.
    """

    frames: torch.Tensor
    text: torch.Tensor
    mask: torch.Tensor

    def sentences(self) -> list[str]:
        """Return the ``B`` instructions."""
        pairs = zip(self.text[..., 0].to(torch.uint8), self.mask.bool(), strict=True)
        return [bytes(text[valid].tolist()).decode() for text, valid in pairs]


class Utf8TextEncoder:
    """
    The text encoder of a vision-language model: an instruction is encoded as its UTF-8 bytes.

    The model reads the instruction itself, in its prompt.
    """

    def __init__(self, tokenizer: Any):
        """
        Keep the tokenizer.

        :param tokenizer: of the model, from transformers.
        """
        self._tokenizer = tokenizer

    def encode(self, sentence: str) -> np.ndarray:
        """
        Return the bytes of a sentence, ``(L, 1)`` float32.

        :raises ValueError: when the sentence is empty.
        """
        if not sentence.strip():
            raise ValueError('instruction: expected a sentence, got an empty one')
        return np.frombuffer(sentence.encode(), np.uint8).astype(np.float32)[:, None]

    def pieces(self, sentence: str) -> list[str]:
        """Return the tokens of a sentence, without marks for begin and end."""
        return self._tokenizer.tokenize(' ' + sentence, add_special_tokens=False)

    def check_language(self, language: str) -> None:
        """Accept every language; the model card of the base model lists those that it knows."""


class PromptBuilder:
    """
    Builds model inputs with the processor and the chat template of the model.

    :ivar tokenizer: of the processor.
    """

    def __init__(self, processor: Any, model_type: str, *, device: torch.device):
        """
        Keep the processor.

        :param processor: of the model, from transformers; it pads on the left.
        :param model_type: name of the model class in transformers, such as ``paligemma``.
        :param device: of the model.
        """
        self._processor = processor
        self._device = device
        self._answer_type = ANSWER_TYPES.get(model_type)
        self.tokenizer = processor.tokenizer

    def build(self, task: str, inputs: PromptInputs) -> dict[str, torch.Tensor]:
        """
        Return the model inputs of prompts, padded on the left.

        :param task: ``action``, ``steps_to_go`` or ``instruction``.
        :return: ``input_ids`` ``(B, T)`` int64 and the other inputs of the model by name.
        """
        texts = [self._text(QUESTIONS[task].format(s)) for s in inputs.sentences()]
        images = [[Image.fromarray(frame) for frame in pair] for pair in inputs.frames.numpy()]
        arrays = self._processor(text=texts, images=images, padding=True, return_tensors='np')
        arrays.pop('labels', None)
        return {name: torch.as_tensor(arrays[name]).to(self._device) for name in arrays}

    def append(
        self,
        prompts: dict[str, torch.Tensor],
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        Return model inputs with the first tokens of the answers behind the prompts.

        :param prompts: model inputs from ``build``.
        :param ids: tokens of the answers, ``(B, K)`` int64.
        :param mask: 0 for padding on the right, ``(B, K)`` int64; None for no padding.
        """
        ids = ids.to(self._device)
        mask = torch.ones_like(ids) if mask is None else mask.to(self._device)
        added = {
            'input_ids': ids,
            'attention_mask': mask,
            'mm_token_type_ids': torch.zeros_like(ids),
            'token_type_ids': self._types(prompts, ids),
        }
        longer = {
            name: torch.cat([prompts[name], value.to(prompts[name].dtype)], dim=1)
            for name, value in added.items()
            if name in prompts
        }
        return {**prompts, **longer}

    def _types(self, prompts: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
        """Return the token types of answers, ``(B, K)``."""
        if self._answer_type is not None or 'token_type_ids' not in prompts:
            return torch.full_like(ids, self._answer_type or 0)
        return prompts['token_type_ids'][:, -1:].expand_as(ids)

    def _text(self, question: str) -> str:
        """Return a prompt with two image marks, in the chat template if the model has one."""
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
