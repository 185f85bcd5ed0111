"""
Prompts of a vision-language model: frames, measured state, instruction and the task's question.

The pictures stand in the order of the embodiment's cameras: the previous and the current frame of
the first camera, then those of the second, and so on. Several cameras are named. The measured
state is text::

    Camera scene, previous and current picture: (two pictures) Camera wrist, previous and current
    picture: (two pictures) State: joint positions shoulder 0.120, gripper 0.035. Instruction: push
    the red cube Question: what action does the robot take now? Answer:

Letters: ``B`` batch, ``L`` bytes of the longest instruction, ``P`` numbers of the proprioception,
``T`` tokens of the longest prompt, ``K`` tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
import torch

QUESTIONS = {
    'action': 'Instruction: {} Question: what action does the robot take now? Answer:',
    'steps_to_go': 'Instruction: {} Question: how many steps are left to do it? Answer:',
    'instruction': 'Question: what did the robot do between these pictures? Answer:',
}
# Fixed decimals of rad, m, rad/s and m/s: close to what an arm repeats, and few tokens.
STATE_DECIMALS = 3
# Token type of the answer. Models that are not listed use the type of the prompt's last token.
ANSWER_TYPES = {'paligemma': 1}


class PromptInputs(NamedTuple):
    """
    The inputs of a prompt; the vision-language model has no other features.

    :param images: previous and current frame of each camera, ``(B, 2, H, W, 3)`` uint8 RGB.
    :param text: UTF-8 bytes of the instructions, ``(B, L, 1)`` float32.
    :param mask: 1 for a byte, 0 for padding, ``(B, L)`` float32.
    :param proprioception: current measured state, ``(B, P)`` float32; None for a prompt without.
    """

    images: tuple[torch.Tensor, ...]
    text: torch.Tensor
    mask: torch.Tensor
    proprioception: torch.Tensor | None = None

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

    def __init__(
        self,
        processor: Any,
        model_type: str,
        *,
        device: torch.device,
        cameras: tuple[str, ...],
        proprioception: tuple[str, ...],
    ):
        """
        Keep the processor.

        :param processor: of the model, from transformers; it pads on the left.
        :param model_type: name of the model class in transformers, such as ``paligemma``.
        :param device: of the model.
        :param cameras: name of each camera.
        :param proprioception: name of each number, from ``Embodiment.proprioception_names``.
        """
        self._processor = processor
        self._device = device
        self._cameras = cameras
        self._proprioception = proprioception
        self._answer_type = ANSWER_TYPES.get(model_type)
        self.tokenizer = processor.tokenizer
        self._template = processor.chat_template or self.tokenizer.chat_template
        several = len(cameras) > 1
        self._text_between = several and bool(self._template) and self._keeps_text_between()

    def build(self, task: str, inputs: PromptInputs) -> dict[str, torch.Tensor]:
        """
        Return the model inputs of prompts, padded on the left.

        :param task: ``action``, ``steps_to_go`` or ``instruction``.
        :return: ``input_ids`` ``(B, T)`` int64 and the other inputs of the model by name.
        """
        texts = self.texts(task, inputs)
        frames = zip(*(pairs.numpy() for pairs in inputs.images), strict=True)
        images = [[Image.fromarray(frame) for pair in one for frame in pair] for one in frames]
        arrays = self._processor(text=texts, images=images, padding=True, return_tensors='np')
        arrays.pop('labels', None)
        return {name: torch.as_tensor(arrays[name]).to(self._device) for name in arrays}

    def texts(self, task: str, inputs: PromptInputs) -> list[str]:
        """Return the ``B`` prompts with image marks, in the chat template if there is one."""
        questions = [QUESTIONS[task].format(sentence) for sentence in inputs.sentences()]
        if inputs.proprioception is not None:
            states = inputs.proprioception.tolist()
            questions = [
                f'{describe_state(self._proprioception, state)} {question}'
                for state, question in zip(states, questions, strict=True)
            ]
        return [self._text(question, len(inputs.images)) for question in questions]

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

    def _text(self, question: str, cameras: int) -> str:
        """Return a prompt with two image marks a camera; one camera needs no name."""
        names = self._cameras if cameras > 1 else ()
        if names and not self._text_between:
            question = f'Pictures: previous and current of {", ".join(names)}. {question}'
        if not self._template:
            return 2 * cameras * self._processor.image_token + question
        content: list[str | None] = []
        for camera in range(cameras):
            if names and self._text_between:
                content.append(f'Camera {names[camera]}, previous and current picture: ')
            content += [None, None]
        return self._in_template([*content, question])

    def _keeps_text_between(self) -> bool:
        """Return whether the chat template leaves a text between pictures at its place."""
        text = self._in_template(['FIRST', None, 'SECOND', None, 'THIRD'])
        _, _, text = text.partition('FIRST')
        one, _, text = text.partition('SECOND')
        other, _, _ = text.partition('THIRD')
        return bool(one.strip() and other.strip())

    def _in_template(self, content: Iterable[str | None]) -> str:
        """Return texts, and None for a picture, as the chat template writes a user's message."""
        parts = [
            {'type': 'image'} if part is None else {'type': 'text', 'text': part}
            for part in content
        ]
        return self.tokenizer.apply_chat_template(
            [{'role': 'user', 'content': parts}],
            chat_template=self._template,
            tokenize=False,
            add_generation_prompt=True,
        )


def describe_state(names: Iterable[str], values: Iterable[float]) -> str:
    """
    Return a measured state as text, in the units of the embodiment.

    Each source is named once: ``State: joint positions a 0.120, b -1.000; tool pose x 0.300.``

    :param names: of the numbers, such as ``joint_positions.a``.
    :param values: one for each name.
    :raises ValueError: when there are more names than values, or fewer.
    """
    written = [(name, _rounded(value)) for name, value in zip(names, values, strict=True)]
    sources = []
    for source, group in groupby(written, key=lambda pair: pair[0].partition('.')[0]):
        parts = [f'{name.partition(".")[2]} {number}' for name, number in group]
        sources.append(f'{source.replace("_", " ")} {", ".join(parts)}')
    return f'State: {"; ".join(sources)}.'


def _rounded(value: float) -> str:
    """Return a number with ``STATE_DECIMALS`` decimals, zero without a sign."""
    return f'{round(value, STATE_DECIMALS) + 0.0:.{STATE_DECIMALS}f}'
