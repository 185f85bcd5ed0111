"""Messages that arrive before the START event of their episode."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, KW_ONLY
from itertools import count

from efm_core.topics import Topic

MAX_MESSAGES = 128  # of a topic; a late subscriber receives up to 100 at once
MAX_BYTES = 64 * 2**20  # of a topic; camera pictures reach this first


@dataclass(frozen=True)
class Received:
    """
    One message as it arrived, serialised.

    :param time: of arrival [ns].
    :param due: of an action, when its control steps are due [ns].
    """

    topic: Topic
    data: bytes
    _: KW_ONLY
    time: int
    due: tuple[int, ...] = ()


class EarlyMessages:
    """
    Keeps the newest messages of each topic.

    Topics keep no order among each other: pictures, truth and actions of an episode may arrive
    before its START. Each topic has its own limit: a fast topic cannot displace a slow one.
    """

    def __init__(self) -> None:
        self._count = count()
        self._kept: dict[str, deque[tuple[int, Received]]] = {}
        self._bytes: dict[str, int] = {}

    def add(self, message: Received) -> None:
        """Keep a message; the oldest of its topic make room."""
        name = message.topic.name
        kept = self._kept.setdefault(name, deque())
        kept.append((next(self._count), message))
        self._bytes[name] = self._bytes.get(name, 0) + len(message.data)
        while len(kept) > MAX_MESSAGES or (self._bytes[name] > MAX_BYTES and len(kept) > 1):
            self._bytes[name] -= len(kept.popleft()[1].data)

    def take(self) -> list[Received]:
        """Return all messages in the order of their arrival, and keep none of them."""
        numbered = [item for kept in self._kept.values() for item in kept]
        self._kept.clear()
        self._bytes.clear()
        return [message for _, message in sorted(numbered, key=lambda item: item[0])]
