from dataclasses import replace

import efm
from efm_core.episode import Kind, Termination
from efm_core.observation import MeasuredState
from models import exported, FakeTextEncoder, frames, SENTENCE, table_arm
import numpy as np
import pytest

ROBOT = replace(table_arm(), episode=replace(table_arm().episode, max_steps=3))


class Still:
    """A world of one image, which is always at its goal."""

    instruction = SENTENCE

    def __init__(self):
        self.seeds = []

    def reset(self, seed):
        self.seeds.append(seed)

    def step(self, action):
        assert action.shape == (2,)

    def images(self):
        return (frames(1)[0],)

    def state(self):
        return MeasuredState()

    def terminated(self):
        return False

    def success(self):
        return True


@pytest.fixture(scope='module')
def pair():
    encoder = FakeTextEncoder()
    return (
        efm.Policy.load(exported('policy'), encoder, table_arm()),
        efm.RewardModel.load(exported('reward'), encoder, table_arm()),
    )


def test_one_world_runs_an_episode_for_each_seed_in_their_order(pair):
    world = Still()
    episodes = efm.rollout(world, *pair, seeds=[4, 2], max_steps=3)
    assert [episode.seed for episode in episodes] == world.seeds == [4, 2]
    assert [episode.kind for episode in episodes] == [Kind.EVALUATION] * 2
    assert [len(episode) for episode in episodes] == [3, 3]
    assert episodes[0].embodiment_hash == table_arm().hash


def test_several_worlds_give_the_same_episodes_as_one(pair):
    one = efm.rollout(Still(), *pair, seeds=range(3), max_steps=2)
    several = efm.rollout([Still(), Still()], *pair, seeds=range(3), max_steps=2)
    for left, right in zip(one, several, strict=True):
        np.testing.assert_array_equal(left.tokens, right.tokens)


def test_each_episode_is_given_away_when_it_ends(pair):
    given = []
    episodes = efm.rollout(Still(), *pair, seeds=range(2), max_steps=1, on_episode=given.append)
    assert given == episodes


def test_without_a_reward_model_the_truth_ends_an_episode(pair):
    (episode,) = efm.rollout(Still(), pair[0], None, seeds=[0])
    assert (len(episode), episode.termination) == (0, Termination.STOPPED)


def test_a_detector_that_may_not_end_an_episode_lets_it_run_to_the_limit(pair, monkeypatch):
    policy, reward_model = pair
    monkeypatch.setattr(reward_model, '_values', np.zeros_like(reward_model._values))
    counts = {
        ends: len(
            efm.rollout(
                Still(), policy, reward_model, [0], max_steps=5, detector_ends_episode=ends
            )[0]
        )
        for ends in (True, False)
    }
    assert counts == {True: table_arm().episode.success_dwell - 1, False: 5}


def test_no_world_is_refused(pair):
    with pytest.raises(ValueError, match='worlds: expected at least one'):
        efm.rollout([], *pair, seeds=[0])


def test_a_gymnasium_environment_has_a_demonstrator_of_its_own():
    pytest.importorskip('gym_pusht')
    world = efm.make_world('pusht')
    (episode,) = efm.demonstrate(world, efm.load_embodiment('pusht'), seeds=[0], max_steps=2)
    assert (len(episode), episode.actions.shape) == (2, (2, 2))
    world.close()
