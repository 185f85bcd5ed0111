"""
One MCAP bag per episode, written while it runs, without ROS.

Messages come as serialised bytes and go to disk as they are. A bag under way lies in a folder
whose name starts with a dot, and moves when it is whole: a reader of the spool never sees half.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, KW_ONLY
from pathlib import Path
import struct

from efm_core import topics
from efm_core.command import ARRAY
from efm_core.topics import Topic
from efm_data.message_types import known_types, typestore_for
from rosbags.rosbag2 import StoragePlugin, Writer

HEADER_STAMP = struct.Struct('<iI')
CDR_HEADER = 4
PER_OBSERVATION = {topics.IMAGE.name, topics.JOINT_STATES.name, topics.WORLD_STATE.name}
UNSTAMPED = {topics.INSTRUCTION.name, topics.ESTOP.name}


def is_stamped(topic: Topic) -> bool:
    """Return whether the messages of a topic begin with a header."""
    return topic.name not in UNSTAMPED and topic.type != ARRAY


def stamp_of(data: bytes) -> int:
    """Return the header stamp [ns] of a serialised message whose first field is a header."""
    seconds, nanoseconds = HEADER_STAMP.unpack_from(data, CDR_HEADER)
    return seconds * 1_000_000_000 + nanoseconds


class Definitions:
    """Message definitions and hashes, worked out once and not for every bag."""

    def __init__(self):
        self._store = typestore_for(frozenset())
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, message_type: str) -> tuple[str, str]:
        """
        Return the definition and the RIHS01 hash of a message type.

        :raises ValueError: for a type that is neither ROS 2's own nor the suite's.
        """
        if message_type not in known_types():
            raise ValueError(f'recorder: expected a known message type, got {message_type!r}')
        if message_type not in self._known:
            self._known[message_type] = (
                self._store.generate_msgdef(message_type, ros_version=2)[0],
                self._store.hash_rihs01(message_type),
            )
        return self._known[message_type]


@dataclass
class Bag:
    """
    The bag of one episode.

    :param awaited: topics that must still bring the last observation's stamp.
    :param last_stamp: stamp of the last observation [ns]; None while the episode runs.
    :param stamps: what has come [ns], of every topic that answers each observation.
    """

    episode_id: str
    path: Path
    _: KW_ONLY
    first_stamp: int
    writer: Writer
    awaited: set[str]
    last_stamp: int | None = None
    connections: dict = field(default_factory=dict)
    stamps: dict[str, set[int]] = field(default_factory=dict)

    @property
    def unfinished_path(self) -> Path:
        """Where the bag lies while it is not whole."""
        return _unfinished(self.path)


class Recording:
    """
    Cuts the stream of messages into one bag per episode.

    :param spool: folder that gets one sub-folder per kind of episode.
    :param namespace: prefix of the topics in the bag.
    :param folder: name of that sub-folder, if not the kind.
    :param closing: topics whose sample for the last observation a whole bag must have.
    :param answering: topics whose sample for every observation before that it must have.
    :param following: of those, topics that also have samples between the observations.
    :param always: topics that a bag names even if nothing came on them.
    """

    def __init__(
        self,
        spool: Path,
        namespace: str,
        *,
        closing: tuple[Topic, ...],
        folder: str = '',
        answering: tuple[Topic, ...] = (),
        always: tuple[Topic, ...] = (),
        following: tuple[Topic, ...] = (),
    ):
        self._spool = spool
        self._folder = folder
        self._namespace = namespace.rstrip('/')
        self._closing = {topic.name for topic in closing}
        self._answering = {topic.name for topic in answering}
        self._always = always
        self._following = {topic.name for topic in following}
        self._definitions = Definitions()
        self._early: deque[tuple[Topic, bytes, int]] = deque(maxlen=64)
        self._bag: Bag | None = None

    @property
    def episode_id(self) -> str:
        """The episode being recorded, or ''."""
        return self._bag.episode_id if self._bag else ''

    def start(self, episode_id: str, kind: str, first_stamp: int) -> None:
        """
        Open a bag, and write what came before its START event but belongs to it.

        :raises OSError: when the spool cannot be written.
        """
        self.abandon()
        path = self._spool / (self._folder or kind) / episode_id
        _unfinished(path).parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(
                f'recorder: expected a new episode, got {path}, which exists already'
            )
        _set_aside(_unfinished(path))
        writer = Writer(_unfinished(path), version=9, storage_plugin=StoragePlugin.MCAP)
        writer.open()
        self._bag = Bag(
            episode_id, path, first_stamp=first_stamp, writer=writer, awaited=set(self._closing)
        )
        self._bag.stamps = {name: set() for name in self._answering}
        for topic in self._always:
            self._connection(topic)
        early, self._early = list(self._early), deque(maxlen=64)
        for topic, data, received in early:
            self.write(topic, data, received)

    def write(self, topic: Topic, data: bytes, received: int) -> None:
        """
        Write one message if it belongs to the episode, or keep it for one that is about to start.

        :param received: when it came [ns].
        :raises OSError: when the disk is full.
        """
        if self._bag is None:
            self._early.append((topic, data, received))
            return
        stamped = is_stamped(topic)
        bag = self._bag
        stamp = stamp_of(data) if stamped else received
        if stamped and stamp and stamp < bag.first_stamp:
            return
        if bag.last_stamp is not None and stamped and stamp > bag.last_stamp:
            return
        bag.writer.write(self._connection(topic), received, data)
        bag.stamps.get(topic.name, set()).add(stamp)
        if stamp == bag.last_stamp:
            bag.awaited.discard(topic.name)

    def end(self, last_stamp: int, seen: dict[str, int]) -> None:
        """
        Note the stamp of the last observation [ns].

        :param seen: newest stamp that each topic has brought already [ns].
        """
        if self._bag:
            self._bag.last_stamp = last_stamp
            # What came with every observation so far must come with the last one too.
            self._bag.awaited |= PER_OBSERVATION & self._bag.connections.keys()
            self._bag.awaited -= {name for name, stamp in seen.items() if stamp >= last_stamp}

    @property
    def is_whole(self) -> bool:
        """Whether all that belongs to the episode has come."""
        return self._bag is not None and self._bag.last_stamp is not None and not self.missing

    @property
    def missing(self) -> list[str]:
        """The topics that still lack a sample, once it is known where the episode ends."""
        bag = self._bag
        if bag is None or bag.last_stamp is None:
            return []
        answered = set().union(
            *(came for name, came in bag.stamps.items() if name not in self._following)
        )
        due = {stamp for stamp in answered if bag.first_stamp <= stamp < bag.last_stamp}
        return sorted(bag.awaited | {name for name, came in bag.stamps.items() if due - came})

    def finish(self) -> Path:
        """
        Close the bag and give it its name.

        :raises OSError: when the disk is full.
        """
        bag, self._bag = self._bag, None
        bag.writer.close()
        bag.unfinished_path.rename(bag.path)
        return bag.path

    def abandon(self) -> None:
        """Close a bag that will never be whole; it stays unfinished, with what it has."""
        bag, self._bag = self._bag, None
        if bag:
            try:
                bag.writer.close()
            except OSError:
                return  # a full disk: what was flushed stays

    def _connection(self, topic: Topic):
        bag = self._bag
        if topic.name not in bag.connections:
            definition, digest = self._definitions.of(topic.type)
            name = topic.name if topic.name.startswith('/') else f'{self._namespace}/{topic.name}'
            bag.connections[topic.name] = bag.writer.add_connection(
                name, topic.type, msgdef=definition, rihs01=digest
            )
        return bag.connections[topic.name]


def _unfinished(path: Path) -> Path:
    """Return where a bag lies until it is whole; its files have their final names already."""
    return path.parent / '.unfinished' / path.name


def _set_aside(unfinished: Path) -> None:
    """Keep what a crash has left of an earlier attempt at the same episode."""
    count = 0
    while unfinished.exists():
        aside = unfinished.with_name(f'{unfinished.name}.torn{count}')
        if not aside.exists():
            unfinished.rename(aside)
        count += 1
