"""Inference with an exported model in onnxruntime, without torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Protocol

from efm_core.embodiment import Embodiment
from efm_core.files import FileContent
from efm_core.observation import Observation
from efm_model.config import SessionConfig
from efm_model.providers import OnnxSession
import numpy as np

PROPRIOCEPTION = 'proprioception'  # name of a model input


class InferenceBackend(Protocol):
    """
    A model that a policy or a reward model runs: an exported file, or weights in training.

    :ivar version: version of the policy in its release.
    """

    version: int

    def input_shape(self, name: str) -> list[int | str]:
        """Return the shape of the input ``name``; an axis of any length has a name instead."""

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """
        Run the model once.

        :param inputs: the arrays of ``model_inputs``; a policy also gets ``gumbel``, standard
            Gumbel noise ``(B, K, V)`` float32.
        :return: of a policy ``tokens`` ``(B, K)`` int64 and ``log_probability`` ``(B,)`` float32;
            of a reward model ``probabilities`` ``(B, bins)`` float32.
        :raises ValueError: when an output is not finite.
        """


class Runtime:
    """
    One ONNX file, opened for one embodiment.

    :ivar version: version of the model, from the metadata of the file.
    :ivar provider: the onnxruntime provider in use: tensorrt, cuda or cpu.
    :ivar provider_failures: one sentence for each faster provider that did not start.
    """

    def __init__(
        self,
        source: str | Path | FileContent,
        kind: str,
        *,
        embodiment: Embodiment,
        provider: str = 'auto',
    ):
        """
        Open the file and check its metadata.

        :param source: path of the file, or its content.
        :param kind: ``policy`` or ``reward``, as the metadata must say.
        :param provider: onnxruntime provider: auto, tensorrt, cuda or cpu.
        :raises FileNotFoundError: when the file does not exist.
        :raises ValueError: when the file is not an ONNX file or not the only one that it needs,
            is of another kind or for another embodiment, or when onnxruntime does not have the
            provider.
        """
        if not isinstance(source, FileContent):
            if not Path(source).is_file():
                raise FileNotFoundError(f'{kind}: expected an ONNX file, got {source}')
            source = FileContent.read(source)
        path = source.path
        self._session = OnnxSession(source, kind, config=SessionConfig(provider=provider))
        self.provider = self._session.provider
        self.provider_failures = self._session.provider_failures
        metadata = self._session.metadata
        if metadata.get('kind') != kind:
            raise ValueError(f'{path}: expected kind {kind}, got {metadata.get("kind")}')
        made_for = json.loads(metadata.get('embodiment', '{}'))
        embodiment.check_same(metadata.get('embodiment_hash', 'none'), str(path), made_for)
        self.version = int(metadata['version'])

    def input_shape(self, name: str) -> list[int | str]:
        """Return the shape of the input ``name``; an axis of any length has a name instead."""
        return self._session.inputs[name].shape

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        """
        Run the model once; arguments and result as ``InferenceBackend.run``.

        A model may use fewer inputs than the robot has.

        :raises ValueError: when an input is missing, or an output is not finite.
        """
        missing = [name for name in self._session.inputs if name not in inputs]
        if missing:
            raise ValueError(
                f'model version {self.version}: expected the inputs {", ".join(missing)} too, '
                f'got {", ".join(inputs)}'
            )
        outputs = self._session.run({name: inputs[name] for name in self._session.inputs})
        for name, value in outputs.items():
            if not np.isfinite(value).all():
                raise ValueError(
                    f'{name}: expected finite numbers from model version {self.version}, '
                    f'got {value}'
                )
        return outputs


@dataclass
class ObservationHistory:
    """
    What the model inputs of one episode depend on, beside the newest observation.

    :param text: the encoded instruction, ``(L, E)`` float32.
    :param previous: the observation before; None before the first one.
    """

    text: np.ndarray
    previous: Observation | None = None

    def pair(self, observation: Observation) -> Observation:
        """
        Return the previous and the current observation as one of length 2; store the current.

        At the first observation of an episode both are the current one.
        """
        previous = observation if self.previous is None else self.previous
        self.previous = observation
        return Observation.stack([previous, observation])


def model_inputs(
    histories: Sequence[ObservationHistory], observations: Sequence[Observation]
) -> dict[str, np.ndarray]:
    """
    Return the inputs that policy and reward model share, for ``B`` episodes.

    :param histories: one for each episode; each stores its new observation.
    :param observations: the newest one of each episode.
    :return: the arrays of `observation_inputs`, ``text`` ``(B, L, E)`` float32 and ``text_mask``
        ``(B, L)`` float32.
    """
    text, mask = pad([history.text for history in histories])
    pairs = [
        history.pair(observation)
        for history, observation in zip(histories, observations, strict=True)
    ]
    return {**observation_inputs(Observation.stack(pairs)), 'text': text, 'text_mask': mask}


def observation_inputs(pairs: Observation) -> dict[str, np.ndarray]:
    """
    Return the model inputs of previous and current observations, ``(B, 2, ...)`` each, by name.

    ``observations`` are the images of the first camera, ``observations_1`` those of the second,
    and so on, uint8 RGB; ``proprioception`` is float32, and missing without any.
    """
    named = {image_input(camera): image for camera, image in enumerate(pairs.images)}
    if pairs.proprioception.shape[-1]:
        named[PROPRIOCEPTION] = pairs.proprioception
    return named


def image_input(camera: int) -> str:
    """Return the name of the model input for the camera at a position in the embodiment."""
    return f'observations_{camera}' if camera else 'observations'


def pad(texts: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """
    Return encoded instructions as one array, and the mask of its valid entries.

    :param texts: arrays ``(L, E)`` of different lengths ``L``.
    :return: ``(B, longest L, E)`` float32 with zeros behind each instruction, and
        ``(B, longest L)`` float32, 1 where valid.
    """
    longest = max(len(text) for text in texts)
    padded = np.zeros((len(texts), longest, texts[0].shape[1]), np.float32)
    mask = np.zeros((len(texts), longest), np.float32)
    for index, text in enumerate(texts):
        padded[index, : len(text)] = text
        mask[index, : len(text)] = 1
    return padded, mask
