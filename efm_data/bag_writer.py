"""
One MCAP bag per episode, written while the episode runs, without ROS.

Messages arrive serialised and are written unchanged. An unfinished bag is in a hidden folder; it
moves to its final place when it is whole. A reader of the folder never finds half a bag.
"""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY
from pathlib import Path
import struct

from efm_core import topics
from efm_core.command import ARRAY
from efm_core.config import expect
from efm_core.episode import Kind
from efm_core.files import inside, move_whole
from efm_core.topics import Topic
from efm_data.completeness import find_gaps, Gap, Requirements
from efm_data.early_messages import EarlyMessages, Received
from efm_data.mcap_file import seal
from efm_data.message_types import known_types, typestore_for
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer

HEADER_STAMP = struct.Struct('<iI')
CDR_HEADER = 4  # [bytes] before a serialised message
KINDS = tuple(kind.value for kind in Kind)
UNSTAMPED = frozenset({topics.INSTRUCTION.name, topics.ESTOP.name, topics.ESTOP_RESET.name})


def is_stamped(topic: Topic) -> bool:
    """Return whether the messages of a topic begin with a header."""
    return topic.name not in UNSTAMPED and topic.type != ARRAY


def stamp_of(data: bytes) -> int:
    """
    Return the header stamp [ns] of a serialised message whose first field is a header.

    :raises ValueError: when the message is too short.
    """
    size = CDR_HEADER + HEADER_STAMP.size
    expect(len(data) >= size, 'message', f'a header of {size} bytes', f'{len(data)} bytes')
    seconds, nanoseconds = HEADER_STAMP.unpack_from(data, CDR_HEADER)
    return int(seconds * 1_000_000_000 + nanoseconds)


class Definitions:
    """Message definitions and their hashes, computed once for all bags."""

    def __init__(self) -> None:
        self._store = typestore_for(frozenset())
        self._known: dict[str, tuple[str, str]] = {}

    def of(self, message_type: str) -> tuple[str, str]:
        """
        Return the definition and the RIHS01 hash of a message type.

        :raises ValueError: for a type that is neither in ROS 2 nor in the suite.
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
class OpenBag:
    """
    The bag of the running episode.

    :param last_stamp: stamp of the last observation [ns]; None while the episode runs.
    :param steps: number of actions that the outcome counts; 0 until it arrives.
    :param stamps: stamps of the written messages [ns], of each topic that the bag needs.
    :param due: when the control steps of the action for each stamp are due [ns].
    """

    episode_id: str
    path: Path
    _: KW_ONLY
    first_stamp: int
    writer: Writer
    last_stamp: int | None = None
    steps: int = 0
    connections: dict[str, Connection] = field(default_factory=dict)
    stamps: dict[str, set[int]] = field(default_factory=dict)
    due: dict[int, tuple[int, ...]] = field(default_factory=dict)

    @property
    def unfinished_path(self) -> Path:
        """Where the bag is until it is whole."""
        return _unfinished(self.path)


class EpisodeBagWriter:
    """
    Cuts the stream of messages into one bag for each episode.

    :param episodes_dir: folder that gets one sub-folder for each kind of episode.
    :param namespace: prefix of the topics in the bag.
    :param needs: the messages of a whole episode.
    :param subdir: name of the sub-folder; empty: the kind of the episode.
    :param always: topics that a bag names even without a message.
    :raises ValueError: when ``subdir`` is no plain name.
    """

    def __init__(
        self,
        episodes_dir: Path,
        namespace: str,
        *,
        needs: Requirements,
        subdir: str = '',
        always: tuple[Topic, ...] = (),
    ):
        self._episodes_dir = episodes_dir
        self._namespace = namespace.rstrip('/')
        self._needs = needs
        self._subdir = subdir and inside(episodes_dir, subdir).name
        self._always = always
        self._definitions = Definitions()
        self._early = EarlyMessages()
        self._bag: OpenBag | None = None

    @property
    def episode_id(self) -> str:
        """The episode of the open bag; empty without one."""
        return self._bag.episode_id if self._bag else ''

    def start(self, episode_id: str, kind: str, first_stamp: int) -> None:
        """
        Open a bag, and write the messages of the episode that arrived before its START event.

        :param first_stamp: stamp of START [ns]; older messages belong to no episode.
        :raises ValueError: when the kind is unknown, or the identifier is no plain name.
        :raises FileExistsError: when the bag of this episode exists already.
        :raises OSError: when the folder cannot be written.
        """
        expect(kind in KINDS, 'recorder: kind of the episode', ', '.join(KINDS), repr(kind))
        path = inside(self._episodes_dir / (self._subdir or kind), episode_id)
        self.abandon()
        _unfinished(path).parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise FileExistsError(
                f'recorder: expected a new episode, got {path}, which exists already'
            )
        _set_aside(_unfinished(path))
        writer = Writer(_unfinished(path), version=9, storage_plugin=StoragePlugin.MCAP)
        writer.open()
        self._bag = OpenBag(episode_id, path, first_stamp=first_stamp, writer=writer)
        self._bag.stamps = {name: set() for name in self._needs.topics}
        for topic in self._always:
            self._connection(self._bag, topic)
        for message in self._early.take():
            self.write(message.topic, message.data, message.time, message.due)

    def write(self, topic: Topic, data: bytes, received: int, due: tuple[int, ...] = ()) -> None:
        """
        Write one message if it belongs to the episode; keep it if it may belong to the next one.

        :param received: time of arrival [ns].
        :param due: of an action, when its control steps are due [ns].
        :raises ValueError: when the message is too short to have a header.
        :raises OSError: when the disk is full.
        """
        bag = self._bag
        stamp = stamp_of(data) if is_stamped(topic) else 0
        if bag is None or (bag.last_stamp is not None and stamp > bag.last_stamp):
            self._early.add(Received(topic, data, time=received, due=due))
            return
        if 0 < stamp < bag.first_stamp:
            return
        bag.writer.write(self._connection(bag, topic), received, data)
        if topic.name in bag.stamps:
            bag.stamps[topic.name].add(stamp)
        if due:
            bag.due[stamp] = due

    def end(self, last_stamp: int) -> None:
        """Note the stamp of the last observation [ns]."""
        if self._bag:
            self._bag.last_stamp = last_stamp

    def expect_steps(self, steps: int) -> None:
        """Note how many actions the outcome counts."""
        if self._bag:
            self._bag.steps = steps

    @property
    def is_whole(self) -> bool:
        """Whether the episode has ended and every message of it has arrived."""
        return self._bag is not None and self._bag.last_stamp is not None and not self.gaps

    @property
    def gaps(self) -> list[Gap]:
        """What the bag still lacks; nothing before the end of the episode is known."""
        bag = self._bag
        if bag is None or bag.last_stamp is None:
            return []
        return find_gaps(
            bag.stamps,
            first=bag.first_stamp,
            last=bag.last_stamp,
            needs=self._needs,
            steps=bag.steps,
            due=bag.due,
        )

    def finish(self) -> Path:
        """
        Close the bag and move it to its final place; it survives a loss of power.

        The file gets checksums over all of its bytes, so that a reader finds each change.

        :raises RuntimeError: when no bag is open.
        :raises OSError: when the disk is full.
        """
        bag = self._bag
        if bag is None:
            raise RuntimeError('recorder: expected an open bag, got none')
        self._bag = None
        bag.writer.close()
        for file in bag.unfinished_path.glob('*.mcap'):
            seal(file)
        move_whole(bag.unfinished_path, bag.path)
        return bag.path

    def abandon(self) -> None:
        """Close a bag that will never be whole; it stays unfinished, with its messages so far."""
        bag = self._bag
        self._bag = None
        if bag:
            try:
                bag.writer.close()
            except OSError:
                return  # the disk is full; what was written before stays

    def _connection(self, bag: OpenBag, topic: Topic) -> Connection:
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
