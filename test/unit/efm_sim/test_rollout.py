"""Rollouts with a policy, a reward model and worlds that only count."""

from __future__ import annotations

from dataclasses import dataclass, replace

from efm_core.action import PolicyAction
from efm_core.embodiment import load_embodiment
from efm_core.episode import Kind, Outcome, Termination
from efm_core.observation import MeasuredState
from efm_sim.rollout import as_commanded, rollout
import numpy as np
import pytest
from trainer_fakes import TABLE_ARM

EMBODIMENT = load_embodiment(TABLE_ARM)
LIMIT = EMBODIMENT.episode.max_steps


class CountingWorld:
    """A task of as many steps as its seed; the image shows the seed and the steps."""

    def reset(self, seed):
        self.seed = seed
        self.steps = 0
        self.instruction = f'do {seed} steps'

    def step(self, action):
        assert action.dtype == np.float32
        self.steps += 1

    def images(self):
        image = np.zeros((64, 64, 3), np.uint8)
        image[..., 0] = self.seed
        image[..., 1] = self.steps
        return (image,)

    def state(self):
        return MeasuredState()

    def terminated(self):
        return False

    def success(self):
        return self.steps >= self.seed


class CountingPolicy:
    version = 7

    def __init__(self):
        self.batches = []

    def start(self, instruction, seed):
        return seed

    def act_batch(self, episodes, observations):
        self.batches.append(len(episodes))
        for seed, observation in zip(episodes, observations, strict=True):
            assert observation.images[0][0, 0, 0] == seed
        token = np.array([5, 5])
        return [
            PolicyAction(token, np.float32([0.01, 0]), log_probability=-float(seed))
            for seed in episodes
        ]


@dataclass
class FakePrediction:
    steps_to_go: float
    success: bool


class CountingRewardModel:
    """Predicts the remaining steps from the image; detects success one step after the goal."""

    version = 3

    def start(self, instruction):
        return instruction

    def predict_batch(self, episodes, observations):
        images = [observation.images[0] for observation in observations]
        left = [float(image[0, 0, 0]) - float(image[0, 0, 1]) for image in images]
        return [FakePrediction(d, d < 0) for d in left]


def run(worlds=2, seeds=(3, 1, 2, 70), **options):
    policy = options.pop('policy', CountingPolicy())
    made = [CountingWorld() for _ in range(worlds)]
    return rollout(
        made,
        policy,
        options.pop('reward_model', CountingRewardModel()),
        seeds,
        EMBODIMENT,
        **options,
    )


def test_every_seed_has_one_episode_in_the_order_of_the_seeds():
    episodes = run(first_index=10)
    assert [e.seed for e in episodes] == [3, 1, 2, 70]
    assert [e.index for e in episodes] == [10, 11, 12, 13]
    assert [e.instruction for e in episodes] == [f'do {s} steps' for s in (3, 1, 2, 70)]


def test_the_success_detector_or_the_time_limit_ends_an_episode():
    episodes = run()
    assert [len(e) for e in episodes] == [4, 2, 3, LIMIT]
    assert [e.termination for e in episodes[2:]] == [
        Termination.SUCCESS_DETECTED,
        Termination.TIMEOUT,
    ]
    assert [e.outcome for e in episodes[2:]] == [Outcome.SUCCESS, Outcome.FAILURE]


def test_a_detector_that_does_not_end_episodes_decides_their_outcome():
    episodes = run(seeds=(3, 70), detector_ends_episode=False)
    assert [len(e) for e in episodes] == [LIMIT, LIMIT]
    assert [e.termination for e in episodes] == [Termination.TIMEOUT] * 2
    assert [e.outcome for e in episodes] == [Outcome.SUCCESS, Outcome.FAILURE]


def test_an_episode_has_truth_and_prediction_of_every_observation():
    episode = run()[1]
    assert episode.steps_to_go.tolist() == [1, 0, -1]
    assert episode.true_success_per_step.tolist() == [False, True, True]
    assert episode.true_success is True
    assert (episode.policy_version, episode.reward_version) == (7, 3)
    assert episode.log_probs.tolist() == [-1, -1]


@pytest.mark.parametrize('worlds', [1, 2, 5])
def test_the_number_of_worlds_does_not_change_the_episodes(worlds):
    for found, expected in zip(run(worlds), run(3), strict=True):
        assert found.observations.equals(expected.observations)
        np.testing.assert_array_equal(found.steps_to_go, expected.steps_to_go)


def test_one_inference_serves_all_running_episodes():
    policy = CountingPolicy()
    run(2, seeds=(3, 3), policy=policy)
    assert policy.batches == [2, 2, 2, 2]


def test_without_a_reward_model_the_truth_ends_an_episode():
    episode = run(reward_model=None, seeds=(3,), kind=Kind.EVALUATION)[0]
    assert (len(episode), episode.termination) == (3, Termination.STOPPED)
    assert np.isnan(episode.steps_to_go).all()


def test_on_episode_is_called_when_an_episode_ends():
    seen = []
    run(on_episode=lambda episode: seen.append(episode.seed))
    assert sorted(seen) == [1, 2, 3, 70]
    assert seen.index(1) < seen.index(70)


def test_an_action_keeps_its_values_as_a_velocity():
    values = np.float32([0.025, -0.005])
    np.testing.assert_allclose(as_commanded(values, EMBODIMENT), values, rtol=1e-6)


class ChunkingPolicy(CountingPolicy):
    """Decides three control steps at once, of 1, 2 and 3 mm."""

    def act_batch(self, episodes, observations):
        steps = np.float32([[0.001, 0], [0.002, 0], [0.003, 0]])
        return [PolicyAction(np.full(6, 5), steps, log_probability=-1.0) for _ in episodes]


class MovingWorld(CountingWorld):
    """Records the displacement of each step [mm]."""

    def reset(self, seed):
        super().reset(seed)
        self.moves = []

    def step(self, action):
        assert action.shape == (2,)
        super().step(action)
        self.moves.append(round(1000 * float(action[0])))


def test_every_chunk_step_moves_the_world_and_only_the_last_is_observed():
    robot = replace(EMBODIMENT, action=replace(EMBODIMENT.action, chunk=3))
    world = MovingWorld()
    (episode,) = rollout([world], ChunkingPolicy(), CountingRewardModel(), [7], robot, max_steps=5)
    assert world.moves == [1, 2, 3] * 3
    assert episode.observations.images[0][:, 0, 0, 1].tolist() == [0, 3, 6, 9]
    assert (np.diff(episode.stamps) == 3 * robot.period_ns).all()
    assert (episode.tokens.shape, episode.actions.shape) == ((3, 6), (3, 3, 2))
    assert episode.termination is Termination.SUCCESS_DETECTED
    assert episode.steps_to_go.tolist() == [7, 4, 1, -2]


def test_the_time_limit_counts_chunks():
    robot = replace(EMBODIMENT, action=replace(EMBODIMENT.action, chunk=3))
    (episode,) = rollout([MovingWorld()], ChunkingPolicy(), CountingRewardModel(), [200], robot)
    assert len(episode) == LIMIT
    assert episode.observations.images[0][-1, 0, 0, 1] == 3 * LIMIT  # below 256


def test_each_instruction_has_its_own_time_limit():
    limits = {'do 9 steps': 3, 'do 8 steps': 5, 'do 2 steps': 7}
    episodes = rollout(
        [CountingWorld(), CountingWorld()],
        CountingPolicy(),
        CountingRewardModel(),
        [9, 8, 2],
        EMBODIMENT,
        max_steps=limits,
    )
    assert [len(episode) for episode in episodes] == [3, 5, 3]
    endings = [episode.termination for episode in episodes]
    assert endings == [Termination.TIMEOUT] * 2 + [Termination.SUCCESS_DETECTED]


def test_an_instruction_without_a_time_limit_is_refused():
    with pytest.raises(ValueError, match='do 4 steps'):
        rollout(
            [CountingWorld()],
            CountingPolicy(),
            None,
            [4],
            EMBODIMENT,
            max_steps={'do 3 steps': 9},
        )
