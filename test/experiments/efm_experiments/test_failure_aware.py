from __future__ import annotations

from dataclasses import replace

from bags import make_episode
from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_experiments.config import TINY
from efm_experiments.learners import failure_aware as learner
from efm_experiments.learners.baselines import timeout_penalty_rewards
from efm_experiments.learners.failure_aware import (
    failure_aware_loss,
    FailureAwareReward,
    label_demonstrations,
    label_mismatched_goals,
    label_practice,
    LabelledFeatures,
    time_reversed,
    train_head,
    without_motion,
)
from efm_experiments.learners.threshold import (
    add_goal_dwell,
    choose_detector,
    DWELL_OBSERVATIONS,
    HeldOutDemonstrations,
)
from efm_experiments.studies import failure_aware
from efm_experiments.studies.failure_aware import failed_returns
from efm_model.network import new_model
from efm_trainer.dataset import compute_all_features, to_batch
from efm_trainer.prediction import expected_steps_to_go
from models import FakeTextEncoder, observations, table_arm
import numpy as np
import pytest
import torch

SCALE = StepsToGoRange()
FAILURE = SCALE.bins


@pytest.fixture(autouse=True)
def words(monkeypatch):
    monkeypatch.setattr(learner, 'text_encoder', FakeTextEncoder)


@pytest.fixture(scope='module')
def model():
    return new_model(table_arm(), seed=1)


def episode(index, length, detected, true):
    """Return an episode of random frames."""
    return Episode(
        episode_id=f'practice-{index}',
        index=index,
        kind=Kind.PRACTICE,
        instruction='push the red cube to the left',
        seed=index,
        observations=observations(length + 1, 100 + index),
        stamps=np.arange(length + 1),
        tokens=np.zeros((length, 2), np.int64),
        actions=np.zeros((length, 2), np.float32),
        log_probs=np.zeros(length, np.float32),
        steps_to_go=np.zeros(length + 1, np.float32),
        outcome=Outcome.SUCCESS if detected else Outcome.FAILURE,
        termination=Termination.SUCCESS_DETECTED if detected else Termination.TIMEOUT,
        policy_version=1,
        reward_version=1,
        embodiment_hash='',
        true_success=true,
    )


def samples_of(*episodes):
    return to_batch(episodes, FakeTextEncoder())


def features_of_pair(model, before, now):
    """Return the features of one pair of frames."""
    samples = samples_of(episode(0, 1, True, True))
    pair = torch.from_numpy(np.stack([before, now]))[None]
    return model.features({'observations': pair, 'text': samples.text, 'text_mask': samples.mask})


def test_rewound_features_are_those_of_the_film_played_backwards(model):
    one = episode(0, 3, True, True)
    forwards = compute_all_features(model, samples_of(one))
    images = one.observations.images[0]
    backwards = [features_of_pair(model, images[t + 1], images[t]) for t in range(3)]
    torch.testing.assert_close(time_reversed(forwards), torch.cat(backwards), atol=1e-5, rtol=1e-4)


def test_features_without_motion_are_those_of_two_equal_frames(model):
    one = episode(0, 2, True, True)
    forwards = compute_all_features(model, samples_of(one))
    still = [features_of_pair(model, frame, frame) for frame in one.observations.images[0]]
    torch.testing.assert_close(without_motion(forwards), torch.cat(still), atol=1e-5, rtol=1e-4)


def test_demonstrations_have_the_same_labels_in_both_directions_and_without_motion(model):
    episodes = [replace(episode(k, 2, True, True), index=k) for k in range(2)]
    samples = samples_of(*episodes)
    found = label_demonstrations(compute_all_features(model, samples), samples, SCALE)
    assert found.bins.tolist() == [2, 1, 0, 2, 1, 0] * 2 + [2, 1, 2, 1]
    assert len(found.features) == len(found.bins)


def test_ends_of_demonstrations_under_another_instruction_are_labelled_as_failure(model):
    sentences = ('push the red cube to the left', 'push the blue cube to the left')
    long, short = (
        replace(episode(k, length, True, True), instruction=sentence)
        for k, (length, sentence) in enumerate(zip((14, 2), sentences, strict=True))
    )
    found = label_mismatched_goals(model, samples_of(long, short), SCALE, seed=0)
    assert found.bins.tolist() == [FAILURE] * (11 + 3)
    swapped = samples_of(
        replace(long, instruction=sentences[1]), replace(short, instruction=sentences[0])
    )
    expected = compute_all_features(model, swapped)[4:]
    torch.testing.assert_close(found.features, expected, atol=1e-5, rtol=1e-4)


def test_equal_instructions_give_no_mismatched_goals(model):
    found = label_mismatched_goals(
        model, samples_of(*(episode(k, 2, True, True) for k in range(2))), SCALE, 0
    )
    assert len(found.bins) == 0


def test_time_outs_are_labelled_as_failure_and_detected_successes_with_steps_to_go(model):
    late = replace(
        episode(0, 3, False, False), steps_to_go=np.array([30, 1.5, 20, 20], np.float32)
    )
    done = replace(episode(1, 7, True, True), termination=Termination.SUCCESS_DETECTED)
    found = label_practice(model, [late, done], SCALE, threshold=2.0)
    assert found.bins.tolist() == [FAILURE] * 3 + [7, 6, 5]


def test_a_new_failure_aware_model_predicts_almost_the_same_d(model):
    features = torch.randn(20, 50)
    baseline = expected_steps_to_go(model, features, SCALE)
    model_with_failure = expected_steps_to_go(FailureAwareReward(model), features, SCALE)
    torch.testing.assert_close(baseline, model_with_failure, atol=2.0, rtol=0.0)


def test_the_failure_bin_counts_as_the_largest_number_of_steps(model):
    model_with_failure = FailureAwareReward(model)
    with torch.no_grad():
        model_with_failure.out.bias[FAILURE] = 1e3
    features = torch.randn(5, 50)
    assert model_with_failure.steps_to_go_logits(features).shape == (5, SCALE.bins)
    torch.testing.assert_close(
        expected_steps_to_go(model_with_failure, features, SCALE), torch.full((5,), 60.0)
    )


def test_the_loss_is_smallest_at_the_true_bin():
    def loss(predicted, true):
        logits = torch.full((1, FAILURE + 1), -20.0)
        logits[0, predicted] = 20.0
        return float(failure_aware_loss(logits, torch.tensor([true])))

    assert loss(FAILURE, FAILURE) < 1e-3
    assert loss(60, FAILURE) > 10
    assert loss(FAILURE, 60) > loss(60, 60) + 10
    assert loss(5, 5) < loss(7, 5)


def test_training_the_failure_bin_leaves_the_base_model_unchanged(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    near = torch.full((8, 50), 0.5)
    never = torch.full((8, 50), -0.5)
    near[:, ::2] = never[:, ::2] = 0
    model_with_failure = FailureAwareReward(model)
    labelled = [
        (LabelledFeatures(near, torch.zeros(8, dtype=torch.int64)), 0.5),
        (LabelledFeatures(never, torch.full((8,), FAILURE)), 0.5),
    ]
    train_head(model_with_failure, labelled, 60, seed=0)
    assert float(expected_steps_to_go(model_with_failure, near, SCALE).max()) < 2
    assert float(expected_steps_to_go(model_with_failure, never, SCALE).min()) > 58
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_held_out_demonstrations_dwell_at_their_goals(model):
    samples = samples_of(episode(0, 2, True, True), episode(1, 3, True, True))
    fresh = add_goal_dwell(compute_all_features(model, samples), samples)
    assert fresh.lengths == (3 + DWELL_OBSERVATIONS, 4 + DWELL_OBSERVATIONS)
    assert len(fresh.features) == sum(fresh.lengths)


class FirstFeatureReward(torch.nn.Module):
    """A reward model whose d is the first feature."""

    def steps_to_go_logits(self, features):
        return 1e3 * torch.nn.functional.one_hot(features[:, 0].long(), SCALE.bins).float()


def test_the_chosen_detector_has_the_highest_recall_at_the_permitted_false_alarms():
    # The first comes near (3) before its end; the second does not.
    d = [9.0, 3.0, 5.0, 0.0, 0.0, 0.0, 9.0, 8.0, 7.0, 2.0, 2.0, 2.0]
    fresh = HeldOutDemonstrations(torch.tensor(d)[:, None], (6, 6))
    none = LabelledFeatures(torch.zeros(0, 1), torch.zeros(0))
    strict = choose_detector(FirstFeatureReward(), fresh, none, SCALE, max_false_rate=0.0)
    assert (strict.false, strict.recall) == (0.0, 1.0)
    assert 2.0 <= strict.threshold < 3.0 or strict.dwell > 1
    wrong = LabelledFeatures(torch.tensor([[2.0], [50.0]]), torch.full((2,), FAILURE))
    stricter = choose_detector(FirstFeatureReward(), fresh, wrong, SCALE, max_false_rate=0.1)
    assert stricter.threshold < 2.0
    assert stricter.recall == 0.5


def test_only_episodes_that_fail_within_the_limit_count_for_failed_returns():
    failed = episode(0, 2, False, False)
    done = episode(1, 2, True, True)
    failed = replace(
        failed,
        steps_to_go=np.array([10, 8, 7], np.float32),
        true_success_per_step=np.array([False] * 3),
    )
    done = replace(done, true_success_per_step=np.array([False, False, True]))
    whole, discounted = failed_returns([failed, done], replace(TINY, max_steps=40, gamma=0.5))
    assert whole == 3.0
    assert discounted == pytest.approx(((2 + 0.5) + 1) / 2)
    assert failed_returns([done], TINY) == [None, None]


def test_the_cells_differ_in_the_reward_model_only():
    cells = failure_aware.cells(failure_aware.EXPERIMENT.config)
    penalty = cells.pop('time-out penalty')
    assert {replace(cell, kind='baseline') for cell in cells.values()} == {cells['baseline']}
    usual = replace(penalty.base, learner='reinforce')
    assert replace(penalty, kind='baseline', base=usual) == cells['baseline']


def test_with_a_time_out_penalty_the_rewards_sum_to_minus_the_last_d():
    d = np.array([30.0, 20.0, 12.0], np.float32)
    assert timeout_penalty_rewards(d, is_detected=True).tolist() == [10.0, 8.0]
    assert timeout_penalty_rewards(d, is_detected=False).tolist() == [10.0, 8.0 - 30.0]
    assert timeout_penalty_rewards(d, is_detected=False).sum() == -d[-1]


def test_the_rewards_of_failed_episodes_count_up_to_their_end_in_practice():
    episode = make_episode(table_arm(), steps=4)
    truth = np.array([False, False, False, False, True])
    early = replace(
        episode,
        steps_to_go=np.array([9.0, 1.0, 1.0, 5.0, 0.0], np.float32),
        true_success_per_step=truth,
    )
    late = replace(early, steps_to_go=np.array([9.0, 8.0, 8.0, 7.0, 6.0], np.float32))
    config = failure_aware.EXPERIMENT.config.base
    assert failure_aware.failure_rewards([early], config) == [
        8.0,
        8.0,
    ]  # ends at a false detection
    assert failure_aware.failure_rewards([late], config) == [
        None,
        None,
    ]  # at the goal at the time limit
    never = replace(late, true_success_per_step=~truth & False)
    assert failure_aware.failure_rewards([early, never], config) == [
        (8.0 + 3.0) / 2,
        (8.0 - 6.0) / 2,
    ]
