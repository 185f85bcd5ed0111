"""Publishing a release: its folder appears whole or not at all, and only with proof of parity."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timezone
import json
import os
from pathlib import Path
import shutil

from efm_core.embodiment import Embodiment
from efm_core.files import whole_directory
from efm_model.export import ParityReport
from efm_release.release import (
    ACTIVE,
    FILES,
    find_releases,
    hash_file,
    load_release,
    MANIFEST,
    read_manifest,
    Release,
    release_path,
)

__all__ = ['find_release', 'load_release', 'publish', 'release_path']


def publish(
    directory: str | Path,
    version: int,
    *,
    policy: Path,
    reward: Path,
    embodiment: Embodiment,
    parity: tuple[ParityReport, ...],
    stage: str = ACTIVE,
    parent: int = 0,
) -> Release:
    """
    Publish exported models as the release ``version``.

    All releases of a run share one reward model; it is hard-linked where the file system allows.

    :param directory: the folder of all releases.
    :param policy: ONNX file of the policy.
    :param reward: ONNX file of the reward model.
    :param parity: reports on both files, torch against onnxruntime.
    :param parent: version that this one was learned from; 0 for none.
    :raises ValueError: when a parity report is missing or did not pass.
    :raises FileExistsError: when the version is published already; a release never changes.
    :raises OSError: when the disk is full or the folder cannot be written.
    """
    _check_parity(parity)
    with whole_directory(release_path(directory, version)) as unfinished:
        for name, source in zip(FILES, (policy, reward), strict=True):
            _link(source, unfinished / name)
        manifest = {
            'version': version,
            'parent': parent,
            'stage': stage,
            'embodiment': embodiment.name,
            'embodiment_hash': embodiment.hash,
            'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
            'sha256': {name: hash_file(unfinished / name) for name in FILES},
            'parity': [{**asdict(report), 'passed': report.passed} for report in parity],
        }
        (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=1) + '\n')
    return _read(directory, version)


def find_release(directory: str | Path, version: int) -> Release | None:
    """
    Return the release ``version``, or None when it was never published.

    :raises ValueError: when its manifest is incomplete.
    """
    return _read(directory, version) if version in find_releases(directory) else None


def _read(directory: str | Path, version: int) -> Release:
    path = release_path(directory, version)
    manifest = read_manifest(path)
    return Release(
        version=version,
        stage=manifest['stage'],
        uri=str(path.resolve()),
        sha256=hash_file(path / MANIFEST),
        embodiment_hash=manifest['embodiment_hash'],
    )


def _check_parity(parity: tuple[ParityReport, ...]) -> None:
    for kind in ('policy', 'reward'):
        reports = [report for report in parity if report.kind == kind]
        if not reports or not all(report.passed for report in reports):
            raise ValueError(
                f'release: expected a passing parity report of the {kind}, got {reports or "none"}'
            )


def _link(source: Path, target: Path) -> None:
    """Link ``source`` to ``target`` if the file system allows it, else copy it."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
