"""The visuomotor model learns from pictures alone: two cameras, a gripper, no labels."""

import efm
from efm_core.episode import Kind
from efm_sim.rollout import rollout
import pytest
from trainer_fakes import FakeTextEncoder
from visuomotor import demonstrate_grasp, GraspWorld, gripper_arm

EPISODES = 40


@pytest.fixture(scope='module')
def robot():
    return gripper_arm()


@pytest.fixture(scope='module')
def pair(robot):
    demonstrations = [demonstrate_grasp(robot, index) for index in range(60)]
    return efm.fine_tune(
        demonstrations, robot, text_encoder=FakeTextEncoder(), iterations=300, hidden_size=64
    )


def successes(robot, policy):
    worlds = [GraspWorld() for _ in range(8)]
    episodes = rollout(worlds, policy, None, range(EPISODES), robot, Kind.EVALUATION)
    return sum(episode.true_success for episode in episodes)


def test_the_policy_grasps_far_more_often_than_an_untrained_one(robot, pair):
    assert pair[0].runtime.model.family == 'visuomotor'
    untrained = efm.fine_tune(
        [demonstrate_grasp(robot, index) for index in range(3)],
        robot,
        text_encoder=FakeTextEncoder(),
        iterations=1,
        learning_rate=1e-7,
    )
    assert successes(robot, untrained[0]) <= 0.2 * EPISODES
    assert successes(robot, pair[0]) >= 0.8 * EPISODES


def test_the_reward_model_counts_the_steps_to_the_grasp(robot, pair):
    episode = demonstrate_grasp(robot, 500)
    state = pair[1].start(episode.instruction)
    found = [pair[1].predict_batch([state], [seen])[0] for seen in episode.observations]
    errors = [abs(p.steps_to_go - (len(episode) - t)) for t, p in enumerate(found)]
    assert sum(errors) / len(errors) < 1.5
    assert found[-1].success
    assert not found[0].success
