"""
The interface between models and training.

How to add a model, step by step:

1. Write a class that derives from ``torch.nn.Module`` and provides ``Model``. Give it a new
   ``family``.
2. Add a function to ``FAMILIES`` in ``efm_model/checkpoint.py`` that builds the model from the
   ``model`` entry of a checkpoint's ``config.json``.
3. Add the settings of stage 1 for this family to ``STAGE_ONE`` in ``efm_trainer/config.py``, and
   a function that makes a new model to ``NEW_MODELS`` in ``efm_trainer/sft.py``. The command is
   then ``efm train --model FAMILY``.
4. If ``torch.onnx`` can export the model, add the family to ``EXPORTABLE`` in
   ``efm_model/export.py``. Its text encoder must then be ``efm_model.text.TextEncoder``. Robots
   load ONNX files only. Any other family runs in torch, through
   ``efm_model.torch_runtime.TorchRuntime``; a policy server does so for many robots.

Letters: ``B`` batch, ``H, W`` height and width of a frame [px], ``L`` length of an encoded
instruction, ``E`` size of one of its states, ``K`` tokens of an action, ``V`` largest number of
values of a token, ``P`` word pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Protocol, TypeGuard

import torch
from torch import nn

Inputs = Mapping[str, torch.Tensor]


class ModelSettings(Protocol):
    """
    What training and export read of a model's ``config``.

    It is a frozen dataclass. ``dataclasses.asdict`` turns it into JSON for the checkpoint.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def vocabulary(self) -> tuple[int, ...]:
        """Number of values of each token of an action, ``K`` entries."""

    @property
    def steps_to_go_bins(self) -> int:
        """Number of bins of the steps-to-go distribution."""


class Model(Protocol):
    """
    A ``torch.nn.Module`` that predicts actions, steps-to-go and instructions.

    One class serves as policy and as reward model; the two differ in their weights. All arrays
    enter and leave on the CPU. Features are one array ``(B, F)`` float32 where they can be frozen.
    Other features may have any type: only the methods of the same model read them.

    :ivar family: name of the class in checkpoints, such as ``grounding`` or ``vlm``.
    :ivar max_batch_size: largest ``B`` of one forward pass; 0 for no limit. Training splits larger
        batches.
    """

    family: str
    max_batch_size: int

    @property
    def config(self) -> ModelSettings:
        """Everything that is needed to build the model without its weights."""

    @property
    def encoder(self) -> nn.Module:
        """The modules that compute ``features``."""

    @property
    def features_are_frozen(self) -> bool:
        """
        Whether training leaves ``features`` as they are now; it may change with ``freeze_vision``.

        Training then computes them once for each observation, not at each optimiser step.
        """

    def features(self, inputs: Inputs) -> Any:
        """
        Return the input of the policy head and of the steps-to-go head.

        :param inputs: by name: ``observations``, the previous and the current frame of the first
            camera, ``(B, 2, H, W, 3)`` uint8 RGB, and the other inputs of
            `efm_model.runtime.observation_inputs`; ``text``, the instruction as the model's text
            encoder returns it, padded, ``(B, L, E)`` float32; ``text_mask``, 1 for the
            instruction, 0 for padding, ``(B, L)`` float32.
        """

    def scene_features(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Return the input of the instruction head for single frames, ``(B, ...)``.

        :param frames: of the first camera, ``(B, H, W, 3)`` uint8 RGB.
        """

    def policy_logits(self, features: Any, tokens: torch.Tensor) -> torch.Tensor:
        """
        Return the logits of each action token given the tokens before it, ``(B, K, V)`` float32.

        Values beyond the vocabulary of a token have logits that softmax turns into 0.

        :param tokens: the executed actions, ``(B, K)`` int64.
        """

    def sample(
        self, features: Any, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Return one action for each observation: the maximum of logits plus noise.

        :param gumbel: standard Gumbel noise, ``(B, K, V)`` float32; zeros give the most probable
            tokens.
        :return: tokens ``(B, K)`` int64, their log-probability without the noise ``(B,)``
            float32, logits ``(B, K, V)`` float32.
        """

    def steps_to_go_logits(self, features: Any) -> torch.Tensor:
        """Return the logits of the steps-to-go bins, ``(B, bins)`` float32."""

    def instruction_logits(
        self, first: torch.Tensor, last: torch.Tensor, pieces: torch.Tensor
    ) -> torch.Tensor:
        """
        Return the logits of the next word piece at each position, ``(B, P, pieces)`` float32.

        :param first: ``scene_features`` of the first frame of each episode.
        :param last: ``scene_features`` of the last frame of each episode.
        :param pieces: the pieces so far, ``(B, P)`` int64, from ``encode_pieces``.
        """

    def encode_pieces(self, pieces: list[str]) -> list[int]:
        """Return the ids of an instruction's word pieces, with a mark before and after them."""

    def freeze_vision(self) -> None:
        """Exclude the image encoder from training; stage 2 calls this."""

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return all parameters, as ``torch.nn.Module`` does."""

    def train(self, mode: bool = True) -> Any:
        """Switch dropout on or off, as ``torch.nn.Module`` does."""

    def eval(self) -> Any:
        """Switch dropout off, as ``torch.nn.Module`` does."""

    def requires_grad_(self, requires_grad: bool = True) -> Any:
        """Include all parameters in training or exclude them, as ``torch.nn.Module`` does."""

    def state_dict(self) -> dict[str, Any]:
        """Return the weights that a checkpoint stores; frozen base models may be left out."""

    def load_state_dict(self, state_dict: Mapping[str, Any], /) -> Any:
        """
        Load the weights that ``state_dict`` returned.

        :raises RuntimeError: when names or shapes differ.
        """


class FrameEncoder(Model, Protocol):
    """
    A model that encodes frames without the instruction; optional.

    Two consecutive observations share a frame. Training and simulation encode it only once.
    """

    def encode_frames(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return two arrays for each frame: ``(B, D, C)`` and ``(B, C)`` float32.

        :param frames: ``(B, H, W, 3)`` uint8 RGB.
        """

    def ground(
        self, keys: torch.Tensor, occupancy: torch.Tensor, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """
        Return what ``features`` returns, ``(B, F)`` float32, from encoded frames.

        :param keys: first array of the previous and the current frame, ``(B, 2, D, C)``.
        :param occupancy: second array of the current frame, ``(B, C)``.
        """


def encodes_frames(model: Model) -> TypeGuard[FrameEncoder]:
    """Return whether a model provides ``FrameEncoder``."""
    return hasattr(model, 'encode_frames')
