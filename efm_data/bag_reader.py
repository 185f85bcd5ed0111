"""
The messages of one bag, decoded and sorted by topic; their meaning is in ``episodes``.

Reads the suite's bags and those of ``ros2 bag record``, MCAP or SQLite, in pure Python.
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


class TornBag(ValueError):  # noqa: N818, names the state of a bag
    """A bag that is damaged or incomplete."""


@dataclass(frozen=True)
class BagContents:
    """
    The messages of one bag that episodes are made of.

    :param pictures: stamp [ns] to message: the policy's observations, else the camera's pictures.
    :param at: topic name to stamp [ns] to message, of the topics joined to observations.
    :param outcomes: episode to outcome.
    :param instructions: every instruction in the bag.
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

    @property
    def has_observations(self) -> bool:
        """Whether the policy's own observations are in the bag, not only camera pictures."""
        return topics.OBSERVATION.name in self.topics


def find_bags(folder: str | Path) -> list[Path]:
    """
    Return the finished bags in ``folder``, sorted by name; a leading dot marks an unfinished one.

    :raises FileNotFoundError: when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'bags: expected a folder, got {folder}')
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))


def read_bag(bag: Path, image: str) -> BagContents:
    """
    Return the messages of a bag, decoded.

    :param image: topic of the camera, for bags without ``observation``.
    :raises TornBag: when the bag is damaged.
    :raises FileNotFoundError: when there is no such bag.
    """
    source = _storage(bag)
    try:
        with Reader(source) as reader:
            return _decode(bag, reader, image)
    except (OSError, MemoryError, TornBag):
        raise
    except Exception as error:  # damage raises errors of many kinds
        raise TornBag(f'{bag}: expected a whole bag, got a damaged one: {error}') from error


def _storage(bag: Path) -> Path:
    """Return the path to open: the folder, or its only MCAP file, which opens faster."""
    if not bag.exists():
        raise FileNotFoundError(f'bag: expected a folder or a file, got {bag}')
    if bag.is_file():
        return bag
    files = sorted(bag.glob('*.mcap'))
    about = bag / 'metadata.yaml'
    if not about.is_file() and len(files) != 1:
        raise TornBag(
            f'{bag}: expected metadata.yaml, got none: the recording is unfinished '
            '(`ros2 bag reindex` writes the file anew)'
        )
    return files[0] if not about.is_file() or _is_plain(about, files) else bag


def _is_plain(about: Path, files: list[Path]) -> bool:
    """Return whether ``metadata.yaml`` describes one MCAP file without extra compression."""
    try:
        facts = yaml.load(about.read_text(), LOADER)['rosbag2_bagfile_information']
        mode = facts.get('compression_mode', '').lower()
        named = [Path(name).name for name in facts['relative_file_paths']]
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError):
        return False  # the reader reports the fault
    return mode in ('', 'none') and named == [file.name for file in files] and len(named) == 1


def _decode(bag: Path, reader: Reader, image: str) -> BagContents:
    """Return the messages that episodes are made of."""
    connections = {c.id: c for c in reader.connections}.values()
    prefix = _namespace(bag, [c.topic for c in connections])
    names = {c.topic[len(prefix) :] for c in connections if c.topic.startswith(prefix)}
    picture = topics.OBSERVATION.name if topics.OBSERVATION.name in names else image
    joined = [topic.name for topic in JOINED]
    others = [topics.EPISODE_EVENT.name, topics.OUTCOME.name, topics.INSTRUCTION.name]
    wanted = {prefix + name for name in (picture, *joined, *others)}
    types = typestore_for(frozenset((c.msgtype, c.msgdef) for c in connections))
    contents = BagContents(bag, at={name: {} for name in joined}, topics=frozenset(names))
    chosen = [c for c in connections if c.topic in wanted]
    for connection, _, data in reader.messages(connections=chosen):
        message = types.deserialize_cdr(data, connection.msgtype)
        _keep(contents, connection.topic[len(prefix) :], picture, message)
    return contents


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
