"""
Which calls a policy server takes on: of known robots, few at a time, with a whole request in time.

A call that is refused here costs the server no thread while it stays open. So a client without a
token, or one robot that misbehaves, does not keep the others from their actions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
import threading
import time
from typing import Any

from efm_policy.serving.credentials import find_robot
from efm_policy.serving.sessions import RefusedError
from efm_policy.serving.wire import Message
import grpc


class TokenCheck(grpc.ServerInterceptor):
    """Refuses a call without the token of a robot as soon as its headers are here."""

    def __init__(self, tokens: Mapping[str, bytes], count_refusal: Callable[[], None]):
        """
        Keep the arguments.

        :param tokens: hash of each robot's token.
        :param count_refusal: called for each refusal.
        """
        self._tokens = tokens
        self._count_refusal = count_refusal
        self._refusal: grpc.RpcMethodHandler[Any, Any] = grpc.stream_unary_rpc_method_handler(
            self._refuse
        )

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the handler of a call; that of a refusal does not wait for the request."""
        if find_robot(dict(handler_call_details.invocation_metadata), self._tokens):
            return continuation(handler_call_details)
        return self._refusal

    def _refuse(self, requests: Iterator[Any], context: grpc.ServicerContext) -> None:
        self._count_refusal()
        context.abort(
            grpc.StatusCode.UNAUTHENTICATED,
            'token: expected the one of a robot of this server, got another or none',
        )


class CallLimit:
    """Counts the calls that are open, by robot or connection, and refuses too many of one."""

    def __init__(self, most: int):
        """
        Start without a call.

        :param most: largest number of calls of one robot or connection at the same time.
        """
        self._most = most
        self._open: Counter[str] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def counted(self, who: str) -> Iterator[None]:
        """
        Count a call during the body.

        :param who: robot or connection.
        :raises RefusedError: when it has too many calls already.
        """
        with self._lock:
            if self._open[who] >= self._most:
                raise RefusedError(
                    'RESOURCE_EXHAUSTED',
                    f'requests: expected at most {self._most} at once of {who}, got another one',
                )
            self._open[who] += 1
        try:
            yield
        finally:
            with self._lock:
                self._open[who] -= 1
                if not self._open[who]:
                    del self._open[who]


class RequestDeadline:
    """Cancels a call whose request is not whole some time after its headers."""

    def __init__(self, seconds: float):
        """
        Start the thread that cancels late calls.

        :param seconds: longest time between headers and the whole request [s].
        """
        self._seconds = seconds
        # Time of each late call's end [s of the monotonic clock], the oldest call first.
        self._waiting: dict[grpc.ServicerContext, float] = {}
        self._changed = threading.Condition()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name='request deadline', daemon=True)
        self._thread.start()

    def receive(self, requests: Iterator[Message], context: grpc.ServicerContext) -> Message:
        """
        Return the request of a call once it is whole.

        :raises RefusedError: when the client ends the call without a request.
        :raises grpc.RpcError: when the call was cancelled.
        """
        with self._changed:
            self._waiting[context] = time.monotonic() + self._seconds
            self._changed.notify()
        try:
            request = next(requests, None)
        finally:
            with self._changed:
                self._waiting.pop(context, None)
        if request is None:
            raise RefusedError('INVALID_ARGUMENT', 'request: expected one message, got none')
        return request

    def stop(self) -> None:
        """End the thread."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._is_stopping:
                if not self._waiting:
                    self._changed.wait()
                    continue
                oldest, end = next(iter(self._waiting.items()))
                left = end - time.monotonic()
                if left > 0:
                    self._changed.wait(left)
                    continue
                del self._waiting[oldest]
                oldest.cancel()
