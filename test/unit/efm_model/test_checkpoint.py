import dataclasses
import json

from efm_model.checkpoint import load_checkpoint, save_checkpoint
from efm_model.network import new_model
from models import table_arm
import pytest
import torch


@pytest.fixture
def saved(tmp_path):
    model = new_model(table_arm(), seed=4, pretrained='none', pieces=('push', 'the'))
    return model, save_checkpoint(
        tmp_path / 'policy', model, table_arm(), 'policy', 3, iteration=600
    )


def test_a_checkpoint_restores_config_weights_and_card(saved):
    model, directory = saved
    loaded, card = load_checkpoint(directory, table_arm())
    assert loaded.config == model.config
    assert not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert (card['kind'], card['version'], card['iteration']) == ('policy', 3, 600)


def test_only_safetensors_and_json_are_written(saved):
    assert sorted(path.name for path in saved[1].iterdir()) == [
        'config.json',
        'weights.safetensors',
    ]
    assert [path.name for path in saved[1].parent.iterdir()] == ['policy']


def test_another_embodiment_is_refused_with_both_hashes(saved):
    other = dataclasses.replace(table_arm(), name='other')
    with pytest.raises(
        ValueError, match=f'expected embodiment {other.hash}.*got {table_arm().hash}'
    ):
        load_checkpoint(saved[1], other)


def test_a_torn_checkpoint_is_refused(saved):
    weights = saved[1] / 'weights.safetensors'
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match='expected a whole one'):
        load_checkpoint(saved[1], table_arm())


def test_weights_of_another_size_are_refused(saved):
    card = json.loads((saved[1] / 'config.json').read_text())
    card['model']['hidden_size'] = 64
    (saved[1] / 'config.json').write_text(json.dumps(card))
    with pytest.raises(ValueError, match='expected a whole one'):
        load_checkpoint(saved[1], table_arm())


def test_a_checkpoint_is_never_overwritten(saved):
    with pytest.raises(FileExistsError, match='expected a new directory'):
        save_checkpoint(saved[1], saved[0], table_arm(), 'policy', 4)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        load_checkpoint(tmp_path / 'nowhere', table_arm())


def test_a_failed_write_leaves_no_file(tmp_path):
    model = new_model(table_arm(), pretrained='none')
    with pytest.raises(TypeError):
        save_checkpoint(tmp_path / 'policy', model, table_arm(), 'policy', 1, note=object())
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_family_is_refused_with_the_known_ones(saved):
    card = json.loads((saved[1] / 'config.json').read_text())
    card['family'] = 'other'
    (saved[1] / 'config.json').write_text(json.dumps(card))
    with pytest.raises(
        ValueError, match="family: expected one of grounding, visuomotor, vlm, got 'other'"
    ):
        load_checkpoint(saved[1], table_arm())


def test_a_checkpoint_with_the_former_name_of_the_family_loads(tmp_path):
    model = new_model(table_arm(), pretrained='none')
    save_checkpoint(tmp_path / 'policy', model, table_arm(), 'policy', 1)
    card = tmp_path / 'policy' / 'config.json'
    card.write_text(card.read_text().replace('"family": "grounding"', '"family": "compact"'))
    assert '"compact"' in card.read_text()
    assert load_checkpoint(tmp_path / 'policy', table_arm())[0].family == 'grounding'
