from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
import math

from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_experiments.config import TINY
from efm_experiments.learners import baselines
from efm_experiments.learners.regularised import EmaLearner
from efm_experiments.learners.sample_reuse import (
    concatenate,
    Critic,
    ReplayConfig,
    ReplayLearner,
    ReplaySamples,
    truncate,
)
from efm_experiments.studies.reuse import episodes_needed, first_reached
from efm_model.network import FEATURES, new_model
from efm_trainer.reinforce import ema_update, Reinforce
from models import FakeTextEncoder, observations, table_arm
import numpy as np
import pytest
import torch

CONFIG = replace(TINY, max_steps=40)
LENGTH = 4


@pytest.fixture(scope='module')
def models():
    return new_model(table_arm(), seed=1), new_model(table_arm(), seed=2)


def arguments(models, **changes):
    policy, reward = models
    config = replace(CONFIG, **changes)
    return {
        'policy': deepcopy(policy),
        'reward_model': reward,
        'text_encoder': FakeTextEncoder(),
        'scale': config.embodiment.steps_to_go,
        'config': config.practice_config,
    }


def replay_learner(models, replay, **changes):
    return ReplayLearner(**arguments(models, **changes), replay=replay)


def episodes(first, count=2):
    """Return episodes of random frames and actions."""
    rng = np.random.default_rng(first)
    return [
        Episode(
            episode_id=f'practice-{index}',
            index=index,
            kind=Kind.PRACTICE,
            instruction='push the red cube to the left',
            seed=index,
            observations=observations(LENGTH + 1, index),
            stamps=np.arange(LENGTH + 1),
            tokens=rng.integers(0, 11, (LENGTH, 2)),
            actions=np.zeros((LENGTH, 2), np.float32),
            log_probs=np.full(LENGTH, -4.8, np.float32),
            steps_to_go=np.zeros(LENGTH + 1, np.float32),
            outcome=Outcome.FAILURE,
            termination=Termination.TIMEOUT,
            policy_version=1,
            reward_version=1,
            embodiment_hash='',
            true_success=False,
        )
        for index in range(first, first + count)
    ]


def replay_samples(count, **changes):
    """Return random samples."""
    random = torch.Generator().manual_seed(0)
    whole = ReplaySamples(
        torch.randn(count, FEATURES, generator=random),
        torch.zeros(count, 2, dtype=torch.int64),
        returns=torch.randn(count, generator=random),
        steps_to_go=torch.rand(count, generator=random) * 30,
        old_log_probs=torch.zeros(count),
    )
    return replace(whole, **changes)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def test_importance_weights_are_truncated_and_have_no_gradient():
    ratio = torch.tensor([0.5, 1.0, 3.0], requires_grad=True)
    found = truncate(ratio, 2.0)
    assert found.tolist() == [0.5, 1.0, 2.0]
    assert not found.requires_grad


def watched(learner, monkeypatch):
    """Return a list that will hold which samples every optimiser step took, by a feature."""
    seen = []
    learn = learner._learn

    def note(samples, advantages, chosen):
        seen.append(samples.features[chosen, 0].tolist())
        return learn(samples, advantages, chosen)

    monkeypatch.setattr(learner, '_learn', note)
    return seen


def test_an_epoch_uses_every_stored_sample_once(models, monkeypatch):
    learner = replay_learner(models, ReplayConfig(update_epochs=3, memory=2), batch_size=5)
    learner.update(episodes(0))
    seen = watched(learner, monkeypatch)
    learner.update(episodes(2))
    everything = concatenate(list(learner._memory)).features[:, 0]
    assert len(everything) == 4 * LENGTH
    steps = -(-len(everything) // 5)
    assert len(seen) == 3 * steps
    for first in range(0, 3 * steps, steps):
        once = [one for step in seen[first : first + steps] for one in step]
        assert sorted(once) == sorted(everything.tolist())


def test_only_the_last_updates_are_stored(models):
    learner = replay_learner(models, ReplayConfig(memory=2))
    found = [learner.update(episodes(first))['samples'] for first in (0, 2, 4)]
    assert found == [2 * LENGTH, 4 * LENGTH, 4 * LENGTH]


def test_returns_of_stored_samples_do_not_change(models):
    learner = replay_learner(models, ReplayConfig(memory=2))
    learner.update(episodes(0))
    before = learner._memory[0].returns.clone()
    learner.update(episodes(2))
    torch.testing.assert_close(learner._memory[0].returns, before)


def test_clipped_epochs_use_the_trainers_own_learner(models, monkeypatch):
    monkeypatch.setattr(baselines, 'text_encoder', FakeTextEncoder)
    learner = baselines.make_learner(replace(CONFIG, learner='clipped_linear'), *models)
    assert type(learner) is Reinforce
    assert (learner._config.update_epochs, learner._config.baseline) == (4, 'linear')
    learner = baselines.make_learner(CONFIG, *models)
    assert (learner._config.update_epochs, learner._config.baseline) == (1, 'none')


def test_one_epoch_without_memory_equals_reinforce(models):
    one = replay_learner(models, ReplayConfig(), batch_size=5)
    other = Reinforce(**arguments(models, batch_size=5))
    for first in (0, 2):
        one.update(episodes(first))
        other.update(episodes(first))
    torch.testing.assert_close(weights(one.policy), weights(other.policy))


def test_a_critic_predicts_before_it_learns():
    given = replay_samples(40, returns=torch.full((40,), 5.0))
    critic = Critic()
    other = Critic()
    first = critic.predict(given)
    torch.testing.assert_close(first, other.predict(replay_samples(40, returns=torch.zeros(40))))
    assert (critic.predict(given) - 5).abs().mean() < (first - 5).abs().mean()


def test_the_first_crossing_is_interpolated_between_two_points():
    assert first_reached([0, 40, 80], [0.4, 0.6, 0.8], 0.7) == pytest.approx(60)
    assert first_reached([0, 40, 80], [0.4, 0.6, 0.8], 0.4) == 0
    assert first_reached([0, 40, 80], [0.4, 0.6, 0.8], 0.9) == math.inf


def test_a_target_that_some_seeds_never_reach_has_an_infinite_upper_end():
    runs = [[0.0, 0.9], [0.0, 0.5]]
    mean, low, high = episodes_needed([0, 100], runs, [0.7, 0.7])
    assert mean == pytest.approx(100)
    assert low == pytest.approx(100 * 0.7 / 0.9)
    assert high == math.inf


def test_samples_of_another_temperature_are_not_reused(models, monkeypatch):
    monkeypatch.setattr(baselines, 'text_encoder', FakeTextEncoder)
    with pytest.raises(ValueError, match='temperature: expected 1'):
        baselines.make_learner(replace(CONFIG, learner='replay', temperature=0.7), *models)


def test_an_ema_update_moves_the_given_fraction(models):
    follower = deepcopy(models[0])
    leader = deepcopy(models[1])
    start = weights(follower)
    ema_update(follower, leader, 0.25)
    torch.testing.assert_close(weights(follower), start + 0.25 * (weights(leader) - start))


def test_the_deployed_policy_follows_the_trained_policy(models):
    given = arguments(models)
    policy = given['policy']
    learner = EmaLearner(**given, ema_rate=0.5)
    start = weights(policy)
    learner.update(episodes(0))
    assert not torch.equal(weights(policy), start)
    torch.testing.assert_close(weights(policy), (start + weights(learner.policy)) / 2)
