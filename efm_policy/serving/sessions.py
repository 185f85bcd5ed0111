"""One session for each robot: its episode, what its policy remembers, its last answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, KW_ONLY
import threading
import time
from typing import Any

from efm_core.embodiment import Embodiment
from efm_policy.policy import Policy, PolicyEpisode
from efm_policy.serving import wire
import numpy as np


class RefusedError(Exception):
    """
    A request that gets no answer.

    :ivar code: gRPC's word for the kind of reason.
    """

    def __init__(self, code: str, detail: str):
        super().__init__(detail)
        self.code = code


@dataclass
class Session:
    """
    What the server remembers of one robot.

    :ivar policy: acts from the episode's begin to its end.
    :ivar used: when the robot last asked [s].
    :ivar stamp: the observation that it last asked about [ns].
    :ivar future: holds or will hold the answer to that.
    """

    episode_id: str
    policy: Policy
    _: KW_ONLY
    episode: PolicyEpisode
    used: float
    stamp: int = 0
    future: Future | None = None

    def known(self, stamp: int) -> Future | None:
        """Return what answers an observation that was asked about before, if it did not fail."""
        future = self.future if self.stamp == stamp else None
        return None if future is None or (future.done() and future.exception()) else future


@dataclass(frozen=True)
class Ask:
    """One observation that is to be answered: ``(H, W, 3)`` uint8 RGB."""

    session: Session
    request: Any
    _: KW_ONLY
    observation: np.ndarray


class Sessions:
    """
    Begins episodes and answers observations, of all robots together.

    :param policy: acts in episodes that begin, if there is one; ``adopt`` gives another.
    :param max_robots: sessions at once.
    :param session_s: after this long without a request a session gives way to another robot's [s].
    :param clock: returns seconds of a clock that never goes back.
    """

    def __init__(
        self,
        embodiment: Embodiment,
        policy: Policy | None,
        *,
        max_robots: int,
        session_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._embodiment = embodiment
        self._policy = policy
        self._max_robots = max_robots
        self._session_s = session_s
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def version(self) -> int:
        """The release that acts in episodes that begin; 0 for none yet."""
        return self._policy.version if self._policy else 0

    @property
    def robots(self) -> int:
        """Robots that have a session."""
        return len(self._sessions)

    def adopt(self, policy: Policy) -> None:
        """Let a newer release act in the episodes that begin from now on."""
        with self._lock:
            self._policy = policy

    def begin(self, request: Any) -> int:
        """
        Begin the episode that a ``BeginRequest`` names; return the release that acts.

        :raises RefusedError: when embodiment, instruction or release are not what is here.
        """
        with self._lock:
            self._make_room(request.robot)
            policy = self._choose(request)
            try:
                self._embodiment.check_same(request.embodiment_hash, f'robot {request.robot}')
                episode = policy.start(request.instruction, request.seed)
            except ValueError as error:
                raise RefusedError('INVALID_ARGUMENT', str(error)) from error
            self._sessions[request.robot] = Session(
                request.episode_id, policy, episode=episode, used=self._clock()
            )
            return policy.version

    def ask(self, request: Any) -> Ask:
        """
        Return an ``ActRequest`` with its session, ready for a batch.

        :raises RefusedError: when the robot has not begun this episode here, or its observation is
            not what the embodiment says.
        """
        session = self._sessions.get(request.robot)
        if session is None or session.episode_id != request.episode_id:
            raise RefusedError(
                'FAILED_PRECONDITION',
                f'episode: expected Begin before Act, got none of {request.robot} for '
                f'{request.episode_id!r}; the server may have been started again',
            )
        session.used = self._clock()
        try:
            observation = self._embodiment.observation_spec.check(
                wire.to_array(request.observation, 'observation')
            )
        except ValueError as error:
            raise RefusedError('INVALID_ARGUMENT', str(error)) from error
        return Ask(session, request, observation=observation)

    def answer(self, asks: list[Ask]) -> list[Any]:
        """
        Return an ``ActAnswer`` for each; those of one release are worked out together.

        :raises ValueError: when what the model says is not finite.
        """
        found: dict[int, Any] = {}
        for policy in {id(ask.session.policy): ask.session.policy for ask in asks}.values():
            places = [i for i, ask in enumerate(asks) if ask.session.policy is policy]
            answers = self._act(policy, [asks[i] for i in places])
            found.update(zip(places, answers, strict=True))
        return [found[i] for i in range(len(asks))]

    def _act(self, policy: Policy, asks: list[Ask]) -> list[Any]:
        episodes = [ask.session.episode for ask in asks]
        for ask, episode in zip(asks, episodes, strict=True):
            episode.step = ask.request.step  # the noise is that of the robot's step
        actions = policy.act_batch(episodes, [ask.observation for ask in asks])
        return [_to_answer(a, p, policy.version) for a, p in zip(asks, actions, strict=True)]

    def _choose(self, request: Any) -> Policy:
        """Return the newest release, or the one that an episode began with."""
        session = self._sessions.get(request.robot)
        policy = self._policy
        if request.goes_on and session and session.episode_id == request.episode_id:
            policy = session.policy
        wanted = request.policy_version
        here = policy.version if policy else 0
        if here < wanted or (request.goes_on and here != wanted) or not here:
            raise RefusedError(
                'NOT_FOUND',
                f'release: expected {wanted}{"" if request.goes_on else " or newer"}, got '
                f'{here or "none yet"}; '
                'an episode is acted by one release, and begins when the one asked for is here',
            )
        return policy

    def _make_room(self, robot: str) -> None:
        if robot in self._sessions or len(self._sessions) < self._max_robots:
            return
        name, oldest = min(self._sessions.items(), key=lambda pair: pair[1].used)
        if self._clock() - oldest.used < self._session_s:
            raise RefusedError(
                'RESOURCE_EXHAUSTED',
                f'robots: expected at most {self._max_robots} at once, got {robot} too',
            )
        del self._sessions[name]


def _to_answer(ask: Ask, action: Any, version: int) -> Any:
    request = ask.request
    return wire.ActAnswer(
        episode_id=request.episode_id,
        step=request.step,
        stamp=request.stamp,
        deadline=request.deadline,
        policy_version=version,
        tokens=wire.from_array(np.asarray(action.tokens)),
        values=wire.from_array(np.asarray(action.values)),
        log_probability=action.log_probability,
    )
