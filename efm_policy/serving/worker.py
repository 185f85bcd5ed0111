"""The one thread that runs the model: it takes a batch, answers it, and takes the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
import threading
import time
from typing import Any

from efm_policy.serving.batcher import Batcher, Waiting
from efm_policy.serving.sessions import RefusedError


class Worker:
    """
    Answers requests in batches.

    :param run: takes the items of a batch and returns their answers, in their order.
    :ivar counts: requests ``answered``, ``late`` (dropped unseen), ``failed``; ``batches``.
    """

    def __init__(self, batcher: Batcher, run: Callable[[list[Any]], list[Any]]):
        self._batcher = batcher
        self._run = run
        self._changed = threading.Condition()
        self._stopping = False
        self.counts: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._loop, name='policy worker', daemon=True)
        self._thread.start()

    def submit(self, robot: str, item: Any, seconds: float) -> Future:
        """
        Return what will hold the answer, and when the batch began and how long it took.

        :param seconds: an answer after this long is worth nothing.
        """
        future: Future = Future()
        with self._changed:
            if self._stopping:
                raise RefusedError('UNAVAILABLE', 'the server is stopping')
            now = time.monotonic()
            former = self._batcher.put(robot, (item, future), now, now + seconds)
            self._changed.notify()
        if former:
            former[1].set_exception(
                RefusedError('ABORTED', 'the robot has asked about a newer one')
            )
        return future

    def stop(self) -> None:
        """End the thread; whoever waits is refused."""
        with self._changed:
            self._stopping = True
            left = self._batcher.clear()
            self._changed.notify()
        for entry in left:
            entry.item[1].set_exception(RefusedError('UNAVAILABLE', 'the server is stopping'))
        self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._changed:
                if not self._wait():
                    return
                batch, late = self._batcher.take(time.monotonic())
            self.counts['late'] += len(late)
            for entry in late:
                entry.item[1].set_exception(
                    RefusedError('DEADLINE_EXCEEDED', 'no answer could have come in time')
                )
            if batch:
                self._answer(batch)

    def _wait(self) -> bool:
        """Return once a batch is due; False when it is time to stop."""
        while not self._stopping:
            now = time.monotonic()
            due = self._batcher.due(now)
            if due is not None and due <= now:
                return True
            self._changed.wait(None if due is None else due - now)
        return False

    def _answer(self, batch: list[Waiting]) -> None:
        began = time.monotonic()
        try:
            answers = self._run([entry.item[0] for entry in batch])
        except Exception as error:  # whatever a model raises: the others of its robots go on
            self.counts['failed'] += len(batch)
            for entry in batch:
                entry.item[1].set_exception(RefusedError('INTERNAL', f'policy: {error}'))
            return
        took = time.monotonic() - began
        with self._changed:
            self._batcher.ran(took)
        self.counts['answered'] += len(batch)
        self.counts['batches'] += 1
        for entry, answer in zip(batch, answers, strict=True):
            answer.batch = len(batch)
            answer.inference_s = took
            answer.waited_s = began - entry.arrived
            entry.item[1].set_result(answer)
