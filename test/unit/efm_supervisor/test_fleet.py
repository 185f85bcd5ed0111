"""The fleet assigns episodes to robots."""

from __future__ import annotations

from efm_supervisor.config import FleetConfig
from efm_supervisor.fleet import Fleet, TrainerProgress
import pytest


def fleet(first: int = 0, **fields) -> Fleet:
    """Return a fleet that evaluates, unless ``fields`` differ."""
    return Fleet(FleetConfig(**{'kind': 'evaluation', 'seed': 1000, **fields}), first)


def done(it: Fleet, robot: str, index: int, outcome='success', termination='timeout', now=-99.0):
    """Report a result with a bag; by default so long ago that no robot rests from a fault."""
    told = {'outcome': outcome, 'termination': termination, 'now': now}
    it.on_result(robot, index, recorded=True, **told)


def indices(it: Fleet, *robots: str) -> list:
    """Return the index of the episode that each robot gets, or None."""
    goals = [it.next_goal(robot, 0.0) for robot in robots]
    return [goal and goal.index for goal in goals]


def test_index_of_an_episode_gives_its_name_and_seed():
    goal = fleet(first=12, policy_version=3).next_goal('a', 0.0)
    assert (goal.episode_id, goal.index, goal.seed) == ('evaluation-000012', 12, 1012)
    assert (goal.kind, goal.policy_version) == ('evaluation', 3)


def test_a_resumed_evaluation_runs_what_is_missing_and_no_more():
    it = Fleet(FleetConfig(kind='evaluation', seed=1000, episodes=5), 4, finished={0, 2})
    first = it.next_goal('a', 0.0)
    second = it.next_goal('b', 0.0)
    assert [(goal.index, goal.seed) for goal in (first, second)] == [(1, 1001), (3, 1003)]
    # A bag with the name of the first try may exist.
    assert (first.episode_id, second.episode_id) == ('evaluation-000001-2', 'evaluation-000003-2')
    done(it, 'a', 1)
    assert indices(it, 'a', 'a') == [4, None]
    done(it, 'a', 4)
    assert not it.is_done
    done(it, 'b', 3)
    assert indices(it, 'a', 'b') == [None, None]
    assert it.is_done


def test_a_resumed_evaluation_that_is_complete_runs_nothing():
    it = Fleet(FleetConfig(kind='evaluation', episodes=3), 7, finished={0, 1, 2})
    assert indices(it, 'a') == [None]
    assert it.is_done


def test_an_evaluation_that_is_resumed_with_more_episodes_goes_on_after_the_last():
    it = Fleet(FleetConfig(kind='evaluation', episodes=5), 3, finished={0, 1, 2})
    assert indices(it, 'a', 'b', 'c') == [3, 4, None]


def test_every_episode_is_run_once_by_a_free_robot():
    it = fleet(episodes=3)
    assert indices(it, 'a', 'b', 'a') == [0, 1, None]
    done(it, 'b', 1)
    assert indices(it, 'b', 'b') == [2, None]
    assert not it.is_done
    done(it, 'a', 0)
    done(it, 'b', 2)
    assert indices(it, 'a', 'b') == [None, None]
    assert it.is_done


def test_episode_with_a_fault_is_retried_with_the_same_seed_and_another_name():
    it = fleet(episodes=1)
    first = it.next_goal('a', 0.0)
    done(it, 'a', 0, 'unlabelled', 'fault')
    assert not it.is_done
    again = it.next_goal('b', 0.0)
    assert (again.index, again.seed) == (first.index, first.seed)
    assert (first.episode_id, again.episode_id) == ('evaluation-000000', 'evaluation-000000-2')
    done(it, 'b', 0)
    assert it.is_done
    assert it.counted == 1


def test_fleet_fails_after_too_many_faults_in_a_row():
    it = fleet(episodes=5, max_consecutive_faults=2)
    for _ in range(2):
        assert not it.has_failed
        done(it, 'a', it.next_goal('a', 0.0).index, 'unlabelled', 'fault')
    assert it.has_failed
    assert it.next_goal('a', 0.0) is None


def test_a_robot_rests_after_each_fault_longer_while_the_others_work():
    it = fleet(episodes=9)
    assert it.next_goal('a', 0.0).index == 0
    done(it, 'a', 0, 'unlabelled', 'fault', now=10.0)
    assert it.next_goal('a', 11.9) is None
    assert it.next_goal('b', 11.9).index == 0
    assert it.next_goal('a', 12.0).index == 1
    done(it, 'a', 1, 'unlabelled', 'fault', now=20.0)
    assert it.next_goal('a', 23.9) is None
    assert it.next_goal('a', 24.0).index == 1
    done(it, 'a', 1, now=30.0)
    assert it.next_goal('a', 30.0).index == 2
    done(it, 'a', 2, 'unlabelled', 'fault', now=40.0)
    assert it.next_goal('a', 42.0).index == 2


def test_a_stop_by_a_person_is_tried_again_and_is_no_fault():
    it = fleet(episodes=5, max_consecutive_faults=2)
    for robot in 'abcde':
        it.next_goal(robot, 0.0)
    for index, robot in enumerate('abcde'):
        done(it, robot, index, 'unlabelled', 'stopped')
    assert not it.has_failed
    assert (it.finished, it.faults_in_a_row) == (0, 0)
    assert indices(it, *'abcde') == [0, 1, 2, 3, 4]


def test_one_finished_episode_resets_the_count_of_faults():
    it = fleet(episodes=5, max_consecutive_faults=2)
    for termination in ('fault', 'timeout', 'fault'):
        done(it, 'a', it.next_goal('a', 0.0).index, 'failure', termination)
    assert not it.has_failed


def test_only_successful_demonstrations_count():
    it = fleet(kind='demonstration', episodes=2, only_successes=True)
    for outcome in ('failure', 'success', 'success'):
        assert not it.is_done
        done(it, 'a', it.next_goal('a', 0.0).index, outcome)
    assert it.is_done
    assert (it.finished, it.counted) == (3, 2)


@pytest.fixture
def practice():
    """Return a fleet with four episodes of practice, in rollouts of two."""
    return fleet(kind='practice', wait_for_trainer=True, episodes=4, episodes_per_rollout=2)


def test_practice_waits_for_the_trainer_before_the_first_episode(practice):
    assert practice.next_goal('a', 0.0) is None
    practice.on_trainer(TrainerProgress(5, 10))
    assert practice.next_goal('a', 0.0).policy_version == 5


def test_practice_waits_after_a_rollout_until_the_trainer_has_ingested_it(practice):
    practice.on_trainer(TrainerProgress(5, 10))
    assert indices(practice, 'a', 'b') == [0, 1]
    done(practice, 'a', 0)
    assert practice.next_goal('a', 0.0) is None
    done(practice, 'b', 1)
    for early in (TrainerProgress(5, 10), TrainerProgress(5, 11)):
        practice.on_trainer(early)
        assert indices(practice, 'a', 'b') == [None, None]
    practice.on_trainer(TrainerProgress(6, 12))
    goals = [practice.next_goal(robot, 0.0) for robot in ('a', 'b')]
    assert [(goal.index, goal.policy_version) for goal in goals] == [(2, 6), (3, 6)]


def test_practice_is_done_when_the_trainer_has_ingested_the_last_rollout(practice):
    practice.on_trainer(TrainerProgress(5, 0))
    for index in range(4):
        assert practice.next_goal('a', 0.0).index == index
        done(practice, 'a', index)
        if index < 3:
            practice.on_trainer(TrainerProgress(5, index + 1))
    assert not practice.is_done
    practice.on_trainer(TrainerProgress(6, 4))
    assert practice.is_done


def test_episode_without_a_bag_is_not_awaited_from_the_trainer(practice):
    practice.on_trainer(TrainerProgress(5, 0))
    practice.next_goal('a', 0.0)
    practice.on_result(
        'a', 0, outcome='unlabelled', termination='fault', recorded=False, now=-99.0
    )
    assert practice.next_goal('a', 0.0).index == 0
    done(practice, 'a', 0)
    assert practice.next_goal('a', 0.0).index == 1


def test_a_paused_robot_gets_the_episode_later_without_a_fault():
    it = fleet(episodes=1, max_consecutive_faults=1)
    first = it.next_goal('a', 0.0)
    it.on_refusal('a', first.index)
    assert not it.has_failed
    assert not it.is_done
    assert it.next_goal('a', 0.0) == first
