"""The robot's side of a remote policy, with a client whose answers come from the test."""

from collections import Counter
from types import SimpleNamespace

from efm_policy.serving import wire
from efm_policy.serving.client import Failure, FIRST_RETRY_S, LAST_RETRY_S
from efm_policy.serving.remote import EpisodeRequest, RemotePolicy
from models import observations, SENTENCE, table_arm
import numpy as np
import pytest

OBSERVATION = observations(1)[0]
FIRST, SECOND = (
    EpisodeRequest(name, SENTENCE, seed=3, policy_version=7) for name in ('first', 'second')
)
MS = 1_000_000  # [ns]


class FakeDiagnostics:
    """Stores faults and counts, as the diagnostics of a node do."""

    def __init__(self):
        self.fault = ''
        self.values = {}
        self.counts = Counter()

    def count_dropped(self, reason):
        self.counts[reason.split(', got ')[0]] += 1


class Robot:
    """A robot whose clocks and server the test controls."""

    def __init__(self):
        self.diagnostics = FakeDiagnostics()
        self.time = 0.0
        self.now = 1000 * MS
        self.begins = []
        self.acts = []
        self.begun = 0
        self.answers = []
        self.closed = False
        self.remote = RemotePolicy(
            self, table_arm(), timeout_s=2.0, diagnostics=self.diagnostics,
            post=lambda task: task(),
            now=lambda: self.now, on_begun=self._on_begun,
            on_action=lambda *answer: self.answers.append(answer),
            clock=lambda: self.time,
        )  # fmt: skip

    def _on_begun(self):
        self.begun += 1

    def begin(self, then, seconds, **fields):
        self.begins.append((then, SimpleNamespace(seconds=seconds, **fields)))

    def act(self, then, seconds, observation, **fields):
        self.acts.append((then, SimpleNamespace(seconds=seconds, **fields)))

    def close(self):
        self.closed = True

    def begin_well(self, start=FIRST, version=7):
        assert not self.remote.begin(start)
        self.begins[-1][0](wire.BeginAnswer(policy_version=version))
        assert self.remote.begin(start)

    def ask(self, stamp=1000 * MS, deadline=1300 * MS, step=0):
        return self.remote.request_action(OBSERVATION, stamp, step, deadline)

    def answer(self, **changes):
        """Answer the newest request."""
        then, asked = self.acts[-1]
        known = {name: getattr(asked, name) for name in ('episode_id', 'step', 'stamp')}
        known |= {'deadline': asked.deadline, 'policy_version': 7, 'log_probability': -1.0}
        known['tokens'] = wire.from_array(np.array([1, 2]))
        known['values'] = wire.from_array(np.array([0.01, 0.0], np.float32))
        then(wire.ActAnswer(**{**known, **changes}))

    def fail(self, code, detail=''):
        self.acts[-1][0](Failure(code, detail))


@pytest.fixture
def robot():
    return Robot()


def test_a_begin_request_has_all_fields_of_the_episode(robot):
    assert not robot.remote.begin(FIRST)
    _, asked = robot.begins[0]
    assert (asked.episode_id, asked.instruction, asked.seed) == ('first', SENTENCE, 3)
    assert (asked.policy_version, asked.goes_on) == (7, False)
    assert asked.embodiment_hash == table_arm().hash
    robot.begins[0][0](wire.BeginAnswer(policy_version=9))
    assert (robot.begun, robot.remote.has_begun, robot.remote.version) == (1, True, 9)


def test_the_timeout_of_a_request_is_the_time_before_the_deadline(robot):
    robot.begin_well()
    robot.now = 1100 * MS
    assert robot.ask()
    assert robot.acts[0][1].seconds == pytest.approx(0.2)
    assert robot.remote.is_busy


def test_in_lockstep_the_timeout_is_that_of_the_configuration(robot):
    robot.begin_well()
    assert robot.ask(deadline=0)
    assert robot.acts[0][1].seconds == 2.0
    robot.now = 10**15
    robot.answer()
    assert robot.answers[0][1] is not None


def test_an_observation_after_its_deadline_is_not_sent(robot):
    robot.begin_well()
    robot.now = 1300 * MS
    assert not robot.ask()
    assert not robot.acts
    assert not robot.remote.is_busy
    assert robot.diagnostics.counts == {'observation too old to send': 1}


def test_an_answer_in_time_is_an_action(robot):
    robot.begin_well()
    robot.ask(step=4)
    robot.now = 1299 * MS
    robot.answer()
    question, action = robot.answers[0]
    assert (question.stamp, question.step) == (1000 * MS, 4)
    assert action.tokens.tolist() == [1, 2]
    np.testing.assert_array_equal(action.values, np.float32([0.01, 0]))
    assert not robot.remote.is_busy


def test_an_answer_after_its_deadline_is_dropped_and_counted(robot):
    robot.begin_well()
    robot.ask()
    robot.now = 1301 * MS
    robot.answer()
    assert robot.answers[0][1] is None
    assert robot.diagnostics.counts == {'late answer': 1}
    assert not robot.remote.is_busy


def test_a_request_without_an_answer_in_time_is_counted_as_late(robot):
    robot.begin_well()
    robot.ask()
    robot.fail('DEADLINE_EXCEEDED')
    assert robot.answers[0][1] is None
    assert robot.diagnostics.counts == {'late answer': 1}


@pytest.mark.parametrize(
    'changes',
    [
        {'stamp': 1}, {'episode_id': 'other'}, {'deadline': 0}, {'policy_version': 8},
        {'values': wire.from_array(np.zeros(3, np.float32))},
        {'values': wire.from_array(np.zeros(2, np.int64))},
        {'values': wire.from_array(np.array([np.nan, 0], np.float32))},
        {'values': wire.Array(dtype='float32', shape=[2], data=b'12')},
        {'tokens': wire.from_array(np.zeros(2, np.float32))},
    ],
)  # fmt: skip
def test_an_answer_to_another_request_or_with_wrong_arrays_is_no_action(robot, changes):
    robot.begin_well()
    robot.ask()
    robot.answer(**changes)
    assert robot.answers[0][1] is None
    assert sum(robot.diagnostics.counts.values()) == 1


def test_an_answer_with_a_chunk_is_an_action(robot):
    robot.begin_well()
    robot.ask()
    robot.answer(values=wire.from_array(np.zeros((4, 2), np.float32)))
    assert robot.answers[0][1].values.shape == (4, 2)


def test_an_answer_of_the_previous_episode_is_no_action(robot):
    robot.begin_well()
    robot.ask()
    robot.begin_well(SECOND)
    robot.answer()
    assert robot.answers[0][1] is None
    assert not robot.remote.is_busy


def test_an_episode_that_cannot_begin_is_tried_again_with_back_off(robot):
    robot.remote.begin(FIRST)
    pauses = []
    for _ in range(8):
        robot.begins[-1][0](Failure('UNAVAILABLE', 'connection refused'))
        failed = robot.time
        tried = len(robot.begins)
        while len(robot.begins) == tried:
            robot.time += 0.1
            robot.remote.tick()
        pauses.append(robot.time - failed)
    expected = [min(FIRST_RETRY_S * 2**i, LAST_RETRY_S) for i in range(8)]
    assert pauses == pytest.approx(expected, abs=0.11)
    assert robot.diagnostics.fault == 'server: UNAVAILABLE: connection refused'
    robot.begins[-1][0](wire.BeginAnswer(policy_version=7))
    assert (robot.diagnostics.fault, robot.begun) == ('', 1)


def test_a_pending_begin_request_is_not_sent_again(robot):
    robot.remote.begin(FIRST)
    robot.time = 100.0
    robot.remote.tick()
    assert len(robot.begins) == 1


def test_a_permanent_failure_is_not_tried_again(robot):
    robot.remote.begin(FIRST)
    robot.begins[0][0](Failure('INVALID_ARGUMENT', 'instruction: expected a sentence'))
    robot.time = 100.0
    robot.remote.tick()
    assert len(robot.begins) == 1
    assert 'instruction' in robot.diagnostics.fault
    robot.begin_well(SECOND)


def test_after_a_restart_of_the_server_the_episode_continues_with_the_same_release(robot):
    robot.begin_well(version=9)
    robot.ask()
    robot.fail('FAILED_PRECONDITION', 'episode: expected Begin before Act')
    assert not robot.remote.has_begun
    _, asked = robot.begins[-1]
    assert (asked.episode_id, asked.policy_version, asked.goes_on) == ('first', 9, True)
    robot.begins[-1][0](wire.BeginAnswer(policy_version=9))
    assert (robot.begun, robot.remote.has_begun) == (2, True)


def test_an_unavailable_server_is_a_fault_until_it_answers(robot):
    robot.begin_well()
    robot.ask()
    robot.fail('UNAVAILABLE', 'connection refused')
    assert robot.diagnostics.fault == 'server: UNAVAILABLE: connection refused'
    assert robot.diagnostics.counts == {'no answer: UNAVAILABLE': 1}
    robot.ask()
    robot.answer()
    assert robot.diagnostics.fault == ''


def test_after_the_end_of_the_episode_nothing_is_sent(robot):
    robot.begin_well()
    robot.ask()
    robot.remote.end()
    robot.answer()
    robot.time = 100.0
    robot.remote.tick()
    assert robot.answers[0][1] is None
    assert len(robot.begins) == 1


def test_the_answer_to_an_outdated_begin_request_is_ignored(robot):
    robot.remote.begin(FIRST)
    robot.remote.begin(SECOND)
    robot.begins[0][0](wire.BeginAnswer(policy_version=7))
    assert (robot.begun, robot.remote.has_begun) == (0, False)
    robot.begins[1][0](wire.BeginAnswer(policy_version=7))
    assert (robot.begun, robot.remote.has_begun) == (1, True)


def test_the_diagnostics_show_whether_the_server_is_connected(robot):
    assert robot.diagnostics.values['server'] == 'not connected'
    robot.begin_well()
    assert robot.diagnostics.values['server'] == 'connected'
    for code, said in (
        ('UNAVAILABLE', 'not connected'),
        ('DEADLINE_EXCEEDED', 'not connected'),
        ('INTERNAL', 'connected'),
        ('DEADLINE_EXCEEDED', 'connected'),
    ):
        robot.ask()
        robot.fail(code)
        assert robot.diagnostics.values['server'] == said, code


def test_closing_ends_the_connection(robot):
    robot.begin_well()
    robot.remote.close()
    assert robot.closed
    assert not robot.remote.has_begun
