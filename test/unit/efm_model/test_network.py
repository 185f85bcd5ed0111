import itertools
import json

from efm_model.network import (
    BEGIN,
    ENCODER_WEIGHTS,
    END,
    FEATURES,
    log_probability,
    new_model,
    UNKNOWN,
)
from efm_model.runtime import pad
from models import FakeTextEncoder, frames, SENTENCE, signed_arm, table_arm
import numpy as np
import pytest
from safetensors.torch import save_file
import torch

PIECES = ('blue', 'cube', 'push', 'red', 'the')


@pytest.fixture(scope='module')
def model():
    return new_model(table_arm(), seed=1, pretrained='none', pieces=PIECES)


@pytest.fixture(scope='module')
def model_inputs():
    text, mask = pad([FakeTextEncoder().encode(SENTENCE), FakeTextEncoder().encode('push it')])
    return {
        'observations': torch.from_numpy(frames(4)).unflatten(0, (2, 2)),
        'text': torch.from_numpy(text),
        'text_mask': torch.from_numpy(mask),
    }


@pytest.fixture(scope='module')
def features(model, model_inputs):
    with torch.no_grad():
        return model.features(model_inputs)


def test_the_features_of_a_sample_do_not_depend_on_its_batch(model, model_inputs, features):
    with torch.no_grad():
        alone = model.features({name: value[1:] for name, value in model_inputs.items()})
    torch.testing.assert_close(alone, features[1:], rtol=1e-4, atol=1e-5)


def test_the_features_depend_on_both_frames(model, model_inputs, features):
    flipped = model_inputs['observations'].flip(1)
    with torch.no_grad():
        swapped = model.features({**model_inputs, 'observations': flipped})
    assert not torch.allclose(swapped, features)


def test_the_movement_between_equal_frames_is_zero(model, model_inputs):
    still = model_inputs['observations'][:, :1].expand(-1, 2, -1, -1, -1)
    with torch.no_grad():
        found = model.features({**model_inputs, 'observations': still})
    assert found[:, 16:22].abs().max() < 1e-6


def test_teacher_forcing_gives_the_logits_of_sampling(model, features):
    tokens, log_probabilities, logits = model.sample(features, torch.randn(2, 2, 11))
    forced = model.policy_logits(features, tokens)
    torch.testing.assert_close(forced, logits)
    expected = [
        sum(torch.softmax(forced[b, k], 0)[tokens[b, k]].log() for k in range(2)) for b in range(2)
    ]
    torch.testing.assert_close(log_probabilities, torch.stack(expected))


def test_the_second_token_depends_on_the_first(model, features):
    logits = [model.policy_logits(features[:1], torch.tensor([[first, 0]]))[0] for first in (0, 7)]
    torch.testing.assert_close(logits[0][0], logits[1][0])
    assert not torch.allclose(logits[0][1], logits[1][1])


def test_without_noise_the_most_probable_token_is_sampled(model, features):
    tokens, _, logits = model.sample(features, torch.zeros(2, 2, 11))
    assert torch.equal(tokens, logits.argmax(dim=-1))


def test_the_frequency_of_samples_agrees_with_their_probability(model, features):
    rng = np.random.default_rng(0)
    noise = torch.from_numpy(rng.gumbel(size=(20000, 2, 11)).astype(np.float32))
    with torch.no_grad():
        tokens, _, logits = model.sample(features[:1].expand(20000, -1), noise)
    counts = torch.bincount(tokens[:, 0], minlength=11) / 20000
    torch.testing.assert_close(counts, torch.softmax(logits[0, 0], dim=0), rtol=0, atol=0.015)


def test_a_token_beyond_its_vocabulary_is_never_sampled():
    model = new_model(signed_arm(), pretrained='none')
    noise = torch.zeros(1, 4, 11)
    noise[:, :, 10] = 1000.0
    tokens, _, logits = model.sample(torch.zeros(1, FEATURES), noise)
    assert (tokens[0] < torch.tensor([2, 11, 2, 11])).all()
    assert logits.shape == (1, 4, 11)


def test_the_log_probabilities_of_all_actions_sum_to_one(model, features):
    actions = torch.tensor(list(itertools.product(range(11), repeat=2)))
    logits = model.policy_logits(features[:1].expand(121, -1), actions)
    torch.testing.assert_close(log_probability(logits, actions).exp().sum(), torch.tensor(1.0))


def test_steps_to_go_has_one_logit_for_each_bin(model, features):
    assert model.steps_to_go_logits(features).shape == (2, 61)


def test_the_instruction_is_predicted_piece_by_piece(model):
    scenes = model.scene_features(torch.from_numpy(frames(4)))
    pieces = torch.tensor([model.encode_pieces(['push', 'the', 'red', 'thing'])] * 2)
    assert pieces[0].tolist() == [BEGIN, 5, 7, 6, UNKNOWN, END]
    logits = model.instruction_logits(scenes[:2], scenes[2:], pieces)
    changed = model.instruction_logits(
        scenes[:2], scenes[2:], torch.cat([pieces[:, :3], pieces[:, :3]], dim=1)
    )
    assert logits.shape == (2, 6, len(PIECES) + 3)
    torch.testing.assert_close(logits[:, :3], changed[:, :3])


def test_a_model_without_pieces_has_no_instruction_head():
    assert not hasattr(new_model(table_arm(), pretrained='none'), 'instruction')


def test_the_same_seed_gives_the_same_heads_and_torchs_generator_is_unchanged():
    torch.manual_seed(5)
    first = torch.rand(1)
    torch.manual_seed(5)
    models = [new_model(table_arm(), seed=2, pretrained='none') for _ in range(2)]
    assert torch.equal(torch.rand(1), first)
    for one, other in zip(*(model.state_dict().values() for model in models), strict=True):
        assert torch.equal(one, other)


def test_a_joint_encoder_is_frozen_and_has_no_dropout():
    model = new_model(table_arm()).train()
    assert not any(parameter.requires_grad for parameter in model.grounding.parameters())
    assert not model.grounding.training
    assert model.trunk.training


def test_pretrained_vision_loads_only_the_weights_of_the_image_encoder():
    joint, vision, scratch = (
        new_model(table_arm(), pretrained=grounding).grounding
        for grounding in ('joint', 'vision', 'none')
    )
    assert torch.equal(vision.image.first.weight, joint.image.first.weight)
    assert torch.equal(vision.text.learned, scratch.text.learned)
    assert all(parameter.requires_grad for parameter in vision.parameters())


def test_missing_weights_name_the_command_that_makes_them(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'python -m efm_experiments\.table\.pretraining'):
        new_model(table_arm(), weights=tmp_path / 'none.safetensors')


@pytest.mark.parametrize('weights', [{'image.first.weight': torch.zeros(2)}, None])
def test_a_file_without_an_encoder_is_refused(tmp_path, weights):
    path = tmp_path / 'encoder.safetensors'
    if weights is None:
        path.write_text('something else')
    else:
        save_file(weights, path)
    with pytest.raises(ValueError, match=r'encoder: expected .* got .*encoder\.safetensors'):
        new_model(table_arm(), weights=path)


def test_hidden_size_sets_the_width_of_the_heads():
    model = new_model(table_arm(), pretrained='none', hidden_size=24)
    assert model.config.hidden_size == model.steps_to_go.in_features == 24


def test_the_shipped_weights_are_small_and_have_a_card():
    assert ENCODER_WEIGHTS.stat().st_size < 1_000_000
    card = json.loads(ENCODER_WEIGHTS.with_suffix('.json').read_text())
    assert 'stand-in for web-scale' in card['nature']
    assert set(card['grounding']) == {'train', 'phrasing', 'synonym', 'pairs', 'pushes'}
