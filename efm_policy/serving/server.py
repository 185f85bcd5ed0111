"""The policy server: gRPC at the door, batches inside."""

from __future__ import annotations

from concurrent import futures
from typing import Any

from efm_core.embodiment import Embodiment
from efm_policy.policy import Policy
from efm_policy.serving import wire
from efm_policy.serving.batcher import Batcher
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.credentials import is_known, is_loopback, read_tokens, server_credentials
from efm_policy.serving.sessions import Ask, RefusedError, Sessions
from efm_policy.serving.worker import Worker
import grpc


class PolicyServer:
    """
    Answers the observations of many robots with one policy.

    :ivar sessions: what is remembered of each robot.
    :ivar counts: see ``Worker``; beside them ``refused``.
    :ivar is_active: whether anybody is answered.
    """

    def __init__(self, config: ServingConfig, embodiment: Embodiment, *, policy: Policy | None):
        """
        Get ready; ``start`` opens the door.

        :param policy: acts in episodes that begin; None refuses them until there is one.
        :raises ValueError: when it would be heard beyond this host without TLS and tokens.
        :raises FileNotFoundError: when certificate, key or tokens are missing.
        """
        self._config = config
        self._credentials = server_credentials(config)
        self._tokens = read_tokens(config.tokens) if config.tokens else None
        self.sessions = Sessions(
            embodiment, policy, max_robots=config.max_robots, session_s=config.session_s
        )
        self._worker = Worker(Batcher(config.max_batch, config.max_wait_s), self.sessions.answer)
        self.counts = self._worker.counts
        self.is_active = True
        self._server = grpc.server(
            futures.ThreadPoolExecutor(config.max_robots + 4, 'policy server'),
            handlers=[self._handlers()],
            maximum_concurrent_rpcs=2 * config.max_robots + 4,
            options=_options(config),
        )

    def start(self) -> int:
        """
        Open the door; return the port.

        :raises OSError: when the address cannot be had.
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
        """Close the door; whoever waits is refused."""
        stopped = self._server.stop(grace=0.5)
        self._worker.stop()
        stopped.wait()

    def describe(self) -> str:
        """Return who may ask and how, for people."""
        config = self._config
        where = 'this host only' if is_loopback(config.address) else config.address
        tokens = f'{len(self._tokens)} tokens' if self._tokens else 'no tokens'
        return f'{where}, {"TLS" if self._credentials else "no TLS"}, {tokens}'

    def _handlers(self) -> grpc.GenericRpcHandler:
        answers = {'Begin': self._begin, 'Act': self._act}
        methods = {
            name: grpc.unary_unary_rpc_method_handler(
                self._door(answers[name]), kinds[0].FromString, kinds[1].SerializeToString
            )
            for name, kinds in wire.METHODS.items()
        }
        return grpc.method_handlers_generic_handler(wire.SERVICE, methods)

    def _door(self, answer: Any) -> Any:
        """Return ``answer`` for those who may ask; a refusal becomes gRPC's status."""

        def handle(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                self._check(request.robot, context)
                return answer(request, context)
            except RefusedError as refusal:
                self.counts['refused'] += 1
                context.abort(grpc.StatusCode[refusal.code], str(refusal))

        return handle

    def _check(self, robot: str, context: grpc.ServicerContext) -> None:
        """Refuse whoever is not the robot that it says; without tokens, who has no name."""
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

    def _begin(self, request: Any, context: grpc.ServicerContext) -> Any:
        return wire.BeginAnswer(policy_version=self.sessions.begin(request))

    def _act(self, request: Any, context: grpc.ServicerContext) -> Any:
        ask = self.sessions.ask(request)
        left = context.time_remaining()
        seconds = min(self._config.longest_wait_s, left if left is not None else float('inf'))
        try:
            return self._submit(ask, seconds).result(seconds)
        except futures.TimeoutError:
            raise RefusedError('DEADLINE_EXCEEDED', 'the answer was not there in time') from None

    def _submit(self, ask: Ask, seconds: float) -> futures.Future:
        """Return what will hold the answer; what was asked before is not worked out again."""
        session = ask.session
        request = ask.request
        future = session.known(request.stamp)
        if future is None:
            future = self._worker.submit(request.robot, ask, seconds)
            session.stamp = request.stamp
            session.future = future
        return future


def _options(config: ServingConfig) -> list[tuple[str, Any]]:
    """Return gRPC's options: sizes, one server a port, robots that look whether it is alive."""
    return [
        ('grpc.max_receive_message_length', config.max_message_bytes),
        ('grpc.max_send_message_length', config.max_message_bytes),
        ('grpc.so_reuseport', 0),
        ('grpc.keepalive_permit_without_calls', 1),
        ('grpc.http2.min_recv_ping_interval_without_data_ms', 1000),
        ('grpc.http2.max_ping_strikes', 0),
    ]
