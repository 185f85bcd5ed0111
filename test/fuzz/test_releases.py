"""Mutated releases through ``load_release``: refused in one line, or the published bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import hashlib
import json
from pathlib import Path
import shutil
from typing import Any

from efm_release.release import FILES, load_release, MANIFEST
from fuzz import mutations
from fuzz.mutations import generator, in_time, mutate, replace_object
from models import table_arm
import numpy as np
import pytest
from releases import publish_untrained

ROBOT = table_arm()
CASES = 20  # of each kind and round
VALUES: tuple[Any, ...] = ({}, [], None, 'x', -1, 1e999, {'sha256': {}}, {FILES[0]: None}, True)


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    return publish_untrained(tmp_path_factory.mktemp('release'), 1, ROBOT)


def other_bytes(rng: np.random.Generator, folder: Path) -> None:
    """Mutate the bytes of a file."""
    file = folder / [MANIFEST, *FILES][rng.integers(3)]
    file.write_bytes(mutate(rng, file.read_bytes()))


def other_objects(rng: np.random.Generator, folder: Path) -> None:
    """Replace a file, or the folder, by a pipe, a link, a device or a folder."""
    replace_object(rng, [*(folder / name for name in (MANIFEST, *FILES)), folder][rng.integers(4)])


def other_manifest(rng: np.random.Generator, folder: Path) -> None:
    """Write a manifest that is JSON, but not that of a release."""
    path = folder / MANIFEST
    manifest = json.loads(path.read_text())
    key = list(manifest)[rng.integers(len(manifest))]
    if rng.integers(4) == 0:
        manifest = VALUES[rng.integers(len(VALUES))]
    elif rng.integers(3) == 0:
        del manifest[key]
    else:
        manifest[key] = VALUES[rng.integers(len(VALUES))]
    path.write_text(json.dumps(manifest))


KINDS: dict[str, Callable[[np.random.Generator, Path], None]] = {
    'bytes': other_bytes,
    'objects': other_objects,
    'manifest': other_manifest,
}


def content(file: Any) -> bytes:
    """Return the bytes of a verified file."""
    return file.read_bytes() if isinstance(file, Path) else file.data


def hash_of(folder: Path) -> str:
    """Return the hash of a manifest, as somebody would announce it who has made the folder."""
    path = folder / MANIFEST
    is_file = path.is_file() and not path.is_symlink()
    return hashlib.sha256(path.read_bytes() if is_file else b'').hexdigest()


def test_the_release_itself_is_accepted(source):
    files = load_release(source.uri, source.sha256, ROBOT.hash)
    assert hashlib.sha256(content(files.policy)).hexdigest() == files.manifest['sha256'][FILES[0]]


@pytest.mark.parametrize('announced', ['published', 'mutated'])
@pytest.mark.parametrize('kind', KINDS)
def test_a_mutated_release_is_refused_or_what_was_published(
    tmp_path, source, kind, announced, record_property
):
    counts: Counter[str] = Counter()
    wanted = {name: (Path(source.uri) / name).read_bytes() for name in FILES}
    for case in range(CASES * mutations.ROUNDS):
        where = f'{kind}, {announced}, case {case}'
        folder = shutil.copytree(source.uri, tmp_path / str(case))
        KINDS[kind](generator(10, list(KINDS).index(kind), case), folder)
        sha256 = source.sha256 if announced == 'published' else hash_of(folder)
        try:
            with in_time(where):
                files = load_release(str(folder), sha256, ROBOT.hash)
        except (ValueError, OSError) as error:
            counts['refused'] += 1
            reason = str(error)
        else:
            reason = 'accepted'
            counts['accepted'] += 1
            assert content(files.policy) == wanted[FILES[0]], where
            assert content(files.reward) == wanted[FILES[1]], where
            assert files.manifest['embodiment_hash'] == ROBOT.hash, where
        assert reason, where
        assert '\n' not in reason, where
        shutil.rmtree(folder) if folder.is_dir() and not folder.is_symlink() else (
            folder.unlink(missing_ok=True)
        )
    for name, count in counts.items():
        record_property(f'releases {kind} {announced} {name}', count)
    record_property('releases', CASES * mutations.ROUNDS)
