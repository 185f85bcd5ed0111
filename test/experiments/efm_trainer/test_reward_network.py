"""A reward model with a network of its own: what it learns from, and that everything takes it."""

from __future__ import annotations

from dataclasses import replace
import json

from efm_data.labels import LabelledAttempt
from efm_model.checkpoint import load_checkpoint
from efm_model.export import export_reward, parity
from efm_model.runtime import Runtime
from efm_model.torch_runtime import make_runtimes
from efm_model.visuomotor import new_visuomotor
from efm_reward.model import RewardModel
from efm_trainer.config import PRESETS, STAGE_ONE
from efm_trainer.detector import read_report
from efm_trainer.imitation import make_objectives
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune, retrain_reward
import pytest
import torch
from trainer_fakes import demonstrations, FakeTextEncoder, small_embodiment
from visuomotor import gripper_arm, noise_episode

ROBOT = gripper_arm()
ENCODER = FakeTextEncoder()
AUTO = replace(
    STAGE_ONE['visuomotor'], iterations=4, batch_size=12, validate_every=2, hidden_size=16
)
CONFIG = replace(AUTO, reward_network='separate')
EPISODES = [noise_episode(ROBOT, index, 3 + index) for index in range(4)]
ATTEMPTS = [
    LabelledAttempt(noise_episode(ROBOT, 10 + i, 6), at)
    for i, at in enumerate((4, 5, None, None, 6, None))
]


def train(folder, attempts=(), **changes):
    config = replace(CONFIG, **changes)
    return fine_tune(
        EPISODES, ROBOT, ENCODER, config, folder, family='visuomotor', attempts=attempts
    )


def weights(path):
    return load_checkpoint(path, ROBOT)[0].state_dict()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    return train(tmp_path_factory.mktemp('shared'), reward_network='shared')


@pytest.fixture(scope='module')
def separate(tmp_path_factory):
    return train(tmp_path_factory.mktemp('separate'))


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    return train(tmp_path_factory.mktemp('labelled'), ATTEMPTS)


def test_the_policy_does_not_depend_on_the_reward_network_or_the_labels(
    shared, separate, labelled
):
    policy = weights(shared.policy)
    assert same(policy, weights(separate.policy))
    assert same(policy, weights(labelled.policy))


@pytest.mark.parametrize('reached', [True, False])
def test_successes_and_failures_both_change_the_reward_model(separate, tmp_path, reached):
    attempts = [a for a in ATTEMPTS if (a.success_at is not None) is reached]
    found = train(tmp_path, attempts, second_reward=False)
    assert not same(weights(separate.reward), weights(found.reward))


def test_the_separate_network_has_no_proprioception_unless_it_is_asked_for(separate, tmp_path):
    assert load_checkpoint(separate.policy, ROBOT)[0].config.proprioception_size == 3
    assert load_checkpoint(separate.reward, ROBOT)[0].config.proprioception_size == 0
    with_it = train(tmp_path, reward_proprioception=True)
    assert load_checkpoint(with_it.reward, ROBOT)[0].config.proprioception_size == 3


def test_the_separate_network_learns_no_actions(separate):
    model, _ = load_checkpoint(separate.reward, ROBOT)
    fresh = new_visuomotor(
        ROBOT, CONFIG.seed + 1_000_000, model.config.pieces, '', False, hidden_size=16
    )
    names = dict(fresh.named_parameters())
    still = {n.split('.')[0] for n, w in model.named_parameters() if torch.equal(w, names[n])}
    moved = {n.split('.')[0] for n, w in model.named_parameters() if not torch.equal(w, names[n])}
    assert still == {'policy'}
    assert moved == {'encoder', 'trunk', 'steps_to_go', 'instruction'}
    curve = json.loads((separate.reward.parent / 'reward_curve.json').read_text())
    assert 'training/steps_to_go' in curve[-1]
    assert 'training/action' not in curve[-1]


def test_targets_of_labelled_attempts_count_down_or_are_the_last_bin():
    model = new_visuomotor(ROBOT, pieces=('grasp',), hidden_size=16)
    failure = noise_episode(ROBOT, 5, 2)
    config = replace(CONFIG, shared_samples=False)
    found = make_objectives(model, EPISODES[:1], ROBOT, ENCODER, config, failures=[failure])
    assert found.indices['steps_to_go'].tolist() == list(range(7))
    assert found._bins.tolist() == [3, 2, 1, 0, 20, 20, 20]  # the last bin is never
    assert found.indices['instruction'].tolist() == [0]  # a failure does not show the goal


def test_held_out_attempts_are_measured_and_do_not_train(labelled):
    found = read_report(labelled.reward.parent)
    assert sorted(one.reached_at or -1 for one in found.attempts) in (
        [-1, -1, 4, 5],
        [-1, -1, 4, 6],
        [-1, -1, 5, 6],
    )
    assert [len(one.steps_to_go) for one in found.attempts] == [7] * 4
    _, card = load_checkpoint(labelled.reward, ROBOT)
    assert card['attempts'] == 2


def test_without_labels_the_reward_model_shares_the_network_and_a_second_one_watches(
    shared, separate, tmp_path
):
    found = train(tmp_path, reward_network='auto')
    assert same(weights(found.reward), weights(shared.reward))
    assert same(
        weights(found.reward.parent / 'second'), weights(separate.reward.parent / 'second')
    )
    assert read_report(tmp_path).second is not None


def test_labels_give_the_reward_model_a_network_of_its_own(labelled, tmp_path):
    found = train(tmp_path, ATTEMPTS, reward_network='auto')
    assert same(weights(found.reward), weights(labelled.reward))


def test_a_shared_network_takes_no_labels(tmp_path):
    with pytest.raises(ValueError, match='reward_network: expected separate, to learn from atte'):
        train(tmp_path, ATTEMPTS, reward_network='shared')


def test_a_grounding_model_may_have_a_separate_reward_network(tmp_path):
    robot = small_embodiment()
    config = replace(
        STAGE_ONE['grounding'],
        reward_network='separate',
        iterations=2,
        batch_size=6,
        pretrained='none',
        hidden_size=8,
    )
    found = fine_tune(demonstrations(robot, 3), robot, ENCODER, config, tmp_path)
    assert load_checkpoint(found.reward, robot)[1]['family'] == 'grounding'


def test_every_backend_ignores_the_proprioception_that_the_reward_model_does_not_use(
    separate, tmp_path
):
    policy, reward = (load_checkpoint(p, ROBOT)[0] for p in (separate.policy, separate.reward))
    path = export_reward(reward, tmp_path / 'reward.onnx', ROBOT, 1)
    assert parity(reward, path, ROBOT, 'reward').passed
    exported = RewardModel(Runtime(path, 'reward', embodiment=ROBOT), ENCODER, embodiment=ROBOT)
    _, runtime = make_runtimes(policy, reward)
    found = []
    for model in (exported, RewardModel(runtime, ENCODER, embodiment=ROBOT)):
        model.begin('grasp the red block')
        found.append([model.predict(one).steps_to_go for one in EPISODES[0].observations])
    assert found[0] == pytest.approx(found[1], abs=1e-3)


def test_stage_2_takes_its_reward_from_a_separate_network(separate):
    policy, reward = (load_checkpoint(p, ROBOT)[0] for p in (separate.policy, separate.reward))
    learner = Reinforce(
        policy,
        reward,
        text_encoder=ENCODER,
        scale=ROBOT.steps_to_go,
        config=replace(PRESETS['default'], batch_size=5),
    )
    figures = learner.update(EPISODES)
    assert figures['samples'] == 3 + 4 + 5 + 6


def test_each_network_reports_its_progress(tmp_path):
    seen = []
    fine_tune(
        EPISODES,
        ROBOT,
        ENCODER,
        CONFIG,
        tmp_path,
        family='visuomotor',
        progress=lambda iteration, total, losses: seen.append((iteration, total)),
    )
    assert seen == [(iteration, 12) for iteration in (2, 4, 6, 8, 10, 12)]  # three networks


def test_the_second_reward_model_is_another_one_without_proprioception(labelled, tmp_path):
    folder = labelled.reward.parent
    second, card = load_checkpoint(folder / 'second', ROBOT)
    assert second.config.proprioception_size == 0
    assert card['kind'] == 'reward'
    assert not same(second.state_dict(), weights(labelled.reward))
    assert read_report(folder).second.dwell == ROBOT.episode.success_dwell
    train(tmp_path, reward_proprioception=True)
    assert load_checkpoint(tmp_path / 'second', ROBOT)[0].config.proprioception_size == 0


def test_without_the_second_reward_model_the_first_is_the_same(separate, tmp_path):
    alone = train(tmp_path, second_reward=False)
    assert not (tmp_path / 'second').exists()
    assert read_report(tmp_path).second is None
    assert same(weights(alone.reward), weights(separate.reward))


def test_the_second_reward_model_can_be_left_out_of_a_shared_network_too(shared, tmp_path):
    assert (shared.reward.parent / 'second').is_dir()
    found = train(tmp_path, reward_network='shared', second_reward=False)
    assert not (tmp_path / 'second').exists()
    assert same(weights(found.reward), weights(shared.reward))


def test_a_reward_model_that_is_trained_again_has_the_labels_and_the_same_policy(
    separate, labelled, tmp_path
):
    found = retrain_reward(
        separate.policy, EPISODES, ROBOT, ENCODER, CONFIG, tmp_path, attempts=ATTEMPTS
    )
    for kind in ('policy', 'reward', 'second'):
        assert same(weights(tmp_path / kind), weights(labelled.policy.parent / kind))
    assert len(found.attempts) == 4


def test_a_reward_model_needs_the_policy_of_stage_1(tmp_path):
    with pytest.raises(FileNotFoundError, match='policy: expected the checkpoint of stage 1'):
        retrain_reward(tmp_path / 'no', EPISODES, ROBOT, ENCODER, CONFIG, tmp_path / 'sft')
