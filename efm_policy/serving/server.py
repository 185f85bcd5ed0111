"""The policy server: it receives requests over gRPC and answers them in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

from efm_core.embodiment import Embodiment
from efm_policy.policy import Policy
from efm_policy.serving import wire
from efm_policy.serving.admission import CallLimit, RequestDeadline, TokenCheck
from efm_policy.serving.batcher import Batcher
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.credentials import (
    find_robot,
    is_known,
    is_loopback,
    read_tokens,
    server_credentials,
)
from efm_policy.serving.sessions import InferenceRequest, RefusedError, Sessions
from efm_policy.serving.wire import Message
from efm_policy.serving.worker import Worker
import grpc

Handler = Callable[[Message, grpc.ServicerContext], Message]
StreamHandler = Callable[[Iterator[Message], grpc.ServicerContext], Message]
HANDSHAKE_S = 5.0  # longest time for TLS and the first frame of a connection
IDLE_S = 600.0  # a connection without a request for this long is closed; robots reconnect


class PolicyServer:
    """
    Answers the observations of many robots with one policy.

    :ivar sessions: the sessions of the robots.
    :ivar counts: as in ``Worker``, and ``refused`` requests.
    :ivar is_active: whether requests are answered; all are refused while it is false.
    """

    def __init__(self, config: ServingConfig, embodiment: Embodiment, *, policy: Policy | None):
        """
        Create the server; ``start`` opens the port.

        :param policy: acts in new episodes; None refuses them until ``sessions.adopt``.
        :raises ValueError: when the address is reachable from other hosts, but TLS or tokens are
            missing.
        :raises FileNotFoundError: when certificate, key or tokens do not exist.
        """
        self._config = config
        self._credentials = server_credentials(config)
        self._tokens = read_tokens(config.tokens) if config.tokens else None
        self.sessions = Sessions(
            embodiment, policy, max_robots=config.max_robots, session_s=config.session_s
        )
        self._worker: Worker[InferenceRequest] = Worker(
            Batcher(config.max_batch, config.max_wait_s), self.sessions.act
        )
        self.counts = self._worker.counts
        self.is_active = True
        self._limit = CallLimit(config.max_calls)
        self._deadline = RequestDeadline(config.request_s)
        # One robot can hold only its own share of the threads; the others have one each.
        self._server = grpc.server(
            futures.ThreadPoolExecutor(config.max_robots + 2 * config.max_calls, 'policy server'),
            handlers=[self._handlers()],
            interceptors=self._interceptors(),
            options=_options(config),
        )

    def start(self) -> int:
        """
        Open the port and start to answer; return the port.

        :raises OSError: when the port is in use or the address is not one of this host.
        """
        where = f'{self._config.address}:{self._config.port}'
        try:
            if self._credentials:
                port = self._server.add_secure_port(where, self._credentials)
            else:
                port = self._server.add_insecure_port(where)
        except RuntimeError as error:
            port = 0
            reason = str(error)
        else:
            reason = 'it is in use, or not an address of this host'
        if not port:
            raise OSError(f'address: expected to listen on {where}, got none ({reason})')
        self._server.start()
        return port

    def stop(self) -> None:
        """Close the port; requests that still wait are refused."""
        stopped = self._server.stop(grace=0.5)
        self._worker.stop()
        stopped.wait()
        self._deadline.stop()

    def describe(self) -> str:
        """Return a short text about address, TLS and tokens, for logs."""
        config = self._config
        where = 'this host only' if is_loopback(config.address) else config.address
        tokens = f'{len(self._tokens)} tokens' if self._tokens else 'no tokens'
        return f'{where}, {"TLS" if self._credentials else "no TLS"}, {tokens}'

    def _interceptors(self) -> list[grpc.ServerInterceptor]:
        if self._tokens is None:
            return []
        return [TokenCheck(self._tokens, self._count_refusal)]

    def _count_refusal(self) -> None:
        self.counts['refused'] += 1

    def _handlers(self) -> grpc.GenericRpcHandler:
        """
        Return the handlers of all methods.

        They take streams, because gRPC would wait for the message of a single request before it
        calls them, without an end. The robot sends one message either way.
        """
        handlers = {'Begin': self._begin, 'Act': self._act}
        methods = {
            name: grpc.stream_unary_rpc_method_handler(
                self._checked(handlers[name]), kinds[0].FromString, kinds[1].SerializeToString
            )
            for name, kinds in wire.METHODS.items()
        }
        return grpc.method_handlers_generic_handler(wire.SERVICE, methods)

    def _checked(self, handler: Handler) -> StreamHandler:
        """Return a handler that checks the robot first and reports refusals as gRPC status."""

        def handle(requests: Iterator[Message], context: grpc.ServicerContext) -> Message:
            try:
                with self._limit.counted(self._caller(context)):
                    request = self._deadline.receive(requests, context)
                    self._check(request.robot, context)
                    return handler(request, context)
            except RefusedError as refusal:
                self._count_refusal()
                context.abort(grpc.StatusCode[refusal.code], str(refusal))

        return handle

    def _caller(self, context: grpc.ServicerContext) -> str:
        """Return the robot whose token a call has; without tokens the connection."""
        if self._tokens is None:
            return str(context.peer())
        return find_robot(dict(context.invocation_metadata()), self._tokens)

    def _check(self, robot: str, context: grpc.ServicerContext) -> None:
        """
        Check that the server is active and that the request has the robot's token.

        :raises RefusedError: when not, or when the request has no robot name.
        """
        if not self.is_active:
            raise RefusedError('UNAVAILABLE', 'the server is not active')
        if not robot:
            raise RefusedError('INVALID_ARGUMENT', 'robot: expected a name, got none')
        metadata = dict(context.invocation_metadata())
        if self._tokens is not None and not is_known(robot, metadata, self._tokens):
            raise RefusedError(
                'UNAUTHENTICATED',
                f'token: expected the one that the server has for robot {robot!r}, got another '
                'or none',
            )

    def _begin(self, request: Message, context: grpc.ServicerContext) -> Message:
        return wire.BeginAnswer(policy_version=self.sessions.begin(request))

    def _act(self, request: Message, context: grpc.ServicerContext) -> Message:
        prepared = self.sessions.prepare(request)
        left = context.time_remaining()
        seconds = min(self._config.longest_wait_s, left if left is not None else float('inf'))
        try:
            return self._submit(prepared, seconds).result(seconds)
        except futures.TimeoutError:
            raise RefusedError('DEADLINE_EXCEEDED', 'the answer was not there in time') from None

    def _submit(self, prepared: InferenceRequest, seconds: float) -> futures.Future[Message]:
        """Return the future of an answer; an observation that is sent again is not run again."""
        session = prepared.session
        request = prepared.request
        future = session.answer_to(request.stamp)
        if future is None:
            future = self._worker.submit(request.robot, prepared, seconds)
            session.stamp = request.stamp
            session.future = future
        return future


def _options(config: ServingConfig) -> list[tuple[str, Any]]:
    """
    Return gRPC's options.

    They bound the requests of a connection, the time of a handshake, the time without a request
    and the size of messages. Ports are not shared, and robots may send frequent keepalive pings.
    """
    return [
        ('grpc.max_concurrent_streams', config.max_calls),
        ('grpc.server_handshake_timeout_ms', round(1000 * HANDSHAKE_S)),
        ('grpc.max_connection_idle_ms', round(1000 * IDLE_S)),
        ('grpc.max_receive_message_length', config.max_message_bytes),
        ('grpc.max_send_message_length', config.max_message_bytes),
        ('grpc.so_reuseport', 0),
        ('grpc.keepalive_permit_without_calls', 1),
        ('grpc.http2.min_recv_ping_interval_without_data_ms', 1000),
        ('grpc.http2.max_ping_strikes', 0),
    ]
