from bags import make_episode
from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Outcome
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


def test_labels_count_down_to_the_last_observation_which_has_no_action():
    samples = to_batch(two_episodes(), FakeTextEncoder())
    assert samples.steps_to_go.tolist() == [2, 1, 0, 3, 2, 1, 0]
    assert samples.has_action.tolist() == [True, True, False, True, True, True, False]
    assert samples.episode.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert samples.first.tolist() == [0, 3]
    assert samples.last.tolist() == [2, 6]


def test_only_a_success_is_known_to_reach_its_goal():
    samples = to_batch(two_episodes(), FakeTextEncoder())
    assert samples.has_goal.tolist() == [True] * 3 + [False] * 4


def test_the_frame_before_the_first_is_the_first():
    samples = to_batch(two_episodes(), FakeTextEncoder())
    assert samples.previous.tolist() == [0, 0, 1, 3, 3, 4, 5]
    pairs, _, _ = samples.model_inputs(torch.tensor([3, 4]))
    assert torch.equal(pairs[0, 0], pairs[0, 1])
    assert torch.equal(pairs[1, 0], pairs[0, 1])


def test_text_is_padded_and_masked():
    text, mask = to_text(['push it', 'push it to the left'], FakeTextEncoder())
    assert text.shape == (2, 5, 384)
    assert mask.tolist() == [[1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
    assert torch.equal(text[0, :2], text[1, :2])


def test_demonstrated_actions_are_encoded_and_sampled_tokens_are_kept():
    episode = make_episode(EMBODIMENT, 0, 2, actions=np.float32([[0.025, 0], [-0.025, 0.005]]))
    encoded = to_batch([episode], FakeTextEncoder(), ActionTokeniser(EMBODIMENT.action))
    assert encoded.tokens.tolist() == [[10, 5], [0, 6], [0, 0]]
    kept = to_batch([episode], FakeTextEncoder())
    np.testing.assert_array_equal(kept.tokens[:2], episode.tokens)


def test_no_episodes_are_refused():
    with pytest.raises(ValueError, match='at least one'):
        to_batch([], FakeTextEncoder())


def test_steps_go_to_the_nearest_bin_and_the_last_takes_more():
    steps = torch.tensor([0.0, 2.0, 3.0, 100.0, 500.0])
    assert to_bins(steps, StepsToGoRange(100, 51)).tolist() == [0, 1, 2, 50, 50]
    assert to_bins(steps, StepsToGoRange(60, 61)).tolist() == [0, 2, 3, 60, 60]


def test_features_of_a_frozen_tower_are_a_table_equal_to_asking_anew():
    samples = to_batch(two_episodes(), FakeTextEncoder())
    model = new_model(EMBODIMENT, pretrained='none', pieces=('push',))
    rows = torch.tensor([6, 0, 3])
    anew = feature_lookup(model, samples)(rows)
    scenes = scene_lookup(model, samples)(rows)
    assert anew.requires_grad
    object.__setattr__(model.config, 'pretrained', 'joint')
    torch.testing.assert_close(feature_lookup(model, samples)(rows), anew)
    torch.testing.assert_close(scene_lookup(model, samples)(rows), scenes)
    assert not compute_all_features(model, samples).requires_grad
