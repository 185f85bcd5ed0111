"""
The messages of one bag, decoded and sorted by topic; their meaning is in ``episodes``.

Reads the suite's bags and those of ``ros2 bag record``, MCAP or SQLite, in pure Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, KW_ONLY
import errno
from pathlib import Path
from typing import Any, NoReturn

from efm_core import topics
from efm_core.embodiment import Embodiment
from efm_core.messages import to_stamp
from efm_data.mcap_file import check_file
from efm_data.message_types import known_types, typestore_for
from rosbags.rosbag2 import Reader
import yaml

LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # libyaml is twenty times faster
JOINED = (
    topics.ACTION,
    topics.COMMAND,
    topics.EXECUTED,
    topics.STEPS_TO_GO,
    topics.WORLD_STATE,
)
EVENTS = (topics.EPISODE_EVENT, topics.OUTCOME, topics.INSTRUCTION)
# Types of the topics that only one of the suite's nodes publishes; a driver chooses its own.
TYPES = {topic.name: topic.type for topic in (*JOINED, *EVENTS) if topic != topics.COMMAND}
SUFFIXES = ('.mcap', '.db3')  # of a storage file
# Errors of the machine, not of a bag: the same bag can be read later.
TRANSIENT = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN}
)


class TornBag(ValueError):  # noqa: N818, names the state of a bag
    """A bag that is damaged or incomplete."""


@dataclass(frozen=True)
class BagContents:
    """
    The messages of one bag that episodes are made of.

    :param pictures: stamp [ns] to message: the policy's observations, else the camera's pictures.
    :param at: topic name to stamp [ns] to message, of the topics joined to observations.
    :param parts: the same, of the other parts of an observation: the policy's own, else the
        topics of the drivers.
    :param outcomes: episode to outcome.
    :param instructions: every instruction in the bag.
    :param topics: names of the topics in the bag, without namespace.
    """

    path: Path
    pictures: dict[int, Any] = field(default_factory=dict)
    _: KW_ONLY
    at: dict[str, dict[int, Any]] = field(default_factory=dict)
    parts: dict[str, dict[int, Any]] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    outcomes: dict[str, Any] = field(default_factory=dict)
    instructions: set[str] = field(default_factory=set)
    topics: frozenset[str] = frozenset()

    @property
    def has_observations(self) -> bool:
        """Whether the policy's own observations are in the bag, not only camera pictures."""
        return topics.OBSERVATION.name in self.topics


def find_bags(folder: str | Path) -> list[Path]:
    """
    Return the finished bags in ``folder``, sorted by name; a leading dot marks an unfinished one.

    A bag is a folder or a single storage file. A link to nowhere is returned too, so that a
    reader reports it.

    :raises FileNotFoundError: when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'bags: expected a folder, got {folder}')
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith('.')
        and (path.is_dir() or path.suffix in SUFFIXES or not path.exists())
    )


def read_bag(bag: Path, embodiment: Embodiment) -> BagContents:
    """
    Return the messages of a bag, decoded.

    :param embodiment: of the robot that recorded the bag.
    :raises TornBag: when the bag is damaged.
    :raises FileNotFoundError: when there is no such bag.
    :raises OSError: when the machine cannot read any bag now.
    """
    if not bag.exists() and not bag.is_symlink():
        raise FileNotFoundError(f'bag: expected a folder or a file, got {bag}')
    known_types()  # without them the installation is at fault, not a bag
    try:
        with ExitStack() as stack:
            sources = _storage(bag)
            for file in filter(_is_mcap, sources):
                check_file(file)
            readers = [stack.enter_context(Reader(source)) for source in sources]
            return _decode(bag, readers, embodiment)
    except Exception as error:  # damage raises errors of many kinds
        refuse(bag, error)


def refuse(bag: Path, error: Exception, where: str = '') -> NoReturn:
    """
    Raise an error that names the bag, whatever a reader found in it.

    :param where: part of the bag, such as an episode.
    :raises TornBag: when the bag is damaged.
    :raises ValueError: when the bag cannot be used, with the reason.
    :raises OSError: when the fault is the machine's, such as too many open files.
    """
    for cause in (error, error.__cause__):
        if isinstance(cause, OSError) and cause.errno in TRANSIENT:
            raise cause
    place = ': '.join(filter(None, (str(bag), where)))
    text = ' '.join(str(error).split())
    if not isinstance(error, ValueError) or isinstance(error, UnicodeError):
        kind = type(error).__name__
        text = f'expected a whole bag, got a damaged one: {kind}: {text}'
    if place not in text:
        text = f'{place}: {text.removeprefix(f"{bag}: ")}'
    kept = ValueError if type(error) is ValueError and where else TornBag
    raise kept(text) from error


def _storage(bag: Path) -> list[Path]:
    """
    Return the storage files to open; the folder itself where only its reader knows how.

    A file opens faster than its folder. It also needs no ``storage_identifier`` in
    ``metadata.yaml``, which ``ros2 bag reindex`` may leave empty.
    """
    _check_regular(bag)
    if bag.is_file():
        return [bag]
    about = bag / 'metadata.yaml'
    if about.is_file():
        return _plain_files(about) or [bag]
    files = sorted(bag.glob('*.mcap'))
    if len(files) != 1:
        raise TornBag(
            f'{bag}: expected metadata.yaml, got none: the recording is unfinished '
            '(`ros2 bag reindex` writes the file anew)'
        )
    return files


def _check_regular(bag: Path) -> None:
    """Refuse pipes, devices and links to nowhere; to open a pipe would wait for ever."""
    for path in (bag, *(bag.iterdir() if bag.is_dir() else ())):
        if not path.is_file() and not path.is_dir():
            kind = 'a link to nowhere' if path.is_symlink() else 'a pipe or a device'
            raise TornBag(f'{bag}: expected files, got {kind}: {path.name}')


def _plain_files(about: Path) -> list[Path]:
    """Return the files that ``metadata.yaml`` names; none if they are compressed as a whole."""
    try:
        facts = yaml.load(about.read_text('utf-8'), LOADER)['rosbag2_bagfile_information']
        mode = facts.get('compression_mode', '').lower()
        files = [about.with_name(Path(name).name) for name in facts['relative_file_paths']]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError):
        return []  # the reader of the folder reports the fault
    plain = mode in ('', 'none') and all(f.suffix in SUFFIXES and f.is_file() for f in files)
    return files if plain else []


def _is_mcap(path: Path) -> bool:
    return path.suffix == '.mcap'


def _decode(bag: Path, readers: list[Reader], embodiment: Embodiment) -> BagContents:
    """Return the messages that episodes are made of; a long bag has several files."""
    connections = [connection for reader in readers for connection in reader.connections]
    prefix = _namespace(bag, sorted({c.topic for c in connections}))
    found = frozenset(c.topic.removeprefix(prefix) for c in connections)
    own = topics.OBSERVATION.name in found
    picture, *parts = own_topics(embodiment) if own else raw_topics(embodiment)
    wanted = (picture, *parts, *(topic.name for topic in (*JOINED, *EVENTS)))
    # The topic of a driver may be absolute, outside of the robot's namespace.
    names = {name if name.startswith('/') else prefix + name: name for name in wanted}
    contents = BagContents(
        bag,
        at={topic.name: {} for topic in JOINED},
        parts={name: {} for name in parts},
        topics=found,
    )
    for reader in readers:
        for name, message in _messages(reader, names):
            _keep(contents, name, picture, message)
    return contents


def own_topics(embodiment: Embodiment) -> list[str]:
    """Return the topics of what the policy saw; that of the first camera comes first."""
    images = [topic.name for topic in topics.observation_topics(embodiment.cameras)]
    return images + ([topics.PROPRIOCEPTION.name] if embodiment.proprioception else [])


def raw_topics(embodiment: Embodiment) -> list[str]:
    """Return the topics of the drivers that an observation is made of, in the same order."""
    images = [camera.topic for camera in embodiment.cameras]
    joints = [topics.JOINT_STATES.name] if embodiment.sees_joints else []
    pose = [embodiment.command.pose_topic] if embodiment.sees_tool_pose else []
    return images + joints + [topic for topic in pose if topic]


def _messages(reader: Reader, names: dict[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield the decoded messages of some topics with their names in ``names``."""
    # Definitions of other topics are not parsed: they may be in a language unknown here.
    chosen = [c for c in {c.id: c for c in reader.connections}.values() if c.topic in names]
    for connection in chosen:
        _check_type(names[connection.topic], connection.msgtype)
    types = typestore_for(frozenset((c.msgtype, c.msgdef) for c in chosen))
    for connection, _, data in reader.messages(connections=chosen) if chosen else ():
        name = names[connection.topic]
        try:
            yield name, types.deserialize_cdr(data, connection.msgtype)
        except Exception as error:
            detail = f'{type(error).__name__}: {error}'
            raise TornBag(f'expected a message of {name}, got {detail}') from error


def _check_type(name: str, found: str) -> None:
    """Refuse a topic of the suite that has another message type."""
    wanted = TYPES.get(name, found)
    if found != wanted:
        raise TornBag(f'topic {name}: expected {wanted}, got {found}')


def _namespace(bag: Path, names: list[str]) -> str:
    """Return the prefix of the topic names, such as ``/robot_0/`` or ``/``."""
    word = topics.EPISODE_EVENT.name
    prefixes = {name[: -len(word)] for name in names if f'/{name}'.endswith(f'/{word}')}
    if len(prefixes) != 1:
        raise TornBag(
            f'{bag}: expected the topic {word} of one robot, got {len(prefixes)}; it marks where '
            f'an episode starts and ends (topics: {", ".join(sorted(names))})'
        )
    return prefixes.pop()


def _keep(contents: BagContents, name: str, picture: str, message: Any) -> None:
    """Sort one message in."""
    if name == picture:
        contents.pictures[to_stamp(message)] = message
    elif name in contents.parts:
        contents.parts[name][to_stamp(message)] = message
    elif name in contents.at:
        # A driver's command may have no header; `executed` stands for it.
        if hasattr(message, 'header'):
            contents.at[name][to_stamp(message)] = message
    elif name == topics.EPISODE_EVENT.name:
        contents.events.append(message)
    elif name == topics.OUTCOME.name:
        contents.outcomes[message.episode_id] = message
    else:
        contents.instructions.add(message.data)
