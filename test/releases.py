"""Releases for tests that start nodes."""

from __future__ import annotations

import functools
from pathlib import Path
import shutil
import tempfile

import efm
from efm_core.embodiment import Embodiment
from efm_core.observation import Observation
from efm_model.export import export_policy, export_reward, ParityReport
from efm_model.network import new_model
from efm_release.publish import publish
from efm_release.release import Release
from models import FakeTextEncoder, frames, relabelled, SENTENCE
import numpy as np

SIGNS = np.array([-1, 1], np.float32)


def assert_release_acts(run: Path) -> None:
    """Fail unless the release of a table's run gives an action and a distribution."""
    policy, reward_model = efm.load_release(run, text_encoder=FakeTextEncoder())
    policy.begin(SENTENCE, 0)
    reward_model.begin(SENTENCE)
    seen = Observation.of(frames(1)[0])
    assert policy.act(seen).values.shape == (2,)
    assert abs(reward_model.predict(seen).probabilities.sum() - 1) < 1e-5


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
    signs = np.random.default_rng(version)
    policy, reward = (
        relabelled(
            file,
            folder / file.name,
            embodiment,
            version,
            change=lambda weights: weights * signs.choice(SIGNS, weights.shape),
        )
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
