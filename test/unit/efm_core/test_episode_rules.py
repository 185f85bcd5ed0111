"""One table of cases; the rules and their four users give the same answers."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace
import math

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, EpisodeGoal, Outcome, Termination
from efm_core.episode_rules import EndingRules, EpisodeRules, first_detection, SuccessDetector
from efm_core.observation import MeasuredState, Observation
from efm_evaluation.metrics import detect_per_episode, self_stopped
from efm_reward.model import RewardModel
from efm_sim.rollout import rollout
from efm_supervisor.commands import AnnounceEnd
from efm_supervisor.events import ActionEvent, PredictionEvent, ResetReply
from efm_supervisor.rules import SupervisorRules
from efm_supervisor.supervisor import Supervisor
from models import FakeTextEncoder, SENTENCE, table_arm
import numpy as np
import pytest

PERIOD_S = 0.125  # exact in binary, so that a time limit is met exactly
PERIOD_NS = 125_000_000
FIRST = 1_000_000_000


@dataclass(frozen=True)
class Case:
    """
    One episode: what the reward model predicts, and how the episode must end.

    :param steps_to_go: d of each observation [steps]; s is 2.
    :param detected: first observation on which the detector fires, if the episode does not end
        there; None for never.
    :param last: last observation of the episode.
    :param dwell: consecutive observations that the detector needs.
    :param ends: the detector may end the episode.
    :param requested: time limit of the goal [steps]; 0 for that of the rules, four.
    :param ended: observation on which the scene has ended; None for a scene that goes on.
    """

    steps_to_go: tuple[float, ...]
    detected: int | None
    _: KW_ONLY
    last: int
    ending: tuple[Outcome, Termination]
    dwell: int = 2
    ends: bool = True
    requested: int = 0
    ended: int | None = None


DONE = (Outcome.SUCCESS, Termination.SUCCESS_DETECTED)
LATE = (Outcome.SUCCESS, Termination.TIMEOUT)
FAILED = (Outcome.FAILURE, Termination.TIMEOUT)
ENDED_NEAR = (Outcome.SUCCESS, Termination.TERMINATED)
ENDED_FAR = (Outcome.FAILURE, Termination.TERMINATED)
CASES = {
    'never near': Case((9, 8, 7, 6, 5), None, last=4, ending=FAILED),
    'reached': Case((9, 2, 2, 9, 9), 2, last=2, ending=DONE),
    'reached, detector may not end': Case((9, 2, 2, 9, 9), 2, last=4, ends=False, ending=LATE),
    'never long enough': Case((9, 2, 9, 2, 9), None, last=4, ending=FAILED),
    'dwell starts again': Case((1, 9, 1, 1, 9), 3, last=3, ending=DONE),
    'on the last observation': Case((9, 9, 9, 2, 2), 4, last=4, ending=DONE),
    'last observation, may not end': Case((9, 9, 9, 2, 2), 4, last=4, ends=False, ending=LATE),
    'too late': Case((9, 9, 9, 9, 2), None, last=4, ending=FAILED),
    'from the start': Case((2, 2, 2, 2, 2), 1, last=1, ending=DONE),
    'dwell of one': Case((2, 9, 9, 9, 9), 0, last=0, dwell=1, ending=DONE),
    'dwell of one, may not end': Case(
        (2, 9, 9, 9, 9), 0, last=4, dwell=1, ends=False, ending=LATE
    ),
    'just above s': Case((2.5, 2.5, 2.5, 2.5, 2.5), None, last=4, dwell=1, ending=FAILED),
    'dwell of three': Case((1, 1, 9, 1, 1), None, last=4, dwell=3, ending=FAILED),
    'shorter limit': Case((9, 9, 9), None, last=2, requested=2, ending=FAILED),
    'longer limit': Case((9, 9, 9, 9, 9, 9, 1), None, last=6, requested=6, ending=FAILED),
    'scene ends near': Case((9, 9, 2, 9, 9), None, last=2, ended=2, ending=ENDED_NEAR),
    'scene ends far': Case((9, 2, 2.5, 2, 9), None, last=2, ended=2, ending=ENDED_FAR),
    'scene ends where the detector fires': Case((9, 2, 2, 9), 2, last=2, ended=2, ending=DONE),
    'scene ends later, may not end': Case(
        (2, 2, 9, 9, 9), 1, last=3, ended=3, ends=False, ending=ENDED_NEAR
    ),
    'scene ends on the last observation': Case(
        (9, 9, 9, 9, 9), None, last=4, ended=4, ending=ENDED_FAR
    ),
}


def rules_of(case: Case) -> EpisodeRules:
    """Return rules with a time limit of four steps."""
    return EpisodeRules(max_steps=4, success_threshold=2.0, success_dwell=case.dwell)


def robot_of(case: Case, chunk: int) -> Embodiment:
    """Return the table's robot with the rules of a case."""
    robot = table_arm(episode=rules_of(case), control_rate_hz=1 / PERIOD_S)
    return replace(robot, action=replace(robot.action, chunk=chunk))


class Script:
    """An inference backend that predicts the steps-to-go of a case, one after the other."""

    version = 1

    def __init__(self, case: Case):
        self._steps_to_go = iter(case.steps_to_go)

    def input_shape(self, name: str) -> list[int | str]:
        raise NotImplementedError

    def run(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        d = next(self._steps_to_go)
        low = int(d)
        probabilities = np.zeros((1, 61), np.float32)
        probabilities[0, [low, low + 1]] = (1 - (d - low), d - low)
        return {'probabilities': probabilities}


def reward_model(case: Case, robot: Embodiment) -> RewardModel:
    """Return the reward model of a robot with a scripted backend."""
    return RewardModel(Script(case), FakeTextEncoder(), embodiment=robot)


class World:
    """A world without content; its scene may end after some control steps."""

    instruction = SENTENCE

    def __init__(self, last_step: float = math.inf):
        self._last_step = last_step

    def reset(self, seed: int) -> None:
        self._steps = 0

    def step(self, action: np.ndarray) -> None:
        self._steps += 1

    def terminated(self) -> bool:
        return self._steps >= self._last_step

    def images(self) -> tuple[np.ndarray, ...]:
        return (np.zeros((64, 64, 3), np.uint8),)

    def state(self) -> MeasuredState:
        return MeasuredState()

    def success(self) -> bool:
        return False


class Policy:
    """A policy that does not move; its actions are chunks where the robot has them."""

    version = 1

    def __init__(self, chunk: int):
        shape = (chunk, 2) if chunk > 1 else (2,)
        self._action = PolicyAction(np.zeros(2 * chunk, np.int64), np.zeros(shape, np.float32))

    def start(self, instruction: str, seed: int) -> None:
        return None

    def act_batch(self, episodes: list, observations: list) -> list[PolicyAction]:
        return [self._action for _ in episodes]


def play(case: Case, chunk: int = 1) -> Episode:
    """Return the episode of a rollout in one process."""
    robot = robot_of(case, chunk)
    (episode,) = rollout(
        [World(math.inf if case.ended is None else case.ended * chunk)],
        Policy(chunk),
        reward_model(case, robot),
        [0],
        robot,
        max_steps=case.requested,
        detector_ends_episode=case.ends,
    )
    return episode


def supervise(case: Case, chunk: int, lockstep: bool) -> tuple[int, Outcome, Termination]:
    """Return the last observation, outcome and termination that the supervisor announces."""
    model = reward_model(case, robot_of(case, chunk))
    rules = SupervisorRules(
        episode=rules_of(case),
        lockstep=lockstep,
        reward_enabled=True,
        recorder_enabled=False,
        stall_timeout_s=100.0,
        silence_timeout_s=100.0,
        reset_timeout_s=100.0,
        lifetime_s=10.0,
        period_s=PERIOD_S,
        detector_ends_episode=case.ends,
        chunk=chunk,
    )
    supervisor = Supervisor(rules)
    supervisor.begin(EpisodeGoal('e1', max_steps=case.requested), 0.0)
    reply = ResetReply(1, success=True, instruction=SENTENCE, stamp=FIRST, message='')
    supervisor.on_reset(reply, 0.0)
    model.begin(SENTENCE)
    for step in range(len(case.steps_to_go)):
        now = step * chunk * PERIOD_S
        stamp = FIRST + step * chunk * PERIOD_NS
        seen = model.predict(Observation.of(*World().images()))
        action = ActionEvent('e1', stamp, policy_version=1, chunk_steps=chunk)
        prediction = PredictionEvent(
            'e1',
            stamp,
            steps_to_go=seen.steps_to_go,
            success=seen.success,
            reward_version=1,
        )
        commands = [
            *(supervisor.on_terminated(stamp) if step == case.ended else ()),
            *supervisor.on_action(action, now),
            *supervisor.on_steps_to_go(prediction, now),
            *executed(supervisor, stamp, now),
            *supervisor.tick(now),
        ]
        for end in (command.ending for command in commands if isinstance(command, AnnounceEnd)):
            last = (end.stamp - FIRST) // (chunk * PERIOD_NS)
            assert end.steps == last
            return last, end.outcome, end.termination
    raise AssertionError('the episode did not end')


def executed(supervisor: Supervisor, stamp: int, now: float) -> list:
    """Report the command for an action; no command of the supervisor follows."""
    supervisor.on_command(stamp, now)
    return []


def expected(case: Case) -> tuple[int, Outcome, Termination]:
    """Return the last observation, outcome and termination of a case."""
    return case.last, *case.ending


@pytest.fixture(params=CASES, ids=str)
def case(request):
    return CASES[request.param]


def test_the_rules_give_the_table(case):
    rules = rules_of(case)
    ending_rules = EndingRules(
        max_steps=rules.step_limit(case.requested),
        success_threshold=rules.success_threshold,
        detector_ends_episode=case.ends,
    )
    detector = SuccessDetector(rules)
    fired = [detector.fires(d) for d in case.steps_to_go]
    for step, success in enumerate(fired):
        over = ending_rules.ending(
            success=success,
            has_succeeded=any(fired[: step + 1]),
            is_time_up=ending_rules.is_time_up(decisions=step),
            has_ended=step == case.ended,
            steps_to_go=case.steps_to_go[step],
        )
        if over:
            break
    assert (step, *over) == expected(case)


def test_the_reward_model_detects_success_as_in_the_table(case):
    model = reward_model(case, robot_of(case, chunk=1))
    model.begin(SENTENCE)
    fired = [model.predict(Observation.of(*World().images())).success for _ in case.steps_to_go]
    assert (fired.index(True) if any(fired) else None) == case.detected


@pytest.mark.parametrize('chunk', [1, 3])
@pytest.mark.parametrize('lockstep', [True, False], ids=['lockstep', 'real_time'])
def test_the_supervisor_ends_the_episode_as_in_the_table(case, chunk, lockstep):
    assert supervise(case, chunk, lockstep) == expected(case)


@pytest.mark.parametrize('chunk', [1, 3])
def test_the_rollout_ends_the_episode_as_in_the_table(case, chunk):
    episode = play(case, chunk)
    assert (len(episode), episode.outcome, episode.termination) == expected(case)


def test_the_evaluation_finds_the_detection_of_the_table_in_a_recorded_episode(case):
    episode = play(case)
    assert first_detection(case.steps_to_go, rules_of(case)) == case.detected
    assert first_detection(episode.steps_to_go, rules_of(case)) == case.detected
    never_reached = detect_per_episode([episode], rules_of(case))
    assert never_reached.false_positives == (case.detected is not None)
    truth = np.arange(len(episode) + 1) == case.last
    at_the_end = replace(episode, true_success_per_step=truth)
    stops_there = case.detected == case.last
    assert self_stopped([at_the_end], rules_of(case)).successes == stops_there


def test_simulator_truth_in_place_of_the_detector_ends_an_episode_as_a_label():
    rules = EndingRules(max_steps=4, success_termination=Termination.STOPPED)
    found = rules.ending(success=True, has_succeeded=True, is_time_up=True)
    assert found == (Outcome.SUCCESS, Termination.STOPPED)


@pytest.mark.parametrize(
    ('used', 'is_up'),
    [
        ({'decisions': 3}, False),
        ({'decisions': 4}, True),
        ({'control_steps': 11}, False),
        ({'control_steps': 12}, True),
        ({'seconds': 1.49}, False),
        ({'seconds': 1.5}, True),
        ({}, False),
    ],
)
def test_four_chunks_of_three_control_steps_of_an_eighth_of_a_second_are_the_limit(used, is_up):
    assert EndingRules(max_steps=4, chunk=3, period_s=PERIOD_S).is_time_up(**used) == is_up


def test_time_does_not_count_where_the_world_waits():
    assert not EndingRules(max_steps=4).is_time_up(seconds=1e9)


@pytest.mark.parametrize(
    ('threshold', 'dwell', 'at'), [(2.0, 1, 0), (2.0, 2, 3), (2.0, 3, 4), (0.5, 1, None)]
)
def test_a_detection_needs_enough_low_predictions_in_a_row(threshold, dwell, at):
    rules = EpisodeRules(success_threshold=threshold, success_dwell=dwell)
    assert first_detection([1.0, 3.0, 1.0, 1.0, 1.0], rules) == at


def test_an_observation_without_a_prediction_interrupts_the_dwell():
    assert first_detection([1.0, math.nan, 1.0], EpisodeRules(success_dwell=2)) is None
