"""What starts, permits and ends an episode."""

from __future__ import annotations

import math

from efm_core.episode import Outcome, Termination
from efm_core.episode_rules import EpisodeRules
from efm_supervisor.supervisor import (
    End,
    Ending,
    Finish,
    Goal,
    Permit,
    Phase,
    ResetWorld,
    Start,
    Supervisor,
)
import pytest

RULES = EpisodeRules(max_steps=3)
GOAL = Goal('e1', index=4, seed=7, instruction='push it', policy_version=2)
# stamps of the observations [ns]
FIRST = 1000
PERIOD = 100


class Drive:
    """A supervisor with an episode under way, and short words for what comes in."""

    def __init__(
        self,
        lockstep=True,
        reward_enabled=True,
        *,
        recorder_enabled=False,
        detector_ends_episode=True,
    ):
        self.it = Supervisor(
            RULES,
            lockstep,
            reward_enabled=reward_enabled,
            recorder_enabled=recorder_enabled,
            stall_timeout_s=10,
            period_s=0.1,
            detector_ends_episode=detector_ends_episode,
        )
        self.begun = self.it.begin(GOAL, 0.0)
        self.started = self.it.on_reset(1, True, 'push the red cube', FIRST, '', 0.0)

    def action(self, step: int, episode: str = 'e1', now: float = 0.0) -> list:
        """Bring the action for the observation of a step."""
        return self.it.on_action(episode, FIRST + step * PERIOD, 2, now)

    def predict(
        self, step: int, d: float = 9.0, success: bool = False, episode: str = 'e1'
    ) -> list:
        """Bring the steps-to-go of the observation of a step."""
        return self.it.on_steps_to_go(episode, FIRST + step * PERIOD, d, success, 5, 0.0)

    def reach(self, step: int) -> list:
        """Bring everything for one step, on which the goal is reached."""
        return self.action(step) + self.predict(step, 0.5, success=True)

    def both(self, step: int) -> list:
        """Bring everything for one step."""
        return self.action(step) + self.predict(step)


def permit(step: int) -> Permit:
    """Return leave to act on the observation of a step."""
    return Permit('e1', FIRST + step * PERIOD)


def ending(commands: list) -> Ending:
    """Return the ending that ``commands`` announce and then report, the same in both."""
    end, finish = commands
    assert isinstance(end, End)
    assert isinstance(finish, Finish)
    assert end.ending == finish.ending
    return end.ending


def how(found: Ending) -> tuple:
    """Return outcome, termination and steps."""
    return found.outcome, found.termination, found.steps


def test_attempt_begins_with_a_reset_and_starts_when_the_world_has_answered():
    drive = Drive()
    assert drive.begun == [ResetWorld(7, 'push it', attempt=1)]
    (start,) = drive.started
    assert start == Start(drive.it.goal, FIRST)
    assert drive.it.goal.instruction == 'push the red cube'
    assert drive.it.goal.max_steps == 3
    assert drive.it.phase == Phase.RUNNING


def test_goal_may_ask_for_another_number_of_steps():
    it = Supervisor(
        RULES, True, reward_enabled=True, recorder_enabled=False, stall_timeout_s=10, period_s=0.1
    )
    it.begin(Goal('e1', max_steps=9), 0.0)
    it.on_reset(1, True, '', FIRST, '', 0.0)
    assert it.goal.max_steps == 9


@pytest.mark.parametrize('order', [('action', 'predict'), ('predict', 'action')])
def test_action_passes_when_both_answers_are_there_in_any_order(order):
    drive = Drive()
    first, second = (getattr(drive, name) for name in order)
    assert first(0) == []
    assert second(0) == [permit(0)]


def test_action_passes_without_a_judge_where_there_is_none():
    assert Drive(reward_enabled=False).action(0) == [permit(0)]


def test_answers_that_come_again_are_permitted_again_and_counted_once():
    drive = Drive()
    assert drive.both(0) == [permit(0)]
    assert drive.action(0) == [permit(0)]
    assert drive.predict(0) == [permit(0)]
    drive.both(1)
    drive.both(1)
    assert drive.action(0) == []
    drive.both(2)
    assert how(ending(drive.both(3))) == (Outcome.FAILURE, Termination.TIMEOUT, 3)


def test_an_answer_that_comes_again_and_again_hides_nobodys_silence():
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
def test_where_the_detector_may_not_end_an_episode_it_still_votes(success_at, outcome):
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


@pytest.mark.parametrize('word', ['success', 'failure', 'unlabelled'])
def test_label_ends_the_episode_with_that_outcome(word):
    drive = Drive()
    drive.both(0)
    drive.both(1)
    found = ending(drive.it.on_label('e1', word, 0))
    assert how(found) == (Outcome(word), Termination.STOPPED, 1)
    assert found.stamp == FIRST + PERIOD


def test_label_may_name_the_observation_that_shows_it():
    drive = Drive(reward_enabled=False)
    drive.action(0)
    found = ending(drive.it.on_label('', 'success', FIRST + PERIOD))
    assert (found.stamp, found.steps) == (FIRST + PERIOD, 1)


@pytest.mark.parametrize(
    ('episode', 'word', 'said'),
    [('e0', 'success', "got 'e0' while running"), ('e1', 'great', "'great'")],
)
def test_label_for_another_episode_or_with_another_word_is_refused(episode, word, said):
    drive = Drive()
    with pytest.raises(ValueError, match=said):
        drive.it.on_label(episode, word, 0)
    assert drive.it.phase == Phase.RUNNING


def test_lockstep_ends_only_where_the_last_observation_is_whole():
    drive = Drive()
    drive.both(0)
    assert drive.predict(1, success=True) == []
    assert ending(drive.action(1)).stamp == FIRST + PERIOD


def test_label_without_an_episode_is_refused():
    with pytest.raises(ValueError, match='while idle'):
        Supervisor(
            RULES,
            True,
            reward_enabled=True,
            recorder_enabled=False,
            stall_timeout_s=10,
            period_s=0.1,
        ).on_label('', 'success', 0)


def test_messages_of_other_episodes_and_older_observations_are_ignored():
    drive = Drive()
    drive.both(0)
    drive.both(1)
    assert drive.action(2, episode='e0') == drive.predict(2, success=True, episode='') == []
    assert drive.predict(0, success=True) == []
    assert drive.action(0) == []
    assert drive.it.on_steps_to_go('e1', FIRST - 1, 0, True, 5, 0.0) == []
    assert drive.it.phase == Phase.RUNNING


@pytest.mark.parametrize('event', ['reset', 'action', 'predict', 'recorded', 'tick'])
def test_idle_supervisor_ignores_what_comes(event):
    it = Supervisor(
        RULES, True, reward_enabled=True, recorder_enabled=True, stall_timeout_s=10, period_s=0.1
    )
    does = {
        'reset': lambda: it.on_reset(0, True, '', 1, '', 0.0),
        'action': lambda: it.on_action('', 1, 1, 0.0),
        'predict': lambda: it.on_steps_to_go('', 1, 0.0, True, 1, 0.0),
        'recorded': lambda: it.on_recorded('', True, 'bag', ''),
        'tick': lambda: it.tick(1e9),
    }
    assert does[event]() == []


def test_reset_that_fails_is_a_fault_with_the_worlds_own_words():
    it = Supervisor(
        RULES, True, reward_enabled=True, recorder_enabled=True, stall_timeout_s=10, period_s=0.1
    )
    it.begin(GOAL, 0.0)
    (finish,) = it.on_reset(1, False, '', 0, 'no such block', 0.0)
    assert how(finish.ending) == (Outcome.UNLABELLED, Termination.FAULT, 0)
    assert finish.ending.detail == 'reset failed: no such block'
    assert it.phase == Phase.IDLE


def test_late_answer_to_an_abandoned_reset_does_not_start_the_next_episode():
    it = Supervisor(
        RULES, True, reward_enabled=True, recorder_enabled=False, stall_timeout_s=10, period_s=0.1
    )
    it.begin(GOAL, 0.0)
    it.stop(Termination.STOPPED, 'cancelled')
    it.begin(Goal('e2'), 1.0)
    assert it.on_reset(1, True, 'old scene', FIRST, '', 2.0) == []
    (start,) = it.on_reset(2, True, 'new scene', FIRST + 1, '', 3.0)
    assert start.goal.instruction == 'new scene'


def test_world_that_does_not_answer_the_reset_is_a_fault():
    it = Supervisor(
        RULES, True, reward_enabled=True, recorder_enabled=False, stall_timeout_s=10, period_s=0.1
    )
    it.begin(GOAL, 0.0)
    assert it.tick(10.0) == []
    (finish,) = it.tick(10.1)
    assert finish.ending.detail == 'the world did not answer the reset'
    assert finish.ending.termination == Termination.FAULT


@pytest.mark.parametrize(
    ('judged', 'came', 'missing'),
    [
        (True, [], 'an image and action and steps_to_go'),
        (False, [], 'an image and action'),
        (True, ['action'], 'steps_to_go'),
        (True, ['predict'], 'action'),
        (True, ['action', 'predict'], 'an image'),
        (False, ['action'], 'an image'),
    ],
)
def test_stall_is_a_fault_that_names_what_is_missing(judged, came, missing):
    drive = Drive(reward_enabled=judged)
    for name in came:
        getattr(drive, name)(0)
    assert drive.it.tick(9.9) == []
    found = ending(drive.it.tick(10.1))
    assert (found.outcome, found.termination) == (Outcome.UNLABELLED, Termination.FAULT)
    assert found.detail == f'nothing for 10 s; waiting for {missing}'


def test_what_moves_on_does_not_stall():
    drive = Drive()
    drive.action(0, now=8.0)
    assert drive.it.tick(17.0) == []


def test_paused_robot_finishes_its_episode_and_takes_no_other():
    drive = Drive()
    drive.it.paused = True
    assert drive.both(0) == [permit(0)]
    drive.reach(1)
    with pytest.raises(ValueError, match='got: paused'):
        drive.it.begin(Goal('e2'), 0.0)
    drive.it.paused = False
    assert drive.it.begin(Goal('e2'), 0.0) == [ResetWorld(0, '', attempt=2)]


def test_busy_robot_takes_no_second_episode():
    with pytest.raises(ValueError, match='expected an idle robot, got: an episode is running'):
        Drive().it.begin(Goal('e2'), 0.0)


def test_emergency_stop_ends_the_episode_and_holds_until_it_is_reset():
    drive = Drive()
    drive.both(0)
    found = ending(drive.it.on_emergency(True))
    assert (found.termination, found.detail) == (Termination.FAULT, 'emergency stop')
    with pytest.raises(ValueError, match='emergency stop is set'):
        drive.it.begin(Goal('e2'), 0.0)
    assert drive.it.on_emergency(False) == []
    drive.it.begin(Goal('e2'), 0.0)


def test_person_who_takes_over_ends_the_episode_without_a_label():
    drive = Drive()
    drive.both(0)
    found = ending(drive.it.stop(Termination.INTERVENTION, 'a person took over'))
    assert how(found) == (Outcome.UNLABELLED, Termination.INTERVENTION, 0)


def test_episode_cut_short_ends_at_the_last_observation_that_has_all_its_messages():
    """Else the recorder would wait for a prediction that never comes, and the bag be lost."""
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
    assert drive.it.on_recorded('e0', True, 'other', '') == []
    assert drive.it.on_recorded('e1', True, 'bag', '') == [Finish(end.ending, 'bag')]
    assert drive.it.phase == Phase.IDLE


def test_bag_that_could_not_be_written_makes_the_episode_a_fault():
    drive = Drive(recorder_enabled=True)
    drive.both(0)
    drive.reach(1)
    (finish,) = drive.it.on_recorded('e1', False, '', 'disk full')
    found = finish.ending
    assert how(found) == (Outcome.UNLABELLED, Termination.FAULT, 1)
    assert found.detail == 'recording failed: disk full'
    assert found.policy_version == 2


def test_recorder_that_gives_up_ends_the_running_episode_at_once():
    drive = Drive(recorder_enabled=True)
    drive.both(0)
    end, finish = drive.it.on_recorded('e1', False, '', 'disk full')
    assert (end.ending.termination, finish.ending.termination) == (Termination.FAULT,) * 2
    assert finish.ending.detail == 'recording failed: disk full'
    assert drive.it.phase == Phase.IDLE


def test_reason_of_a_fault_is_kept_when_the_recording_fails_too():
    drive = Drive(recorder_enabled=True)
    drive.it.tick(10.1)
    (finish,) = drive.it.on_recorded('e1', False, '', 'disk full')
    assert finish.ending.detail.startswith('nothing for 10 s')
    assert finish.ending.detail.endswith('; recording failed: disk full')


def test_recorder_that_does_not_answer_does_not_hold_the_robot_forever():
    drive = Drive(recorder_enabled=True)
    drive.reach(0)
    assert drive.it.tick(9.0) == []  # its time begins here, however long the episode was silent
    assert drive.it.tick(18.9) == []
    (finish,) = drive.it.tick(19.1)
    assert finish.ending.detail == 'recording failed: the recorder did not answer'
    drive.it.begin(Goal('e2'), 20.0)


def test_unrecorded_robot_does_not_listen_to_recorders():
    assert Drive(recorder_enabled=False).it.on_recorded('e1', False, '', 'disk full') == []


def test_real_time_episode_starts_with_a_lease_and_renews_it():
    drive = Drive(lockstep=False)
    assert drive.started == [Start(drive.it.goal, FIRST), Permit('e1', FIRST)]
    assert drive.it.tick(0.1) == [Permit('e1', FIRST)]
    assert drive.both(1) == []
    assert drive.it.tick(0.2) == [Permit('e1', FIRST + PERIOD)]


def test_real_time_episode_times_out_by_the_clock():
    drive = Drive(lockstep=False)
    for step in range(5):
        assert drive.both(step) == []
    assert drive.it.tick(0.29) == [permit(4)]
    found = ending(drive.it.tick(0.31))
    assert how(found) == (Outcome.FAILURE, Termination.TIMEOUT, 4)


def test_real_time_judge_may_lag_behind_the_actions():
    drive = Drive(lockstep=False)
    drive.predict(0)
    for step in range(4):
        drive.action(step)
    found = ending(drive.predict(2, 1.0, success=True))
    assert how(found) == (Outcome.SUCCESS, Termination.SUCCESS_DETECTED, 2)
    assert found.stamp == FIRST + 2 * PERIOD


def test_real_time_stop_ends_the_lease():
    drive = Drive(lockstep=False)
    drive.it.on_emergency(True)
    assert drive.it.tick(0.1) == []


def test_unjudged_episode_ends_without_a_distance():
    drive = Drive(reward_enabled=False)
    drive.action(0)
    found = ending(drive.it.on_label('e1', 'success', 0))
    assert math.isnan(found.steps_to_go)
    assert found.reward_version == 0


def test_nothing_is_carried_over_into_the_next_episode():
    drive = Drive()
    drive.both(0)
    drive.reach(1)
    drive.it.begin(Goal('e2'), 5.0)
    drive.it.on_reset(2, True, '', FIRST + 900, '', 5.0)
    found = ending(drive.it.stop(Termination.STOPPED, ''))
    assert (found.steps, found.policy_version, found.stamp) == (0, 0, FIRST + 900)
    assert math.isnan(found.steps_to_go)


def chunked(lockstep: bool = True) -> Supervisor:
    """Return a supervisor of a policy with chunks of four, three of them at most."""
    it = Supervisor(
        RULES,
        lockstep,
        reward_enabled=False,
        recorder_enabled=False,
        stall_timeout_s=10,
        period_s=0.1,
        chunk=4,
    )
    it.begin(GOAL, 0.0)
    it.on_reset(1, True, 'push the red cube', FIRST, '', 0.0)
    return it


@pytest.mark.parametrize(('rows', 'steps'), [(4, 3), (1, 12)])
def test_the_limit_is_one_of_time_whether_chunks_or_single_actions_fill_it(rows, steps):
    it = chunked()
    for step in range(steps):
        stamp = FIRST + step * rows * PERIOD
        assert it.on_action('e1', stamp, 2, 0.0, rows) == [Permit('e1', stamp)]
    over = it.on_action('e1', FIRST + 12 * PERIOD, 2, 0.0, rows)
    assert how(ending(over)) == (Outcome.FAILURE, Termination.TIMEOUT, steps)


def test_where_the_world_does_not_wait_chunks_have_their_time():
    it = chunked(lockstep=False)
    it.on_action('e1', FIRST, 2, 0.0, 4)
    assert it.tick(1.19) == [Permit('e1', FIRST)]
    assert how(ending(it.tick(1.21)))[1] is Termination.TIMEOUT


def test_a_persons_word_within_a_chunk_is_about_the_observation_that_began_it():
    it = chunked(lockstep=False)
    it.on_action('e1', FIRST, 2, 0.0, 4)
    it.on_action('e1', FIRST + 4 * PERIOD, 2, 0.0, 4)
    over = ending(it.on_label('e1', 'success', FIRST + 6 * PERIOD))
    assert (over.stamp, over.steps) == (FIRST + 4 * PERIOD, 1)
