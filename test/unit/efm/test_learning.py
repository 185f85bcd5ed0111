"""Stage 1 and stage 2 through the public Python API, on a small table with tiny networks."""

from dataclasses import replace
import json

import efm
from efm_core.episode import Kind
from efm_sim.rollout import demonstrate
from efm_sim.table.config import TableConfig
from efm_sim.worlds import make_world
from models import FakeTextEncoder, table_arm
import numpy as np
import pytest
import torch
from trainer_fakes import demonstrations, small_embodiment, without_export

ENCODER = FakeTextEncoder()
TINY = {'iterations': 2, 'batch_size': 6, 'hidden_size': 8, 'pretrained': 'none'}
ROBOT = replace(table_arm(), episode=replace(table_arm().episode, max_steps=4))


@pytest.fixture(scope='module')
def world():
    return make_world(ROBOT, table=TableConfig(body='tool'))


@pytest.fixture(scope='module')
def pair():
    return efm.fine_tune(demonstrations(ROBOT, 3), ROBOT, text_encoder=ENCODER, **TINY)


def weights(policy):
    return {name: value.clone() for name, value in policy.runtime.model.state_dict().items()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_demonstrations_become_a_policy_and_a_reward_model(pair):
    policy, reward_model = pair
    assert (policy.version, reward_model.version) == (1, 1)
    assert policy.embodiment == reward_model.embodiment == ROBOT
    again = efm.fine_tune(demonstrations(ROBOT, 3), ROBOT, text_encoder=ENCODER, **TINY)
    assert same(weights(policy), weights(again[0]))


def test_each_validation_is_reported():
    reported = []
    efm.fine_tune(
        demonstrations(ROBOT, 3),
        ROBOT,
        text_encoder=ENCODER,
        on_validation=lambda *found: reported.append(found),
        **TINY,
    )
    ((iteration, total, losses),) = reported
    assert (iteration, total) == (2, 2)
    assert losses['validation/action'] > 0


def test_an_option_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match='iteration'):
        efm.fine_tune(demonstrations(ROBOT, 3), ROBOT, text_encoder=ENCODER, iteration=3)


def test_a_run_gets_checkpoints_and_release_1_as_from_efm_train(tmp_path):
    run = tmp_path / 'run'
    robot = small_embodiment()
    made = demonstrations(robot, 3)
    with without_export():
        policy, _ = efm.fine_tune(made, robot, run, text_encoder=ENCODER, **TINY)
    assert efm.load_embodiment(run / 'embodiment.yaml') == robot
    found, _ = efm.load_checkpoints(run, text_encoder=ENCODER)
    assert same(weights(policy), weights(found))
    manifest = json.loads((run / 'releases' / '000001' / 'manifest.json').read_text())
    assert manifest['version'] == 1
    with pytest.raises(FileExistsError, match='sft'):
        efm.fine_tune(made, robot, run, text_encoder=ENCODER, **TINY)


def test_practice_returns_a_new_policy_and_leaves_the_old_one_alone(world, pair):
    policy, reward_model = pair
    before = weights(policy)
    updates = []
    seeds = range(5)
    practised = efm.practise(
        world, policy, reward_model, seeds, episodes_per_update=2, on_update=updates.append
    )
    assert same(weights(policy), before)
    assert not same(weights(practised), before)
    assert practised.version == 3
    assert [(one['version'], one['episodes']) for one in updates] == [(2, 2), (3, 4)]
    assert all(np.isfinite(one['loss']) for one in updates)


def test_the_same_seeds_give_the_same_practice(world, pair):
    one, other = (efm.practise(world, *pair, range(2), episodes_per_update=2) for _ in range(2))
    assert same(weights(one), weights(other))


def test_practice_does_not_depend_on_the_truth(world, pair, monkeypatch):
    one = efm.practise(world, *pair, range(2), episodes_per_update=2)
    monkeypatch.setattr(world, 'success', lambda: True)
    other = efm.practise(world, *pair, range(2), episodes_per_update=2)
    assert same(weights(one), weights(other))


def test_too_few_episodes_for_an_update_change_nothing(world, pair):
    assert efm.practise(world, *pair, range(3)) is pair[0]


def test_torch_keeps_its_number_of_threads(world, pair):
    torch.set_num_threads(2)
    try:
        efm.practise(world, *pair, range(1), episodes_per_update=1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_an_exported_policy_cannot_practise(world, pair, tmp_path):
    assert efm.publish_release(tmp_path, *pair).version == 1
    exported = efm.load_release(tmp_path, text_encoder=ENCODER)
    with pytest.raises(ValueError, match='policy: expected a torch model'):
        efm.practise(world, *exported, range(2))


def test_episodes_of_the_demonstrator_can_be_learned_from(world):
    made = efm.demonstrate(world, ROBOT, range(2))
    assert [episode.kind for episode in made] == [Kind.DEMONSTRATION] * 2
    expected = demonstrate([world], range(2), ROBOT, max_steps=4)
    np.testing.assert_array_equal(made[1].actions, expected[1].actions)


def test_labelled_attempts_reach_the_reward_network():
    attempts = [efm.LabelledAttempt(demonstrations(ROBOT, 1)[0], None)]
    with pytest.raises(ValueError, match='reward_network: expected separate, to learn from atte'):
        efm.fine_tune(
            demonstrations(ROBOT, 3), ROBOT, text_encoder=ENCODER, attempts=attempts, **TINY
        )
