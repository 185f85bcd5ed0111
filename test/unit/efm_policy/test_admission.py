"""Calls that send no request, or no token, do not keep the server from its robots."""

from __future__ import annotations

from contextlib import contextmanager, ExitStack
import threading

from efm_policy.serving import wire
from efm_policy.serving.admission import CallLimit
from efm_policy.serving.client import Failure
from efm_policy.serving.credentials import digest, find_robot, HEADER
from efm_policy.serving.sessions import RefusedError
import grpc
from models import observations
import pytest
from serving import BlockingClient, serving, write_tokens
from waiting import wait_for

OBSERVATION = observations(1)[0]
FEW = {'max_robots': 2, 'max_calls': 3}
TOKEN = '0' * 64  # of robot_0


@contextmanager
def open_calls(where, count, connections=1, token=''):
    """Open calls that never send their request; the connections close at the end."""
    never = threading.Event()

    def silence():
        never.wait()
        yield from ()

    metadata = ((HEADER, f'Bearer {token}'),) if token else ()
    with ExitStack() as stack:
        calls = []
        for _ in range(connections):
            # Without this option all connections of one process to one server are shared.
            options = [('grpc.use_local_subchannel_pool', 1)]
            channel = stack.enter_context(grpc.insecure_channel(where, options))
            act = channel.stream_unary(f'/{wire.SERVICE}/Act')
            calls += [act.future(silence(), metadata=metadata) for _ in range(count)]
        try:
            yield calls
        finally:
            never.set()


@pytest.fixture
def robot():
    """Return a function that connects a robot, begins an episode and returns its answers."""
    made = []

    def act(where, name='robot_1', token=''):
        made.append(BlockingClient(where, name, token=token))
        return made[-1].begin(), made[-1].act(OBSERVATION)

    yield act
    for client in made:
        client.close()


def is_answered(answers):
    return not any(isinstance(answer, Failure) for answer in answers)


def test_calls_without_a_request_on_one_connection_leave_room_for_robots(robot):
    with serving(**FEW, request_s=60.0) as (server, where), open_calls(where, 50):
        wait_for(lambda: server._limit._open.total() == 3, 'the calls')
        assert is_answered(robot(where))


def test_calls_without_a_token_end_at_once_and_leave_room_for_robots(robot, tmp_path):
    tokens = write_tokens(tmp_path / 'tokens', 'robot_0', 'robot_1')
    with (
        serving(**FEW, request_s=60.0, tokens=tokens) as (server, where),
        open_calls(where, 50) as calls,
    ):
        assert is_answered(robot(where, token=f'{tokens}/robot_1'))
        wait_for(lambda: all(call.done() for call in calls), 'the refusals')
        # Unavailable: of a new connection that does not know yet how many the server takes.
        codes = {call.code() for call in calls} - {grpc.StatusCode.UNAVAILABLE}
        assert codes == {grpc.StatusCode.UNAUTHENTICATED}
        assert server.counts['refused'] > 0


def test_a_robot_with_too_many_open_calls_is_refused_and_the_others_are_answered(robot, tmp_path):
    tokens = write_tokens(tmp_path / 'tokens', 'robot_0', 'robot_1')
    with (
        serving(**FEW, request_s=60.0, tokens=tokens) as (_, where),
        open_calls(where, 3, connections=4, token=TOKEN) as calls,
    ):
        wait_for(lambda: sum(call.done() for call in calls) == 9, 'the refusals')
        refused = [call for call in calls if call.done()]
        assert {call.code() for call in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert 'at most 3 at once of robot_0, got another one' in refused[0].details()
        assert is_answered(robot(where, token=f'{tokens}/robot_1'))
        assert robot(where, 'robot_0', f'{tokens}/robot_0')[0].code == 'RESOURCE_EXHAUSTED'


def test_a_call_whose_request_does_not_come_in_time_is_cancelled(robot):
    with serving(request_s=0.1) as (server, where), open_calls(where, 2) as calls:
        wait_for(lambda: all(call.done() for call in calls), 'the end of the calls')
        assert {call.code() for call in calls} == {grpc.StatusCode.CANCELLED}
        wait_for(lambda: not server._limit._open, 'the end of their handlers')
        assert is_answered(robot(where))


def test_a_call_that_ends_without_a_request_is_refused(robot):
    with serving() as (_, where), grpc.insecure_channel(where) as channel:
        call = channel.stream_unary(f'/{wire.SERVICE}/Act')
        with pytest.raises(grpc.RpcError) as caught:
            call(iter(()))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert 'expected one message, got none' in caught.value.details()


def test_the_place_of_a_call_is_free_after_it():
    limit = CallLimit(2)
    for _ in range(5):
        with (
            limit.counted('a'),
            limit.counted('a'),
            limit.counted('b'),
            pytest.raises(RefusedError, match='at most 2 at once of a'),
            limit.counted('a'),
        ):
            pytest.fail('the body must not run')
    assert not limit._open


def test_a_token_names_its_robot():
    tokens = {name: digest(token * 32) for name, token in (('robot_0', 'a'), ('robot_1', 'b'))}
    assert find_robot({HEADER: 'Bearer ' + 'b' * 32}, tokens) == 'robot_1'
    for value in ('Bearer ' + 'c' * 32, 'Basic ' + 'b' * 32, 'b' * 32, ''):
        assert find_robot({HEADER: value}, tokens) == ''
    assert find_robot({}, tokens) == ''
