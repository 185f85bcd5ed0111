"""What both stages of learning need of a model, compact or not."""

from __future__ import annotations

from typing import Any, Protocol

import torch


class Model(Protocol):
    """
    A ``torch.nn.Module`` that acts, judges and tells what was done.

    Letters as in ``network.py``. What ``features`` returns only the model itself looks into.

    :ivar family: ``compact`` or ``vlm``, as checkpoints name it.
    :ivar max_batch_size: samples in one pass through the model; 0 for any number.
    :ivar config: a dataclass; ``encoder_is_frozen`` says whether features may be kept.
    """

    family: str
    max_batch_size: int
    config: Any

    def features(self, observations: torch.Tensor, text: torch.Tensor, mask: torch.Tensor) -> Any:
        """Return what the heads need of previous and current frame and the sentence."""

    def scenes(self, frames: torch.Tensor) -> torch.Tensor:
        """Return what the instruction is told from."""

    def policy_logits(self, features: Any, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each action token given those before it, ``(B, K, V)``."""

    def sample(
        self, features: Any, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return tokens ``(B, K)``, their log-probability ``(B,)``, logits ``(B, K, V)``."""

    def steps_to_go_logits(self, features: Any) -> torch.Tensor:
        """Return the logits of the steps-to-go bins, ``(B, bins)``."""

    def instruction_logits(
        self, first: torch.Tensor, last: torch.Tensor, pieces: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits of the next word piece at each position, ``(B, P, pieces)``."""

    def encode_pieces(self, pieces: list[str]) -> list[int]:
        """Return an instruction's word pieces as numbers, from its begin to its end."""

    def freeze_vision(self) -> None:
        """Let the vision encoder learn no more."""
