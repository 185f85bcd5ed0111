"""
What ends an episode. No other file states these rules.

An episode without a label that was stopped or had a fault says nothing about the policy: it is
tried again, and no trainer learns from it (`is_void`).

The reward model, the supervisor, `efm_sim.rollout` and `efm_evaluation.metrics` apply them.

===================================================  ==========  ================
cause                                                outcome     termination
===================================================  ==========  ================
the success detector fires                           success     success_detected
the time limit, and the detector has fired before    success     timeout
the time limit, and the detector has never fired     failure     timeout
the scene ends, and the detector has fired, or d <=  success     terminated
s on the last observation
the scene ends otherwise                             failure     terminated
a label: person, demonstrator or simulator truth     the label   stopped
a person takes over                                  unlabelled  intervention
a component fails or does not answer                 unlabelled  fault
the operator or the fleet cancels, emergency stop    unlabelled  stopped
===================================================  ==========  ================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, KW_ONLY
import math

from efm_core.episode import Outcome, Termination


@dataclass(frozen=True)
class EpisodeRules:
    """
    The section `task` of an embodiment, without `steps_to_go`.

    A step is one decision: an action, or a chunk.

    :param max_steps: time limit [steps]. A demonstrator decides at every control step and has the
        same time.
    :param success_threshold: s [steps]; an observation indicates success when d <= s.
    :param success_dwell: consecutive observations on which d <= s must hold. With chunks, only the
        observations that begin a chunk count.
    """

    max_steps: int = 40
    success_threshold: float = 2.0
    _: KW_ONLY
    success_dwell: int = 2

    def step_limit(self, requested: int) -> int:
        """Return the time limit [steps] of an episode; ``requested`` 0 asks for the default."""
        return requested or self.max_steps


def is_void(outcome: str, termination: str) -> bool:
    """
    Return whether an episode says nothing about the policy.

    :param outcome: value of ``Outcome``.
    :param termination: value of ``Termination``.
    """
    was_stopped = termination == Termination.STOPPED and outcome == Outcome.UNLABELLED
    return was_stopped or termination == Termination.FAULT


class SuccessDetector:
    """
    The success detector of one episode: d <= s on ``success_dwell`` consecutive observations.

    With a dwell of 1, the detector often fires at the border of success.
    """

    def __init__(self, rules: EpisodeRules):
        self._rules = rules
        self._held = 0

    def fires(self, steps_to_go: float) -> bool:
        """Return whether the next observation, with d = ``steps_to_go`` [steps], is a success."""
        is_low = float(steps_to_go) <= self._rules.success_threshold
        self._held = self._held + 1 if is_low else 0
        return self._held >= self._rules.success_dwell


def first_detection(steps_to_go: Iterable[float], rules: EpisodeRules) -> int | None:
    """
    Return the index of the first observation on which the success detector fires, or None.

    :param steps_to_go: d of each observation of one episode [steps].
    """
    detector = SuccessDetector(rules)
    return next((index for index, d in enumerate(steps_to_go) if detector.fires(d)), None)


@dataclass(frozen=True, kw_only=True)
class EndingRules:
    """
    The rules that end one episode: success first, then the end of the scene, the time limit last.

    :param max_steps: time limit [decisions].
    :param chunk: control steps of one decision of the policy.
    :param period_s: control period [s]; infinite where only steps are counted.
    :param detector_ends_episode: whether success ends the episode. If not, the episode runs to its
        time limit, and the detector only decides between success and failure.
    :param success_threshold: s [steps]; by default no d is low enough.
    :param success_termination: STOPPED where simulator truth replaces the detector.
    """

    max_steps: int
    success_threshold: float = -math.inf
    chunk: int = 1
    period_s: float = math.inf
    detector_ends_episode: bool = True
    success_termination: Termination = Termination.SUCCESS_DETECTED

    def is_time_up(
        self, *, decisions: int = 0, control_steps: int = 0, seconds: float = 0.0
    ) -> bool:
        """Return whether the time used, given in any of the three units, reaches the limit."""
        limit = self.max_steps * self.chunk  # [control steps]
        return (
            decisions >= self.max_steps
            or control_steps >= limit
            or seconds >= limit * self.period_s
        )

    def ending(
        self,
        *,
        success: bool,
        has_succeeded: bool,
        is_time_up: bool,
        has_ended: bool = False,
        steps_to_go: float = math.inf,
    ) -> tuple[Outcome, Termination] | None:
        """
        Return outcome and termination if the episode is over, else None.

        :param success: the detector fires on the newest observation.
        :param has_succeeded: it has fired on any observation of the episode, this one included.
        :param has_ended: the scene of the newest observation has ended: a simulator's environment
            has terminated. No observation follows for which the detector could wait, so that
            d <= s on this one is enough.
        :param steps_to_go: d of the newest observation [steps]; infinite without a reward model.
        """
        if success and self.detector_ends_episode:
            return Outcome.SUCCESS, self.success_termination
        if has_ended:
            has_succeeded = has_succeeded or steps_to_go <= self.success_threshold
        if not has_ended and not is_time_up:
            return None
        termination = Termination.TERMINATED if has_ended else Termination.TIMEOUT
        return Outcome.SUCCESS if has_succeeded else Outcome.FAILURE, termination
