"""Which releases a robot loads: by an announcement, by the operator, in the folder of a run."""

from dataclasses import replace
import json
from types import SimpleNamespace

from efm_core.files import FileContent
from efm_model.export import ParityReport
from efm_release.publish import find_release, publish
from efm_release.release import (
    find_release_directory,
    find_releases,
    load_announced,
    load_release,
    MANIFEST,
    Release,
    to_directory,
)
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()
PASSED = tuple(
    ParityReport(kind, 1e-6, same_tokens=True, samples=8) for kind in ('policy', 'reward')
)


@pytest.fixture
def put(tmp_path):
    """Return a function that publishes a version in the store of this test."""
    for name in ('policy', 'reward'):
        (tmp_path / name).write_bytes(name.encode())

    def put(version, store='run/releases'):
        return publish(
            tmp_path / store,
            version,
            policy=tmp_path / 'policy',
            reward=tmp_path / 'reward',
            embodiment=EMBODIMENT,
            parity=PASSED,
        )

    return put


@pytest.fixture
def load(tmp_path):
    """Return a function that loads an announced release, as a robot that runs version 7."""

    def load(release, newest=7):
        return load_announced(
            release,
            tmp_path / 'run' / 'releases',
            newest=newest,
            embodiment_hash=EMBODIMENT.hash,
        )

    return load


def test_an_announced_release_of_the_store_is_loaded(put, load):
    assert load(put(8)).manifest['version'] == 8
    by_uri = put(9)
    assert load(replace(by_uri, uri=f'file://{by_uri.uri}')).policy.data == b'policy'


def test_an_announcement_without_a_hash_is_refused(put, load):
    with pytest.raises(ValueError, match=r'manifest\.json: expected its SHA-256, got none'):
        load(replace(put(8), sha256=''))


def test_an_announced_release_outside_the_store_is_refused(put, load, tmp_path):
    other = put(8, 'elsewhere')
    with pytest.raises(ValueError, match='run/releases/000008, in the release store, got'):
        load(other)
    (tmp_path / 'run' / 'releases').mkdir(parents=True)
    link = tmp_path / 'run' / 'releases' / '000008'
    link.symlink_to(other.uri)
    with pytest.raises(ValueError, match='in the release store'):
        load(replace(other, uri=str(link)))
    climbing = f'{tmp_path}/run/releases/../../elsewhere/000008'
    with pytest.raises(ValueError, match='in the release store'):
        load(replace(other, uri=climbing))


def test_an_announced_release_never_takes_a_robot_back(put, load):
    older = put(6)
    with pytest.raises(ValueError, match='one after 7, got 6; to go back, restart with that'):
        load(older)
    with pytest.raises(ValueError, match='in the release store'):
        load(replace(older, version=8))
    assert load(older, newest=5).manifest['version'] == 6


def test_old_weights_under_a_new_number_are_refused(put, load, tmp_path):
    old = to_directory(put(6).uri)
    old.rename(old.with_name('000008'))
    sha256 = FileContent.read(old.with_name('000008') / MANIFEST).sha256
    announced = SimpleNamespace(version=8, uri=str(old.with_name('000008')), sha256=sha256)
    with pytest.raises(ValueError, match='the version of its folder, 000008, got 6'):
        load(announced)


def test_what_was_hashed_is_what_is_loaded_though_the_file_is_exchanged_at_once(put, load):
    release = put(8)
    files = load(release)
    for name in ('policy.onnx', 'reward.onnx'):
        path = to_directory(release.uri) / name
        path.unlink()
        path.write_bytes(b'exchanged')
    assert (files.policy.data, files.reward.data) == (b'policy', b'reward')


@pytest.mark.parametrize(
    ('content', 'missing'),
    [
        ('{}', 'version, stage, embodiment_hash, sha256'),
        ('[]', 'version'),
        ('not json', 'version'),
        ('\xff', 'version'),
        ('{"version": 12, "stage": "active", "embodiment_hash": "", "sha256": []}', 'sha256'),
    ],
)
def test_an_incomplete_manifest_is_one_line_of_error(put, tmp_path, content, missing):
    release = put(12)
    (to_directory(release.uri) / MANIFEST).write_text(content, 'latin-1')
    for read in (
        lambda: load_release(release.uri, None),
        lambda: find_release(tmp_path / 'run' / 'releases', 12),
    ):
        with pytest.raises(ValueError, match=f'no valid {missing}') as caught:
            read()
        assert '\n' not in str(caught.value)


def test_a_manifest_without_a_hash_of_each_file_is_refused(put):
    release = put(12)
    path = to_directory(release.uri) / MANIFEST
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, 'sha256': {}}))
    with pytest.raises(ValueError, match=r'policy\.onnx: expected its SHA-256, got none'):
        load_release(release.uri, None)


def test_copies_and_other_folders_are_no_releases(put, tmp_path):
    releases = tmp_path / 'run' / 'releases'
    put(1)
    put(2)
    for name in ('2-x', '000001.bak', '7', '0000003', '000000', '.000004-tmp', '٣٣٣٣٣٣'):
        (releases / name).mkdir()
    (releases / '000009').write_text('a file')
    assert find_releases(releases) == {1: releases / '000001', 2: releases / '000002'}
    assert find_release_directory(tmp_path / 'run') == releases / '000002'
    assert find_release_directory(tmp_path / 'run', 1) == releases / '000001'
    assert find_release(releases, 9) is None
    with pytest.raises(FileNotFoundError, match='expected version 7'):
        find_release_directory(tmp_path / 'run', 7)


def test_a_run_without_releases_has_none(tmp_path):
    assert find_releases(tmp_path / 'nowhere') == {}


def test_a_release_has_the_fields_of_an_announcement(put):
    release = put(8)
    assert isinstance(release, Release)
    assert release.sha256 == FileContent.read(to_directory(release.uri) / MANIFEST).sha256
