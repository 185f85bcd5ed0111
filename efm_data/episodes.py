"""
From bags to episodes.

Everything joins by equality of stamps, never by nearness. A bag that lacks a piece is refused,
never guessed at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from efm_core import topics
from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.messages import to_chunk_steps, to_image, to_period, to_stamp, to_tokens, to_values
from efm_core.observation import observe
from efm_data.bag_reader import find_bags, read_bag, Recording, TornBag
import numpy as np

__all__ = [
    'TornBag',
    'find_bags',
    'read_all',
    'read_bag',
    'read_episode',
    'read_episodes',
]

# EpisodeEvent.event
START = 1
END = 2


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
    recording = read_bag(Path(bag), embodiment.cameras[0].topic)
    pairs = _pair_events(recording)
    return [_build(recording, start, end, embodiment) for start, end in pairs]


def read_episodes(
    folder: str | Path,
    embodiment: Embodiment,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Episode]:
    """
    Return all episodes of all bags in ``folder``, in the order of their index.

    :param progress: called after each bag with how many are read, and of how many.
    :raises FileNotFoundError: when there is no such folder.
    :raises ValueError: at the first bag that cannot be used.
    """
    bags = find_bags(folder)
    episodes = []
    for done, bag in enumerate(bags, 1):
        episodes += read_all(bag, embodiment)
        progress(done, len(bags))
    return iter(sorted(episodes, key=lambda episode: (episode.index, episode.episode_id)))


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
    _check_rows(recording, start, embodiment)
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


def _check_rows(recording: Recording, start: Any, embodiment: Embodiment) -> None:
    """
    Refuse chunks of another length; a demonstration may show single control steps.

    :raises ValueError: saying how many rows were expected and how many came.
    """
    chunk = embodiment.action.chunk
    allowed = {chunk, 1} if start.kind == Kind.DEMONSTRATION else {chunk}
    actions = recording.at[topics.ACTION.name].values()
    found = {to_chunk_steps(m) for m in actions if m.episode_id == start.episode_id}
    wanted = f'{chunk} (action.chunk of {embodiment.name})'
    where = f'{recording.path}: rows of an action'
    expect(found <= allowed and len(found) < 2, where, wanted, sorted(found))


def _split(recording: Recording, first: int, last: int, outcome: Any) -> tuple[list[int], int]:
    """
    Return the stamps [ns] of the observations whose action was executed, and of the last one.

    An observation whose action, or every row of whose chunk, the guard held is left out: the robot
    did not move for it. The action for the last observation comes too late to be executed.

    :raises TornBag: when an observation, an action or a command is missing.
    """
    path = recording.path
    actions = recording.at[topics.ACTION.name]
    stamps = sorted(stamp for stamp in recording.pictures if first <= stamp <= last)
    if not stamps or stamps[0] != first or stamps[-1] != last:
        raise TornBag(
            f'{path}: expected observations from stamp {first} (START) to {last} (END), '
            f'got {len(stamps)}' + (f' from {stamps[0]} to {stamps[-1]}' if stamps else '')
        )
    stamps = _decisions(stamps, actions)
    missing = [stamp for stamp in stamps[:-1] if stamp not in actions]
    if missing:
        raise TornBag(f'{path}: expected an action for the observation at {missing[0]}, got none')
    passed = {**recording.at[topics.COMMAND.name], **recording.at[topics.EXECUTED.name]}
    guarded = bool({topics.COMMAND.name, topics.EXECUTED.name} & recording.topics)
    moved = [
        any(at in passed for at in due_stamps(stamp, actions[stamp])) for stamp in stamps[:-1]
    ]
    executed = [stamp for stamp, has in zip(stamps, moved, strict=False) if has or not guarded]
    if outcome and outcome.termination != Termination.FAULT and len(stamps) - 1 < outcome.steps:
        raise TornBag(f'{path}: expected {outcome.steps} actions, got {len(stamps) - 1}')
    return executed, last


def due_stamps(stamp: int, action: Any) -> range | tuple[int]:
    """Return when each row of an action for the observation ``stamp`` is due [ns]."""
    rows = to_chunk_steps(action)
    period = to_period(action)
    return range(stamp, stamp + rows * period, period) if period else (stamp,)


def _decisions(stamps: list[int], actions: dict[int, Any]) -> list[int]:
    """Return the stamps without those of pictures that came while a chunk was executed."""
    kept = []
    busy_until = 0
    for stamp in stamps:
        if stamp in actions or stamp >= busy_until or stamp == stamps[-1]:
            kept.append(stamp)
        if stamp in actions and to_period(actions[stamp]):
            due = due_stamps(stamp, actions[stamp])
            busy_until = due[-1] + due.step // 2
    return kept


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
