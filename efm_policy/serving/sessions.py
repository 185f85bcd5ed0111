"""The sessions of a policy server: for each robot its episode and its last answer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, KW_ONLY
import threading
import time

from efm_core.embodiment import Embodiment
from efm_core.observation import Observation
from efm_core.preprocessing import check_observation
from efm_policy.policy import Policy, PolicyAction, PolicyEpisode
from efm_policy.serving import wire
from efm_policy.serving.wire import Message
import numpy as np


class RefusedError(Exception):
    """
    A request that the server does not answer; gRPC reports code and text to the robot.

    :ivar code: name of the gRPC status code.
    """

    def __init__(self, code: str, detail: str):
        """
        Create the error.

        :param code: name of the gRPC status code, such as ``NOT_FOUND``.
        :param detail: the reason, for the robot's log.
        """
        super().__init__(detail)
        self.code = code


@dataclass
class Session:
    """
    The state of one robot on the server.

    :ivar policy: the release that acts from the begin of the episode to its end.
    :ivar episode: the policy's state of the episode.
    :ivar used: time of the robot's last request [s].
    :ivar stamp: of the last observation [ns].
    :ivar future: answer to the last observation.
    """

    episode_id: str
    policy: Policy
    _: KW_ONLY
    episode: PolicyEpisode
    used: float
    stamp: int = 0
    future: Future[Message] | None = None

    def answer_to(self, stamp: int) -> Future[Message] | None:
        """Return the answer to an observation that the robot sends again, unless it failed."""
        future = self.future if self.stamp == stamp else None
        return None if future is None or (future.done() and future.exception()) else future


@dataclass(frozen=True)
class InferenceRequest:
    """
    One observation that waits for an action.

    :param session: of the robot.
    :param request: the ``ActRequest``.
    :param observation: what the policy sees.
    """

    session: Session
    request: Message
    _: KW_ONLY
    observation: Observation


class Sessions:
    """Begins episodes and computes actions, for all robots together."""

    def __init__(
        self,
        embodiment: Embodiment,
        policy: Policy | None,
        *,
        max_robots: int,
        session_s: float,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Start without a session.

        :param policy: acts in new episodes; None refuses them until ``adopt``.
        :param max_robots: largest number of sessions.
        :param session_s: a session without a request for this long may be replaced [s].
        :param clock: returns seconds of a clock that never goes back.
        """
        self._embodiment = embodiment
        self._policy = policy
        self._max_robots = max_robots
        self._session_s = session_s
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    @property
    def version(self) -> int:
        """The release that acts in new episodes; 0 for none."""
        return self._policy.version if self._policy else 0

    @property
    def robots(self) -> int:
        """Number of robots with a session."""
        return len(self._sessions)

    def adopt(self, policy: Policy) -> None:
        """Use a newer release in all episodes that begin from now on; ignore an older one."""
        with self._lock:
            if policy.version > self.version:
                self._policy = policy

    def begin(self, request: Message) -> int:
        """
        Begin the episode of a ``BeginRequest``; return the release that acts in it.

        :raises RefusedError: when embodiment, instruction or release do not fit this server.
        """
        with self._lock:
            self._make_room(request.robot)
            policy = self._choose_policy(request)
            try:
                self._embodiment.check_same(request.embodiment_hash, f'robot {request.robot}')
                episode = policy.start(request.instruction, request.seed)
            except ValueError as error:
                raise RefusedError('INVALID_ARGUMENT', str(error)) from error
            self._sessions[request.robot] = Session(
                request.episode_id, policy, episode=episode, used=self._clock()
            )
            return policy.version

    def prepare(self, request: Message) -> InferenceRequest:
        """
        Return an ``ActRequest`` with its session and its observation.

        :raises RefusedError: when the robot did not begin this episode here, or the observation
            does not obey the embodiment.
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
            observation = check_observation(wire.to_observation(request), self._embodiment)
        except ValueError as error:
            raise RefusedError('INVALID_ARGUMENT', str(error)) from error
        return InferenceRequest(session, request, observation=observation)

    def act(self, requests: list[InferenceRequest]) -> list[Message]:
        """
        Return an ``ActAnswer`` for each request; those of one release run as one batch.

        :raises ValueError: when the output of the model is not finite.
        """
        answers: dict[int, Message] = {}
        for policy in {id(r.session.policy): r.session.policy for r in requests}.values():
            places = [i for i, r in enumerate(requests) if r.session.policy is policy]
            batch = [requests[i] for i in places]
            answers.update(zip(places, self._act(policy, batch), strict=True))
        return [answers[i] for i in range(len(requests))]

    def _act(self, policy: Policy, requests: list[InferenceRequest]) -> list[Message]:
        """Return the answers of one release."""
        episodes = [request.session.episode for request in requests]
        for request, episode in zip(requests, episodes, strict=True):
            episode.step = request.request.step  # the noise depends on the robot's step
        actions = policy.act_batch(episodes, [request.observation for request in requests])
        return [
            _to_answer(request, action, policy.version)
            for request, action in zip(requests, actions, strict=True)
        ]

    def _choose_policy(self, request: Message) -> Policy:
        """
        Return the newest release, or the one that an episode began with.

        :raises RefusedError: when the server does not have the requested release.
        """
        session = self._sessions.get(request.robot)
        policy = self._policy
        if request.goes_on and session and session.episode_id == request.episode_id:
            policy = session.policy
        wanted = request.policy_version
        if (
            policy is None
            or policy.version < wanted
            or (request.goes_on and policy.version != wanted)
        ):
            raise RefusedError(
                'NOT_FOUND',
                f'release: expected {wanted}{"" if request.goes_on else " or newer"}, got '
                f'{policy.version if policy else "none yet"}; '
                'one release acts in the whole episode, which begins when that release is loaded',
            )
        return policy

    def _make_room(self, robot: str) -> None:
        """
        Remove the session that was not used for longest, if there is no room for another.

        :raises RefusedError: when all sessions are in use.
        """
        if robot in self._sessions or len(self._sessions) < self._max_robots:
            return
        name, oldest = min(self._sessions.items(), key=lambda pair: pair[1].used)
        if self._clock() - oldest.used < self._session_s:
            raise RefusedError(
                'RESOURCE_EXHAUSTED',
                f'robots: expected at most {self._max_robots} at once, got {robot} too',
            )
        del self._sessions[name]


def _to_answer(request: InferenceRequest, action: PolicyAction, version: int) -> Message:
    """Return an action as an ``ActAnswer``."""
    message = request.request
    return wire.ActAnswer(
        episode_id=message.episode_id,
        step=message.step,
        stamp=message.stamp,
        deadline=message.deadline,
        policy_version=version,
        tokens=wire.from_array(np.asarray(action.tokens)),
        values=wire.from_array(np.asarray(action.values)),
        log_probability=action.log_probability,
    )
