"""A person teaches the table, in real time and over DDS: from twist to bag."""

from __future__ import annotations

from dataclasses import replace

from arms import make_arm
from efm_core import topics
from efm_core.episode import Kind, Outcome
from efm_core.messages import to_positions, to_stamp
from efm_core.tokeniser import ActionTokeniser
from efm_data.episodes import read_episode
from efm_data.recorder_node import RecorderNode
from efm_guard.node import GuardNode
from efm_interfaces.action import RunEpisode
from efm_interfaces.srv import LabelEpisode
from efm_sim.node import WorldNode
from efm_supervisor.node import SupervisorNode
from efm_supervisor.teleoperation_node import TeleoperationNode
from geometry_msgs.msg import TwistStamped
import numpy as np
import pytest
from rclpy.action import ActionClient
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import Joy
from std_srvs.srv import Trigger
from waiting import scaled

START = 7
SUCCESS = 3
DISCARD = 1


class Desk:
    """A whole robot that is taught, a fleet that asks for episodes, and a person."""

    def __init__(self, stage, robot, *, path, episodes):
        self.stage = stage
        self.robot = robot
        common = {'embodiment': path, 'lockstep': False}
        stage.start(WorldNode, body='tool', **common)
        stage.start(GuardNode, **common)
        stage.start(
            SupervisorNode,
            reward_enabled=False,
            permit_duration_s=5.0,
            stall_timeout_s=scaled(10.0, 600.0),
            tick_rate_hz=50.0,
            **common,
        )
        stage.start(
            RecorderNode,
            reward_enabled=False,
            episodes_dir=str(episodes),
            completion_timeout_s=scaled(5.0, 60.0),
            **common,
        )
        self.node = stage.start(TeleoperationNode, embodiment=path)
        self.twists = stage.speak(topics.TELEOP_TWIST)
        self.joy = stage.speak(topics.JOY)
        self.actions = stage.listen(topics.ACTION)
        self.states = stage.listen(topics.WORLD_STATE)
        self.client = ActionClient(stage.peer, RunEpisode, topics.RUN_EPISODE)
        stage.spin_until(self.client.server_is_ready, 'run_episode')

    def ask(self, episode_id):
        goal = RunEpisode.Goal(episode_id=episode_id, kind='demonstration', seed=3)
        return self.stage.wait(self.client.send_goal_async(goal))

    def press(self, button):
        for state in (1, 0):
            self.joy.publish(Joy(buttons=[state * (button == i) for i in range(8)]))

    def push(self, x, y):
        message = TwistStamped()
        message.twist.linear.x = x
        message.twist.linear.y = y
        self.twists.publish(message)

    def begin(self, episode_id):
        """Press start, as long as the fleet is refused; return the goal's handle."""
        handles = []

        def accepted():
            handles.append(self.ask(episode_id))
            return handles[-1].accepted

        self.press(START)
        self.stage.spin_until(accepted, 'a beginning')
        return handles[-1]

    def result(self, handle):
        return self.stage.wait(handle.get_result_async()).result

    def tokens(self):
        return {tuple(message.tokens) for message in self.actions}


@pytest.fixture
def desk(stage, embodiment, yaml_of, tmp_path):
    # All nodes share this thread: on a busy machine everything takes its time.
    robot = replace(embodiment, control_rate_hz=2.0, action_lifetime_s=5.0)
    robot = replace(robot, episode=replace(robot.episode, max_steps=600))
    return Desk(stage, robot, path=yaml_of(robot), episodes=tmp_path / 'episodes')


def test_what_a_person_did_is_a_demonstration_that_can_be_learned_from(desk):
    assert not desk.ask('too early').accepted
    handle = desk.begin('first')
    hand = desk.stage.peer.create_timer(0.05, lambda: desk.push(0.02, -0.01))
    desk.stage.spin_until(lambda: (7, 4) in desk.tokens() and len(desk.states) > 5, 'motion', 60)
    hand.cancel()
    begun = len(desk.actions)
    desk.stage.spin_until(
        lambda: [tuple(m.tokens) for m in desk.actions[begun:]].count((5, 5)) > 1, 'rest', 60
    )
    first, last = (to_positions(state)['tool'][:2] for state in (desk.states[0], desk.states[-1]))
    assert last[0] > first[0]
    desk.press(SUCCESS)
    result = desk.result(handle)
    assert result.outcome.outcome == 'success'

    episode = read_episode(result.recording, desk.robot)
    assert (episode.kind, episode.outcome) == (Kind.DEMONSTRATION, Outcome.SUCCESS)
    assert episode.instruction
    said = {to_stamp(message): message for message in desk.actions}
    assert len(episode) > 1
    tokeniser = ActionTokeniser(desk.robot.action.single_step)
    for step in range(len(episode)):
        message = said[episode.stamps[step]]
        assert message.source == 'operator'
        assert list(message.tokens) == episode.tokens[step].tolist()
        np.testing.assert_array_equal(
            tokeniser.decode(episode.tokens[step]), episode.actions[step]
        )
    assert {(7, 4), (5, 5)} <= {tuple(tokens) for tokens in episode.tokens.tolist()}


def test_an_episode_that_is_discarded_is_a_failure_and_the_next_one_waits(desk):
    handle = desk.begin('first')
    desk.stage.spin_until(lambda: desk.actions, 'actions')
    desk.press(DISCARD)
    assert desk.result(handle).outcome.outcome == 'failure'
    assert not desk.ask('second').accepted
    second = desk.begin('third')
    desk.stage.spin_until(lambda: desk.actions[-1].episode_id == 'third', 'actions')
    desk.press(SUCCESS)
    assert desk.result(second).outcome.outcome == 'success'


def test_a_person_without_buttons_has_the_services(desk):
    assert not desk.ask('too early').accepted
    assert desk.stage.call(Trigger, topics.RESUME).success
    handle = desk.ask('first')
    assert handle.accepted
    desk.stage.spin_until(lambda: desk.actions, 'actions')
    assert desk.stage.call(LabelEpisode, topics.LABEL_EPISODE, outcome='success').success
    assert desk.result(handle).outcome.outcome == 'success'


def test_an_inactive_node_says_nothing_and_hears_no_button(desk):
    handle = desk.begin('first')
    desk.stage.spin_until(lambda: desk.actions, 'actions')
    assert desk.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    said = len(desk.actions)
    desk.press(SUCCESS)
    seen = len(desk.states)
    desk.stage.spin_until(lambda: len(desk.states) > seen + 5, 'the world')
    assert len(desk.actions) <= said + 1
    assert desk.stage.call(LabelEpisode, topics.LABEL_EPISODE, outcome='failure').success
    assert desk.result(handle).outcome.outcome == 'failure'


def test_joints_without_named_axes_are_refused(stage, yaml_of):
    path = yaml_of(make_arm('joint_trajectory_controller'))
    node = stage.make(TeleoperationNode, embodiment=path)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
