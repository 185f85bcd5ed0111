"""Small exported models, and a text encoder without weights, for tests."""

from __future__ import annotations

from collections.abc import Callable
import dataclasses
import functools
from pathlib import Path
import tempfile

from efm_core.embodiment import ActionSpace, Embodiment, load_embodiment
from efm_core.observation import Observation
from efm_model.runtime import Runtime
from efm_model.text import TextEncoder
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SENTENCE = 'push the red cube to the blue cylinder'


class FakeTextEncoder:
    """Token states that depend on the words only, without a neural network."""

    def encode(self, sentence):
        """Return one fixed random state for each word, ``(L, 384)`` float32."""
        if not sentence.strip():
            raise ValueError('instruction: expected a sentence, got an empty one')
        rngs = [np.random.default_rng(list(word.encode())) for word in sentence.split()]
        return np.array([rng.normal(0, 0.5, 384) for rng in rngs], np.float32)

    def pieces(self, sentence):
        """Return the words."""
        return sentence.split()

    check_language = TextEncoder.check_language


def table_arm(**changes) -> Embodiment:
    """Return the shipped embodiment of the simulated table, with ``changes``."""
    return dataclasses.replace(_shipped(), **changes)


@functools.cache
def _shipped() -> Embodiment:
    return load_embodiment(ROOT / 'config' / 'embodiments' / 'table_arm.yaml')


def signed_arm() -> Embodiment:
    """Return the same robot with the paper's tokens, two for each dimension."""
    space = ActionSpace(
        ('x', 'y'), 'm', low=(-0.1, -0.1), high=(0.1, 0.1), tokeniser='sign_magnitude', bins=21
    )
    return table_arm(name='signed', action=space)


@functools.cache
def exported(kind: str) -> Path:
    """
    Return an exported model for ``table_arm`` with random weights, version 7.

    Made once a test run.
    """
    from efm_model.export import export_policy, export_reward
    from efm_model.network import new_model

    directory = Path(tempfile.mkdtemp())
    export = {'policy': export_policy, 'reward': export_reward}[kind]
    return export(
        new_model(table_arm(), seed=3, pretrained='none'),
        directory / f'{kind}.onnx',
        table_arm(),
        7,
    )


@functools.cache
def opened(kind: str) -> Runtime:
    """Return the runtime of an exported model, which has no state; opened once a test run."""
    return Runtime(exported(kind), kind, embodiment=table_arm())


def relabelled(
    source: Path,
    target: Path,
    embodiment: Embodiment,
    version: int,
    change: Callable[[np.ndarray], np.ndarray] = np.asarray,
) -> Path:
    """
    Copy an exported model, for another robot or version by its metadata.

    :param change: of each matrix of weights.
    """
    from efm_model.export import _metadata
    import onnx

    model = onnx.load(source)
    kind = next(entry.value for entry in model.metadata_props if entry.key == 'kind')
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, _metadata(embodiment, version, kind))
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim > 1 and values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(values), tensor.name))
    onnx.save(model, target)
    return target


def frames(count: int, seed: int = 0) -> np.ndarray:
    """Return ``count`` images of smooth noise, (count, 64, 64, 3) uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(8, axis=1).repeat(8, axis=2))


def observations(count: int, seed: int = 0) -> Observation:
    """Return the images of `frames` as ``count`` observations of one camera."""
    return Observation.of(frames(count, seed))
