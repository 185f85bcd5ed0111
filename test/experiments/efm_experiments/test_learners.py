from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
import itertools

from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.observation import Observation
from efm_experiments.config import LEARNERS, TINY
from efm_experiments.learners import baselines
from efm_experiments.learners.baselines import (
    generalised_advantages,
    make_learner,
    RewardEnsemble,
    SUCCESS_REWARD,
)
from efm_experiments.learners.mixed_cloning import MixedCloning
from efm_model.network import log_probability, new_model
from efm_trainer.config import PracticeConfig
from efm_trainer.dataset import compute_all_features, to_batch
from models import FakeTextEncoder, observations, table_arm
import numpy as np
import pytest
import torch

CONFIG = replace(TINY, max_steps=40)


@pytest.fixture(autouse=True)
def words(monkeypatch):
    monkeypatch.setattr(baselines, 'text_encoder', FakeTextEncoder)


@pytest.fixture(scope='module')
def models():
    return new_model(table_arm(), seed=1), new_model(table_arm(), seed=2)


def episode(index, length, detected, true, scene=0):
    """Return an episode of random frames and actions."""
    ending = Termination.SUCCESS_DETECTED if detected else Termination.TIMEOUT
    rng = np.random.default_rng(index)
    return Episode(
        episode_id=f'practice-{index}',
        index=index,
        kind=Kind.PRACTICE,
        instruction='push the red cube to the left',
        seed=index,
        observations=Observation.concatenate(
            [observations(1, scene), observations(length, 100 + index)]
        ),
        stamps=np.arange(length + 1),
        tokens=rng.integers(0, 11, (length, 2)),
        actions=np.zeros((length, 2), np.float32),
        log_probs=np.full(length, -4.8, np.float32),
        steps_to_go=np.zeros(length + 1, np.float32),
        outcome=Outcome.SUCCESS if detected else Outcome.FAILURE,
        termination=ending,
        policy_version=1,
        reward_version=1,
        embodiment_hash='',
        true_success=true,
    )


def learner(name, models, **changes):
    policy, reward = models
    return make_learner(replace(CONFIG, learner=name, **changes), policy, reward)


def returns_of(name, models, *episodes):
    return learner(name, models).prepare(list(episodes)).returns.numpy()


def test_the_sparse_oracle_reward_is_discounted_back_from_the_last_action(models):
    found = returns_of('sparse_oracle', models, episode(0, 3, False, True))
    np.testing.assert_allclose(found, SUCCESS_REWARD * np.array([0.81, 0.9, 1.0]), rtol=1e-6)


def test_the_sparse_detector_reward_ignores_the_simulator(models):
    found = returns_of(
        'sparse_detector', models, episode(0, 2, True, False), episode(1, 2, False, True)
    )
    np.testing.assert_allclose(found, SUCCESS_REWARD * np.array([0.9, 1, 0, 0]), rtol=1e-6)


def test_filtered_cloning_gives_all_actions_of_a_success_the_same_weight(models):
    found = returns_of(
        'filtered_cloning', models, episode(0, 4, True, True), episode(1, 2, False, False)
    )
    np.testing.assert_allclose(found, SUCCESS_REWARD * np.array([1, 1, 1, 1, 0, 0]), rtol=1e-6)


def test_grpo_compares_episodes_at_the_same_scene_only(models):
    # Scene 0: one of two succeeds. Scene 1: both succeed, which gives no advantage.
    group = [episode(k, 2, k != 1, True, scene=k // 2) for k in range(4)]
    found = learner('grpo', models).prepare(group).advantages.numpy().reshape(4, 2)
    assert (found[0] > 0).all()
    np.testing.assert_allclose(found[1], -found[0], rtol=1e-5)
    np.testing.assert_allclose(found[2:], 0, atol=1e-6)


def test_advantages_without_a_critic_are_discounted_sums():
    # Rewards 1 and 2, gamma * lambda = 0.5 * 0.95.
    found = generalised_advantages(torch.tensor([5.0, 4.0, 2.0]), torch.zeros(3), gamma=0.5)
    np.testing.assert_allclose(found, [1 + 0.475 * 2, 2], rtol=1e-6)


def test_a_perfect_critic_leaves_no_advantage():
    # Rewards 1 and 2, gamma 0.5: values 1 + 0.5 * 2 = 2 and 2.
    values = torch.tensor([2.0, 2.0, 99.0])
    found = generalised_advantages(torch.tensor([5.0, 4.0, 2.0]), values, gamma=0.5)
    np.testing.assert_allclose(found, [0, 0], atol=1e-6)


def test_the_reward_ensemble_predicts_the_largest_d_of_its_members(models):
    features = torch.randn(20, 50)
    bins = torch.arange(61, dtype=torch.float32)

    def d(model):
        with torch.no_grad():
            return torch.softmax(model.steps_to_go_logits(features), dim=-1) @ bins

    expected = torch.maximum(d(models[0]), d(models[1]))
    torch.testing.assert_close(d(RewardEnsemble(list(models))), expected)


@pytest.mark.parametrize('name', [name for name in LEARNERS if not name.startswith('sparse')])
def test_every_learner_changes_the_policy_only(name, models):
    policy = new_model(table_arm(), seed=1)
    reward = models[1]
    before = {key: value.clone() for key, value in reward.state_dict().items()}
    heads = policy.policy.out[0].weight.detach().clone()
    found = learner(name, (policy, reward)).update(
        [episode(k, 3, k % 2 == 0, True) for k in range(4)]
    )
    assert np.isfinite(found['loss'])
    assert not torch.equal(heads, policy.policy.out[0].weight)
    assert all(torch.equal(value, before[key]) for key, value in reward.state_dict().items())


def test_a_kl_penalty_keeps_the_policy_near_stage_1(models):
    episodes = [episode(k, 4, True, True) for k in range(2)]

    def increase(kl_weight):
        """Return the increase of the log-probability of the recorded actions [nats]."""
        policy = new_model(table_arm(), seed=1)
        held = learner(
            'kl_regularised', (policy, models[1]), kl_weight=kl_weight, learning_rate=1e-3
        )
        batch = held.prepare(episodes)
        features = batch.features[batch.indices]
        tokens = batch.episodes.tokens[batch.indices]
        found = []
        for _ in range(2):
            with torch.no_grad():
                logits = policy.policy_logits(features, tokens)
                found.append(float(log_probability(logits, tokens).mean()))
            for _ in range(5):
                held.update(episodes)
        return abs(found[1] - found[0])

    assert increase(100.0) < 0.5 * increase(0.0)


def deployed_weights(name):
    """Return the deployed policy after one update from equal weights on equal episodes."""
    pair = new_model(table_arm(), seed=1), new_model(table_arm(), seed=2)
    made = learner(name, pair, batch_size=8, kl_weight=1.0)
    start = flat(pair[0])
    # Scene 0: right, missed. Scene 1: false, right. GRPO compares the episodes of a scene.
    made.update(
        [
            episode(0, 6, detected=True, true=True, scene=0),
            episode(1, 6, detected=False, true=True, scene=0),
            episode(2, 6, detected=False, true=False, scene=1),
            episode(3, 6, detected=True, true=False, scene=1),
        ]
    )
    return start, flat(made.deployed)


def flat(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.fixture(scope='module')
def learned():
    """Return the weights before and after one update of every learner of the registry."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, 'text_encoder', FakeTextEncoder)
        return {name: deployed_weights(name) for name in LEARNERS}


@pytest.mark.parametrize('name', LEARNERS)
def test_one_update_of_a_learner_changes_the_policy_and_repeats(name, learned):
    start, end = learned[name]
    assert not torch.equal(start, end)
    assert torch.equal(end, deployed_weights(name)[1])


@pytest.mark.parametrize(('one', 'other'), list(itertools.combinations(LEARNERS, 2)))
def test_no_two_learners_learn_the_same(one, other, learned):
    assert torch.equal(learned[one][0], learned[other][0])
    assert not torch.equal(learned[one][1], learned[other][1])


def likelihood(model, found):
    """Return the mean log-probability of an episode's actions."""
    batch = to_batch([found], FakeTextEncoder())
    with torch.no_grad():
        features = compute_all_features(model, batch)[batch.has_action]
        logits = model.policy_logits(features, batch.tokens[batch.has_action])
        return log_probability(logits, batch.tokens[batch.has_action]).mean().item()


def test_mixed_cloning_imitates_demonstrations_and_detected_successes_only(models):
    shown, success, failure = (episode(k, 6, k == 1, False) for k in range(3))
    policy = deepcopy(models[0])
    learner = MixedCloning(
        policy,
        models[1],
        demonstrations=[shown],
        text_encoder=FakeTextEncoder(),
        scale=table_arm().steps_to_go,
        config=PracticeConfig(batch_size=8, ema_rate=1.0),
    )
    before = [likelihood(models[0], one) for one in (shown, success, failure)]
    for _ in range(30):
        found = learner.update([success, failure])
    after = [likelihood(learner.deployed, one) for one in (shown, success, failure)]
    gains = np.subtract(after, before)
    assert gains[0] > 1
    assert gains[1] > 1
    assert gains[2] < 0.5 * gains[1]
    assert found['samples'] == 12


def test_mixed_cloning_without_a_success_imitates_the_demonstrations(models):
    shown = episode(0, 6, True, False)
    learner = MixedCloning(
        deepcopy(models[0]),
        models[1],
        demonstrations=[shown],
        text_encoder=FakeTextEncoder(),
        scale=table_arm().steps_to_go,
        config=PracticeConfig(batch_size=8),
    )
    learner.update([episode(2, 6, False, False)])
    assert likelihood(learner.deployed, shown) > likelihood(models[0], shown)
