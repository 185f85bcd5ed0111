"""Loading the policy of a server."""

from dataclasses import replace
from pathlib import Path

from efm_policy.config import SamplingConfig
from efm_policy.serving import loading
from efm_policy.serving.loading import ReleaseFolder, Releases
from efm_release.release import MANIFEST
from models import FakeTextEncoder, table_arm
import pytest
from releases import publish_untrained


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch):
    monkeypatch.setattr(loading, 'TextEncoder', lambda directory: FakeTextEncoder())


def test_an_announced_release_is_loaded_by_its_hash(tmp_path):
    release = publish_untrained(tmp_path, 3, table_arm())
    releases = Releases(table_arm(), 'none')
    store = tmp_path / 'releases'
    assert releases.load(release.uri).version == 3
    assert releases.load_announced(release, store, 2).version == 3
    with pytest.raises(ValueError, match='expected SHA-256 0000'):
        releases.load_announced(replace(release, sha256='0' * 64), store, 2)


def test_a_policy_of_another_version_than_its_manifest_is_refused(tmp_path):
    release = publish_untrained(tmp_path, 3, table_arm())
    path = Path(release.uri) / MANIFEST
    path.write_text(path.read_text().replace('"version": 3', '"version": 4'))
    folder = Path(release.uri).rename(tmp_path / 'releases' / '000004')
    with pytest.raises(ValueError, match=r'policy\.onnx: expected version 4, got 3'):
        Releases(table_arm(), 'none').load(str(folder))


def test_a_requested_provider_that_is_not_installed_is_refused(tmp_path):
    release = publish_untrained(tmp_path, 3, table_arm())
    with pytest.raises(ValueError, match='provider: expected one that this onnxruntime has'):
        Releases(table_arm(), 'none', sampling=SamplingConfig(provider='tensorrt')).load(
            release.uri
        )


def test_a_folder_returns_each_new_release_once(tmp_path):
    loaded = []
    folder = ReleaseFolder(tmp_path / 'releases', loaded.append)
    folder.newer()
    publish_untrained(tmp_path, 1, table_arm())
    publish_untrained(tmp_path, 2, table_arm())
    folder.newer()
    folder.newer()
    assert loaded == [str(tmp_path / 'releases' / '000002')]


def test_a_damaged_release_is_reported_once_and_hides_no_newer_one(tmp_path):
    loaded = []
    publish_untrained(tmp_path, 12, table_arm())
    damaged = tmp_path / 'releases' / '000999'
    damaged.mkdir()
    (damaged / MANIFEST).write_text('{}')
    (tmp_path / 'releases' / '2-x').mkdir()
    folder = ReleaseFolder(tmp_path / 'releases', loaded.append)
    with pytest.raises(ValueError, match=r'000999/manifest\.json: expected JSON with version'):
        folder.newer()
    folder.newer()
    publish_untrained(tmp_path, 13, table_arm())
    folder.newer()
    folder.newer()
    assert loaded == [str(tmp_path / 'releases' / name) for name in ('000012', '000013')]
