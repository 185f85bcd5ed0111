"""Releases for tests that start nodes."""

from __future__ import annotations

import functools
from pathlib import Path
import shutil
import tempfile

from efm_core.embodiment import Embodiment
from efm_model.export import export_policy, export_reward, ParityReport
from efm_model.network import new_model
from efm_release.publish import publish
from efm_release.release import Release
from models import relabelled
import numpy as np
import onnx


def publish_untrained(folder: Path, version: int, embodiment: Embodiment) -> Release:
    """Publish a release that knows nothing; another version has other weights."""
    made = folder / 'made' / str(version)
    made.mkdir(parents=True, exist_ok=True)
    policy, reward = (Path(shutil.copy(file, made)) for file in _exported(version, embodiment))
    reports = tuple(
        ParityReport(kind, 0.0, same_tokens=True, samples=1) for kind in ('policy', 'reward')
    )
    return publish(
        folder / 'releases',
        version,
        embodiment=embodiment,
        policy=policy,
        reward=reward,
        parity=reports,
    )


@functools.cache
def _exported(version: int, embodiment: Embodiment) -> tuple[Path, Path]:
    """Return the models of such a release, made once in a test run."""
    folder = Path(tempfile.mkdtemp())
    policy, reward = (
        _with_other_weights(file, folder / file.name, embodiment, version)
        for file in _untrained(embodiment)
    )
    return policy, reward


@functools.cache
def _untrained(embodiment: Embodiment) -> tuple[Path, Path]:
    """Return random models; exporting them takes half a second, so all versions share them."""
    folder = Path(tempfile.mkdtemp())
    model = new_model(embodiment, seed=0, pretrained='none')
    return (
        export_policy(model, folder / 'policy.onnx', embodiment, 1),
        export_reward(model, folder / 'reward.onnx', embodiment, 1),
    )


def _with_other_weights(source: Path, target: Path, embodiment: Embodiment, version: int) -> Path:
    """Copy an exported model; the version decides the sign of each of its weights."""
    model = onnx.load(relabelled(source, target, embodiment, version))
    signs = np.random.default_rng(version)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.ndim > 1 and values.dtype == np.float32:
            changed = values * signs.choice(np.float32([-1, 1]), values.shape)
            tensor.CopyFrom(onnx.numpy_helper.from_array(changed, tensor.name))
    onnx.save(model, target)
    return target
