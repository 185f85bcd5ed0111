from dataclasses import replace
import json

import efm
from efm.learning import _make_pair
from efm_core.embodiment_files import save_embodiment
from efm_model.network import new_model
from models import FakeTextEncoder, observations, SENTENCE, table_arm
import numpy as np
import pytest
from releases import publish_untrained

ENCODER = FakeTextEncoder()


@pytest.fixture(scope='module')
def pair():
    models = (new_model(table_arm(), seed=seed, pretrained='none') for seed in (0, 1))
    return _make_pair(*models, encoder=ENCODER, embodiment=table_arm(), version=5)


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """Return a run with the releases 1 and 2."""
    run = tmp_path_factory.mktemp('run')
    for version in (1, 2):
        publish_untrained(run, version, table_arm())
    save_embodiment(table_arm(), run / 'embodiment.yaml')
    return run


def test_the_newest_release_of_a_run_is_loaded(run):
    policy, reward_model = efm.load_release(run, text_encoder=ENCODER)
    assert (policy.version, reward_model.version) == (2, 2)
    assert policy.embodiment == reward_model.embodiment == table_arm()


def test_a_release_is_loaded_by_its_version_or_its_directory(run):
    by_version, _ = efm.load_release(run, version=1, text_encoder=ENCODER)
    by_path, _ = efm.load_release(run / 'releases' / '000001', text_encoder=ENCODER)
    assert by_version.version == by_path.version == 1


def test_a_release_of_another_robot_is_refused(run):
    other = replace(table_arm(), name='other')
    with pytest.raises(ValueError, match='expected a release for embodiment'):
        efm.load_release(run, other, text_encoder=ENCODER)


def test_a_run_without_a_release_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='make one with `efm train`'):
        efm.load_release(tmp_path, table_arm(), text_encoder=ENCODER)


def test_a_run_without_an_embodiment_asks_for_one(run, tmp_path):
    publish_untrained(tmp_path, 1, table_arm())
    with pytest.raises(FileNotFoundError, match='pass an embodiment'):
        efm.load_release(tmp_path, text_encoder=ENCODER)
    policy, _ = efm.load_release(tmp_path, table_arm(), text_encoder=ENCODER)
    assert policy.version == 1


def test_published_models_come_back_as_they_were(pair, tmp_path):
    publish_untrained(tmp_path / 'run', 1, table_arm())
    assert efm.publish_release(tmp_path / 'run', *pair).version == 2
    manifest = json.loads((tmp_path / 'run' / 'releases' / '000002' / 'manifest.json').read_text())
    assert (manifest['parent'], manifest['embodiment_hash']) == (1, table_arm().hash)
    policy, reward_model = efm.load_release(tmp_path / 'run', text_encoder=ENCODER)
    assert policy.version == 2
    for one in (policy, pair[0]):
        one.begin(SENTENCE, seed=3)
    for one in (reward_model, pair[1]):
        one.begin(SENTENCE)
    (seen,) = observations(1)
    np.testing.assert_array_equal(policy.act(seen).tokens, pair[0].act(seen).tokens)
    d = [one.predict(seen).steps_to_go for one in (reward_model, pair[1])]
    assert d[0] == pytest.approx(d[1], abs=1e-3)


@pytest.mark.parametrize('part', ['sft', 'trainer'])
def test_a_run_whose_trainer_publishes_is_refused(pair, tmp_path, part):
    (tmp_path / part).mkdir()
    with pytest.raises(FileExistsError, match=f'expected one without {part}'):
        efm.publish_release(tmp_path, *pair)


def test_a_run_of_another_robot_is_refused(pair, tmp_path):
    save_embodiment(replace(table_arm(), name='other'), tmp_path / 'embodiment.yaml')
    with pytest.raises(ValueError, match='expected embodiment'):
        efm.publish_release(tmp_path, *pair)


def test_exported_models_cannot_be_published_again(run, tmp_path):
    exported = efm.load_release(run, text_encoder=ENCODER)
    with pytest.raises(ValueError, match='expected a torch model'):
        efm.publish_release(tmp_path, *exported)
