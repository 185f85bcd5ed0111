"""A robot's connection to a policy server; nothing here ever waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment
from efm_policy.serving import wire
from efm_policy.serving.config import ServingConfig
from efm_policy.serving.credentials import channel_credentials, HEADER, read_token
import grpc
import numpy as np

# back-off of what failed
FIRST_RETRY_S = 0.2
LAST_RETRY_S = 5.0
CONNECT_S = 2.0  # an attempt to connect may take this long
ALIVE_S = 2.0  # a connection over which nothing came for this long is looked at
LATE = 'DEADLINE_EXCEEDED'
GONE = 'UNAVAILABLE'


@dataclass(frozen=True)
class Failure:
    """Why there is no answer: gRPC's word, and the server's."""

    code: str
    detail: str

    def __str__(self) -> str:
        return f'{self.code}: {self.detail}'


class Client:
    """
    Asks a policy server in the name of one robot.

    What comes back, an answer or a ``Failure``, is handed to a function, on a thread of gRPC's.
    gRPC itself connects, and connects again with back-off.

    :param server: ``host:port``.
    :param authority: PEM file that the server's certificate is checked against; empty for no TLS.
    :param token: private file with the robot's token; empty for none.
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
        Get ready; the first question connects.

        :raises ValueError: when the server is beyond this host and would be asked without TLS, or
            the token's file is open to others.
        :raises FileNotFoundError: when a file is missing.
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

    def begin(self, then: Callable[[Any], None], seconds: float, **fields: Any) -> None:
        """Ask to begin an episode; ``fields`` of ``BeginRequest``."""
        self._ask('Begin', wire.BeginRequest(robot=self._robot, **fields), then, seconds)

    def act(
        self, then: Callable[[Any], None], seconds: float, observation: np.ndarray, **fields: Any
    ) -> None:
        """Ask what to do; ``fields`` of ``ActRequest``."""
        request = wire.ActRequest(
            robot=self._robot, observation=wire.from_array(observation), **fields
        )
        self._ask('Act', request, then, seconds)

    def close(self) -> None:
        """End the connection; what is under way fails."""
        self._channel.close()

    def _ask(self, name: str, request: Any, then: Callable[[Any], None], seconds: float) -> None:
        call = self._calls[name].future(request, timeout=seconds, metadata=self._metadata)
        call.add_done_callback(lambda done: then(_outcome(done)))


def to_action(answer: Any, embodiment: Embodiment) -> PolicyAction:
    """
    Return the action in an ``ActAnswer``.

    :raises ValueError: when its arrays are not those of an action of this embodiment.
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


def _outcome(call: Any) -> Any:
    """Return a call's answer, or why there is none."""
    if call.code() == grpc.StatusCode.OK:
        return call.result()
    return Failure(call.code().name, call.details() or '')


def _options() -> list[tuple[str, Any]]:
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
