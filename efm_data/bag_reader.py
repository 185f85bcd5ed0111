"""
A bag's messages, decoded and sorted by what they are; no meaning is given to them here.

Our own bags and those of ``ros2 bag record``, MCAP or SQLite, in pure Python.
"""

from __future__ import annotations

from dataclasses import dataclass, field, KW_ONLY
from pathlib import Path
from typing import Any

from efm_core import topics
from efm_core.messages import to_stamp
from efm_data.message_types import typestore_for
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


class TornBag(ValueError):  # noqa: N818, a bag is torn or it is not
    """A bag that is damaged or incomplete."""


@dataclass(frozen=True)
class Recording:
    """
    The messages of one bag that the trainer wants, still as messages.

    :param at: topic name to stamp [ns] to message, of the topics that answer an observation.
    :param topics: names of the topics in the bag, without namespace.
    """

    path: Path
    pictures: dict[int, Any] = field(default_factory=dict)
    _: KW_ONLY
    at: dict[str, dict[int, Any]] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    outcomes: dict[str, Any] = field(default_factory=dict)
    instructions: set[str] = field(default_factory=set)
    topics: frozenset[str] = frozenset()


def find_bags(folder: str | Path) -> list[Path]:
    """
    Return the finished bags in ``folder``, by name; a leading dot means unfinished.

    :raises FileNotFoundError: when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'bags: expected a folder, got {folder}')
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))


def read_bag(bag: Path, image: str) -> Recording:
    """
    Return the messages of a bag, decoded.

    :param image: name of the camera's topic, for bags without ``observation``.
    :raises TornBag: when the bag is damaged.
    :raises FileNotFoundError: when there is none.
    """
    source = _storage(bag)
    try:
        with Reader(source) as reader:
            return _decode(bag, reader, image)
    except (OSError, MemoryError, TornBag):
        raise
    except Exception as error:  # of many kinds, from damage anywhere in the file
        raise TornBag(f'{bag}: expected a whole bag, got a damaged one: {error}') from error


def _storage(bag: Path) -> Path:
    """Return what to open: the folder, or its only MCAP file where that says the same, faster."""
    if not bag.exists():
        raise FileNotFoundError(f'bag: expected a folder or a file, got {bag}')
    if bag.is_file():
        return bag
    files = sorted(bag.glob('*.mcap'))
    about = bag / 'metadata.yaml'
    if not about.is_file() and len(files) != 1:
        raise TornBag(
            f'{bag}: expected metadata.yaml, got none: the recording was not finished '
            '(`ros2 bag reindex` writes it anew)'
        )
    return files[0] if not about.is_file() or _is_plain(about, files) else bag


def _is_plain(about: Path, files: list[Path]) -> bool:
    """Return whether ``metadata.yaml`` tells of one MCAP file without compression of its own."""
    try:
        facts = yaml.load(about.read_text(), LOADER)['rosbag2_bagfile_information']
        mode = facts.get('compression_mode', '').lower()
        named = [Path(name).name for name in facts['relative_file_paths']]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        return False  # the reader will say what is wrong
    return mode in ('', 'none') and named == [file.name for file in files] and len(named) == 1


def _decode(bag: Path, reader: Reader, image: str) -> Recording:
    """Return the messages that are wanted from an open bag."""
    connections = {c.id: c for c in reader.connections}.values()
    prefix = _namespace(bag, [c.topic for c in connections])
    names = {c.topic[len(prefix) :] for c in connections if c.topic.startswith(prefix)}
    picture = topics.OBSERVATION.name if topics.OBSERVATION.name in names else image
    joined = [topic.name for topic in JOINED]
    others = [topics.EPISODE_EVENT.name, topics.OUTCOME.name, topics.INSTRUCTION.name]
    wanted = {prefix + name for name in (picture, *joined, *others)}
    types = typestore_for(frozenset((c.msgtype, c.msgdef) for c in connections))
    recording = Recording(bag, at={name: {} for name in joined}, topics=frozenset(names))
    chosen = [c for c in connections if c.topic in wanted]
    for connection, _, data in reader.messages(connections=chosen):
        message = types.deserialize_cdr(data, connection.msgtype)
        _keep(recording, connection.topic[len(prefix) :], picture, message)
    return recording


def _namespace(bag: Path, names: list[str]) -> str:
    """Return what stands before the topic names: ``/robot_0/``, say, or ``/``."""
    word = topics.EPISODE_EVENT.name
    prefixes = {name[: -len(word)] for name in names if f'/{name}'.endswith(f'/{word}')}
    if len(prefixes) != 1:
        raise TornBag(
            f'{bag}: expected the topic {word} of one robot, got {len(prefixes)}; without it '
            f'nobody can say where an episode starts and ends (topics: {", ".join(sorted(names))})'
        )
    return prefixes.pop()


def _keep(recording: Recording, name: str, picture: str, message: Any) -> None:
    """Put one message where it belongs."""
    if name == picture:
        recording.pictures[to_stamp(message)] = message
    elif name in recording.at:
        if hasattr(
            message, 'header'
        ):  # a driver's command may have none; `executed` stands for it
            recording.at[name][to_stamp(message)] = message
    elif name == topics.EPISODE_EVENT.name:
        recording.events.append(message)
    elif name == topics.OUTCOME.name:
        recording.outcomes[message.episode_id] = message
    else:
        recording.instructions.add(message.data)
