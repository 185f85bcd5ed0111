"""Server and client over real gRPC, on this host."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
import threading

from efm_core.observation import Observation
from efm_policy.policy import Policy
from efm_policy.serving import wire
from efm_policy.serving.client import Failure
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.server import PolicyServer
from models import exported, FakeTextEncoder, observations, relabelled, SENTENCE, table_arm
import numpy as np
import pytest
from serving import BlockingClient, numbers, policy, serving, write_certificate, write_tokens
from waiting import scaled, wait_for

OBSERVATIONS = observations(6)


class Slow:
    """A policy that blocks until ``go`` is set, and records the sizes of its batches."""

    def __init__(self):
        self._policy = policy()
        self.go = threading.Event()
        self.batches = []
        self.busy = threading.Event()
        self.version = self._policy.version
        self.start = self._policy.start

    def act_batch(self, episodes, observations):
        self.busy.set()
        self.batches.append(len(episodes))
        assert self.go.wait(20)
        return self._policy.act_batch(episodes, observations)


@pytest.fixture
def connect():
    """Return a function that connects a robot to a server."""
    made = []

    def make(server, robot='robot_0', authority='', token=''):
        made.append(BlockingClient(server, robot, authority=authority, token=token))
        return made[-1]

    yield make
    for robot in made:
        robot.close()


@pytest.fixture(scope='module')
def open_server():
    """Return a server that needs neither TLS nor tokens."""
    with serving() as (server, where):
        yield server, where


@pytest.fixture
def robot(open_server, connect):
    return connect(open_server[1])


def alone(seed=3, seen=OBSERVATIONS):
    """Return the actions of the policy itself, in this process."""
    local = policy()
    local.begin(SENTENCE, seed)
    actions = [local.act(observation) for observation in seen]
    return [(a.tokens.tolist(), a.values.tolist(), a.log_probability) for a in actions]


def test_the_server_returns_the_actions_of_the_policy(robot):
    assert robot.begin().policy_version == 7
    for step, expected in enumerate(alone()):
        answer = robot.act(OBSERVATIONS[step], step)
        tokens, values, log_probability = numbers(answer)
        assert (tokens, values) == expected[:2]
        assert log_probability == pytest.approx(expected[2], abs=1e-5)


def test_an_answer_repeats_the_fields_of_its_request(robot):
    robot.begin()
    answer = robot.act(OBSERVATIONS[0], 4, stamp=77, deadline=99)
    assert (answer.episode_id, answer.step, answer.stamp, answer.deadline) == ('first', 4, 77, 99)
    assert (answer.policy_version, answer.batch) == (7, 1)
    assert 0 <= answer.waited_s < 20
    assert 0 < answer.inference_s < 20


def test_simultaneous_robots_get_the_actions_of_single_robots(open_server, connect):
    robots = [connect(open_server[1], f'robot_{seed}') for seed in range(4)]
    for seed, robot in enumerate(robots):
        robot.begin(seed=seed)

    def episode(robot):
        return [numbers(robot.act(seen, step)) for step, seen in enumerate(OBSERVATIONS)]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(episode, robots))
    for seed, answers in enumerate(found):
        for (tokens, values, log_probability), expected in zip(answers, alone(seed), strict=True):
            assert (tokens, values) == expected[:2]
            assert log_probability == pytest.approx(expected[2], abs=1e-4)


def test_requests_that_arrive_during_a_batch_form_the_next_batch(connect):
    slow = Slow()
    with serving(slow) as (server, where):
        robots = [connect(where, f'robot_{i}') for i in range(4)]
        for robot in robots:
            robot.begin()
        robots[0].send(OBSERVATIONS[0])
        assert slow.busy.wait(20)
        for robot in robots[1:]:
            robot.send(OBSERVATIONS[0])
        wait_for(lambda: len(server._worker._batcher._waiting) == 3, 'three requests')
        slow.go.set()
        assert [robot.hear().batch for robot in robots] == [1, 3, 3, 3]
        assert slow.batches == [1, 3]


def test_without_micro_batching_each_batch_has_one_request(connect):
    slow = Slow()
    with serving(slow, max_batch=1, max_wait_s=0.0) as (server, where):
        robots = [connect(where, f'robot_{i}') for i in range(3)]
        for robot in robots:
            robot.begin()
            robot.send(OBSERVATIONS[0])
        slow.go.set()
        assert [robot.hear().batch for robot in robots] == [1, 1, 1]
        assert server.counts['batches'] == 3


def test_an_observation_that_is_sent_again_is_not_run_again(robot, open_server):
    robot.begin()
    first = robot.act(OBSERVATIONS[0], 0)
    answered = open_server[0].counts['answered']
    again = robot.act(OBSERVATIONS[0], 0)
    assert again == first
    assert open_server[0].counts['answered'] == answered
    tokens, values, _ = numbers(robot.act(OBSERVATIONS[1], 1))
    assert (tokens, values) == alone()[1][:2]


@pytest.mark.parametrize(
    ('fields', 'code', 'word'),
    [
        ({'embodiment_hash': '0123456789abcdef'}, 'INVALID_ARGUMENT', '0123456789abcdef'),
        ({'instruction': ''}, 'INVALID_ARGUMENT', 'instruction: expected a sentence'),
        ({'policy_version': 8}, 'NOT_FOUND', 'release: expected 8 or newer, got 7'),
        ({'policy_version': 6, 'goes_on': True}, 'NOT_FOUND', 'release: expected 6, got 7'),
    ],
    ids=['embodiment', 'instruction', 'release', 'former release'],
)
def test_an_episode_that_cannot_begin_is_refused_with_the_reason(robot, fields, code, word):
    failure = robot.begin(**fields)
    assert failure.code == code
    assert word in failure.detail


@pytest.mark.parametrize(
    ('picture', 'word'),
    [
        (np.zeros((32, 48, 3), np.uint8), 'expected shape (64, 64, 3), got (32, 48, 3)'),
        (np.zeros((64, 64, 3), np.float32), 'expected dtype uint8, got float32'),
    ],
    ids=['size', 'type'],
)
def test_an_invalid_observation_is_refused_and_the_episode_continues(robot, picture, word):
    robot.begin()
    failure = robot.act(Observation.of(picture))
    assert failure.code == 'INVALID_ARGUMENT'
    assert word in failure.detail
    assert numbers(robot.act(OBSERVATIONS[0], 0))[0] == alone()[0][0]


def test_a_message_beyond_the_size_limit_is_refused(connect):
    with serving(max_message_bytes=4096) as (_, where):
        robot = connect(where)
        robot.begin()
        assert robot.act(OBSERVATIONS[0]).code == 'RESOURCE_EXHAUSTED'


def test_an_observation_of_an_unknown_episode_is_refused(robot):
    robot.begin('first')
    failure = robot.act(OBSERVATIONS[0], episode_id='second')
    assert failure.code == 'FAILED_PRECONDITION'
    assert "none of robot_0 for 'second'" in failure.detail


def test_a_robot_without_a_name_is_refused(open_server, connect):
    assert connect(open_server[1], '').begin().code == 'INVALID_ARGUMENT'


def test_a_request_that_cannot_meet_its_deadline_is_dropped_before_inference(connect):
    slow = Slow()
    with serving(slow) as (server, where):
        first = connect(where, 'robot_0')
        second = connect(where, 'robot_1')
        first.begin()
        second.begin()
        first.send(OBSERVATIONS[0])
        assert slow.busy.wait(20)
        assert second.act(OBSERVATIONS[0], seconds=0.05).code == 'DEADLINE_EXCEEDED'
        slow.go.set()
        assert not isinstance(first.hear(), Failure)
        assert not isinstance(second.act(OBSERVATIONS[0], 1), Failure)
        assert slow.batches == [1, 1]
        assert server.counts['late'] == 1


def test_a_failure_of_the_policy_fails_its_batch_only(connect, monkeypatch):
    with serving() as (server, where):
        robot = connect(where)
        robot.begin()
        with monkeypatch.context() as broken:
            broken.setattr(Policy, 'act_batch', lambda *_: 1 / 0)
            failure = robot.act(OBSERVATIONS[0])
        assert (failure.code, failure.detail) == ('INTERNAL', 'policy: division by zero')
        assert not isinstance(robot.act(OBSERVATIONS[0]), Failure)
        assert server.counts['failed'] == 1


def test_more_robots_than_max_robots_are_refused(connect):
    with serving(max_robots=2) as (server, where):
        robots = [connect(where, f'robot_{i}') for i in range(3)]
        assert [isinstance(robot.begin(), Failure) for robot in robots] == [False, False, True]
        assert 'at most 2' in robots[2].begin().detail
        server.sessions._clock = lambda: 1e9
        assert robots[2].begin().policy_version == 7
        assert robots[0].act(OBSERVATIONS[0]).code == 'FAILED_PRECONDITION'


def test_a_newer_release_acts_in_the_episodes_that_begin_after_it(connect, tmp_path):
    newer = relabelled(exported('policy'), tmp_path / 'policy.onnx', table_arm(), 8)
    with serving() as (server, where):
        robot = connect(where, 'robot_0')
        other = connect(where, 'robot_1')
        robot.begin('first')
        server.sessions.adopt(Policy.load(newer, FakeTextEncoder(), table_arm()))
        assert other.begin('first').policy_version == 8
        with ThreadPoolExecutor(2) as pool:
            both = pool.map(lambda one: one.act(OBSERVATIONS[0]), (robot, other))
            assert [answer.policy_version for answer in both] == [7, 8]
        assert robot.begin('first', policy_version=7, goes_on=True).policy_version == 7
        assert robot.begin('second').policy_version == 8


def test_without_a_release_no_episode_begins(connect):
    server = PolicyServer(ServingConfig(port=0), table_arm(), policy=None)
    try:
        failure = connect(f'127.0.0.1:{server.start()}').begin()
        assert (failure.code, server.sessions.version) == ('NOT_FOUND', 0)
        assert 'got none yet' in failure.detail
    finally:
        server.stop()


def test_two_servers_do_not_share_a_port(open_server):
    port = int(open_server[1].rpartition(':')[2])
    server = PolicyServer(ServingConfig(port=port), table_arm(), policy=policy())
    with pytest.raises(OSError, match=f'expected to listen on 127.0.0.1:{port}'):
        server.start()
    server.stop()


@pytest.fixture(scope='module')
def guarded(tmp_path_factory):
    """Return a server with TLS and tokens of two robots, and its certificate and tokens."""
    folder = tmp_path_factory.mktemp('guarded')
    certificate, key = write_certificate(folder)
    tokens = write_tokens(folder / 'tokens', 'robot_0', 'robot_1')
    with serving(certificate=certificate, key=key, tokens=tokens) as (server, where):
        yield server, where, certificate, tokens


def test_a_robot_with_tls_and_its_token_is_answered(guarded, connect):
    server, where, certificate, tokens = guarded
    robot = connect(where, 'robot_1', certificate, f'{tokens}/robot_1')
    assert robot.begin().policy_version == 7
    assert numbers(robot.act(OBSERVATIONS[0]))[0] == alone()[0][0]
    assert server.describe() == 'this host only, TLS, 2 tokens'


@pytest.mark.parametrize(
    ('name', 'token', 'expected'),
    [
        ('robot_0', 'robot_1', "the one that the server has for robot 'robot_0'"),
        ('robot_2', 'robot_1', "the one that the server has for robot 'robot_2'"),
        ('robot_0', '', 'the one of a robot of this server'),
    ],
)
def test_a_robot_with_another_token_or_none_is_refused(guarded, connect, name, token, expected):
    _, where, certificate, tokens = guarded
    robot = connect(where, name, certificate, f'{tokens}/{token}' if token else '')
    for failure in (robot.begin(), robot.act(OBSERVATIONS[0])):
        assert failure.code == 'UNAUTHENTICATED'
        assert f'token: expected {expected}, got another or none' in failure.detail


def test_a_server_with_another_certificate_is_refused_by_the_robot(guarded, connect, tmp_path):
    _, where, _, tokens = guarded
    other, _ = write_certificate(tmp_path)
    assert connect(where, 'robot_0', other, f'{tokens}/robot_0').begin().code == 'UNAVAILABLE'


def test_a_server_with_tls_does_not_answer_a_robot_without(guarded, connect):
    assert connect(guarded[1]).begin(seconds=5.0).code == 'UNAVAILABLE'


def test_an_episode_continues_after_a_restart_of_the_server(connect):
    with serving() as (_, where):
        robot = connect(where)
        robot.begin()
        robot.act(OBSERVATIONS[0], 0)
    assert robot.act(OBSERVATIONS[1], 1).code == 'UNAVAILABLE'
    with serving(port=int(where.rpartition(':')[2])):
        wait_for(
            lambda: robot.act(OBSERVATIONS[1], 1).code == 'FAILED_PRECONDITION', 'a new episode'
        )
        assert robot.begin(policy_version=7, goes_on=True).policy_version == 7
        assert robot.act(OBSERVATIONS[1], 1).policy_version == 7


def test_the_noise_depends_on_the_robots_step_even_if_requests_were_lost(robot):
    robot.begin()
    local = policy()
    local._episode = replace(local.start(SENTENCE, 3), step=5)
    expected = local.act(OBSERVATIONS[5])
    assert numbers(robot.act(OBSERVATIONS[5], 5))[0] == expected.tokens.tolist()


def test_a_malformed_message_is_refused(open_server):
    import grpc

    with grpc.insecure_channel(open_server[1]) as channel:
        call = channel.unary_unary(f'/{wire.SERVICE}/Act')
        with pytest.raises(grpc.RpcError) as caught:
            call(b'\xff\xff\xff\xff not a message', timeout=scaled(20))
    assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
