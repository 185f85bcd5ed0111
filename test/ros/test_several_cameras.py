"""Nodes of a robot that has a second camera and shows the policy its joint positions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from arms import make_arm
from efm_core import topics
from efm_core.action import PolicyAction
from efm_core.embodiment import load_embodiment, Proprioception
from efm_core.episode import Termination
from efm_core.messages import to_image, to_proprioception, to_stamp
from efm_core.observation import MeasuredState
from efm_core.ros_acting import ActingNode
from efm_core.ros_messages import (
    from_action,
    from_image,
    from_joints,
    from_observation,
    from_proprioception,
    stamped,
)
from efm_data.episodes import read_episode
from efm_data.recorder_node import RecorderNode
from efm_interfaces.msg import EpisodeEvent, EpisodeOutcome
from geometry_msgs.msg import PoseStamped, TwistStamped
from models import frames, table_arm
import numpy as np
import pytest
from std_msgs.msg import Header

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns]
LAG = 30_000_000  # [ns]
SCENE = frames(3)
WRIST = frames(3, 7)[:, :32, :48]
STATE = Proprioception('joint_positions', ('finger', 'elbow'))
WRIST_IMAGE = replace(topics.IMAGE, name='wrist/image')
WRIST_SEEN = replace(topics.OBSERVATION, name='observation_wrist')


def robot():
    camera = table_arm().cameras[0]
    wrist = replace(
        camera, name='wrist', topic='wrist/image', height=32, width=48, crop=(0, 0, 0, 0)
    )
    wrist = replace(wrist, role='wrist', size=(16, 24))
    return table_arm(cameras=(camera, wrist), proprioception=(STATE,))


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """Parameters of the node under test."""

    embodiment: str = ''
    lockstep: bool = False


class Actor(ActingNode):
    """Acts on every observation."""

    config_type = ActorConfig
    source = 'policy'

    def __init__(self, **kwargs):
        super().__init__('actor', **kwargs)

    def build(self):
        self.connect(load_embodiment(self.config.embodiment), lockstep=self.config.lockstep)
        self.offer_actions()

    def on_observation(self, stamp, observation):
        self.publish_action(
            PolicyAction(np.arange(2), np.zeros(2, np.float32)), observation, stamp
        )
        return True


class Scene:
    """An actor in an episode, and the drivers of its robot."""

    def __init__(self, stage, make_event, *, yaml_of, lockstep):
        body = robot()
        self.stage = stage
        self.node = stage.start(Actor, embodiment=yaml_of(body), lockstep=lockstep)
        self.scene = stage.speak(topics.IMAGE, lockstep)
        self.wrist = stage.speak(WRIST_IMAGE, lockstep)
        self.joints = stage.speak(topics.JOINT_STATES, lockstep)
        self.actions = stage.listen(topics.ACTION)
        self.seen = stage.listen(topics.OBSERVATION)
        self.wrist_seen = stage.listen(WRIST_SEEN)
        self.state = stage.listen(topics.PROPRIOCEPTION)
        events = stage.speak(topics.EPISODE_EVENT)
        events.publish(make_event('first', T0, embodiment_hash=body.hash))

    def show_wrist(self, step, stamp):
        self.wrist.publish(from_image(WRIST[step], stamp))

    def show_joints(self, step, stamp):
        state = MeasuredState(('elbow', 'finger'), np.array([step, 0.5]))
        self.joints.publish(from_joints(state, stamp))


@pytest.fixture
def scene(stage, make_event, yaml_of):
    def make(lockstep=False):
        return Scene(stage, make_event, yaml_of=yaml_of, lockstep=lockstep)

    return make


def test_in_lockstep_all_parts_with_one_stamp_make_the_observation(scene):
    it = scene(lockstep=True)
    for step in range(2):
        stamp = T0 + step * PERIOD
        it.scene.publish(from_image(SCENE[step], stamp))
        it.show_joints(step, stamp)
        it.show_wrist(step, stamp)
        it.stage.hear(it.actions, step + 1)
    for messages in (it.seen, it.wrist_seen, it.state):
        it.stage.hear(messages, 2)
        assert [to_stamp(message) for message in messages] == [T0, T0 + PERIOD]
    assert to_image(it.wrist_seen[1]).shape == (16, 24, 3)
    np.testing.assert_array_equal(to_image(it.seen[1]), SCENE[1])
    found = to_proprioception(it.state[1], STATE.names)
    np.testing.assert_array_equal(found, np.float32([0.5, 1.0]))


def test_in_real_time_the_newest_parts_that_are_not_later_join(scene):
    it = scene()
    it.show_joints(0, T0 - LAG)
    it.show_wrist(0, T0 - LAG)
    it.stage.spin_until(lambda: len(it.node._assembler._kept[STATE]) == 1, 'the state')
    it.stage.spin_until(lambda: len(it.node._assembler._kept['wrist']) == 1, 'the wrist image')
    it.scene.publish(from_image(SCENE[0], T0))
    it.stage.hear(it.actions)
    assert to_stamp(it.stage.hear(it.wrist_seen)[0]) == T0


def test_without_a_part_the_robot_does_not_act_and_says_which_is_missing(scene):
    it = scene()
    it.show_joints(0, T0)
    it.scene.publish(from_image(SCENE[0], T0))
    it.stage.spin_until(lambda: it.node.matcher.is_waiting, 'a kept observation')
    it.scene.publish(from_image(SCENE[1], T0 + PERIOD))
    said = 'wrist: expected one at most 0.1 s older than the image of table, got none'
    it.stage.spin_until(lambda: said in it.node.diagnostics.newest.values(), 'a report')
    assert not it.actions
    it.show_wrist(1, T0 + PERIOD - LAG)
    assert to_stamp(it.stage.hear(it.actions)[0]) == T0 + PERIOD


def test_a_pose_that_cannot_be_used_is_named_in_the_diagnostics(stage, yaml_of):
    arm = make_arm('cartesian_pose_controller', pose_topic='tool_pose')
    body = replace(arm, proprioception=(Proprioception('tool_pose'),))
    node = stage.start(Actor, embodiment=yaml_of(body), lockstep=False)
    poses = stage.speak(topics.pose_topic(body.command))
    poses.publish(PoseStamped(header=Header(frame_id='elsewhere')))
    reports = node.diagnostics.values
    stage.spin_until(lambda: 'elsewhere' in reports.get('tool_pose', ''), 'a problem')
    poses.publish(PoseStamped(header=Header(frame_id=body.command.frame)))
    stage.spin_until(lambda: 'tool_pose' not in reports, 'a pose')


def test_a_bag_has_every_part_of_the_observations(stage, make_event, yaml_of, tmp_path):
    body = robot()
    stage.start(
        RecorderNode, embodiment=yaml_of(body), episodes_dir=str(tmp_path), reward_enabled=False
    )
    rows = (topics.EPISODE_EVENT, topics.OBSERVATION, WRIST_SEEN, topics.PROPRIOCEPTION)
    voices = {row: stage.speak(row) for row in (*rows, topics.ACTION, topics.OUTCOME)}
    commands = stage.speak(topics.COMMAND)
    recordings = stage.listen(topics.RECORDING)
    actor = Parts(voices, body)
    about = {'embodiment_hash': body.hash}
    voices[topics.EPISODE_EVENT].publish(make_event('first', T0, **about))
    for step in range(3):
        stamp = T0 + step * PERIOD
        actor.publish(step, stamp)
        if step < 2:
            commands.publish(stamped(TwistStamped(), stamp))
    end = T0 + 2 * PERIOD
    event = make_event('first', end, event=EpisodeEvent.END, **about)
    voices[topics.EPISODE_EVENT].publish(event)
    outcome = EpisodeOutcome(
        episode_id='first', outcome='failure', termination=Termination.TIMEOUT.value, steps=2
    )
    voices[topics.OUTCOME].publish(stamped(outcome, end))
    (recording,) = stage.hear(recordings)
    assert recording.success, recording.detail
    found = read_episode(recording.uri, body).observations
    assert [image.shape for image in found.images] == [(3, 64, 64, 3), (3, 16, 24, 3)]
    np.testing.assert_array_equal(found.images[1][2], WRIST[2][:16, :24])
    np.testing.assert_array_equal(found.proprioception, np.float32([[0, 0.5], [1, 0.5], [2, 0.5]]))


class Parts:
    """Publishes what a policy publishes for one observation."""

    def __init__(self, voices, body):
        self._voices = voices
        self._names = body.proprioception_names

    def publish(self, step, stamp):
        values = np.float32([step, 0.5])
        action = from_action(
            np.array([5, 5]), np.zeros(2, np.float32), -1.0, stamp, episode_id='first'
        )
        for row, message in (
            (topics.OBSERVATION, from_observation(SCENE[step], stamp)),
            (WRIST_SEEN, from_observation(WRIST[step][:16, :24], stamp)),
            (topics.PROPRIOCEPTION, from_proprioception(self._names, values, stamp)),
            (topics.ACTION, action),
        ):
            self._voices[row].publish(message)
