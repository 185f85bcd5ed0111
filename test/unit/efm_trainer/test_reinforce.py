from dataclasses import replace

from bags import make_episode
from efm_model.network import new_model
from efm_trainer.config import ONCE, PRESETS
from efm_trainer.dataset import compute_all_features, to_batch
from efm_trainer.prediction import expected_steps_to_go
from efm_trainer.reinforce import Reinforce
import numpy as np
import pytest
import torch
from trainer_fakes import FakeTextEncoder, small_embodiment

EMBODIMENT = small_embodiment()


def make_learner(**changes) -> Reinforce:
    policy, reward = (new_model(EMBODIMENT, seed, pretrained='none') for seed in (0, 1))
    config = replace(PRESETS['default'], **{**ONCE, **changes})
    return Reinforce(
        policy, reward, text_encoder=FakeTextEncoder(), scale=EMBODIMENT.steps_to_go, config=config
    )


def episodes(count=3):
    return [make_episode(EMBODIMENT, i, 3 + i) for i in range(count)]


def weights(learner):
    return {name: value.clone() for name, value in learner.policy.state_dict().items()}


def assert_equal(left, right):
    for name in left:
        assert torch.equal(left[name], right[name]), name


def test_steps_to_go_is_the_mean_of_the_distribution():
    model = new_model(EMBODIMENT, pretrained='none')
    torch.nn.init.zeros_(model.steps_to_go.weight)
    bias = torch.full((61,), -100.0)
    bias[[10, 20]] = 0.0
    model.steps_to_go.bias.data = bias
    features = compute_all_features(model, to_batch(episodes(1), FakeTextEncoder()))
    d = expected_steps_to_go(model, features, EMBODIMENT.steps_to_go)
    torch.testing.assert_close(d, torch.full((4,), 15.0))


def test_returns_are_discounted_differences_up_to_the_last_observation():
    learner = make_learner()
    batch = learner.prepare([make_episode(EMBODIMENT, 0, 2)])
    d = batch.steps_to_go.tolist()
    last = d[1] - d[2]
    expected = [d[0] - d[1] + 0.9 * last, last]
    assert batch.returns.tolist() == pytest.approx(expected, abs=1e-5)


def test_an_update_changes_the_policy_but_neither_its_image_encoder_nor_the_reward_model():
    learner = make_learner()
    before = weights(learner)
    reward = {n: v.clone() for n, v in learner._reward_model.state_dict().items()}
    figures = learner.update(episodes())
    after = weights(learner)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert any(name.startswith('policy.') for name in moved)
    assert not any(name.startswith('encoder.image.') for name in moved)
    assert_equal(reward, learner._reward_model.state_dict())
    assert figures['samples'] == 3 + 4 + 5
    assert figures['optimiser_steps'] == 1


def test_the_order_of_arrival_changes_nothing():
    first = make_learner(batch_size=4)
    second = make_learner(batch_size=4)
    first.update(episodes())
    second.update(episodes()[::-1])
    assert_equal(weights(first), weights(second))


def test_simulator_truth_does_not_change_an_update():
    first = make_learner()
    second = make_learner()
    first.update(episodes())
    second.update(
        [
            replace(
                episode,
                true_success=not episode.true_success,
                true_success_per_step=~episode.true_success_per_step,
            )
            for episode in episodes()
        ]
    )
    assert_equal(weights(first), weights(second))


def test_recorded_steps_to_go_do_not_change_an_update():
    first = make_learner()
    second = make_learner()
    first.update(episodes())
    second.update(
        [replace(e, steps_to_go=np.full_like(e.steps_to_go, np.nan)) for e in episodes()]
    )
    assert_equal(weights(first), weights(second))


def test_the_papers_update_uses_each_sample_once_and_drops_the_rest():
    learner = make_learner(update='samples', updates=2, batch_size=4)
    figures = learner.update(episodes())
    assert figures['samples'] == 8
    assert figures['optimiser_steps'] == 2


def test_the_preset_paper_has_the_values_of_the_paper():
    paper = PRESETS['paper']
    assert (paper.updates, paper.batch_size, paper.gamma, paper.return_scale) == (
        16,
        64,
        0.9,
        0.05,
    )
    assert (paper.update, paper.max_staleness) == ('samples', 0)
    assert (paper.update_epochs, paper.baseline) == (1, 'none')


def test_each_epoch_uses_all_samples_and_the_optimiser_steps_are_counted():
    learner = make_learner(update_epochs=4, batch_size=8)
    figures = learner.update(episodes())
    assert (figures['samples'], figures['optimiser_steps']) == (12, 4 * 2)


def test_a_single_epoch_uses_the_papers_loss_without_recorded_probabilities():
    first = make_learner(update_epochs=1)
    second = make_learner(update_epochs=1)
    first.update(episodes())
    second.update([replace(e, log_probs=e.log_probs - 3) for e in episodes()])
    assert_equal(weights(first), weights(second))


def test_several_epochs_use_the_recorded_probabilities():
    first = make_learner(update_epochs=2)
    second = make_learner(update_epochs=2)
    first.update(episodes())
    second.update([replace(e, log_probs=e.log_probs - 3) for e in episodes()])
    pairs = zip(first.policy.parameters(), second.policy.parameters(), strict=True)
    assert any(not torch.equal(left, right) for left, right in pairs)


def test_the_deployed_policy_is_a_moving_average_of_the_trained_policy():
    plain = make_learner()
    learner = make_learner(ema_rate=0.25)
    before = weights(learner)
    given = learner.deployed
    assert plain.deployed is plain.policy
    plain.update(episodes())
    learner.update(episodes())
    assert learner.deployed is given
    assert_equal(weights(plain), weights(learner))
    for name, value in given.state_dict().items():
        way = torch.lerp(before[name], learner.policy.state_dict()[name], 0.25)
        torch.testing.assert_close(value, way)
    moved = {name for name, value in weights(learner).items() if not value.equal(before[name])}
    assert any(name.startswith('policy.') for name in moved)


def test_with_the_linear_baseline_advantages_do_not_correlate_with_steps_to_go():
    batch = make_learner(baseline='linear').prepare(episodes())
    d = batch.steps_to_go[batch.indices]
    assert torch.corrcoef(torch.stack([batch.advantages, d]))[0, 1].abs() < 1e-3
    assert not torch.equal(batch.advantages, batch.returns)
    assert torch.equal(
        *(
            getattr(make_learner(baseline='none').prepare(episodes()), name)
            for name in ('advantages', 'returns')
        )
    )


def test_sharing_a_frozen_encoder_does_not_change_the_result():
    learners = [make_learner(), make_learner()]
    for learner in learners:
        for model in (learner.policy, learner._reward_model):
            model.grounding.load_state_dict(learners[0].policy.grounding.state_dict())
            model.grounding.requires_grad_(False)
            object.__setattr__(model.config, 'pretrained', 'joint')
    shared, asking = (
        Reinforce(
            x.policy,
            x._reward_model,
            text_encoder=FakeTextEncoder(),
            scale=EMBODIMENT.steps_to_go,
            config=x._config,
        )
        for x in learners
    )
    assert shared._shares_encoder
    asking._shares_encoder = False
    shared.update(episodes())
    asking.update(episodes())
    for left, right in zip(shared.policy.parameters(), asking.policy.parameters(), strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize(
    'words', [{}, {'update_epochs': 4, 'baseline': 'linear'}], ids=['once', 'again']
)
def test_a_loss_that_is_not_finite_leaves_the_policy_unchanged(words):
    learner = make_learner(return_scale=1.0, **words)
    torch.nn.init.constant_(learner._reward_model.steps_to_go.bias, torch.nan)
    before = weights(learner)
    with pytest.raises(ValueError, match='finite'):
        learner.update(episodes())
    assert_equal(before, weights(learner))


def test_an_update_makes_actions_with_positive_returns_more_probable():
    learner = make_learner(learning_rate=1e-2)
    batch = learner.prepare(episodes(1))
    indices = batch.indices
    tokens = batch.episodes.tokens[indices]

    def score() -> float:
        features = learner.policy.features(batch.episodes.model_inputs(indices))
        logits = torch.log_softmax(learner.policy.policy_logits(features, tokens), dim=-1)
        chosen = logits.gather(-1, tokens[..., None]).squeeze(-1).sum(dim=-1)
        return float((batch.returns * chosen).sum().detach())

    before = score()
    for _ in range(3):
        learner.update(episodes(1))
    assert score() > before
