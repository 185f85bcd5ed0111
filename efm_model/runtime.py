"""An exported model in onnxruntime, with its card checked; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from efm_core.embodiment import Embodiment
import numpy as np
import onnxruntime

PROVIDERS = ('TensorrtExecutionProvider', 'CUDAExecutionProvider', 'CPUExecutionProvider')


class Answers(Protocol):
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
    """

    def __init__(self, path: str | Path, kind: str, embodiment: Embodiment):
        """
        Open the file and check whom it was made for.

        :raises FileNotFoundError: when there is no such file.
        :raises ValueError: when it is no ONNX file, of another kind or for another embodiment.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(f'{kind}: expected an ONNX file, got {path}')
        self._session = open_session(path, kind)
        card = self._session.get_modelmeta().custom_metadata_map
        if card.get('kind') != kind:
            raise ValueError(f'{path}: expected kind {kind}, got {card.get("kind")}')
        embodiment.check_same(card.get('embodiment_hash', 'none'), str(path))
        self.version = int(card['version'])
        self._outputs = [output.name for output in self._session.get_outputs()]

    def input_shape(self, name: str) -> list[int | str]:
        """Return the shape of the input called ``name``; a word stands for any length."""
        return next(entry.shape for entry in self._session.get_inputs() if entry.name == name)

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """
        Return the outputs by name.

        :raises ValueError: when one of them is not finite.
        """
        outputs = dict(zip(self._outputs, self._session.run(None, inputs), strict=True))
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise ValueError(
                    f'{name}: expected finite numbers from model version {self.version}, '
                    f'got {value}'
                )
        return outputs


@dataclass
class Eye:
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


def glimpses(eyes: list[Eye], observations: np.ndarray) -> dict[str, np.ndarray]:
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


def open_session(path: str | Path, name: str) -> onnxruntime.InferenceSession:
    """
    Return an onnxruntime session with one thread and the best provider there is.

    :raises ValueError: when the file cannot be read.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    providers = [
        provider for provider in PROVIDERS if provider in onnxruntime.get_available_providers()
    ]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own exceptions share no other base
        raise ValueError(f'{name}: expected a readable ONNX file, got {path} ({error})') from error
