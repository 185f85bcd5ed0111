"""Releases for tests that start nodes."""

from __future__ import annotations

from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_model.export import export_policy, export_reward, ParityReport
from efm_model.network import new_model
from efm_release.publish import publish
from efm_release.release import Release


def publish_untrained(folder: Path, version: int, embodiment: Embodiment) -> Release:
    """Publish a release that knows nothing; another version has other weights."""
    folder.mkdir(parents=True, exist_ok=True)
    model = new_model(embodiment, seed=version, pretrained='none')
    files = [
        export(model, folder / f'{name}.onnx', embodiment, version)
        for name, export in (('policy', export_policy), ('reward', export_reward))
    ]
    reports = tuple(
        ParityReport(kind, 0.0, same_tokens=True, samples=1) for kind in ('policy', 'reward')
    )
    policy, reward = files
    return publish(
        folder / 'releases',
        version,
        embodiment=embodiment,
        policy=policy,
        reward=reward,
        parity=reports,
    )
