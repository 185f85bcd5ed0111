"""A release as a robot loads it: a folder of exported models, with the hash of every file."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY
import json
import os
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlparse

from efm_core.config import expect
from efm_core.files import FileContent

MANIFEST = 'manifest.json'
FILES = ('policy.onnx', 'reward.onnx')
ACTIVE = 'active'  # stage of the releases that robots run
# What a manifest must have, with its type; `publish` writes more.
REQUIRED = {'version': int, 'stage': str, 'embodiment_hash': str, 'sha256': dict}


class Announcement(Protocol):
    """The fields of ``PolicyRelease.msg`` and of `Release` that a robot checks."""

    @property
    def version(self) -> int: ...

    @property
    def uri(self) -> str: ...

    @property
    def sha256(self) -> str: ...


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
    """The verified files of a release, as they were read for the check, and its manifest."""

    policy: FileContent
    reward: FileContent
    _: KW_ONLY
    manifest: dict[str, Any]


def load_release(uri: str, sha256: str | None, embodiment_hash: str = '') -> ReleaseFiles:
    """
    Return the files of a release after a check of every hash.

    Each file is read once: the bytes that were hashed are the bytes to load.

    :param uri: a path or a ``file://`` URI.
    :param sha256: expected hash of the manifest; None only for a folder that the operator named.
    :param embodiment_hash: of this robot's embodiment; empty: accept any.
    :raises FileNotFoundError: when a file is missing.
    :raises ValueError: when a hash differs or is empty, the manifest is incomplete, or the release
        is for another embodiment.
    """
    directory = to_directory(uri)
    manifest = read_manifest(directory, sha256)
    policy, reward = (
        read_checked(directory / name, str(manifest['sha256'].get(name, ''))) for name in FILES
    )
    if embodiment_hash and manifest['embodiment_hash'] != embodiment_hash:
        raise ValueError(
            f'{directory}: expected a release for embodiment {embodiment_hash}, '
            f'got one for {manifest["embodiment_hash"]}'
        )
    return ReleaseFiles(policy, reward, manifest=manifest)


def load_announced(
    release: Announcement, store: str | Path, *, newest: int, embodiment_hash: str
) -> ReleaseFiles:
    """
    Return the files of a release that a message announced; a message is not trusted.

    :param store: the only folder with releases that may be loaded.
    :param newest: newest version that was loaded before; an older one is refused.
    :param embodiment_hash: of this robot's embodiment.
    :raises FileNotFoundError: when a file is missing.
    :raises ValueError: when the release lies elsewhere or is older than ``newest``, or as
        `load_release`.
    """
    expect(
        release.version > newest,
        'version',
        f'one after {newest}',
        f'{release.version}; to go back, restart with that version',
    )
    own = release_path(os.path.realpath(store), release.version)
    found = Path(os.path.realpath(to_directory(release.uri)))
    expect(found == own, 'uri', f'{own}, in the release store', found)
    return load_release(str(found), release.sha256, embodiment_hash)


def read_manifest(directory: Path, sha256: str | None = None) -> dict[str, Any]:
    """
    Return the manifest of a release.

    :param sha256: expected hash of the file; None: any.
    :raises FileNotFoundError: when there is none.
    :raises ValueError: when the hash differs or is empty, the manifest is incomplete, or its
        version is not that of the folder's name.
    """
    path = directory / MANIFEST
    file = read_file(path) if sha256 is None else read_checked(path, sha256)
    try:
        manifest = json.loads(file.data)
    except ValueError:
        manifest = None
    known = manifest if isinstance(manifest, dict) else {}
    missing = [name for name, kind in REQUIRED.items() if not isinstance(known.get(name), kind)]
    expect(
        not missing,
        str(path),
        f'JSON with {", ".join(REQUIRED)}',
        f'no valid {", ".join(missing)}; remove this release or publish it again',
    )
    version = known['version']
    is_named = not directory.name.isdecimal() or int(directory.name) == version
    expect(is_named, str(path), f'the version of its folder, {directory.name}', version)
    return known


def release_path(directory: str | Path, version: int) -> Path:
    """Return the folder of the release ``version`` in the folder of all releases."""
    return Path(directory) / f'{version:06d}'


def find_releases(folder: str | Path) -> dict[int, Path]:
    """
    Return the folders of all releases by version, oldest first.

    Folders and files with other names, such as copies, are no releases.

    :param folder: the folder of all releases; it may not exist.
    """
    numbered = {int(p.name): p for p in Path(folder).glob('[0-9]*') if p.name.isdecimal()}
    return {
        version: path
        for version, path in sorted(numbered.items())
        if version and path == release_path(folder, version) and path.is_dir()
    }


def find_release_directory(run: str | Path, version: int = 0) -> Path:
    """
    Return the directory of a release of a run.

    :param version: 0 for the newest.
    :raises FileNotFoundError: when there is none.
    """
    folder = Path(run).absolute() / 'releases'
    found = find_releases(folder)
    wanted = version or max(found, default=0)
    if wanted not in found:
        raise FileNotFoundError(
            f'release: expected version {version or "1 or newer"} in {folder}, got none; '
            'make one with `efm train`'
        )
    return found[wanted]


def to_directory(uri: str) -> Path:
    """
    Return the folder that a path or a ``file://`` URI names.

    :raises ValueError: for another kind of URI.
    """
    parts = urlparse(uri)
    if parts.scheme not in ('', 'file'):
        raise ValueError(f'uri: expected a path or file://, got {uri!r}')
    return Path(unquote(parts.path) if parts.scheme else uri)


def read_file(path: Path) -> FileContent:
    """
    Read a file of a release.

    :raises FileNotFoundError: when there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f'release: expected {path}, got no such file')
    return FileContent.read(path)


def hash_file(path: Path) -> str:
    """
    Return the SHA-256 of a file in hexadecimal.

    :raises FileNotFoundError: when there is no such file.
    """
    return read_file(path).sha256


def read_checked(path: Path, expected: str) -> FileContent:
    """
    Read a file of a release; refuse one that differs from the published one.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: when the hash differs, with both hashes, or when none is expected.
    """
    file = read_file(path)
    if not expected:
        raise ValueError(f'{path}: expected its SHA-256, got none; a release needs all its hashes')
    if file.sha256 != expected:
        raise ValueError(f'{path}: expected SHA-256 {expected}, got {file.sha256}')
    return file
