"""The supervisor's state machine starts, permits and ends episodes."""

from __future__ import annotations

from dataclasses import replace
import math

from efm_core.episode import EpisodeEnding, EpisodeGoal, Outcome, Termination
from efm_core.episode_rules import EpisodeRules
from efm_supervisor.commands import (
    AnnounceEnd,
    AnnounceStart,
    GrantPermit,
    ReportResult,
    RequestReset,
    SupervisorCommand,
)
from efm_supervisor.config import SupervisorConfig
from efm_supervisor.events import ActionEvent, PredictionEvent, RecordingResult, ResetReply
from efm_supervisor.rules import SupervisorRules
from efm_supervisor.supervisor import Phase, Supervisor
import pytest

RULES = EpisodeRules(max_steps=3)
GOAL = EpisodeGoal('e1', index=4, seed=7, instruction='push it', policy_version=2)
# stamps of the observations [ns]
FIRST = 1000
PERIOD = 100


def make_supervisor(lockstep: bool = True, reward_enabled: bool = True, **rules) -> Supervisor:
    """Return an idle supervisor without a recorder, unless ``rules`` differ."""
    limits = {'stall_timeout_s': 10, 'silence_timeout_s': 1.0, 'reset_timeout_s': 30.0}
    known = {'recorder_enabled': False, 'period_s': 0.1, 'lifetime_s': 0.3, **limits, **rules}
    return Supervisor(
        SupervisorRules(episode=RULES, lockstep=lockstep, reward_enabled=reward_enabled, **known)
    )


def reset(it: Supervisor, reset_id: int = 1, now: float = 0.0, **reply) -> list:
    """Reply to a reset; it succeeds unless ``reply`` differs."""
    known = {'success': True, 'instruction': 'push the red cube', 'stamp': FIRST, 'message': ''}
    return it.on_reset(ResetReply(reset_id, **{**known, **reply}), now)


def recorded(it: Supervisor, episode_id: str = 'e1', **result) -> list:
    """Report the recorder's result; it succeeds unless ``result`` differs."""
    known = {'success': True, 'uri': 'bag', 'detail': ''}
    return it.on_recorded(RecordingResult(episode_id, **{**known, **result}))


def not_recorded(it: Supervisor) -> list:
    """Report that the bag could not be written."""
    return recorded(it, success=False, uri='', detail='disk full')


class Drive:
    """A supervisor with an episode under way, and short calls for its messages."""

    def __init__(
        self, lockstep: bool = True, reward_enabled: bool = True, *, max_steps: int = 0, **rules
    ):
        self.it = make_supervisor(lockstep, reward_enabled, **rules)
        self.begun = self.it.begin(replace(GOAL, max_steps=max_steps), 0.0)
        self.started = reset(self.it)

    def action(self, step: int, episode: str = 'e1', now: float = 0.0, chunk: int = 1) -> list:
        """Bring the action for the observation of a step."""
        stamp = FIRST + step * PERIOD
        about = {'policy_version': 2, 'chunk_steps': chunk, 'period': PERIOD}
        return self.it.on_action(ActionEvent(episode, stamp, **about), now)

    def predict(
        self,
        step: float,
        d: float = 9.0,
        success: bool = False,
        episode: str = 'e1',
        now: float = 0.0,
    ) -> list:
        """Bring the steps-to-go of the observation of a step."""
        stamp = FIRST + int(step * PERIOD)
        prediction = PredictionEvent(
            episode, stamp, steps_to_go=d, success=success, reward_version=5
        )
        return self.it.on_steps_to_go(prediction, now)

    def command(self, step: int, now: float = 0.0) -> None:
        """Bring the command that the guard sends for the action of a step."""
        self.it.on_command(FIRST + step * PERIOD, now)

    def execute(self, step: int, now: float = 0.0) -> list:
        """Bring action, prediction and command for one step."""
        self.command(step, now)
        return self.action(step, now=now) + self.predict(step, now=now)

    def reach(self, step: int) -> list:
        """Bring both messages for one step, on which the goal is reached."""
        return self.action(step) + self.predict(step, 0.5, success=True)

    def both(self, step: int) -> list:
        """Bring both messages for one step."""
        return self.action(step) + self.predict(step)


def permit(step: int) -> GrantPermit:
    """Return the permit for the action of a step."""
    return GrantPermit('e1', FIRST + step * PERIOD)


def ending(commands: list[SupervisorCommand]) -> EpisodeEnding:
    """Return the ending that ``commands`` announce and then report; both are the same."""
    end, result = commands
    assert isinstance(end, AnnounceEnd)
    assert isinstance(result, ReportResult)
    assert (end.goal, end.ending) == (result.goal, result.ending)
    return end.ending


def how(found: EpisodeEnding) -> tuple:
    """Return outcome, termination and steps."""
    return found.outcome, found.termination, found.steps


def test_episode_begins_with_a_reset_and_starts_when_the_world_replies():
    drive = Drive()
    assert drive.begun == [RequestReset(GOAL, 1)]
    (start,) = drive.started
    assert isinstance(start, AnnounceStart)
    assert start.stamp == FIRST
    assert start.goal == replace(GOAL, instruction='push the red cube', max_steps=3)
    assert drive.it.phase == Phase.RUNNING


def test_goal_may_ask_for_another_number_of_steps():
    it = make_supervisor()
    it.begin(EpisodeGoal('e1', max_steps=9), 0.0)
    (start,) = reset(it)
    assert start.goal.max_steps == 9


@pytest.mark.parametrize('order', [('action', 'predict'), ('predict', 'action')])
def test_action_passes_when_both_messages_are_there_in_any_order(order):
    drive = Drive()
    first, second = (getattr(drive, name) for name in order)
    assert first(0) == []
    assert second(0) == [permit(0)]


def test_action_passes_without_a_prediction_where_there_is_no_reward_model():
    assert Drive(reward_enabled=False).action(0) == [permit(0)]


def test_repeated_messages_are_permitted_again_and_counted_once():
    drive = Drive()
    assert drive.both(0) == [permit(0)]
    assert drive.action(0) == [permit(0)]
    assert drive.predict(0) == [permit(0)]
    drive.both(1)
    drive.both(1)
    assert drive.action(0) == []
    drive.both(2)
    assert how(ending(drive.both(3))) == (Outcome.FAILURE, Termination.TIMEOUT, 3)


def test_repeated_message_does_not_postpone_a_stall():
    drive = Drive()
    drive.action(0)
    drive.action(0, now=9.0)
    assert ending(drive.it.tick(11.0)).detail.endswith('waiting for steps_to_go')


def test_success_ends_the_episode_before_the_action_is_permitted():
    drive = Drive()
    drive.both(0)
    drive.action(1)
    found = ending(drive.predict(1, 1.5, success=True))
    assert how(found) == (Outcome.SUCCESS, Termination.SUCCESS_DETECTED, 1)
    assert (found.stamp, found.steps_to_go) == (FIRST + PERIOD, 1.5)
    assert (found.policy_version, found.reward_version) == (2, 5)
    assert drive.it.phase == Phase.IDLE
    assert drive.action(1) == []


def test_timeout_comes_on_the_observation_after_the_last_step_and_not_before():
    drive = Drive()
    for step in range(3):
        assert drive.both(step) == [permit(step)]
    assert drive.action(3) == []
    found = ending(drive.predict(3))
    assert how(found) == (Outcome.FAILURE, Termination.TIMEOUT, 3)
    assert found.stamp == FIRST + 3 * PERIOD


def test_success_on_the_very_last_observation_is_a_success():
    drive = Drive()
    for step in range(3):
        drive.both(step)
    assert how(ending(drive.reach(3)))[:2] == (
        Outcome.SUCCESS,
        Termination.SUCCESS_DETECTED,
    )


@pytest.mark.parametrize(
    ('success_at', 'outcome'), [(None, Outcome.FAILURE), (1, Outcome.SUCCESS)]
)
def test_detector_that_may_not_end_the_episode_still_decides_its_outcome(success_at, outcome):
    drive = Drive(detector_ends_episode=False)
    for step in range(3):
        drive.action(step)
        assert drive.predict(step, success=step == success_at) == [permit(step)]
    drive.action(3)
    assert how(ending(drive.predict(3))) == (outcome, Termination.TIMEOUT, 3)


def test_demonstration_times_out_on_the_action_after_the_last_step():
    drive = Drive(reward_enabled=False)
    for step in range(3):
        drive.action(step)
    assert how(ending(drive.action(3))) == (Outcome.FAILURE, Termination.TIMEOUT, 3)


@pytest.mark.parametrize('label', ['success', 'failure', 'unlabelled'])
def test_label_ends_the_episode_with_that_outcome(label):
    drive = Drive()
    drive.both(0)
    drive.both(1)
    found = ending(drive.it.on_label('e1', label, 0))
    assert how(found) == (Outcome(label), Termination.STOPPED, 1)
    assert found.stamp == FIRST + PERIOD


def test_label_may_name_the_observation_that_shows_it():
    drive = Drive(reward_enabled=False)
    drive.action(0)
    found = ending(drive.it.on_label('', 'success', FIRST + PERIOD))
    assert (found.stamp, found.steps) == (FIRST + PERIOD, 1)


@pytest.mark.parametrize(
    ('episode', 'label', 'complaint'),
    [
        ('e0', 'success', "got 'e0' while running"),
        ('e1', 'great', "expected one of success, failure, unlabelled, got 'great'"),
    ],
)
def test_label_for_another_episode_or_with_an_unknown_outcome_is_refused(
    episode, label, complaint
):
    drive = Drive()
    with pytest.raises(ValueError, match=complaint):
        drive.it.on_label(episode, label, 0)
    assert drive.it.phase == Phase.RUNNING


def test_lockstep_ends_only_where_the_last_observation_is_complete():
    drive = Drive()
    drive.both(0)
    assert drive.predict(1, success=True) == []
    assert ending(drive.action(1)).stamp == FIRST + PERIOD


def test_label_without_an_episode_is_refused():
    with pytest.raises(ValueError, match='while idle'):
        make_supervisor().on_label('', 'success', 0)


def test_messages_of_other_episodes_and_older_observations_are_ignored():
    drive = Drive()
    drive.both(0)
    drive.both(1)
    assert drive.action(2, episode='e0') == drive.predict(2, success=True, episode='') == []
    assert drive.predict(0, success=True) == []
    assert drive.action(0) == []
    assert drive.predict(-1 / PERIOD, 0.0, success=True) == []
    assert drive.it.phase == Phase.RUNNING


@pytest.mark.parametrize('event', ['reset', 'action', 'predict', 'recorded', 'tick'])
def test_idle_supervisor_ignores_messages(event):
    it = make_supervisor(recorder_enabled=True)
    prediction = {'steps_to_go': 0.0, 'success': True, 'reward_version': 1}
    does = {
        'reset': lambda: reset(it, reset_id=0),
        'action': lambda: it.on_action(ActionEvent('', 1, policy_version=1), 0.0),
        'predict': lambda: it.on_steps_to_go(PredictionEvent('', 1, **prediction), 0.0),
        'recorded': lambda: recorded(it, ''),
        'tick': lambda: it.tick(1e9),
    }
    assert does[event]() == []


def test_reset_that_fails_is_a_fault_with_the_message_of_the_world():
    it = make_supervisor(recorder_enabled=True)
    it.begin(GOAL, 0.0)
    (result,) = reset(it, success=False, message='no such block')
    assert how(result.ending) == (Outcome.UNLABELLED, Termination.FAULT, 0)
    assert result.ending.detail == 'reset failed: no such block'
    assert it.phase == Phase.IDLE


def test_late_reply_to_an_abandoned_reset_does_not_start_the_next_episode():
    it = make_supervisor()
    it.begin(GOAL, 0.0)
    it.stop(Termination.STOPPED, 'cancelled')
    it.begin(EpisodeGoal('e2'), 1.0)
    assert reset(it, 1, instruction='old scene', now=2.0) == []
    (start,) = reset(it, 2, instruction='new scene', stamp=FIRST + 1, now=3.0)
    assert start.goal.instruction == 'new scene'


def test_world_that_does_not_answer_the_reset_is_a_fault():
    it = make_supervisor()
    it.begin(GOAL, 0.0)
    assert it.tick(30.0) == []
    (result,) = it.tick(30.1)
    assert result.ending.detail == 'the world did not answer the reset for 30.0 s'
    assert result.ending.termination == Termination.FAULT


@pytest.mark.parametrize(
    ('reward_enabled', 'came', 'missing'),
    [
        (True, [], 'an image and action and steps_to_go'),
        (False, [], 'an image and action'),
        (True, ['action'], 'steps_to_go'),
        (True, ['predict'], 'action'),
        (True, ['action', 'predict'], 'an image'),
        (False, ['action'], 'an image'),
    ],
)
def test_stall_is_a_fault_that_names_what_is_missing(reward_enabled, came, missing):
    drive = Drive(reward_enabled=reward_enabled)
    for name in came:
        getattr(drive, name)(0)
    assert drive.it.tick(9.9) == []
    found = ending(drive.it.tick(10.1))
    assert (found.outcome, found.termination) == (Outcome.UNLABELLED, Termination.FAULT)
    assert found.detail == f'nothing for 10 s; waiting for {missing}'


def test_progress_restarts_the_stall_timeout():
    drive = Drive()
    drive.action(0, now=8.0)
    assert drive.it.tick(17.0) == []


def test_paused_robot_finishes_its_episode_and_begins_no_other():
    drive = Drive()
    assert drive.it.pause() == []
    assert drive.both(0) == [permit(0)]
    drive.reach(1)
    assert drive.it.obstacle == 'paused'
    with pytest.raises(ValueError, match='got: paused'):
        drive.it.begin(EpisodeGoal('e2'), 0.0)
    assert drive.it.resume() == []
    assert drive.it.obstacle == ''
    assert drive.it.begin(EpisodeGoal('e2'), 0.0) == [RequestReset(EpisodeGoal('e2'), 2)]


def test_busy_robot_begins_no_second_episode():
    with pytest.raises(ValueError, match='expected an idle robot, got: an episode is running'):
        Drive().it.begin(EpisodeGoal('e2'), 0.0)


def test_emergency_stop_ends_the_episode_and_holds_until_it_is_reset():
    drive = Drive()
    drive.both(0)
    found = ending(drive.it.on_emergency(True))
    assert how(found) == (Outcome.UNLABELLED, Termination.STOPPED, 0)
    assert found.detail == 'emergency stop'
    with pytest.raises(ValueError, match='emergency stop is set'):
        drive.it.begin(EpisodeGoal('e2'), 0.0)
    assert drive.it.on_emergency(False) == []
    drive.it.begin(EpisodeGoal('e2'), 0.0)


def test_person_who_takes_over_ends_the_episode_without_a_label_until_they_hand_back():
    drive = Drive()
    drive.both(0)
    found = ending(drive.it.take_over())
    assert how(found) == (Outcome.UNLABELLED, Termination.INTERVENTION, 0)
    assert drive.it.obstacle == 'paused'
    drive.it.resume()
    assert drive.it.obstacle == ''


def test_stopped_episode_ends_at_the_last_complete_observation():
    """Otherwise the recorder would wait for a missing prediction, and the bag would be lost."""
    drive = Drive()
    drive.both(0)
    drive.both(1)
    drive.action(2)
    found = ending(drive.it.stop(Termination.STOPPED, ''))
    assert (found.stamp, found.steps) == (FIRST + PERIOD, 1)


def test_recorded_episode_is_over_when_its_bag_is_on_disk():
    drive = Drive(recorder_enabled=True)
    (end,) = drive.reach(0)
    assert drive.it.phase == Phase.SAVING
    assert recorded(drive.it, 'e0', uri='other') == []
    assert recorded(drive.it) == [ReportResult(end.goal, end.ending, recording='bag')]
    assert drive.it.phase == Phase.IDLE


def test_bag_that_could_not_be_written_makes_the_episode_a_fault():
    drive = Drive(recorder_enabled=True)
    drive.both(0)
    drive.reach(1)
    (result,) = not_recorded(drive.it)
    found = result.ending
    assert how(found) == (Outcome.UNLABELLED, Termination.FAULT, 1)
    assert found.detail == 'recording failed: disk full'
    assert found.policy_version == 2


def test_a_full_disk_pauses_the_robot_until_a_person_has_made_room():
    drive = Drive(recorder_enabled=True)
    not_recorded(drive.it)
    assert drive.it.obstacle == 'paused'
    drive.it.resume()
    drive.it.begin(EpisodeGoal('e2'), 1.0)
    reset(drive.it, 2, now=1.0)
    recorded(drive.it, 'e2', success=False, uri='', detail='missing: action (1)')
    assert drive.it.obstacle == ''


def test_recorder_that_fails_early_ends_the_running_episode_at_once():
    drive = Drive(recorder_enabled=True)
    drive.both(0)
    end, result = not_recorded(drive.it)
    assert (end.ending.termination, result.ending.termination) == (Termination.FAULT,) * 2
    assert result.ending.detail == 'recording failed: disk full'
    assert drive.it.phase == Phase.IDLE


def test_reason_of_a_fault_is_kept_when_the_recording_fails_too():
    drive = Drive(recorder_enabled=True)
    drive.it.tick(10.1)
    (result,) = not_recorded(drive.it)
    assert result.ending.detail.startswith('nothing for 10 s')
    assert result.ending.detail.endswith('; recording failed: disk full')


def test_recorder_that_does_not_answer_does_not_hold_the_robot_forever():
    drive = Drive(recorder_enabled=True)
    drive.reach(0)
    assert drive.it.tick(9.0) == []  # its time begins here, however long the episode was silent
    assert drive.it.tick(18.9) == []
    (result,) = drive.it.tick(19.1)
    assert result.ending.detail == 'recording failed: the recorder did not answer'
    drive.it.begin(EpisodeGoal('e2'), 20.0)


def test_supervisor_without_a_recorder_ignores_recordings():
    assert not_recorded(Drive(recorder_enabled=False).it) == []


def test_real_time_episode_starts_with_a_permit_and_renews_it():
    drive = Drive(lockstep=False)
    start, first_permit = drive.started
    assert isinstance(start, AnnounceStart)
    assert first_permit == permit(0)
    assert drive.it.tick(0.1) == [permit(0)]
    assert drive.both(1) == []
    assert drive.it.tick(0.2) == [permit(1)]


def test_real_time_episode_times_out_by_the_clock():
    drive = Drive(lockstep=False)
    for step in range(5):
        assert drive.execute(step) == []
    assert drive.it.tick(0.29) == [permit(4)]
    found = ending(drive.it.tick(0.31))
    assert how(found) == (Outcome.FAILURE, Termination.TIMEOUT, 4)


def test_real_time_prediction_may_be_behind_the_actions():
    drive = Drive(lockstep=False)
    drive.predict(0)
    for step in range(4):
        drive.action(step)
        drive.command(step)
    found = ending(drive.predict(2, 1.0, success=True))
    assert how(found) == (Outcome.SUCCESS, Termination.SUCCESS_DETECTED, 2)
    assert found.stamp == FIRST + 2 * PERIOD


def test_real_time_success_waits_for_the_action_that_completes_its_observation():
    drive = Drive(lockstep=False)
    drive.execute(0)
    assert drive.predict(1, 1.0, success=True) == []
    assert drive.it.tick(0.15) == []  # the permit ends
    found = ending(drive.action(1))
    assert how(found) == (Outcome.SUCCESS, Termination.SUCCESS_DETECTED, 1)
    assert (found.stamp, found.steps_to_go) == (FIRST + PERIOD, 1.0)


def test_real_time_success_ends_at_the_next_observation_if_its_own_gets_no_action():
    drive = Drive(lockstep=False)
    drive.execute(0)
    drive.predict(1, 1.0, success=True)
    drive.predict(2, 1.5)
    found = ending(drive.action(2))
    assert how(found)[:2] == (Outcome.SUCCESS, Termination.SUCCESS_DETECTED)
    assert found.stamp == FIRST + 2 * PERIOD


def test_real_time_detection_that_does_not_end_the_episode_keeps_the_permit():
    drive = Drive(lockstep=False, detector_ends_episode=False)
    drive.execute(0)
    drive.predict(1, 1.0, success=True)
    assert drive.it.tick(0.15) == [permit(1)]


def test_real_time_stop_ends_the_permit():
    drive = Drive(lockstep=False)
    drive.it.on_emergency(True)
    assert drive.it.tick(0.1) == []


def test_real_time_steps_are_those_that_the_guard_executed():
    drive = Drive(lockstep=False)
    for step in range(4):
        drive.both(step)
    drive.command(2)  # the guard refused the others
    drive.command(0)
    assert ending(drive.it.on_label('e1', 'failure', 0)).steps == 2


@pytest.mark.parametrize(
    ('dead', 'said'),
    [
        (('action', 'predict', 'command'), 'the camera was silent: no image for 1.10 s'),
        (('action', 'command'), 'the policy was silent: no action for 1.10 s'),
        (('predict',), 'the reward model was silent: no steps_to_go for 1.10 s'),
        (('command',), 'the guard was silent: no command for 1.10 s'),
    ],
)
def test_a_component_that_falls_silent_is_a_fault_and_no_failure(dead, said):
    drive = Drive(lockstep=False, max_steps=1000)
    alive = [name for name in ('command', 'action', 'predict') if name not in dead]
    drive.execute(0)
    for step in range(1, 11):
        for name in alive:
            getattr(drive, name)(step, now=step / 10)
        assert drive.it.tick(step / 10) == [permit(step if alive else 0)]
    for name in alive:
        getattr(drive, name)(11, now=1.1)
    found = ending(drive.it.tick(1.1))
    assert how(found)[:2] == (Outcome.UNLABELLED, Termination.FAULT)
    assert found.detail == said


@pytest.mark.parametrize(
    ('came', 'said'),
    [
        ((), 'the policy was silent: no action in the whole episode'),
        (('action', 'command'), 'the reward model was silent: no steps_to_go in the whole'),
        (('action', 'predict'), 'the guard was silent: no command in the whole episode'),
    ],
)
def test_the_time_limit_makes_no_failure_of_a_component_that_never_came(came, said):
    drive = Drive(lockstep=False)
    for name in came:
        getattr(drive, name)(0)
    found = ending(drive.it.tick(0.31))
    assert how(found) == (Outcome.UNLABELLED, Termination.FAULT, 0)
    assert found.detail.startswith(said)


def test_a_supervisor_that_stood_still_judges_nothing():
    drive = Drive(lockstep=False)
    for step in range(3):
        drive.execute(step)
    drive.it.tick(0.1)
    found = ending(drive.it.tick(5.1))
    assert how(found)[:2] == (Outcome.UNLABELLED, Termination.FAULT)
    assert found.detail.startswith('the supervisor was silent: no check for 5.00 s')


def test_actions_that_come_too_late_name_their_age_and_the_clocks():
    drive = Drive(lockstep=False, max_steps=1000)
    for step in range(12):
        stamp = FIRST + step * PERIOD
        drive.it.on_action(ActionEvent('e1', stamp, policy_version=2, age_s=1.02), step / 10)
        drive.predict(step, now=step / 10)
    found = ending(drive.it.tick(1.11))
    assert found.termination is Termination.FAULT
    assert 'the guard was silent' in found.detail
    assert '1.02 s old when its action came' in found.detail
    assert 'compare the clocks of camera and robot' in found.detail


def test_a_reset_may_wait_for_a_person_without_limit():
    it = make_supervisor(reset_timeout_s=math.inf)
    it.begin(GOAL, 0.0)
    assert it.tick(1e6) == []
    assert it.phase == Phase.RESETTING


def test_episode_without_a_reward_model_ends_without_steps_to_go():
    drive = Drive(reward_enabled=False)
    drive.action(0)
    found = ending(drive.it.on_label('e1', 'success', 0))
    assert math.isnan(found.steps_to_go)
    assert found.reward_version == 0


def test_nothing_is_carried_over_into_the_next_episode():
    drive = Drive()
    drive.both(0)
    drive.reach(1)
    drive.it.begin(EpisodeGoal('e2'), 5.0)
    reset(drive.it, 2, stamp=FIRST + 900, now=5.0)
    found = ending(drive.it.stop(Termination.STOPPED, ''))
    assert (found.steps, found.policy_version, found.stamp) == (0, 0, FIRST + 900)
    assert math.isnan(found.steps_to_go)


def chunked(lockstep: bool = True) -> Drive:
    """Return an episode of chunks of four control steps, with a limit of three chunks."""
    return Drive(lockstep, reward_enabled=False, chunk=4, silence_timeout_s=1.3)


@pytest.mark.parametrize(('chunk', 'steps'), [(4, 3), (1, 12)])
def test_time_limit_is_the_same_for_chunks_and_for_single_actions(chunk, steps):
    drive = chunked()
    for step in range(steps):
        assert drive.action(step * chunk, chunk=chunk) == [permit(step * chunk)]
    over = drive.action(12, chunk=chunk)
    assert how(ending(over)) == (Outcome.FAILURE, Termination.TIMEOUT, steps)


def test_real_time_limit_of_chunks_is_that_of_their_control_steps():
    drive = chunked(lockstep=False)
    drive.action(0, chunk=4)
    drive.action(4, chunk=4, now=0.8)
    drive.command(7, now=1.1)
    assert drive.it.tick(0.8) == [permit(4)]
    assert drive.it.tick(1.19) == [permit(4)]
    assert how(ending(drive.it.tick(1.21)))[1] is Termination.TIMEOUT


def test_label_within_a_chunk_refers_to_the_observation_that_began_it():
    drive = chunked(lockstep=False)
    drive.action(0, chunk=4)
    drive.action(4, chunk=4)
    drive.command(2)
    over = ending(drive.it.on_label('e1', 'success', FIRST + 6 * PERIOD))
    assert (over.stamp, over.steps) == (FIRST + 4 * PERIOD, 1)


def test_rules_come_from_the_parameters_and_the_embodiment(embodiment):
    config = SupervisorConfig(
        lockstep=True, reward_enabled=False, stall_timeout_s=3.0, detector_ends_episode=False
    )
    assert SupervisorRules.of(config, embodiment) == SupervisorRules(
        episode=embodiment.episode,
        lockstep=True,
        reward_enabled=False,
        recorder_enabled=True,
        stall_timeout_s=3.0,
        silence_timeout_s=pytest.approx(1.0),
        reset_timeout_s=30.0,
        period_s=0.1,
        lifetime_s=0.3,
        chunk=1,
        detector_ends_episode=False,
    )


def ending_of(commands: list) -> EpisodeEnding:
    """Return the only ending that is announced."""
    (end,) = (command.ending for command in commands if isinstance(command, AnnounceEnd))
    return end


def test_a_scene_that_has_ended_waits_for_the_answers_to_its_last_observation():
    drive = Drive()
    drive.both(0)
    assert drive.it.on_terminated(FIRST + PERIOD) == []
    assert drive.action(1) == []
    end = ending_of(drive.predict(1, d=9.0))
    assert (end.outcome, end.termination) == (Outcome.FAILURE, Termination.TERMINATED)
    assert (end.stamp, end.steps) == (FIRST + PERIOD, 1)


def test_a_late_notice_ends_the_episode_on_the_observation_that_is_complete():
    drive = Drive()
    drive.both(0)
    drive.action(1)
    assert drive.predict(1, d=1.5) == [permit(1)]
    end = ending_of(drive.it.on_terminated(FIRST + PERIOD))
    assert (end.outcome, end.termination) == (Outcome.SUCCESS, Termination.TERMINATED)
    assert (end.stamp, end.steps) == (FIRST + PERIOD, 1)
    assert drive.it.on_terminated(FIRST + PERIOD) == []  # the episode is over


def test_the_end_of_an_earlier_scene_is_no_end():
    drive = Drive()
    assert drive.it.on_terminated(FIRST - PERIOD) == []
    assert drive.both(0) == [permit(0)]


def test_in_real_time_the_label_of_a_person_follows_the_end_of_a_scene():
    drive = Drive(lockstep=False, reward_enabled=False)
    drive.command(0)
    drive.action(0)
    assert drive.it.on_terminated(FIRST) == []
    end = ending_of(drive.it.on_label('e1', 'success', FIRST))
    assert (end.outcome, end.termination) == (Outcome.SUCCESS, Termination.STOPPED)


def test_in_lockstep_a_demonstration_ends_as_a_failure_with_its_scene():
    drive = Drive(reward_enabled=False)
    drive.action(0)
    drive.it.on_terminated(FIRST + PERIOD)
    end = ending_of(drive.action(1))
    assert (end.outcome, end.termination) == (Outcome.FAILURE, Termination.TERMINATED)
