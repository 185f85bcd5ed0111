from dataclasses import replace
import json
import os

from efm_model.export import ParityReport
from efm_release.publish import find_release, publish
from efm_release.release import load_release
import pytest
from trainer_fakes import small_embodiment

EMBODIMENT = small_embodiment()
PASSED = tuple(
    ParityReport(kind, 1e-6, same_tokens=True, samples=8) for kind in ('policy', 'reward')
)


@pytest.fixture
def files(tmp_path):
    (tmp_path / 'p.onnx').write_bytes(b'policy')
    (tmp_path / 'r.onnx').write_bytes(b'reward')
    return tmp_path / 'p.onnx', tmp_path / 'r.onnx'


def put(tmp_path, files, version=12, parity=PASSED):
    policy, reward = files
    known = {'embodiment': EMBODIMENT, 'parity': parity, 'parent': 11}
    return publish(tmp_path / 'releases', version, policy=policy, reward=reward, **known)


def test_a_release_is_found_and_verified(tmp_path, files):
    release = put(tmp_path, files)
    assert release == find_release(tmp_path / 'releases', 12)
    loaded = load_release(release.uri, release.sha256, EMBODIMENT.hash)
    assert (loaded.policy.data, loaded.reward.data) == (b'policy', b'reward')
    assert (loaded.manifest['version'], loaded.manifest['parent']) == (12, 11)
    assert loaded.manifest['parity'][0]['passed'] is True
    assert [path.name for path in (tmp_path / 'releases').iterdir()] == ['000012']


def test_a_file_uri_is_the_same_as_a_path(tmp_path, files):
    release = put(tmp_path, files)
    assert load_release(f'file://{release.uri}', release.sha256).manifest['version'] == 12


def test_the_reward_model_is_stored_once(tmp_path, files):
    first, second = (load_release(put(tmp_path, files, v).uri, None) for v in (1, 2))
    assert os.path.samefile(first.reward.path, second.reward.path)


@pytest.mark.parametrize('name', ['policy.onnx', 'reward.onnx', 'manifest.json'])
def test_a_changed_file_is_refused(tmp_path, files, name):
    release = put(tmp_path, files)
    path = tmp_path / 'releases' / '000012' / name
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data + b' ')
    with pytest.raises(ValueError, match='SHA-256'):
        load_release(release.uri, release.sha256)


def test_a_missing_file_is_named(tmp_path, files):
    release = put(tmp_path, files)
    (tmp_path / 'releases' / '000012' / 'reward.onnx').unlink()
    with pytest.raises(FileNotFoundError, match=r'reward\.onnx'):
        load_release(release.uri, release.sha256)


def test_a_release_for_another_robot_is_refused(tmp_path, files):
    release = put(tmp_path, files)
    with pytest.raises(ValueError, match='embodiment'):
        load_release(release.uri, release.sha256, 'f' * 16)


def test_an_unknown_kind_of_uri_is_refused():
    with pytest.raises(ValueError, match='file://'):
        load_release('https://example.com/releases/1', '')


@pytest.mark.parametrize(
    'parity', [(), PASSED[:1], (replace(PASSED[0], difference=1.0), PASSED[1])]
)
def test_without_passing_parity_nothing_is_published(tmp_path, files, parity):
    with pytest.raises(ValueError, match='parity'):
        put(tmp_path, files, parity=parity)
    assert not (tmp_path / 'releases').exists()


def test_a_release_never_changes(tmp_path, files):
    put(tmp_path, files)
    with pytest.raises(FileExistsError):
        put(tmp_path, files)


def test_an_interrupted_publication_leaves_nothing(tmp_path, files, monkeypatch):
    def no_space(*_):
        raise OSError('no space left on device')

    monkeypatch.setattr(os, 'rename', no_space)
    with pytest.raises(OSError, match='no space'):
        put(tmp_path, files)
    assert list((tmp_path / 'releases').iterdir()) == []
    assert find_release(tmp_path / 'releases', 12) is None


def test_the_manifest_is_plain_json(tmp_path, files):
    put(tmp_path, files)
    manifest = json.loads((tmp_path / 'releases' / '000012' / 'manifest.json').read_text())
    assert manifest['embodiment_hash'] == EMBODIMENT.hash
