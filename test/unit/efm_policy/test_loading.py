"""Loading the policy of a server."""

from efm_policy.serving import loading
from efm_policy.serving.loading import ReleaseFolder, Releases
from models import FakeTextEncoder, table_arm
import pytest
from releases import publish_untrained


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch):
    monkeypatch.setattr(loading, 'TextEncoder', lambda directory: FakeTextEncoder())


def test_a_release_is_loaded_by_its_directory_and_hash(tmp_path):
    release = publish_untrained(tmp_path, 3, table_arm())
    releases = Releases(table_arm(), 'none')
    assert releases.load(release.uri, release.sha256).version == 3
    with pytest.raises(ValueError, match='expected SHA-256 0000'):
        releases.load(release.uri, '0' * 64)


def test_a_requested_provider_that_is_not_installed_is_refused(tmp_path):
    release = publish_untrained(tmp_path, 3, table_arm())
    with pytest.raises(ValueError, match='provider: expected one that this onnxruntime has'):
        Releases(table_arm(), 'none', provider='tensorrt').load(release.uri)


def test_a_folder_returns_each_new_release_once(tmp_path):
    loaded = []
    folder = ReleaseFolder(tmp_path / 'releases', loaded.append)
    folder.newer()
    publish_untrained(tmp_path, 1, table_arm())
    publish_untrained(tmp_path, 2, table_arm())
    folder.newer()
    folder.newer()
    assert loaded == [str(tmp_path / 'releases' / '000002')]
