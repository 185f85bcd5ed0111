import json

from efm_model.export import export_policy, parity, ParityReport
from efm_model.network import new_model
from efm_model.runtime import Runtime
from models import exported, signed_arm, table_arm
import onnx
import pytest
import torch


@pytest.fixture(scope='module')
def export(tmp_path_factory):
    """
    Export a policy in training mode over an older file.

    Return the model, the file, and the random number that follows the seed 1 and the export.
    """
    model = new_model(table_arm(), seed=3, pretrained='none').train()
    path = tmp_path_factory.mktemp('export') / 'policy.onnx'
    path.write_bytes(b'old')
    torch.manual_seed(1)
    export_policy(model, path, table_arm(), 2)
    return model, path, torch.rand(1)


@pytest.mark.parametrize('kind', ['policy', 'reward'])
def test_an_exported_file_passes_the_parity_test(kind):
    model = new_model(table_arm(), seed=3, pretrained='none')
    report = parity(model, exported(kind), table_arm(), kind)
    assert report.passed
    assert report.difference < 1e-5


def test_a_model_in_training_mode_is_exported_without_dropout(export):
    model, path, _ = export
    assert parity(model, path, table_arm()).passed


def test_two_tokens_a_dimension_are_exported_too(tmp_path):
    model = new_model(signed_arm(), pretrained='none')
    assert parity(
        model, export_policy(model, tmp_path / 'policy.onnx', signed_arm(), 1), signed_arm()
    ).passed


def test_the_parity_test_fails_with_other_weights():
    other = new_model(table_arm(), seed=4, pretrained='none')
    assert not parity(other, exported('policy'), table_arm()).passed
    assert not parity(other, exported('reward'), table_arm(), 'reward').passed


def test_a_parity_report_passes_with_equal_tokens_and_a_small_difference():
    assert ParityReport('policy', 1e-5, same_tokens=True, samples=8).passed
    assert not ParityReport('policy', 1e-3, same_tokens=True, samples=8).passed
    assert not ParityReport('policy', 1e-5, same_tokens=False, samples=8).passed


def test_an_exported_file_has_metadata():
    model = onnx.load(exported('policy'))
    card = {entry.key: entry.value for entry in model.metadata_props}
    assert (card['kind'], card['version'], card['embodiment_hash']) == (
        'policy',
        '7',
        table_arm().hash,
    )
    assert json.loads(card['embodiment'])['name'] == 'table_arm'
    assert model.opset_import[0].version == 17


def test_export_replaces_a_file_whole(export):
    _, path, _ = export
    assert Runtime(path, 'policy', embodiment=table_arm()).version == 2
    assert list(path.parent.iterdir()) == [path]


def test_export_leaves_the_random_numbers_of_training_alone(export):
    *_, number = export
    torch.manual_seed(1)
    assert torch.equal(torch.rand(1), number)


def test_a_family_that_cannot_be_exported_is_refused(tmp_path):
    model = new_model(table_arm(), pretrained='none')
    model.family = 'vlm'
    with pytest.raises(
        ValueError, match=r"expected a model of the family grounding or visuomotor, got .* 'vlm'"
    ):
        export_policy(model, tmp_path / 'policy.onnx', table_arm(), 1)
