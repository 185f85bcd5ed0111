from dataclasses import replace

from bags import make_episode
from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Outcome
from efm_core.observation import Observation
from efm_core.tokeniser import ActionTokeniser
from efm_model.network import new_model
from efm_trainer.dataset import (
    compute_all_features,
    feature_lookup,
    scene_lookup,
    to_batch,
    to_bins,
    to_text,
)
import numpy as np
import pytest
import torch
from trainer_fakes import FakeTextEncoder, small_embodiment

EMBODIMENT = small_embodiment()


def two_episodes():
    return [
        make_episode(EMBODIMENT, 0, 2),
        make_episode(
            EMBODIMENT, 1, 3, instruction='move it to the left side', outcome=Outcome.UNLABELLED
        ),
    ]


def test_steps_to_go_count_down_to_the_last_observation_which_has_no_action():
    batch = to_batch(two_episodes(), FakeTextEncoder())
    assert batch.steps_to_go.tolist() == [2, 1, 0, 3, 2, 1, 0]
    assert batch.has_action.tolist() == [True, True, False, True, True, True, False]
    assert batch.episode.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert batch.first.tolist() == [0, 3]
    assert batch.last.tolist() == [2, 6]


def test_a_deliberate_mistake_is_no_action_to_imitate_but_counts_as_a_step():
    episode = make_episode(EMBODIMENT, 0, 3, perturbed=np.array([False, True, False]))
    batch = to_batch([episode], FakeTextEncoder())
    assert batch.has_action.tolist() == [True, False, True, False]
    assert batch.steps_to_go.tolist() == [3, 2, 1, 0]
    assert batch.has_goal.all()


def test_only_successful_episodes_have_a_goal():
    batch = to_batch(two_episodes(), FakeTextEncoder())
    assert batch.has_goal.tolist() == [True] * 3 + [False] * 4


def test_the_previous_frame_of_the_first_is_the_first():
    batch = to_batch(two_episodes(), FakeTextEncoder())
    assert batch.previous.tolist() == [0, 0, 1, 3, 3, 4, 5]
    pairs = batch.model_inputs(torch.tensor([3, 4]))['observations']
    assert torch.equal(pairs[0, 0], pairs[0, 1])
    assert torch.equal(pairs[1, 0], pairs[0, 1])


def test_a_second_camera_and_the_proprioception_are_inputs_too():
    episode = make_episode(EMBODIMENT, 0, 2)
    (first,) = episode.observations.images
    second = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(3, axis=-1)
    state = np.float32([[0], [10], [20]])
    batch = to_batch(
        [replace(episode, observations=Observation((first, second), state))], FakeTextEncoder()
    )
    inputs = batch.model_inputs(torch.tensor([0, 2]))
    assert list(inputs) == [
        'observations',
        'observations_1',
        'proprioception',
        'text',
        'text_mask',
    ]
    np.testing.assert_array_equal(inputs['observations'], first[[[0, 0], [1, 2]]])
    assert inputs['observations_1'][..., 0, 0, 0].tolist() == [[0, 0], [1, 2]]
    assert inputs['proprioception'][..., 0].tolist() == [[0, 0], [10, 20]]


def test_text_is_padded_and_masked():
    text, mask = to_text(['push it', 'push it to the left'], FakeTextEncoder())
    assert text.shape == (2, 5, 384)
    assert mask.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert torch.equal(text[0, :2], text[1, :2])


def test_demonstrated_actions_are_encoded_and_sampled_tokens_are_unchanged():
    episode = make_episode(EMBODIMENT, 0, 2, actions=np.float32([[0.025, 0], [-0.025, 0.005]]))
    encoded = to_batch([episode], FakeTextEncoder(), ActionTokeniser(EMBODIMENT.action))
    assert encoded.tokens.tolist() == [[10, 5], [0, 6], [0, 0]]
    kept = to_batch([episode], FakeTextEncoder())
    np.testing.assert_array_equal(kept.tokens[:2], episode.tokens)


def test_no_episodes_are_refused():
    with pytest.raises(ValueError, match='at least one'):
        to_batch([], FakeTextEncoder())


def test_steps_fall_into_the_nearest_bin_and_larger_numbers_into_the_last():
    steps = torch.tensor([0.0, 2.0, 3.0, 100.0, 500.0])
    assert to_bins(steps, StepsToGoRange(100, 51)).tolist() == [0, 1, 2, 50, 50]
    assert to_bins(steps, StepsToGoRange(60, 61)).tolist() == [0, 2, 3, 60, 60]


def test_cached_features_of_a_frozen_encoder_equal_computed_ones():
    batch = to_batch(two_episodes(), FakeTextEncoder())
    model = new_model(EMBODIMENT, pretrained='none', pieces=('push',))
    indices = torch.tensor([6, 0, 3])
    computed = feature_lookup(model, batch)(indices)
    scenes = scene_lookup(model, batch)(indices)
    assert computed.requires_grad
    model.requires_grad_(False)
    torch.testing.assert_close(feature_lookup(model, batch)(indices), computed)
    torch.testing.assert_close(scene_lookup(model, batch)(indices), scenes)
    assert not compute_all_features(model, batch).requires_grad
