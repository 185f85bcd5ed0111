"""A release as a robot loads it: a folder of exported models, with the hash of every file."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
import hashlib
import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

MANIFEST = 'manifest.json'
FILES = ('policy.onnx', 'reward.onnx')
ACTIVE = 'active'  # stage of the releases that robots run


@dataclass(frozen=True)
class Release:
    """
    One published set of weights, with the fields of ``PolicyRelease.msg``.

    :param uri: folder of the release, with ``manifest.json`` in it.
    :param sha256: of ``manifest.json``, which has the hashes of all other files.
    """

    version: int
    stage: str
    _: KW_ONLY
    uri: str
    sha256: str
    embodiment_hash: str


@dataclass(frozen=True)
class ReleaseFiles:
    """The verified files of a release, and its manifest."""

    policy: Path
    reward: Path
    _: KW_ONLY
    manifest: dict[str, Any]


def load_release(uri: str, sha256: str, embodiment_hash: str = '') -> ReleaseFiles:
    """
    Return the files of a release after a check of every hash.

    :param uri: a path or a ``file://`` URI.
    :param sha256: expected hash of the manifest; empty: trust the folder.
    :param embodiment_hash: of this robot's embodiment; empty: accept any.
    :raises FileNotFoundError: when a file is missing.
    :raises ValueError: when a hash differs, or the release is for another embodiment.
    """
    directory = to_directory(uri)
    manifest_path = directory / MANIFEST
    check_hash(manifest_path, sha256 or hash_file(manifest_path))
    manifest = json.loads(manifest_path.read_text())
    for name in FILES:
        check_hash(directory / name, manifest['sha256'][name])
    if embodiment_hash and manifest['embodiment_hash'] != embodiment_hash:
        raise ValueError(
            f'{directory}: expected a release for embodiment {embodiment_hash}, '
            f'got one for {manifest["embodiment_hash"]}'
        )
    return ReleaseFiles(directory / FILES[0], directory / FILES[1], manifest=manifest)


def find_release_directory(run: str | Path, version: int = 0) -> Path:
    """
    Return the directory of a release of a run.

    :param version: 0 for the newest.
    :raises FileNotFoundError: when there is none.
    """
    folder = Path(run).absolute() / 'releases'
    found = sorted(path for path in folder.glob('[0-9]*') if path.is_dir())
    if version:
        found = [path for path in found if int(path.name) == version]
    if not found:
        raise FileNotFoundError(
            f'release: expected version {version or "1 or newer"} in {folder}, got none; '
            'make one with `efm train`'
        )
    return found[-1]


def to_directory(uri: str) -> Path:
    """
    Return the folder that a path or a ``file://`` URI names.

    :raises ValueError: for another kind of URI.
    """
    parts = urlparse(uri)
    if parts.scheme not in ('', 'file'):
        raise ValueError(f'uri: expected a path or file://, got {uri!r}')
    return Path(unquote(parts.path) if parts.scheme else uri)


def hash_file(path: Path) -> str:
    """
    Return the SHA-256 of a file in hexadecimal.

    :raises FileNotFoundError: when there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f'release: expected {path}, got no such file')
    return hashlib.sha256(path.read_bytes()).hexdigest()


def check_hash(path: Path, expected: str) -> None:
    """
    Refuse a file that differs from the published one.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: when the hash differs; names both.
    """
    found = hash_file(path)
    if found != expected:
        raise ValueError(f'{path}: expected SHA-256 {expected}, got {found}')
