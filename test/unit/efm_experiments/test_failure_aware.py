from __future__ import annotations

from dataclasses import replace

from bags import make_episode
from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_experiments.config import TINY
from efm_experiments.learners import failure_aware as cautious
from efm_experiments.learners.baselines import charged
from efm_experiments.learners.failure_aware import (
    at_rest,
    attempted,
    Cautious,
    cautious_loss,
    demonstrated,
    Lessons,
    mismatched,
    rewound,
    teach,
)
from efm_experiments.learners.threshold import choose, held_out, HeldOut, WAIT
from efm_experiments.studies import failure_aware
from efm_experiments.studies.failure_aware import failed_returns
from efm_model.network import new_model
from efm_trainer.dataset import compute_all_features, to_batch
from efm_trainer.reinforce import expected_steps_to_go
from models import FakeTextEncoder, frames, table_arm
import numpy as np
import pytest
import torch

SCALE = StepsToGoRange()
NEVER = SCALE.bins


@pytest.fixture(autouse=True)
def words(monkeypatch):
    monkeypatch.setattr(cautious, 'text_encoder', FakeTextEncoder)


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
        observations=frames(length + 1, 100 + index),
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


def seen(model, before, now):
    """Return the features of one pair of frames."""
    samples = samples_of(episode(0, 1, True, True))
    pair = torch.from_numpy(np.stack([before, now]))[None]
    return model.features(pair, samples.text, samples.mask)


def test_rewound_features_are_those_of_the_film_played_backwards(model):
    one = episode(0, 3, True, True)
    forwards = compute_all_features(model, samples_of(one))
    backwards = [seen(model, one.observations[t + 1], one.observations[t]) for t in range(3)]
    torch.testing.assert_close(rewound(forwards), torch.cat(backwards), atol=1e-5, rtol=1e-4)


def test_features_at_rest_are_those_of_a_still_picture(model):
    one = episode(0, 2, True, True)
    forwards = compute_all_features(model, samples_of(one))
    still = [seen(model, frame, frame) for frame in one.observations]
    torch.testing.assert_close(at_rest(forwards), torch.cat(still), atol=1e-5, rtol=1e-4)


def test_demonstrations_teach_the_same_distance_forwards_backwards_and_at_rest(model):
    episodes = [replace(episode(k, 2, True, True), index=k) for k in range(2)]
    samples = samples_of(*episodes)
    found = demonstrated(compute_all_features(model, samples), samples, SCALE)
    assert found.bins.tolist() == [2, 1, 0, 2, 1, 0] * 2 + [2, 1, 2, 1]
    assert len(found.features) == len(found.bins)


def test_mismatched_ends_are_never_near_under_another_sentence_only(model):
    sentences = ('push the red cube to the left', 'push the blue cube to the left')
    long, short = (
        replace(episode(k, length, True, True), instruction=sentence)
        for k, (length, sentence) in enumerate(zip((14, 2), sentences, strict=True))
    )
    found = mismatched(model, samples_of(long, short), SCALE, seed=0)
    assert found.bins.tolist() == [NEVER] * (11 + 3)
    swapped = samples_of(
        replace(long, instruction=sentences[1]), replace(short, instruction=sentences[0])
    )
    expected = compute_all_features(model, swapped)[4:]
    torch.testing.assert_close(found.features, expected, atol=1e-5, rtol=1e-4)


def test_one_sentence_for_all_gives_no_mismatch(model):
    found = mismatched(model, samples_of(*(episode(k, 2, True, True) for k in range(2))), SCALE, 0)
    assert len(found.bins) == 0


def test_time_outs_teach_never_and_detected_successes_all_but_their_end(model):
    late = replace(
        episode(0, 3, False, False), steps_to_go=np.array([30, 1.5, 20, 20], np.float32)
    )
    done = replace(episode(1, 7, True, True), termination=Termination.SUCCESS_DETECTED)
    found = attempted(model, [late, done], SCALE, threshold=2.0)
    assert found.bins.tolist() == [NEVER] * 3 + [7, 6, 5]


def test_a_new_cautious_model_says_almost_what_the_plain_one_says(model):
    features = torch.randn(20, 50)
    plain = expected_steps_to_go(model, features, SCALE)
    wary = expected_steps_to_go(Cautious(model), features, SCALE)
    torch.testing.assert_close(plain, wary, atol=2.0, rtol=0.0)


def test_never_is_worth_the_largest_number_of_steps(model):
    wary = Cautious(model)
    with torch.no_grad():
        wary.out.bias[NEVER] = 1e3
    features = torch.randn(5, 50)
    assert wary.steps_to_go_logits(features).shape == (5, SCALE.bins)
    torch.testing.assert_close(expected_steps_to_go(wary, features, SCALE), torch.full((5,), 60.0))


def test_the_loss_is_least_at_the_true_bin_and_at_never():
    def loss(said, true):
        logits = torch.full((1, NEVER + 1), -20.0)
        logits[0, said] = 20.0
        return float(cautious_loss(logits, torch.tensor([true])))

    assert loss(NEVER, NEVER) < 1e-3
    assert loss(60, NEVER) > 10
    assert loss(NEVER, 60) > loss(60, 60) + 10
    assert loss(5, 5) < loss(7, 5)


def test_a_cautious_model_learns_when_to_say_never_and_leaves_the_plain_one_alone(model):
    before = {key: value.clone() for key, value in model.state_dict().items()}
    near = torch.full((8, 50), 0.5)
    never = torch.full((8, 50), -0.5)
    near[:, ::2] = never[:, ::2] = 0
    wary = Cautious(model)
    lessons = [
        (Lessons(near, torch.zeros(8, dtype=torch.int64)), 0.5),
        (Lessons(never, torch.full((8,), NEVER)), 0.5),
    ]
    teach(wary, lessons, 60, seed=0)
    assert float(expected_steps_to_go(wary, near, SCALE).max()) < 2
    assert float(expected_steps_to_go(wary, never, SCALE).min()) > 58
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_held_out_demonstrations_stay_at_their_goals(model):
    samples = samples_of(episode(0, 2, True, True), episode(1, 3, True, True))
    fresh = held_out(compute_all_features(model, samples), samples)
    assert fresh.lengths == (3 + WAIT, 4 + WAIT)
    assert len(fresh.features) == sum(fresh.lengths)


class Spoken(torch.nn.Module):
    """Says that as many steps are to go as the first feature says."""

    def steps_to_go_logits(self, features):
        return 1e3 * torch.nn.functional.one_hot(features[:, 0].long(), SCALE.bins).float()


def test_the_choice_sees_all_it_can_at_the_allowed_false_alarms():
    # The one comes near before its end (3); the other does not.
    d = [9.0, 3.0, 5.0, 0.0, 0.0, 0.0, 9.0, 8.0, 7.0, 2.0, 2.0, 2.0]
    fresh = HeldOut(torch.tensor(d)[:, None], (6, 6))
    none = Lessons(torch.zeros(0, 1), torch.zeros(0))
    strict = choose(Spoken(), fresh, none, SCALE, most=0.0)
    assert (strict['false'], strict['seen']) == (0.0, 1.0)
    assert 2.0 <= strict['threshold'] < 3.0 or strict['dwell'] > 1
    wrong = Lessons(torch.tensor([[2.0], [50.0]]), torch.full((2,), NEVER))
    stricter = choose(Spoken(), fresh, wrong, SCALE, most=0.1)
    assert stricter['threshold'] < 2.0
    assert stricter['seen'] == 0.5


def test_only_failures_within_the_limit_count_for_their_returns():
    failed = episode(0, 2, False, False)
    done = episode(1, 2, True, True)
    failed = replace(
        failed,
        steps_to_go=np.array([10, 8, 7], np.float32),
        true_success_per_step=np.array([False] * 3),
    )
    done = replace(done, true_success_per_step=np.array([False, False, True]))
    whole, discounted = failed_returns([failed, done], replace(TINY, limit=40, gamma=0.5))
    assert whole == 3.0
    assert discounted == pytest.approx(((2 + 0.5) + 1) / 2)
    assert failed_returns([done], TINY) == [None, None]


def test_the_cells_differ_in_the_reward_model_only():
    cells = failure_aware.cells(failure_aware.EXPERIMENT.config)
    cost = cells.pop('time-outs cost')
    assert {replace(arm, kind='plain') for arm in cells.values()} == {cells['plain']}
    usual = replace(cost.setting, learner='reinforce')
    assert replace(cost, kind='plain', setting=usual) == cells['plain']


def test_where_time_outs_cost_an_attempt_earns_what_it_lacks_at_its_end():
    d = np.array([30.0, 20.0, 12.0], np.float32)
    assert charged(d, is_detected=True).tolist() == [10.0, 8.0]
    assert charged(d, is_detected=False).tolist() == [10.0, 8.0 - 30.0]
    assert charged(d, is_detected=False).sum() == -d[-1]


def test_what_failed_attempts_earn_is_counted_up_to_where_they_end_in_practice():
    episode = make_episode(table_arm(), steps=4)
    truth = np.array([False, False, False, False, True])
    early = replace(
        episode,
        steps_to_go=np.array([9.0, 1.0, 1.0, 5.0, 0.0], np.float32),
        true_success_per_step=truth,
    )
    late = replace(early, steps_to_go=np.array([9.0, 8.0, 8.0, 7.0, 6.0], np.float32))
    setting = failure_aware.EXPERIMENT.config.setting
    assert failure_aware.earned([early], setting) == [8.0, 8.0]  # stops at a false success
    assert failure_aware.earned([late], setting) == [None, None]  # is there when time is up
    never = replace(late, true_success_per_step=~truth & False)
    assert failure_aware.earned([early, never], setting) == [(8.0 + 3.0) / 2, (8.0 - 6.0) / 2]
