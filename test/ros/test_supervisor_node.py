"""Episodes from reset to end; the test plays all other nodes."""

from __future__ import annotations

import math
import re

from efm_core import topics
from efm_core.messages import to_ns, to_stamp
from efm_core.ros_messages import from_action, from_ns, from_steps_to_go, stamped
from efm_interfaces.action import RunEpisode
from efm_interfaces.msg import EpisodeEvent, Recording
from efm_interfaces.srv import LabelEpisode, ResetWorld
from efm_supervisor.node import SupervisorNode
from geometry_msgs.msg import TwistStamped
import numpy as np
import pytest
from rclpy.action import ActionClient
from rclpy.lifecycle import TransitionCallbackReturn
from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from waiting import scaled

PERIOD = 100_000_000  # [ns]
FIRST = 10 * PERIOD
GOAL = 'push the red cube to the centre'
ALL_ANSWERS = ('action', 'command', 'steps_to_go')


class Robot:
    """
    World, policy, reward model, guard and recorder in one; each can be made to fail.

    :ivar success_at: the step on which the success detector fires.
    :ivar silent_at: the step from which on only the topics in ``still_answer`` are published.
    """

    def __init__(self, stage, **parameters):
        self.stage = stage
        self.step = 0
        self.event = None
        self.success_at = 3
        self.silent_at = 1000
        self.still_answer = ()
        self.reset_error = ''
        self.first = FIRST
        self.clock_error_ns = 0
        self.is_lockstep = parameters['lockstep']
        self.recording_error = ''
        self.records = True
        self.resets = []
        self.service = stage.peer.create_service(ResetWorld, topics.RESET_WORLD, self._on_reset)
        self.node = stage.start(SupervisorNode, tick_rate_hz=50.0, **parameters)
        self.commands = stage.speak(topics.COMMAND)
        stage.listen(topics.COMMAND)
        self.actions = stage.speak(topics.ACTION)
        self.predictions = stage.speak(topics.STEPS_TO_GO)
        self.recordings = stage.speak(topics.RECORDING)
        self.estop = stage.speak(topics.ESTOP)
        self.outcomes = stage.listen(topics.OUTCOME)
        self.instructions = stage.listen(topics.INSTRUCTION)
        self.permits = stage.listen(topics.PERMIT, self._on_permit)
        self.events = stage.listen(topics.EPISODE_EVENT, self._on_event)
        self.client = ActionClient(stage.peer, RunEpisode, topics.RUN_EPISODE)
        stage.spin_until(self.client.server_is_ready, 'run_episode')

    def ask(self, episode_id='first', **fields):
        """Return the handle of a goal, accepted or not."""
        goal = RunEpisode.Goal(episode_id=episode_id, kind='practice', seed=3, **fields)
        return self.stage.wait(self.client.send_goal_async(goal))

    def result(self, handle):
        return self.stage.wait(handle.get_result_async()).result

    def run(self, *args, **fields):
        return self.result(self.ask(*args, **fields))

    def run_until_silent(self, step=1):
        """Return the handle of an episode that waits for its observation ``step``."""
        self.silent_at = step
        self.step = 0
        handle = self.ask()
        self.stage.spin_until(lambda: self.step == step, 'the last image')
        return handle

    def _on_reset(self, request, response):
        self.resets.append(request)
        response.success = not self.reset_error
        response.message = self.reset_error
        response.instruction = GOAL
        if not self.is_lockstep:
            self.first = self.node.get_clock().now().nanoseconds + self.clock_error_ns
        response.stamp = from_ns(self.first)
        return response

    def _on_event(self, event):
        self.event = event
        if event.event == EpisodeEvent.START:
            self.step = 0
            self._answer()
        elif self.records:
            self.recordings.publish(
                Recording(
                    episode_id=event.episode_id,
                    success=not self.recording_error,
                    uri='' if self.recording_error else 'episodes/first',
                    detail=self.recording_error,
                )
            )

    def _on_permit(self, permit):
        if permit.lockstep:
            self.step += 1
            self._answer()

    def _answer(self):
        """Publish action and prediction for the observation of this step."""
        answers = self.still_answer if self.step >= self.silent_at else ALL_ANSWERS
        stamp = self.first + self.step * PERIOD
        about = {'episode_id': self.event.episode_id}
        if 'action' in answers:
            self.actions.publish(
                from_action(np.ones(2), np.zeros(2), -1.0, stamp, policy_version=4, **about)
            )
        if 'command' in answers:
            self.commands.publish(stamped(TwistStamped(), stamp))
        if 'steps_to_go' in answers:
            success = self.step >= self.success_at
            self.predictions.publish(
                from_steps_to_go(
                    np.ones(61), 9.0 - self.step, success, stamp, reward_version=2, **about
                )
            )


@pytest.fixture
def parameters(embodiment, yaml_of):
    return {'embodiment': yaml_of(embodiment), 'lockstep': True}


@pytest.fixture
def robot(stage, parameters):
    return Robot(stage, **parameters)


@pytest.fixture
def impatient(stage, parameters):
    limit = scaled(0.5)
    return Robot(stage, stall_timeout_s=limit, reset_timeout_s=limit, **parameters)


def how(result):
    return result.outcome.outcome, result.outcome.termination


def test_an_episode_runs_from_reset_to_success(robot, embodiment):
    result = robot.run('first', index=7, max_steps=10)
    assert how(result) == ('success', 'success_detected')
    outcome = result.outcome
    assert (outcome.episode_id, outcome.index, outcome.instruction) == ('first', 7, GOAL)
    assert (outcome.steps, outcome.policy_version, outcome.reward_version) == (3, 4, 2)
    assert outcome.steps_to_go == 6.0
    assert result.recording == 'episodes/first'
    assert [r.seed for r in robot.resets] == [3]
    assert [to_stamp(p) for p in robot.permits] == [FIRST, FIRST + PERIOD, FIRST + 2 * PERIOD]
    start, end = robot.stage.hear(robot.events, 2)
    assert (start.event, to_stamp(start), start.seed) == (EpisodeEvent.START, FIRST, 3)
    assert (start.max_steps, start.embodiment_hash) == (10, embodiment.hash)
    assert (end.event, to_stamp(end)) == (EpisodeEvent.END, FIRST + 3 * PERIOD)
    assert [m.data for m in robot.instructions] == [GOAL]
    assert [m.outcome for m in robot.stage.hear(robot.outcomes)] == ['success']


def test_an_episode_that_takes_too_long_is_a_failure(robot):
    result = robot.run(max_steps=2)
    assert how(result) == ('failure', 'timeout')
    assert result.outcome.steps == 2
    assert to_stamp(robot.events[-1]) == FIRST + 2 * PERIOD


def test_without_a_limit_the_embodiment_gives_the_number_of_steps(robot, embodiment):
    robot.success_at = 1000
    result = robot.run()
    assert result.outcome.steps == embodiment.episode.max_steps


def test_a_reset_that_fails_is_a_fault_and_the_next_one_counts(robot):
    robot.reset_error = 'a block fell off the table'
    result = robot.run()
    assert how(result) == ('unlabelled', 'fault')
    assert result.outcome.detail == 'reset failed: a block fell off the table'
    assert math.isnan(result.outcome.steps_to_go)
    assert not robot.events
    robot.reset_error = ''
    assert how(robot.run('second')) == ('success', 'success_detected')


def test_a_world_that_does_not_answer_is_a_fault(impatient):
    impatient.stage.peer.destroy_service(impatient.service)
    result = impatient.run()
    assert how(result) == ('unlabelled', 'fault')
    assert result.outcome.detail.startswith('the world did not answer the reset for')


@pytest.mark.parametrize(
    ('still_answer', 'missing'),
    [((), 'an image'), (('action',), 'steps_to_go'), (('steps_to_go',), 'action')],
)
def test_a_silent_component_is_named(impatient, still_answer, missing):
    impatient.silent_at = 2
    impatient.still_answer = still_answer
    result = impatient.run()
    assert how(result) == ('unlabelled', 'fault')
    limit_s = impatient.node.config.stall_timeout_s
    assert result.outcome.detail == f'nothing for {limit_s} s; waiting for {missing}'
    impatient.silent_at = 1000
    assert how(impatient.run('second')) == ('success', 'success_detected')


def test_a_label_ends_the_episode(robot):
    handle = robot.run_until_silent()
    answer = robot.stage.call(
        LabelEpisode, topics.LABEL_EPISODE, episode_id='first', outcome='success'
    )
    assert answer.success
    assert how(robot.result(handle)) == ('success', 'stopped')


@pytest.mark.parametrize(
    ('fields', 'complaint'),
    [
        ({'episode_id': 'another', 'outcome': 'success'}, "got 'another' while running"),
        ({'outcome': 'splendid'}, 'splendid'),
    ],
)
def test_a_label_that_is_refused_changes_nothing(robot, fields, complaint):
    handle = robot.run_until_silent()
    answer = robot.stage.call(LabelEpisode, topics.LABEL_EPISODE, **fields)
    assert not answer.success
    assert complaint in answer.message
    assert robot.stage.call(LabelEpisode, topics.LABEL_EPISODE, outcome='failure').success
    assert how(robot.result(handle)) == ('failure', 'stopped')


def test_a_label_without_an_episode_is_refused(robot):
    answer = robot.stage.call(LabelEpisode, topics.LABEL_EPISODE, outcome='success')
    assert not answer.success
    assert 'while idle' in answer.message


def test_a_person_can_take_over_and_hand_back(robot):
    handle = robot.run_until_silent()
    assert robot.stage.call(Trigger, topics.TAKE_OVER).success
    assert how(robot.result(handle)) == ('unlabelled', 'intervention')
    assert not robot.ask('second').accepted
    assert robot.stage.call(Trigger, topics.HAND_BACK).success
    robot.silent_at = 1000
    assert how(robot.run('third')) == ('success', 'success_detected')


def test_a_pause_lets_the_episode_finish_and_begins_no_other(robot):
    handle = robot.run_until_silent()
    assert robot.stage.call(Trigger, topics.PAUSE).success
    robot.silent_at = 1000
    robot._answer()
    assert how(robot.result(handle)) == ('success', 'success_detected')
    assert not robot.ask('second').accepted
    assert robot.stage.call(Trigger, topics.RESUME).success
    assert how(robot.run('third')) == ('success', 'success_detected')


def test_the_emergency_stop_ends_the_episode_until_it_is_reset(robot):
    handle = robot.run_until_silent()
    robot.estop.publish(Bool(data=True))
    result = robot.result(handle)
    assert how(result) == ('unlabelled', 'stopped')
    assert result.outcome.detail == 'emergency stop'
    assert robot.events[-1].event == EpisodeEvent.END
    assert not robot.ask('second').accepted
    robot.estop.publish(Bool(data=False))
    robot.stage.spin_until(lambda: not robot.node._supervisor.obstacle, 'the reset')
    robot.silent_at = 1000
    assert how(robot.run('third')) == ('success', 'success_detected')


def test_only_one_episode_runs_at_a_time(robot):
    handle = robot.run_until_silent()
    assert not robot.ask('second').accepted
    robot.silent_at = 1000
    robot._answer()
    assert how(robot.result(handle)) == ('success', 'success_detected')
    assert [event.episode_id for event in robot.events] == ['first', 'first']


def test_an_episode_can_be_cancelled(robot):
    handle = robot.run_until_silent()
    robot.stage.wait(handle.cancel_goal_async())
    result = robot.result(handle)
    assert how(result) == ('unlabelled', 'stopped')
    assert result.outcome.detail == 'cancelled'


def test_a_supervisor_that_is_deactivated_ends_the_episode(robot):
    handle = robot.run_until_silent()
    assert robot.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert how(robot.result(handle)) == ('unlabelled', 'stopped')
    assert not robot.ask('second').accepted
    assert robot.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    robot.silent_at = 1000
    assert how(robot.run('third')) == ('success', 'success_detected')


def test_a_bag_that_could_not_be_written_makes_the_episode_a_fault(robot):
    robot.recording_error = 'No space left on device'
    result = robot.run()
    assert how(result) == ('unlabelled', 'fault')
    assert 'recording failed: No space left on device' in result.outcome.detail
    assert result.recording == ''
    robot.recording_error = ''
    assert how(robot.run('second')) == ('success', 'success_detected')


def test_a_recorder_that_does_not_answer_is_a_fault(impatient):
    impatient.records = False
    result = impatient.run()
    assert how(result) == ('unlabelled', 'fault')
    assert 'the recorder did not answer' in result.outcome.detail


def test_episodes_are_not_offered_before_all_peers_are_there(stage, parameters):
    node = stage.start(SupervisorNode, **parameters)
    client = ActionClient(stage.peer, RunEpisode, topics.RUN_EPISODE)
    assert node._missing_peers() == [
        'action', 'command', 'steps_to_go', 'recording', 'a robot', 'reset_world'
    ]  # fmt: skip
    reports = stage.listen(topics.DIAGNOSTICS)
    stage.spin_until(lambda: reports, 'a report')
    assert not client.server_is_ready()


def test_in_real_time_the_permit_is_renewed_until_the_time_limit(stage, parameters):
    own = {'lockstep': False, 'permit_duration_s': 0.4, 'silence_timeout_s': scaled(10.0)}
    robot = Robot(stage, **{**parameters, **own})
    began = robot.node.get_clock().now().nanoseconds
    result = robot.run(max_steps=5)
    assert how(result) == ('failure', 'timeout')
    ends = [to_ns(permit.valid_until) for permit in robot.permits]
    assert len(ends) > 1
    assert ends == sorted(ends)
    assert ends[0] >= began + 400_000_000
    assert not any(permit.lockstep for permit in robot.permits)
    assert robot.node.get_clock().now().nanoseconds - began >= 5 * PERIOD


@pytest.mark.parametrize(
    ('alive', 'said'),
    [
        (
            ('action', 'command'),
            'the reward model was silent: no steps_to_go in the whole episode',
        ),
        (('action', 'steps_to_go'), 'the guard was silent: no command in the whole episode'),
    ],
)
def test_in_real_time_a_dead_component_is_a_fault_and_no_failure(stage, parameters, alive, said):
    own = {'lockstep': False, 'silence_timeout_s': scaled(10.0)}
    robot = Robot(stage, **{**parameters, **own})
    robot.silent_at = 0
    robot.still_answer = alive
    result = robot.run(max_steps=5)
    assert how(result) == ('unlabelled', 'fault')
    assert result.outcome.detail.startswith(said)
    assert result.outcome.steps == 0


@pytest.mark.parametrize(
    ('error_s', 'said'),
    [(-60, r'one (59|60)\.\d\d s before the request'), (3, r'one [23]\.\d\d s ahead')],
)
def test_in_real_time_a_reset_by_another_clock_is_a_fault(stage, parameters, error_s, said):
    robot = Robot(stage, **{**parameters, 'lockstep': False})
    robot.clock_error_ns = error_s * 10**9
    result = robot.run()
    assert how(result) == ('unlabelled', 'fault')
    assert re.search(said, result.outcome.detail)
    assert 'compare the clocks of camera and robot' in result.outcome.detail
