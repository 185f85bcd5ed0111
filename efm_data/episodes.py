"""
From bags to episodes.

Messages join observations by equal stamps, never by the nearest stamp. A bag that lacks a message
is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
import logging
from pathlib import Path
from typing import Any

from efm_core import topics
from efm_core.action import PERTURBATION
from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, perturbations, Termination
from efm_core.executed import executed_stamps
from efm_core.messages import (
    to_chunk_steps,
    to_due_stamps,
    to_image,
    to_measured_state,
    to_period,
    to_pose_in,
    to_proprioception,
    to_stamp,
    to_tokens,
    to_values,
)
from efm_core.observation import MeasuredState, Observation
from efm_core.observation_assembly import ObservationAssembler
from efm_core.preprocessing import check_observation
from efm_data.bag_reader import BagContents, find_bags, read_bag, refuse, TornBag
from efm_data.completeness import (
    ACTION,
    describe,
    find_gaps,
    OBSERVATION,
    OUTCOME,
    readable_episode,
)
from efm_data.contract import check_episode
import numpy as np

__all__ = [
    'TornBag',
    'find_bags',
    'read_all',
    'read_bag',
    'read_episode',
    'read_episodes',
]

LOG = logging.getLogger(__name__)
# EpisodeEvent.event
START = 1
END = 2


def read_episode(bag: str | Path, embodiment: Embodiment) -> Episode:
    """
    Return the only episode of a bag.

    :param bag: a folder, or a single storage file.
    :raises FileNotFoundError: when there is no such bag.
    :raises TornBag: when the bag is damaged or a message of the episode is missing.
    :raises ValueError: when it has several episodes, or one of another embodiment.
    """
    episodes = read_all(bag, embodiment)
    if len(episodes) != 1:
        raise ValueError(f'{bag}: expected one episode, got {len(episodes)}')
    return episodes[0]


def read_all(bag: str | Path, embodiment: Embodiment) -> list[Episode]:
    """
    Return every whole episode of a bag, each from its START to its END.

    An incomplete episode beside a whole one is left out, with a warning in the log. Each error
    names the bag and the episode.

    :param bag: a folder, or a single storage file.
    :raises FileNotFoundError: when there is no such bag.
    :raises TornBag: when the bag is damaged or has no whole episode.
    :raises ValueError: when an episode is of another embodiment or of several policy versions, or
        has a value that the embodiment does not allow.
    :raises OSError: when the machine cannot read any bag now.
    """
    bag = Path(bag)
    contents = read_bag(bag, embodiment)
    try:
        starts, ends = _events(contents)
    except Exception as error:  # the bag's own definition may lack a field
        refuse(bag, error)
    episodes = []
    incomplete = []
    for episode_id, start in starts.items():
        try:
            episodes.append(_build(contents, start, ends.get(episode_id), embodiment))
        except Incomplete as error:
            incomplete.append(error)
        except Exception as error:  # wrong contents raise errors of many kinds
            refuse(bag, error, f'episode {episode_id}')
    if not episodes:
        raise incomplete[0]
    for reason in incomplete:
        LOG.warning('%s; this episode is left out', reason)
    return episodes


def read_episodes(
    folder: str | Path,
    embodiment: Embodiment,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Iterator[Episode]:
    """
    Return all episodes of all bags in ``folder``, sorted by index.

    :param folder: such as ``runs/lab/episodes/demonstration``; each bag is a folder
        or a storage file in it.
    :param embodiment: of the robot that recorded the bags.
    :param progress: called after each bag with the number of bags read and of all bags.
    :raises FileNotFoundError: when there is no such folder.
    :raises ValueError: at the first bag that cannot be used.
    """
    bags = find_bags(folder)
    episodes = []
    for done, bag in enumerate(bags, 1):
        episodes += read_all(bag, embodiment)
        progress(done, len(bags))
    return iter(sorted(episodes, key=lambda episode: (episode.index, episode.episode_id)))


class Incomplete(TornBag):
    """A message of an episode is missing; other episodes of the bag may be whole."""


def _events(contents: BagContents) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return each START and each END by its episode; an END alone is of the episode before."""
    starts = {str(m.episode_id): m for m in contents.events if m.event == START}
    ends = {str(m.episode_id): m for m in contents.events if m.event == END}
    if not starts:
        raise TornBag(f'{contents.path}: expected an episode_event START, got none')
    return starts, ends


def _build(contents: BagContents, start: Any, end: Any | None, embodiment: Embodiment) -> Episode:
    """Return the episode between two events; it obeys the embodiment."""
    if end is None:
        raise Incomplete(
            f'{contents.path}: expected an END event of episode {start.episode_id}, got none'
        )
    _check_chunk_steps(contents, start, embodiment)
    embodiment.check_same(start.embodiment_hash, f'{contents.path}: episode {start.episode_id}')
    observed = _observed(contents, start, end)
    executed = _executed(contents, observed)
    episode = _assemble(contents, start, executed, observed[-1], embodiment)
    check_episode(episode, embodiment)
    return episode


def _assemble(
    contents: BagContents, start: Any, executed: list[int], last: int, embodiment: Embodiment
) -> Episode:
    """
    Return the episode of some messages.

    :param executed: stamps of the observations whose action was executed [ns].
    :param last: stamp of the last observation [ns].
    """
    outcome = contents.outcomes.get(start.episode_id)
    stamps = [*executed, last]
    actions = [contents.at[ACTION][stamp] for stamp in executed]
    truth = _truth(contents, stamps)
    version = outcome.policy_version if outcome else start.policy_version
    return Episode(
        episode_id=str(start.episode_id),
        index=int(start.index),
        kind=Kind(start.kind),
        instruction=_instruction(contents, start),
        seed=int(start.seed),
        observations=_observations(contents, stamps, embodiment),
        stamps=np.array(stamps, np.int64),
        tokens=_stack(contents, [to_tokens(m) for m in actions]),
        actions=_stack(contents, [to_values(m) for m in actions]),
        log_probs=np.array([m.log_probability for m in actions], np.float32),
        steps_to_go=_steps_to_go(contents, stamps),
        outcome=Outcome(outcome.outcome) if outcome else Outcome.UNLABELLED,
        termination=Termination(outcome.termination) if outcome else Termination.STOPPED,
        policy_version=_acting_version(contents, actions, version),
        reward_version=int(outcome.reward_version) if outcome else 0,
        embodiment_hash=start.embodiment_hash,
        true_success=None if truth is None else bool(truth[-1]),
        true_success_per_step=truth,
        perturbed=perturbations(m.source == PERTURBATION for m in actions),
    )


def _check_chunk_steps(contents: BagContents, start: Any, embodiment: Embodiment) -> None:
    """
    Refuse chunks of another length; a demonstration may have single control steps.

    :raises ValueError: with the expected and the found number of chunk steps.
    """
    chunk = embodiment.action.chunk
    allowed = {chunk, 1} if start.kind == Kind.DEMONSTRATION else {chunk}
    actions = contents.at[ACTION].values()
    found = {to_chunk_steps(m) for m in actions if m.episode_id == start.episode_id}
    wanted = f'{chunk} (action.chunk of {embodiment.name})'
    where = f'{contents.path}: chunk steps of an action'
    expect(found <= allowed and len(found) < 2, where, wanted, sorted(found))


def _observed(contents: BagContents, start: Any, end: Any) -> list[int]:
    """
    Return the stamps [ns] of an episode's observations.

    :raises Incomplete: when an observation, an action or the outcome is missing.
    """
    first = to_stamp(start)
    last = to_stamp(end)
    outcome = contents.outcomes.get(start.episode_id)
    pictures = sorted(stamp for stamp in contents.pictures if first <= stamp <= last)
    observed = _decisions(pictures, contents.at[ACTION])
    gaps = find_gaps(
        {
            **{name: contents.at[name] for name in (ACTION, *_sent_topics(contents))},
            **contents.parts,
            OBSERVATION: observed,
            OUTCOME: [last] if outcome else [],
        },
        first=first,
        last=last,
        needs=readable_episode(
            own_observations=contents.has_observations,
            labelled=start.kind != Kind.DEMONSTRATION,
            sent=_sent_topics(contents),
            parts=frozenset(contents.parts if contents.has_observations else ()),
        ),
        due=_due(contents),
        steps=outcome.steps if outcome and outcome.termination != Termination.FAULT else 0,
    )
    if gaps:
        raise Incomplete(
            f'{contents.path}: expected every message of episode {start.episode_id} from stamp '
            f'{first} to {last}; {describe(gaps)}'
        )
    return observed


def _executed(contents: BagContents, observed: list[int]) -> list[int]:
    """
    Return the stamps [ns] of the observations whose action was executed.

    An observation whose action, or every step of whose chunk, the guard rejected is left out: the
    robot did not move for it. The action for the last observation comes too late to be executed.
    """
    sent = _sent_topics(contents)
    if not sent:
        return observed[:-1]  # a robot without a guard
    due = _due(contents)
    return executed_stamps(observed[:-1], due, set().union(*(contents.at[name] for name in sent)))


def _sent_topics(contents: BagContents) -> frozenset[str]:
    """Return the topics of the bag whose stamps say which actions were executed."""
    return frozenset({topics.COMMAND.name, topics.EXECUTED.name}) & contents.topics


def _due(contents: BagContents) -> dict[int, tuple[int, ...]]:
    """Return when the control steps of the action for each stamp are due [ns]."""
    return {stamp: to_due_stamps(action) for stamp, action in contents.at[ACTION].items()}


def _decisions(stamps: list[int], actions: dict[int, Any]) -> list[int]:
    """Return the stamps without those of pictures taken while a chunk was executed."""
    kept = []
    busy_until = 0
    for stamp in stamps:
        if stamp in actions or stamp >= busy_until or stamp == stamps[-1]:
            kept.append(stamp)
        if stamp in actions and to_period(actions[stamp]):
            last = to_due_stamps(actions[stamp])[-1]
            busy_until = last + to_period(actions[stamp]) // 2
    return kept


def _instruction(contents: BagContents, start: Any) -> str:
    """Return the instruction of the START event, else the only one in the bag."""
    if start.instruction:
        return str(start.instruction)
    found = sorted(contents.instructions - {''})
    if len(found) != 1:
        raise TornBag(f'{contents.path}: expected one instruction, got {found}')
    return found[0]


def _observations(contents: BagContents, stamps: list[int], embodiment: Embodiment) -> Observation:
    """
    Return the policy's observations, ``T + 1``.

    :raises Incomplete: when a part of an observation is missing.
    """
    assembler = None if contents.has_observations else _assembler(contents, embodiment)
    seen = []
    for stamp in stamps:
        try:
            if assembler is None:
                seen.append(check_observation(_own(contents, stamp, embodiment), embodiment))
                continue
            found = assembler.assemble(stamp, contents.pictures[stamp])
        except ValueError as error:
            raise ValueError(f'picture at stamp {stamp}: {error}') from error
        if found is None:
            raise Incomplete(f'{contents.path}: stamp {stamp}: {assembler.missing}')
        seen.append(found)
    return Observation.stack(seen)


def _own(contents: BagContents, stamp: int, embodiment: Embodiment) -> Observation:
    """Return an observation that the policy recorded."""
    _, *others = topics.observation_topics(embodiment.cameras)
    images = [contents.pictures[stamp], *(contents.parts[o.name][stamp] for o in others)]
    numbers = np.zeros(0, np.float32)
    if embodiment.proprioception:
        message = contents.parts[topics.PROPRIOCEPTION.name][stamp]
        numbers = to_proprioception(message, embodiment.proprioception_names)
    return Observation(tuple(map(to_image, images)), numbers)


def _assembler(contents: BagContents, embodiment: Embodiment) -> ObservationAssembler:
    """Return an assembler with all messages of the drivers in a bag."""
    assembler = ObservationAssembler(embodiment, kept=None)
    for camera in embodiment.cameras[1:]:
        for stamp, message in contents.parts[camera.topic].items():
            assembler.add_image(camera.name, stamp, message)
    for stamp, message in contents.parts.get(topics.JOINT_STATES.name, {}).items():
        assembler.add_state(stamp, to_measured_state(message))
    for stamp, message in contents.parts.get(embodiment.command.pose_topic, {}).items():
        pose = to_pose_in(message, embodiment.command.frame)
        assembler.add_state(stamp, MeasuredState(tool_pose=pose))
    return assembler


def _steps_to_go(contents: BagContents, stamps: list[int]) -> np.ndarray:
    """Return the robot's predictions, ``(T + 1,)`` float32; NaN where there is none."""
    found = contents.at[topics.STEPS_TO_GO.name]
    return np.array([found[s].steps_to_go if s in found else np.nan for s in stamps], np.float32)


def _stack(contents: BagContents, arrays: list[np.ndarray]) -> np.ndarray:
    """Return arrays of one length as one array; an empty list as ``(0, 0)``."""
    if len({len(values) for values in arrays}) > 1:
        raise TornBag(f'{contents.path}: expected actions of one length, got several')
    return np.stack(arrays) if arrays else np.zeros((0, 0))


def _truth(contents: BagContents, stamps: list[int]) -> np.ndarray | None:
    """Return the simulator's success of every observation, ``(T + 1,)`` bool; None if unknown."""
    states = contents.at[topics.WORLD_STATE.name]
    if any(stamp not in states for stamp in stamps):
        return None
    return np.array([states[stamp].success for stamp in stamps], bool)


def _acting_version(contents: BagContents, actions: list[Any], version: int) -> int:
    """
    Return the version of the deployed policy: of the actions, else of the episode.

    :raises ValueError: when the version changed within the episode.
    """
    versions = {action.policy_version for action in actions}
    if len(versions) > 1:
        raise ValueError(
            f'{contents.path}: expected one policy version in an episode, got {sorted(versions)}'
        )
    return int(versions.pop()) if versions else version
