"""
When an episode is whole: one rule for the recorder, which waits, and the reader, which refuses.

An episode begins at its first observation at or after the stamp of START, and ends at the stamp
of END. In lockstep no picture is lost, so the first observation has exactly the stamp of START. In
real time pictures may be lost before a node has received START.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, KW_ONLY
from types import MappingProxyType

from efm_core import topics
from efm_core.executed import executed_stamps

OBSERVATION = topics.OBSERVATION.name
ACTION = topics.ACTION.name
COMMAND = topics.COMMAND.name
STEPS_TO_GO = topics.STEPS_TO_GO.name
OUTCOME = topics.OUTCOME.name
EPISODE_EVENT = topics.EPISODE_EVENT.name
WORLD_STATE = topics.WORLD_STATE.name
JOINT_STATES = topics.JOINT_STATES.name


@dataclass(frozen=True, kw_only=True)
class Requirements:
    """
    The messages of a whole episode; a message belongs to the observation with its stamp.

    :param each: topics with a message for every observation but the last.
    :param last: topics with a message for the last observation.
    :param witnesses: topics whose messages each belong to an observation. If one of them has a
        stamp that no observation has, an observation is missing.
    :param sent: topics whose stamps say which actions the robot executed. As many as the outcome
        counts must be among them; without such topics the observations are counted.
    :param exact_start: the first observation has the stamp of START.
    """

    each: frozenset[str] = frozenset()
    last: frozenset[str] = frozenset()
    witnesses: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()
    exact_start: bool = False

    @property
    def topics(self) -> frozenset[str]:
        """The topics whose stamps the rule needs."""
        return frozenset({OBSERVATION}) | self.each | self.last | self.witnesses | self.sent


@dataclass(frozen=True)
class Gap:
    """
    The missing messages of one topic.

    :param count: number of missing messages.
    :param stamp: of the first of them [ns]; 0 where only their number is known, from the outcome.
    """

    topic: str
    count: int
    _: KW_ONLY
    stamp: int = 0

    def __str__(self) -> str:
        """Return the topic, the number of messages and the first stamp."""
        where = f'first at stamp {self.stamp}' if self.stamp else 'counted by the outcome'
        return f'{self.topic} ({self.count}, {where})'


def recorded_episode(
    *,
    lockstep: bool,
    reward: bool,
    simulated: bool,
    command: str = COMMAND,
    sent: str = COMMAND,
    camera: str = '',
    chunk: int = 1,
) -> Requirements:
    """
    Return what the recorder waits for; everything that `readable_episode` asks for is in it.

    Only topics that cannot lose a message are required. In real time ``joint_states`` and
    the camera are best effort, and steps-to-go may lag behind the observations. Of the commands
    as many must arrive as the outcome counts: the guard sends none for an action it rejects.

    :param lockstep: the simulated world waits for each command.
    :param reward: a reward node publishes steps-to-go.
    :param simulated: a simulator publishes its true state with every picture.
    :param command: topic of the driver.
    :param sent: topic that says which actions the robot executed: ``command`` or ``executed``.
    :param camera: topic of the camera, if its pictures are recorded too.
    :param chunk: control steps of one action; a chunk has commands between the observations.
    """
    truth = {WORLD_STATE} if simulated else set()
    predictions = {STEPS_TO_GO} if reward else set()
    shown = ({JOINT_STATES} | ({camera} if camera else set())) if lockstep else set()
    waited_for = ({command} | predictions) if lockstep else set()
    return Requirements(
        each=frozenset({ACTION} | truth | shown | waited_for),
        last=frozenset({OUTCOME, EPISODE_EVENT} | truth | shown | predictions),
        witnesses=frozenset({ACTION} | waited_for - ({command} if chunk > 1 else set())),
        sent=frozenset({sent}),
        exact_start=lockstep,
    )


def readable_episode(
    *, own_observations: bool, labelled: bool, sent: frozenset[str]
) -> Requirements:
    """
    Return what the reader needs to make an episode of a bag.

    :param own_observations: the bag has the policy's ``observation``; without it, camera pictures
        take their place, of which any may be lost.
    :param labelled: the episode needs an outcome; a demonstration does not.
    :param sent: topics of the bag that say which actions the robot executed.
    """
    return Requirements(
        each=frozenset({ACTION}),
        last=frozenset({OUTCOME} if labelled else ()),
        witnesses=frozenset({ACTION} if own_observations else ()),
        sent=sent,
    )


def find_gaps(
    stamps: Mapping[str, Iterable[int]],
    *,
    first: int,
    last: int,
    needs: Requirements,
    steps: int = 0,
    due: Mapping[int, Sequence[int]] = MappingProxyType({}),
) -> list[Gap]:
    """
    Return the missing messages of an episode, by topic; a whole episode has none.

    :param stamps: of the messages of each topic [ns]; those of other episodes are ignored.
    :param first: stamp of START [ns].
    :param last: stamp of END [ns], which is that of the last observation.
    :param steps: number of executed actions that the episode's outcome counts; 0 if unknown.
    :param due: when the control steps of the action for each stamp are due [ns]; by default at
        the stamp.
    """
    came = {name: _inside(stamps.get(name, ()), first, last) for name in needs.topics}
    observed = {stamp for name in (OBSERVATION, *needs.witnesses) for stamp in came[name]} - {last}
    if needs.exact_start and first < last:
        observed.add(first)
    gaps = []
    for name in sorted(needs.topics):
        required = set(observed) if name in needs.each | {OBSERVATION} else set()
        required |= {last} if name in needs.last | {OBSERVATION} else set()
        lacking = required - came[name]
        if lacking:
            gaps.append(Gap(name, len(lacking), stamp=min(lacking)))
    if gaps or not steps:
        return gaps
    if len(observed) < steps:
        return [Gap(OBSERVATION, steps - len(observed))]
    sent = set().union(*(stamps.get(name, ()) for name in needs.sent))
    executed = executed_stamps(sorted(observed), due, sent)
    if needs.sent and len(executed) < steps:
        return [Gap(' or '.join(sorted(needs.sent)), steps - len(executed))]
    return []


def describe(gaps: Iterable[Gap]) -> str:
    """Return one line that names what is missing."""
    return 'missing: ' + ', '.join(map(str, gaps))


def _inside(stamps: Iterable[int], first: int, last: int) -> set[int]:
    return {stamp for stamp in stamps if first <= stamp <= last}
