"""
The robot's side of a remote policy: what it sends, when it tries again, what is too late.

There is no ROS and no network in this module: client and clocks are arguments. No call blocks.
Without an answer there is no action, and the guard stops the robot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY
from functools import partial
import time
from typing import Any, Protocol

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment
from efm_core.observation import Observation
from efm_policy.serving.client import (
    Failure,
    FIRST_RETRY_S,
    GONE,
    LAST_RETRY_S,
    LATE,
    Reply,
    to_action,
)
from efm_policy.serving.wire import Message

LOST = 'FAILED_PRECONDITION'  # the server does not know the episode
PERMANENT = ('INVALID_ARGUMENT',)  # the same request would fail again


@dataclass(frozen=True)
class PendingObservation:
    """
    An observation whose action is not here yet.

    :param step: decisions of the episode before this one.
    :param stamp: of the observation [ns].
    :param deadline: the action must not be executed after this time [ns]; 0 for none.
    :param observation: what the policy sees.
    :param sent: time of the request [s of the monotonic clock].
    """

    episode_id: str
    step: int
    _: KW_ONLY
    stamp: int
    deadline: int
    observation: Observation
    sent: float


@dataclass(frozen=True)
class EpisodeRequest:
    """
    An episode that the robot asks the server to begin.

    :param seed: of the noise that samples actions.
    :param policy_version: oldest release that may act; of the START event.
    """

    episode_id: str
    instruction: str
    _: KW_ONLY
    seed: int
    policy_version: int


class PolicyClient(Protocol):
    """The methods of ``Client``."""

    def begin(self, reply: Reply, seconds: float, **fields: Any) -> None:
        """Send a request to begin an episode."""

    def act(self, reply: Reply, seconds: float, observation: Observation, **fields: Any) -> None:
        """Send an observation to request an action."""

    def close(self) -> None:
        """Close the connection."""


class DiagnosticsSink(Protocol):
    """
    Where faults and counts are reported: ``Diagnostics`` of a node.

    :ivar fault: present fault; empty for none.
    :ivar values: state by name.
    :ivar counts: number of events by name.
    """

    fault: str
    values: dict[str, str]
    counts: Counter[str]

    def count_dropped(self, reason: str) -> None:
        """Count an observation without an action."""


class RemotePolicy:
    """
    Begins episodes on a server and sends it one observation at a time.

    :ivar is_busy: whether the answer to an observation is still missing.
    :ivar has_begun: whether the server has begun the episode.
    :ivar version: the release that acts in this episode.
    """

    def __init__(
        self,
        client: PolicyClient,
        embodiment: Embodiment,
        *,
        timeout_s: float,
        diagnostics: DiagnosticsSink,
        post: Callable[[Callable[[], None]], Any],
        now: Callable[[], int],
        on_begun: Callable[[], None],
        on_action: Callable[[PendingObservation, PolicyAction | None], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Keep the arguments; ``begin`` sends the first request.

        :param client: closed by ``close``.
        :param timeout_s: longest wait for an answer without a deadline [s].
        :param diagnostics: receives faults and counts.
        :param post: runs a function on the node's thread.
        :param now: returns the robot's time [ns].
        :param on_begun: called when the server has begun the episode or continues it.
        :param on_action: called with an observation and its action; None when there is no action
            in time.
        :param clock: returns the time of the monotonic clock [s].
        """
        self._embodiment = embodiment
        self._timeout_s = timeout_s
        self._diagnostics = diagnostics
        self._post = post
        self._now = now
        self._clock = clock
        self._on_begun = on_begun
        self._on_action = on_action
        self.is_busy = False
        self.has_begun = False
        self.version = 0
        self._episode: EpisodeRequest | None = None
        self._is_beginning = False
        self._retry_at = 0.0
        self._pause = FIRST_RETRY_S
        self._client = client
        self._diagnostics.values['server'] = 'not connected'

    def begin(self, episode: EpisodeRequest) -> bool:
        """Return whether the server has begun this episode; send a request if it has not."""
        if episode == self._episode and self.has_begun:
            return True
        self._episode = episode
        self.has_begun = False
        self.version = 0
        self._pause = FIRST_RETRY_S
        self._send_begin(episode)
        return False

    def end(self) -> None:
        """End the episode on this side; the server needs no message."""
        self._episode = None
        self.has_begun = False

    def tick(self) -> None:
        """Try again to begin an episode when its pause is over; call it several times a second."""
        if self._episode is None or self.has_begun or self._is_beginning:
            return
        if self._clock() >= self._retry_at:
            self._send_begin(self._episode)

    def request_action(
        self, observation: Observation, stamp: int, step: int, deadline: int
    ) -> bool:
        """
        Send an observation; return False when its deadline has passed.

        :param observation: what the policy sees.
        :param stamp: of the observation [ns].
        :param step: decisions of the episode before this one.
        :param deadline: the action must not be executed after this time [ns]; 0 for none.
        :raises RuntimeError: when no episode has begun.
        """
        if self._episode is None:
            raise RuntimeError('remote policy: expected begin() before request_action(), got none')
        left = (deadline - self._now()) / 1e9 if deadline else self._timeout_s
        if left <= 0:
            self._diagnostics.count_dropped('observation too old to send')
            return False
        pending = PendingObservation(
            self._episode.episode_id,
            step,
            stamp=stamp,
            deadline=deadline,
            observation=observation,
            sent=self._clock(),
        )
        self.is_busy = True
        self._client.act(
            self._posted(self._on_act_reply, pending),
            left,
            observation,
            episode_id=pending.episode_id,
            step=step,
            stamp=stamp,
            deadline=deadline,
        )
        return True

    def close(self) -> None:
        """End the episode and close the connection."""
        self.end()
        self._client.close()

    def _posted(
        self, handler: Callable[[Any, Message | Failure], None], subject: Any
    ) -> Callable[[Message | Failure], None]:
        """Return a function that runs ``handler(subject, outcome)`` on the node's thread."""
        return lambda outcome: self._post(partial(handler, subject, outcome))

    def _send_begin(self, episode: EpisodeRequest) -> None:
        """Send a request to begin an episode, or to continue it with the same release."""
        goes_on = self.version > 0
        self._is_beginning = True
        self._client.begin(
            self._posted(self._on_begin_reply, episode),
            self._timeout_s,
            embodiment_hash=self._embodiment.hash,
            episode_id=episode.episode_id,
            instruction=episode.instruction,
            seed=episode.seed,
            policy_version=self.version if goes_on else episode.policy_version,
            goes_on=goes_on,
        )

    def _on_begin_reply(self, episode: EpisodeRequest, outcome: Message | Failure) -> None:
        self._report_connection(outcome)
        if episode is not self._episode:
            return
        self._is_beginning = False
        if isinstance(outcome, Failure):
            self._diagnostics.fault = f'server: {outcome}'
            self._diagnostics.counts[f'begin refused: {outcome.code}'] += 1
            if outcome.code in PERMANENT:
                self._episode = None
            self._retry_at = self._clock() + self._pause
            self._pause = min(2 * self._pause, LAST_RETRY_S)
            return
        self.has_begun = True
        self.version = outcome.policy_version
        self._diagnostics.fault = ''
        self._pause = FIRST_RETRY_S
        self._on_begun()

    def _on_act_reply(self, pending: PendingObservation, outcome: Message | Failure) -> None:
        self._report_connection(outcome)
        self.is_busy = False
        if self._episode is None or pending.episode_id != self._episode.episode_id:
            self._on_action(pending, None)
            return
        action = None
        if isinstance(outcome, Failure):
            self._report_failure(outcome, self._episode)
        else:
            try:
                action = self._to_action(pending, outcome)
            except ValueError as error:
                self._diagnostics.count_dropped(str(error))
        if action is not None:
            self._diagnostics.fault = ''
        self._on_action(pending, action)

    def _to_action(self, pending: PendingObservation, answer: Message) -> PolicyAction | None:
        """
        Return the action of an answer; None when its deadline has passed.

        :raises ValueError: when the answer belongs to another request, or holds no action.
        """
        if pending.deadline and self._now() > pending.deadline:
            self._diagnostics.count_dropped('late answer')
            return None
        got = (answer.episode_id, answer.stamp, answer.deadline, answer.policy_version)
        expected = (pending.episode_id, pending.stamp, pending.deadline, self.version)
        if got != expected:
            raise ValueError(
                f'answer: expected the episode, stamp, deadline and release of the request, '
                f'{expected}, got {got}'
            )
        return to_action(answer, self._embodiment)

    def _report_connection(self, outcome: Message | Failure) -> None:
        """Report whether the server is connected; a time-out shows neither."""
        code = outcome.code if isinstance(outcome, Failure) else ''
        if code != LATE:
            self._diagnostics.values['server'] = 'not connected' if code == GONE else 'connected'

    def _report_failure(self, failure: Failure, episode: EpisodeRequest) -> None:
        """Count a request without an answer; begin the episode again if the server lost it."""
        if failure.code == LATE:
            self._diagnostics.count_dropped('late answer')
        else:
            self._diagnostics.count_dropped(f'no answer: {failure.code}, got {failure.detail}')
            self._diagnostics.fault = f'server: {failure}'
        if failure.code == LOST:
            self.has_begun = False
            self._send_begin(episode)
