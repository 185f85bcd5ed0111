"""
A robot whose policy is elsewhere: what it asks, when it asks again, what is too late.

No ROS, no network: a client asks and a clock is handed in. Nothing here waits; where no answer
comes there is no action, and the guard holds the robot.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY
from functools import partial
import time
from typing import Any

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment
from efm_policy.serving.client import Failure, FIRST_RETRY_S, GONE, LAST_RETRY_S, LATE, to_action
import numpy as np

LOST = 'FAILED_PRECONDITION'  # the server does not know of the episode
HOPELESS = ('INVALID_ARGUMENT',)  # asking again would change nothing


@dataclass(frozen=True)
class Question:
    """
    One observation on its way to the server and back.

    :param stamp: of the observation [ns].
    :param deadline: not to be executed after this time [ns]; 0 for none.
    :param asked: when it was sent [s of the monotonic clock].
    """

    episode_id: str
    step: int
    _: KW_ONLY
    stamp: int
    deadline: int
    observation: np.ndarray
    asked: float


@dataclass(frozen=True)
class Start:
    """The episode that a robot wants to act in; ``policy_version`` as in the START event."""

    episode_id: str
    instruction: str
    _: KW_ONLY
    seed: int
    policy_version: int


class Remote:
    """
    Begins episodes with a server and asks it about one observation at a time.

    :param health: gets faults, facts and counts, as ``Diagnostics`` of a node has them.
    :param post: runs a function on the node's own thread.
    :param now: returns the robot's time [ns].
    :param on_begun: called when the server has begun the episode, or goes on with it.
    :param on_answer: called with a question and its action in time, or with None.
    :ivar busy: a question is under way.
    :ivar version: release that acts in this episode.
    """

    def __init__(
        self,
        client: Any,
        embodiment: Embodiment,
        *,
        timeout_s: float,
        health: Any,
        post: Callable[[Callable[[], None]], Any],
        now: Callable[[], int],
        on_begun: Callable[[], None],
        on_answer: Callable[[Question, PolicyAction | None], None],
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Get ready; ``begin`` asks first.

        :param client: a ``Client``; it is closed with this.
        :param timeout_s: longest wait for an answer that has no deadline [s].
        """
        self._embodiment = embodiment
        self._timeout_s = timeout_s
        self._diagnostics = health
        self._post = post
        self._now = now
        self._clock = clock
        self._on_begun = on_begun
        self._on_answer = on_answer
        self.busy = False
        self.begun = False
        self.version = 0
        self._start: Start | None = None
        self._beginning = False
        self._try_at = 0.0
        self._pause = FIRST_RETRY_S
        self._client = client
        self._diagnostics.values['server'] = 'not connected'

    def begin(self, start: Start) -> bool:
        """Return whether the server has begun this episode; ask it to if it has not."""
        if start == self._start and self.begun:
            return True
        self._start = start
        self.begun = False
        self.version = 0
        self._pause = FIRST_RETRY_S
        self._ask_to_begin()
        return False

    def end(self) -> None:
        """Want no episode any more."""
        self._start = None
        self.begun = False

    def tick(self) -> None:
        """Ask again for an episode that could not begin; call it some times a second."""
        waits = self._start is not None and not self.begun and not self._beginning
        if waits and self._clock() >= self._try_at:
            self._ask_to_begin()

    def ask(self, observation: np.ndarray, stamp: int, step: int, deadline: int) -> bool:
        """
        Ask about an observation; return whether there was time to.

        :param deadline: of the answer [ns]; 0 for none.
        """
        left = (deadline - self._now()) / 1e9 if deadline else self._timeout_s
        if left <= 0:
            self._diagnostics.count_dropped('observation too old to ask about')
            return False
        question = Question(
            self._start.episode_id,
            step,
            stamp=stamp,
            deadline=deadline,
            observation=observation,
            asked=self._clock(),
        )
        self.busy = True
        self._client.act(
            self._later(self._answered, question),
            left,
            observation,
            episode_id=question.episode_id,
            step=step,
            stamp=stamp,
            deadline=deadline,
        )
        return True

    def close(self) -> None:
        """End the connection."""
        self.end()
        self._client.close()

    def _heard(self, outcome: Any) -> None:
        """Note whether the server is there; an answer that did not come in time says neither."""
        code = outcome.code if isinstance(outcome, Failure) else ''
        if code != LATE:
            self._diagnostics.values['server'] = 'not connected' if code == GONE else 'connected'

    def _later(self, then: Callable[..., None], what: Any) -> Callable[[Any], None]:
        return lambda outcome: self._post(partial(then, what, outcome))

    def _ask_to_begin(self) -> None:
        start = self._start
        goes_on = self.version > 0
        self._beginning = True
        self._client.begin(
            self._later(self._began, start),
            self._timeout_s,
            embodiment_hash=self._embodiment.hash,
            episode_id=start.episode_id,
            instruction=start.instruction,
            seed=start.seed,
            policy_version=self.version if goes_on else start.policy_version,
            goes_on=goes_on,
        )

    def _began(self, start: Start, outcome: Any) -> None:
        self._heard(outcome)
        if start is not self._start:
            return
        self._beginning = False
        if isinstance(outcome, Failure):
            self._diagnostics.fault = f'server: {outcome}'
            self._diagnostics.counts[f'begin refused: {outcome.code}'] += 1
            if outcome.code in HOPELESS:
                self._start = None
            self._try_at = self._clock() + self._pause
            self._pause = min(2 * self._pause, LAST_RETRY_S)
            return
        self.begun = True
        self.version = outcome.policy_version
        self._diagnostics.fault = ''
        self._pause = FIRST_RETRY_S
        self._on_begun()

    def _answered(self, question: Question, outcome: Any) -> None:
        self._heard(outcome)
        self.busy = False
        if self._start is None or question.episode_id != self._start.episode_id:
            self._on_answer(question, None)
            return
        try:
            action = None if isinstance(outcome, Failure) else self._check(question, outcome)
        except ValueError as error:
            action = None
            self._diagnostics.count_dropped(str(error))
        if isinstance(outcome, Failure):
            self._failed(outcome)
        elif action is not None:
            self._diagnostics.fault = ''
        self._on_answer(question, action)

    def _check(self, question: Question, answer: Any) -> PolicyAction | None:
        """Return the action of an answer that came in time, or None."""
        if question.deadline and self._now() > question.deadline:
            self._late()
            return None
        came = (answer.episode_id, answer.stamp, answer.deadline, answer.policy_version)
        expected = (question.episode_id, question.stamp, question.deadline, self.version)
        if came != expected:
            raise ValueError(
                f'answer: expected the episode, stamp, deadline and release of the question, '
                f'{expected}, got {came}'
            )
        return to_action(answer, self._embodiment)

    def _failed(self, failure: Failure) -> None:
        if failure.code == LATE:
            self._late()
        else:
            self._diagnostics.count_dropped(f'no answer: {failure.code}, got {failure.detail}')
            self._diagnostics.fault = f'server: {failure}'
        if failure.code == LOST:
            self.begun = False
            self._ask_to_begin()

    def _late(self) -> None:
        self._diagnostics.count_dropped('late answer')
