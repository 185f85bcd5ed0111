"""The thread that runs the policy on one batch after another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
import threading
import time
from typing import Generic, TypeVar

from efm_policy.serving.batcher import Batcher, QueuedRequest
from efm_policy.serving.sessions import RefusedError
from efm_policy.serving.wire import Message

Item = TypeVar('Item')


class Worker(Generic[Item]):
    """
    Answers requests in batches, on a thread of its own.

    :ivar counts: requests ``answered``, ``late`` (dropped before inference) and ``failed``, and
        the number of ``batches``.
    """

    def __init__(
        self,
        batcher: Batcher[tuple[Item, Future[Message]]],
        run: Callable[[list[Item]], list[Message]],
    ):
        """
        Start the thread.

        :param batcher: forms the batches.
        :param run: runs the policy on a batch; returns one ``ActAnswer`` for each item.
        """
        self._batcher = batcher
        self._run = run
        self._changed = threading.Condition()
        self._stopping = False
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._loop, name='policy worker', daemon=True)
        self._thread.start()

    def submit(self, robot: str, item: Item, seconds: float) -> Future[Message]:
        """
        Queue a request; return the future of its answer.

        The answer also holds the size of the batch, its duration and the waiting time. A newer
        request of the same robot replaces one that still waits; that one fails with ``ABORTED``.

        :param seconds: time after which the answer has no use [s].
        :raises RefusedError: when the worker is stopping.
        """
        future: Future[Message] = Future()
        with self._changed:
            if self._stopping:
                raise RefusedError('UNAVAILABLE', 'the server is stopping')
            now = time.monotonic()
            replaced = self._batcher.add(robot, (item, future), now, now + seconds)
            self._changed.notify()
        if replaced:
            replaced[1].set_exception(
                RefusedError('ABORTED', 'a newer request of the robot replaced this one')
            )
        return future

    def stop(self) -> None:
        """End the thread; requests that still wait fail with ``UNAVAILABLE``."""
        with self._changed:
            self._stopping = True
            waiting = self._batcher.clear()
            self._changed.notify()
        _fail(waiting, 'UNAVAILABLE', 'the server is stopping')
        self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                if not self._wait():
                    return
                batch, late = self._batcher.take(time.monotonic())
            self.counts['late'] += len(late)
            _fail(late, 'DEADLINE_EXCEEDED', 'the deadline could not be met')
            if batch:
                self._answer(batch)

    def _wait(self) -> bool:
        """Wait until a batch is due and return True; return False when the worker stops."""
        while not self._stopping:
            now = time.monotonic()
            due = self._batcher.due(now)
            if due is not None and due <= now:
                return True
            self._changed.wait(None if due is None else due - now)
        return False

    def _answer(self, batch: list[QueuedRequest[tuple[Item, Future[Message]]]]) -> None:
        """Run the policy on a batch and set the results of its futures."""
        began = time.monotonic()
        try:
            answers = self._run([request.item[0] for request in batch])
        except Exception as error:  # any fault of a policy fails its batch, not the server
            self.counts['failed'] += len(batch)
            _fail(batch, 'INTERNAL', f'policy: {error}')
            return
        duration = time.monotonic() - began
        with self._changed:
            self._batcher.record_batch(duration)
        self.counts['answered'] += len(batch)
        self.counts['batches'] += 1
        for request, answer in zip(batch, answers, strict=True):
            answer.batch = len(batch)
            answer.inference_s = duration
            answer.waited_s = began - request.arrived
            request.item[1].set_result(answer)


def _fail(
    requests: list[QueuedRequest[tuple[Item, Future[Message]]]], code: str, detail: str
) -> None:
    """Let the future of each request raise a ``RefusedError``."""
    for request in requests:
        request.item[1].set_exception(RefusedError(code, detail))
