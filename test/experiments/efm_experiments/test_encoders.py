from __future__ import annotations

from dataclasses import replace

from efm_experiments.config import table_robot
from efm_experiments.encoders import training
from efm_experiments.encoders.imagenet import first_blocks, ImageNetEncoder
from efm_experiments.encoders.models import (
    ENCODERS,
    make_end_to_end,
    TrainableEncoder,
    untrained_model,
)
from efm_experiments.encoders.training import EndToEndRecipe, train_end_to_end
from efm_experiments.encoders.unimodal import pretrained_vision
from efm_experiments.studies import ablation
from efm_experiments.studies.ablation import AblationConfig, cells, SMOKE
from efm_model import efficientnet
from efm_model.grounding import EFFECTOR
from efm_model.network import ENCODER_WEIGHTS, FEATURES
from models import FakeTextEncoder, frames, table_arm
from optional import needs_efficientnet
import pytest
from safetensors.torch import load_file
import torch

SIZE = (64, 64)
EVERY_ENCODER = [
    pytest.param(t, marks=needs_efficientnet if t == 'imagenet' else ()) for t in ENCODERS
]


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('EFM_CACHE', str(tmp_path))
    monkeypatch.setattr(training, 'text_encoder', FakeTextEncoder)


def model_inputs(count: int = 3) -> dict[str, torch.Tensor]:
    pairs = torch.from_numpy(frames(2 * count)).unflatten(0, (count, 2))
    text = torch.randn(count, 5, 384, generator=torch.Generator().manual_seed(0))
    return {'observations': pairs, 'text': text, 'text_mask': torch.ones(count, 5)}


def recipe(encoder: str) -> EndToEndRecipe:
    return EndToEndRecipe(encoder, 4, body='tool', robot=table_robot(), seed=0, training=SMOKE)


@pytest.mark.parametrize('encoder', EVERY_ENCODER)
def test_every_encoder_gets_its_gradient_from_the_current_frame(encoder):
    model = untrained_model(encoder, table_arm(), 0).train()
    features = model.features(model_inputs())
    assert features.shape == (3, FEATURES)
    features.square().sum().backward()
    image = model.grounding.image
    parts = [p.grad for p in (*image.parameters(), *model.grounding.text.parameters())]
    with_gradient = [p for p in parts if p is not None and p.abs().sum() > 0]
    assert len(with_gradient) > 0.8 * len(parts)


def test_the_previous_frame_gives_the_motion():
    model = untrained_model('scratch', table_arm(), 0)
    inputs = model_inputs()
    pairs = inputs['observations']
    seen = model.features(inputs)
    others = pairs[[1, 0, 2]][:, [0]].expand(-1, 2, -1, -1, -1)
    swapped = model.features({**inputs, 'observations': others})
    assert not torch.allclose(seen, swapped)
    still = torch.stack([pairs[:, 1], pairs[:, 1]], dim=1)
    motion = model.features({**inputs, 'observations': still})[:, 16:22]
    assert not motion.any()


def test_a_trainable_encoder_averages_over_the_whole_map():
    encoder = TrainableEncoder(SIZE)
    heat = torch.full((1, 1, 256), -50.0)
    heat[..., [0, 255]] = 0.0
    torch.testing.assert_close(encoder.points(heat), torch.zeros(1, 1, 2), atol=1e-5, rtol=0)


def test_the_unimodal_encoder_has_a_tool_query_that_ignores_the_sentence():
    model, pretrained = make_end_to_end('unimodal', table_arm(), 0, SMOKE.vision)
    weights = pretrained_vision(SMOKE.vision)
    inputs = model_inputs()
    queries = model.grounding.text(inputs['text'], inputs['text_mask'])
    assert torch.equal(queries[0, EFFECTOR], weights['tool'])
    assert torch.equal(queries[1, EFFECTOR], weights['tool'])
    assert torch.equal(model.grounding.image.keys.weight, weights['image.keys.weight'])
    shipped = load_file(ENCODER_WEIGHTS)
    assert not torch.equal(model.grounding.text.out.weight, shipped['text.out.weight'])
    assert id(model.grounding.text.out.weight) not in {id(p) for p in pretrained}


def test_the_tuned_encoder_starts_with_the_shipped_weights():
    model, pretrained = make_end_to_end('tuned', table_arm(), 0, SMOKE.vision)
    shipped = load_file(ENCODER_WEIGHTS)
    assert all(torch.equal(v, shipped[k]) for k, v in model.grounding.state_dict().items())
    assert len(pretrained) == len(list(model.grounding.parameters()))


@needs_efficientnet
def test_the_imagenet_encoder_starts_with_its_weights_and_keeps_its_statistics():
    encoder = ImageNetEncoder(SIZE).train()
    before = {name: value.clone() for name, value in encoder.pretrained.state_dict().items()}
    keys, occupancy = encoder(torch.from_numpy(frames(2)))
    assert (keys.shape, occupancy.shape) == ((2, 32, 256), (2, 256))
    for name, value in first_blocks().state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, encoder.pretrained.state_dict()[name])


def test_the_imagenet_cells_are_left_out_without_their_packages(monkeypatch, capsys):
    monkeypatch.setattr(ablation, 'is_installed', lambda: False)
    monkeypatch.setattr(efficientnet, 'is_installed', lambda: False)
    ablation.available_encoders.cache_clear()
    names = list(cells(AblationConfig()))
    ablation.available_encoders.cache_clear()
    assert names
    assert not [name for name in names if name.startswith('imagenet')]
    assert 'pip install --no-deps -r requirements/ablation.txt' in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError, match='efficientnet_lite_pytorch'):
        first_blocks()


def test_training_is_cached_and_reproducible(monkeypatch, tmp_path):
    made = train_end_to_end(recipe('scratch'))
    monkeypatch.setattr(training, 'train', None)
    again = train_end_to_end(recipe('scratch'))
    monkeypatch.undo()
    monkeypatch.setenv('EFM_CACHE', str(tmp_path / 'another'))
    monkeypatch.setattr(training, 'text_encoder', FakeTextEncoder)
    anew = train_end_to_end(recipe('scratch'))
    for other in (again, anew):
        assert other.curve == made.curve
        for kind in ('policy', 'reward'):
            weights = getattr(other, kind).state_dict()
            assert all(
                torch.equal(v, weights[k]) for k, v in getattr(made, kind).state_dict().items()
            )
    assert made.curve['iteration'] == [1, 2]


def test_training_changes_pretrained_weights_less():
    made = train_end_to_end(recipe('tuned'))
    moved = {
        name: (value - made.policy.state_dict()[name]).abs().max()
        for name, value in make_end_to_end('tuned', table_robot(), 0, SMOKE.vision)[0]
        .state_dict()
        .items()
        if not name.endswith('cells')
    }
    assert 0 < moved['grounding.image.first.weight'] < moved['trunk.0.weight'] / 3


def test_an_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match='encoder: expected one of'):
        train_end_to_end(replace(recipe('scratch'), encoder='sky'))
