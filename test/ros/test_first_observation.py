"""Policy, reward model and recorder agree on the first observation, whenever START arrives."""

from __future__ import annotations

from efm_core import topics
from efm_core.messages import to_stamp
from efm_core.ros_messages import from_image, stamped
from efm_data.episodes import read_episode
from efm_data.recorder_node import RecorderNode
from efm_interfaces.msg import EpisodeEvent, EpisodeOutcome
from efm_policy import node as policy_node
from efm_policy.node import PolicyNode
from efm_reward import node as reward_node
from efm_reward.node import RewardNode
from geometry_msgs.msg import TwistStamped
from models import FakeTextEncoder, frames, table_arm
import numpy as np
import pytest
from waiting import scaled

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns], a camera at the rate of the robot
STEPS = 8
PICTURES = frames(2 * (STEPS + 1))


class Scene:
    """A robot in real time; the peer is its camera, its guard and its supervisor."""

    def __init__(self, stage, make_event, *, folder, **parameters):
        self.stage = stage
        self.make_event = make_event
        self.policy = stage.start(PolicyNode, text_encoder='none', **parameters)
        self.reward = stage.start(RewardNode, text_encoder='none', **parameters)
        self.recorder = stage.start(
            RecorderNode,
            episodes_dir=str(folder),
            embodiment=parameters['embodiment'],
            completion_timeout_s=scaled(5.0, 60.0),
        )
        self.camera = stage.speak(topics.IMAGE)
        self.events = stage.speak(topics.EPISODE_EVENT)
        self.outcomes = stage.speak(topics.OUTCOME)
        self.commands = stage.speak(topics.COMMAND)
        self.actions = stage.listen(topics.ACTION)
        self.predictions = stage.listen(topics.STEPS_TO_GO)
        self.recordings = stage.listen(topics.RECORDING)

    def show(self, number):
        """Publish a picture and wait until both nodes have received it."""
        stamp = T0 + number * PERIOD
        self.camera.publish(from_image(PICTURES[number], stamp))
        for node in (self.policy, self.reward):
            self.stage.spin_until(
                lambda node=node: node.matcher._recent and node.matcher._recent[-1][0] == stamp,
                f'picture {number}',
            )

    def start(self, episode_id, number):
        self.events.publish(self.make_event(episode_id, T0 + number * PERIOD))

    def wait_for_answers(self, number):
        """Wait for the policy's and the reward model's answer to a picture."""
        stamp = T0 + number * PERIOD
        for answers in (self.actions, self.predictions):
            self.stage.spin_until(
                lambda answers=answers: answers and to_stamp(answers[-1]) == stamp, 'an answer'
            )

    def end(self, episode_id, number, steps):
        for action in self.actions:
            stamp = to_stamp(action)
            if action.episode_id == episode_id and stamp < T0 + number * PERIOD:
                self.commands.publish(stamped(TwistStamped(), stamp))
        end = self.make_event(episode_id, T0 + number * PERIOD, event=EpisodeEvent.END)
        about = {'outcome': 'failure', 'termination': 'timeout', 'steps': steps}
        about |= {'policy_version': 1, 'reward_version': 1}
        self.events.publish(end)
        names = ('episode_id', 'index', 'kind', 'instruction')
        about |= {name: getattr(end, name) for name in names}
        self.outcomes.publish(stamped(EpisodeOutcome(**about), to_stamp(end)))

    def read(self, count=1):
        """Return the newest episode, once the recorder calls its bag whole."""
        said = self.stage.hear(self.recordings, count)[-1]
        assert (said.success, said.detail) == (True, '')
        return read_episode(said.uri, table_arm())


@pytest.fixture
def scene(stage, make_event, tmp_path, yaml_of, shelf, monkeypatch):
    monkeypatch.setattr(policy_node, 'TextEncoder', lambda path: FakeTextEncoder())
    monkeypatch.setattr(reward_node, 'TextEncoder', lambda path: FakeTextEncoder())
    robot = table_arm()
    parameters = {'embodiment': yaml_of(robot), 'release': shelf(1, robot).uri}
    return Scene(stage, make_event, folder=tmp_path / 'episodes', **parameters)


def stamps(first, last):
    return [T0 + number * PERIOD for number in range(first, last + 1)]


@pytest.mark.parametrize('early', [0, 1, 2, 5])
def test_pictures_that_arrive_before_start_are_the_first_observations(scene, early):
    for number in range(early):
        scene.show(number)
    scene.start('first', 0)
    for number in range(early, STEPS + 1):
        scene.show(number)
    scene.wait_for_answers(STEPS)
    scene.end('first', STEPS, STEPS)
    episode = scene.read()
    assert episode.stamps.tolist() == stamps(0, STEPS)
    np.testing.assert_array_equal(episode.observations.images[0], PICTURES[: STEPS + 1])
    assert np.isfinite(episode.steps_to_go).all()
    assert [message.step for message in scene.actions] == list(range(STEPS + 1))
    assert [message.step for message in scene.predictions] == list(range(STEPS + 1))


def test_a_picture_of_the_next_scene_that_arrives_before_the_end_is_not_lost(scene):
    """Topics keep no order among each other: END may be the last message to arrive."""
    scene.start('first', 0)
    for number in range(STEPS + 3):
        scene.show(number)
    scene.wait_for_answers(STEPS + 2)  # as part of the first episode
    scene.end('first', STEPS, STEPS)
    assert scene.read(1).stamps.tolist() == stamps(0, STEPS)
    scene.start('second', STEPS + 1)
    for number in range(STEPS + 3, 2 * STEPS + 2):
        scene.show(number)
    scene.wait_for_answers(2 * STEPS + 1)
    scene.end('second', 2 * STEPS + 1, STEPS)
    episode = scene.read(2)
    assert episode.stamps.tolist() == stamps(STEPS + 1, 2 * STEPS + 1)
    assert [message.step for message in scene.actions][-STEPS - 1 :] == list(range(STEPS + 1))


def test_when_the_first_picture_is_lost_the_episode_begins_at_the_second(scene):
    scene.show(1)
    scene.start('first', 0)
    for number in range(2, STEPS + 1):
        scene.show(number)
    scene.wait_for_answers(STEPS)
    scene.end('first', STEPS, STEPS - 1)
    assert scene.read().stamps.tolist() == stamps(1, STEPS)
