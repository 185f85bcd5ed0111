"""A robot's connection to a policy server; no call blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment
from efm_core.observation import Observation
from efm_policy.serving import wire
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.credentials import channel_credentials, HEADER, read_token
from efm_policy.serving.wire import Message
import grpc
import numpy as np

FIRST_RETRY_S = 0.2  # back-off after the first failure
LAST_RETRY_S = 5.0  # longest back-off
CONNECT_S = 2.0  # longest time of one attempt to connect
ALIVE_S = 2.0  # a silent connection is tested after this time
LATE = 'DEADLINE_EXCEEDED'
GONE = 'UNAVAILABLE'


@dataclass(frozen=True)
class Failure:
    """
    The reason of a request without an answer.

    :param code: name of the gRPC status code.
    :param detail: text of the server or of gRPC.
    """

    code: str
    detail: str

    def __str__(self) -> str:
        """Return code and text."""
        return f'{self.code}: {self.detail}'


Reply = Callable[['Message | Failure'], None]  # called on a thread of gRPC


class Client:
    """
    Sends the requests of one robot to a policy server.

    Each request calls a function with the answer or a ``Failure``, on a thread of gRPC. gRPC
    connects, and reconnects with back-off.
    """

    def __init__(
        self,
        server: str,
        robot: str,
        *,
        authority: str = '',
        token: str = '',
    ):
        """
        Create the client; the first request connects.

        :param server: ``host:port``.
        :param robot: name of the robot, to which its token belongs.
        :param authority: PEM file to check the server's certificate against; empty for no TLS.
        :param token: private file with the robot's token; empty for none.
        :raises ValueError: when the server is on another host and ``authority`` is empty, or when
            other users may read the token's file.
        :raises FileNotFoundError: when a file does not exist.
        """
        credentials = channel_credentials(server, authority)
        options = _options()
        self._robot = robot
        self._metadata = ((HEADER, f'Bearer {read_token(token)}'),) if token else ()
        self._channel = (
            grpc.secure_channel(server, credentials, options)
            if credentials
            else grpc.insecure_channel(server, options)
        )
        self._calls = {
            name: self._channel.unary_unary(
                f'/{wire.SERVICE}/{name}', kinds[0].SerializeToString, kinds[1].FromString
            )
            for name, kinds in wire.METHODS.items()
        }

    def begin(self, reply: Reply, seconds: float, **fields: Any) -> None:
        """
        Send a request to begin an episode.

        :param reply: called with the ``BeginAnswer`` or a ``Failure``.
        :param seconds: longest wait for the answer [s].
        :param fields: of ``BeginRequest``, without the robot's name.
        """
        self._call('Begin', wire.BeginRequest(robot=self._robot, **fields), reply, seconds)

    def act(self, reply: Reply, seconds: float, observation: Observation, **fields: Any) -> None:
        """
        Send an observation to request an action.

        :param reply: called with the ``ActAnswer`` or a ``Failure``.
        :param seconds: longest wait for the answer [s].
        :param observation: what the policy sees.
        :param fields: of ``ActRequest``, without the robot's name and the observation.
        """
        request = wire.ActRequest(
            robot=self._robot, **wire.from_observation(observation), **fields
        )
        self._call('Act', request, reply, seconds)

    def close(self) -> None:
        """Close the connection; requests without an answer fail."""
        self._channel.close()

    def _call(self, name: str, request: Message, reply: Reply, seconds: float) -> None:
        call = self._calls[name].future(request, timeout=seconds, metadata=self._metadata)
        call.add_done_callback(lambda done: reply(_outcome(done)))


def to_action(answer: Message, embodiment: Embodiment) -> PolicyAction:
    """
    Return the action in an ``ActAnswer``.

    :raises ValueError: when its arrays are not an action of this embodiment.
    """
    tokens, values = (wire.to_array(getattr(answer, name), name) for name in ('tokens', 'values'))
    width = len(embodiment.action.names)
    if values.dtype != np.float32 or values.ndim < 1 or values.shape[-1] != width:
        raise ValueError(
            f'action: expected float32 (..., {width}), got {values.dtype} {values.shape}'
        )
    if not np.issubdtype(tokens.dtype, np.integer) or not np.isfinite(values).all():
        raise ValueError(
            f'action: expected integer tokens and finite values, got {tokens} {values}'
        )
    return PolicyAction(tokens, values, log_probability=answer.log_probability)


def _outcome(call: Any) -> Message | Failure:
    """Return the answer of a finished call, or the reason why there is none."""
    if call.code() == grpc.StatusCode.OK:
        return call.result()
    return Failure(call.code().name, call.details() or '')


def _options() -> list[tuple[str, Any]]:
    """Return gRPC's options: back-off, keepalive pings, message sizes, no proxy."""
    milliseconds = {
        'grpc.initial_reconnect_backoff_ms': FIRST_RETRY_S,
        'grpc.min_reconnect_backoff_ms': CONNECT_S,
        'grpc.max_reconnect_backoff_ms': LAST_RETRY_S,
        'grpc.keepalive_time_ms': ALIVE_S,
        'grpc.keepalive_timeout_ms': ALIVE_S,
    }
    return [
        *((name, round(1000 * seconds)) for name, seconds in milliseconds.items()),
        ('grpc.keepalive_permit_without_calls', 1),
        ('grpc.http2.max_pings_without_data', 0),
        ('grpc.max_receive_message_length', ServingConfig.max_message_bytes),
        ('grpc.max_send_message_length', ServingConfig.max_message_bytes),
        ('grpc.enable_http_proxy', 0),
        ('grpc.use_local_subchannel_pool', 1),
    ]
