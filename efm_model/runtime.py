"""An exported model in onnxruntime, with its card checked; no torch."""

from __future__ import annotations

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Protocol

from efm_core.embodiment import Embodiment
from efm_model.config import SessionConfig
from efm_model.providers import Session
import numpy as np


class InferenceBackend(Protocol):
    """What policy and judge need of a model: an exported one, or one that is still learning."""

    version: int

    def input_shape(self, name: str) -> list[int | str]:
        """Return the shape of the input called ``name``; a word stands for any length."""

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs by name."""


class Runtime:
    """
    One ONNX file, opened for one embodiment.

    :param kind: ``policy`` or ``reward``, as the file's own card must say.
    :ivar provider: where it runs: tensorrt, cuda or cpu.
    :ivar refused: why it does not run where it was tried before, a sentence each.
    """

    def __init__(
        self, path: str | Path, kind: str, *, embodiment: Embodiment, provider: str = 'auto'
    ):
        """
        Open the file and check whom it was made for.

        :raises FileNotFoundError: when there is no such file.
        :raises ValueError: when it is no ONNX file, of another kind or for another embodiment, or
            onnxruntime does not have the provider.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f'{kind}: expected an ONNX file, got {path}')
        self._session = Session(path, kind, config=SessionConfig(provider=provider))
        self.provider = self._session.provider
        self.refused = self._session.refused
        card = self._session.card
        if card.get('kind') != kind:
            raise ValueError(f'{path}: expected kind {kind}, got {card.get("kind")}')
        about = json.loads(card.get('embodiment', '{}'))
        embodiment.check_same(card.get('embodiment_hash', 'none'), str(path), about)
        self.version = int(card['version'])

    def input_shape(self, name: str) -> list[int | str]:
        """Return the shape of the input called ``name``; a word stands for any length."""
        return self._session.inputs[name].shape

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """
        Return the outputs by name.

        :raises ValueError: when one of them is not finite.
        """
        outputs = self._session.run(inputs)
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise ValueError(
                    f'{name}: expected finite numbers from model version {self.version}, '
                    f'got {value}'
                )
        return outputs


@dataclass
class FrameHistory:
    """
    What a model remembers of one episode.

    The instruction's token states and the frame before.
    """

    text: np.ndarray
    previous: np.ndarray | None = None

    def look(self, observation: np.ndarray) -> np.ndarray:
        """
        Return previous and current frame, ``(2, H, W, 3)``.

        At first both are the current one.
        """
        before = observation if self.previous is None else self.previous
        self.previous = observation
        return np.stack([before, observation])


def model_inputs(eyes: list[FrameHistory], observations: np.ndarray) -> dict[str, np.ndarray]:
    """
    Return the model inputs that every head shares, for ``B`` episodes at once.

    :param observations: the newest frame of each episode, ``(B, H, W, 3)`` uint8.
    """
    text, mask = pad([eye.text for eye in eyes])
    frames = np.stack(
        [eye.look(observation) for eye, observation in zip(eyes, observations, strict=True)]
    )
    return {'observations': frames, 'text': text, 'text_mask': mask}


def pad(texts: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return token states as one array, ``(B, L, 384)``, and their mask, ``(B, L)``."""
    longest = max(len(text) for text in texts)
    padded = np.zeros((len(texts), longest, texts[0].shape[1]), np.float32)
    mask = np.zeros((len(texts), longest), np.float32)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return padded, mask
