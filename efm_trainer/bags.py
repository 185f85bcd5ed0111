"""
From bags to episodes, in pure Python: ours or ``ros2 bag record``'s, MCAP or SQLite.

Everything joins by equality of stamps, never by nearness. A bag that lacks a piece is refused,
never guessed at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efm_core import topics
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.message_types import typestore_for
from efm_core.messages import to_image, to_stamp, to_tokens, to_values
from efm_core.observation import observe
import numpy as np
from rosbags.rosbag2 import Reader
import yaml

START, END = 1, 2  # EpisodeEvent.event
LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)  # libyaml is twenty times faster
JOINED = (topics.ACTION, topics.COMMAND, topics.STEPS_TO_GO, topics.WORLD_STATE)


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
    at: dict[str, dict[int, Any]] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    outcomes: dict[str, Any] = field(default_factory=dict)
    instructions: set[str] = field(default_factory=set)
    topics: frozenset[str] = frozenset()


def read_episode(bag: str | Path, embodiment: Embodiment) -> Episode:
    """
    Return the one episode of a bag, a folder or a single storage file.

    :raises TornBag: when the bag is damaged or a piece of the episode is missing.
    :raises ValueError: when it is not one episode, or one of another embodiment.
    """
    episodes = read_all(bag, embodiment)
    if len(episodes) != 1:
        raise ValueError(f'{bag}: expected one episode, got {len(episodes)}')
    return episodes[0]


def read_all(bag: str | Path, embodiment: Embodiment) -> list[Episode]:
    """
    Return every episode of a bag: everything between a START and its END.

    :raises TornBag: when the bag is damaged or a piece of an episode is missing.
    :raises ValueError: when there is no episode, or one of another embodiment.
    """
    recording = read_recording(Path(bag), embodiment.cameras[0].topic)
    pairs = _pair_events(recording)
    return [_build(recording, start, end, embodiment) for start, end in pairs]


def read_episodes(folder: str | Path, embodiment: Embodiment) -> Iterator[Episode]:
    """
    Return all episodes of all bags in ``folder``, in the order of their index.

    :raises FileNotFoundError: when there is no such folder.
    :raises ValueError: at the first bag that cannot be used.
    """
    episodes = [episode for bag in find_bags(folder) for episode in read_all(bag, embodiment)]
    return iter(sorted(episodes, key=lambda episode: (episode.index, episode.episode_id)))


def find_bags(folder: str | Path) -> list[Path]:
    """
    Return the finished bags in ``folder``, by name; a leading dot means unfinished.

    :raises FileNotFoundError: when there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f'bags: expected a folder, got {folder}')
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith('.'))


def read_recording(bag: Path, image: str) -> Recording:
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
    files, about = sorted(bag.glob('*.mcap')), bag / 'metadata.yaml'
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
        recording.at[name][to_stamp(message)] = message
    elif name == topics.EPISODE_EVENT.name:
        recording.events.append(message)
    elif name == topics.OUTCOME.name:
        recording.outcomes[message.episode_id] = message
    else:
        recording.instructions.add(message.data)


def _pair_events(recording: Recording) -> list[tuple[Any, Any]]:
    """Return each START with its END; an END alone is the latched one of the episode before."""
    starts = {m.episode_id: m for m in recording.events if m.event == START}
    ends = {m.episode_id: m for m in recording.events if m.event == END}
    if not starts:
        raise TornBag(f'{recording.path}: expected an episode_event START, got none')
    for episode_id in starts:
        if episode_id not in ends:
            raise TornBag(
                f'{recording.path}: expected an END event of episode {episode_id}, got none'
            )
    return [(start, ends[episode_id]) for episode_id, start in starts.items()]


def _build(recording: Recording, start: Any, end: Any, embodiment: Embodiment) -> Episode:
    """Return the episode between two events."""
    embodiment.check_same(start.embodiment_hash, f'{recording.path}: episode {start.episode_id}')
    outcome = recording.outcomes.get(start.episode_id)
    kind = Kind(start.kind)
    if outcome is None and kind is not Kind.DEMONSTRATION:
        raise TornBag(
            f'{recording.path}: expected an outcome of episode {start.episode_id}, got none'
        )
    executed, last = _split(recording, to_stamp(start), to_stamp(end), outcome)
    stamps = [*executed, last]
    actions = [recording.at[topics.ACTION.name][stamp] for stamp in executed]
    judged = recording.at[topics.STEPS_TO_GO.name]
    truth = _truth(recording, stamps)
    version = outcome.policy_version if outcome else start.policy_version
    return Episode(
        episode_id=start.episode_id,
        index=start.index,
        kind=kind,
        instruction=_instruction(recording, start),
        seed=start.seed,
        observations=_observations(recording, stamps, embodiment),
        stamps=np.array(stamps, np.int64),
        tokens=_stack(recording, [to_tokens(m) for m in actions]),
        actions=_stack(recording, [to_values(m) for m in actions]),
        log_probs=np.array([m.log_probability for m in actions], np.float32),
        steps_to_go=np.array(
            [judged[s].steps_to_go if s in judged else np.nan for s in stamps], np.float32
        ),
        outcome=Outcome(outcome.outcome) if outcome else Outcome.UNLABELLED,
        termination=Termination(outcome.termination) if outcome else Termination.STOPPED,
        policy_version=_acting_version(recording, actions, version),
        reward_version=outcome.reward_version if outcome else 0,
        embodiment_hash=start.embodiment_hash,
        true_success=None if truth is None else bool(truth[-1]),
        true_success_per_step=truth,
    )


def _split(recording: Recording, first: int, last: int, outcome: Any) -> tuple[list[int], int]:
    """
    Return the stamps [ns] of the observations whose action was executed, and of the last one.

    An observation whose action the guard held is left out: the robot did not move for it. The
    action for the last observation comes too late to be executed.

    :raises TornBag: when an observation, an action or a command is missing.
    """
    path, actions = recording.path, recording.at[topics.ACTION.name]
    stamps = sorted(stamp for stamp in recording.pictures if first <= stamp <= last)
    if not stamps or stamps[0] != first or stamps[-1] != last:
        raise TornBag(
            f'{path}: expected observations from stamp {first} (START) to {last} (END), '
            f'got {len(stamps)}' + (f' from {stamps[0]} to {stamps[-1]}' if stamps else '')
        )
    missing = [stamp for stamp in stamps[:-1] if stamp not in actions]
    if missing:
        raise TornBag(f'{path}: expected an action for the observation at {missing[0]}, got none')
    passed = recording.at[topics.COMMAND.name]
    guarded = topics.COMMAND.name in recording.topics
    executed = [stamp for stamp in stamps[:-1] if stamp in passed or not guarded]
    if outcome and outcome.termination != Termination.FAULT and len(stamps) - 1 < outcome.steps:
        raise TornBag(f'{path}: expected {outcome.steps} actions, got {len(stamps) - 1}')
    return executed, last


def _instruction(recording: Recording, start: Any) -> str:
    """Return the goal: of the START event, else the only one ever said in the bag."""
    said = recording.instructions - {''}
    if start.instruction:
        return start.instruction
    if len(said) != 1:
        raise TornBag(f'{recording.path}: expected one instruction, got {sorted(said)}')
    return said.copy().pop()


def _observations(recording: Recording, stamps: list[int], embodiment: Embodiment) -> np.ndarray:
    """Return what the policy saw, ``(T + 1, H, W, 3)`` uint8 RGB."""
    raw = topics.OBSERVATION.name not in recording.topics
    pictures = [to_image(recording.pictures[stamp]) for stamp in stamps]
    if raw:
        pictures = [observe(picture, embodiment) for picture in pictures]
    return np.stack([embodiment.observation_spec.check(picture) for picture in pictures])


def _stack(recording: Recording, rows: list[np.ndarray]) -> np.ndarray:
    """Return equally long rows as one array; no rows as ``(0, 0)``."""
    if len({len(row) for row in rows}) > 1:
        raise TornBag(f'{recording.path}: expected actions of one length, got several')
    return np.stack(rows) if rows else np.zeros((0, 0))


def _truth(recording: Recording, stamps: list[int]) -> np.ndarray | None:
    """Return the simulator's word on every observation, ``(T + 1,)`` bool; else None."""
    states = recording.at[topics.WORLD_STATE.name]
    if any(stamp not in states for stamp in stamps):
        return None
    return np.array([states[stamp].success for stamp in stamps], bool)


def _acting_version(recording: Recording, actions: list[Any], version: int) -> int:
    """
    Return the version that acted: of the actions themselves, else what the episode says.

    :raises ValueError: when the version changed within the episode.
    """
    versions = {action.policy_version for action in actions}
    if len(versions) > 1:
        raise ValueError(
            f'{recording.path}: expected one policy version in an episode, got {sorted(versions)}'
        )
    return versions.pop() if versions else version
