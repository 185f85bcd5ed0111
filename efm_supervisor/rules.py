"""The rules of a supervisor: those of its robot, and its own parameters."""

from __future__ import annotations

from dataclasses import dataclass
import math

from efm_core.embodiment import Embodiment
from efm_core.episode_rules import EndingRules, EpisodeRules
from efm_supervisor.config import SupervisorConfig

LIFETIMES = 3  # of actions, that a component may be silent beyond one decision


@dataclass(frozen=True, kw_only=True)
class SupervisorRules:
    """
    The rules of a supervisor.

    :param episode: the rules of the embodiment.
    :param lockstep: the world waits for the command of each observation.
    :param reward_enabled: a prediction is expected for every observation.
    :param recorder_enabled: an episode is over when its bag is on disk.
    :param stall_timeout_s: time without progress after which the episode is a fault [s].
    :param silence_timeout_s: in real time, longest silence of a component [s].
    :param reset_timeout_s: longest wait for the world's answer to a reset [s]; infinite for a
        person who resets the scene.
    :param period_s: control period [s].
    :param lifetime_s: age after which the guard rejects an action [s].
    :param chunk: control steps of one decision of the policy. A demonstrator may decide at every
        control step; its time limit is the same.
    :param detector_ends_episode: as in ``EndingRules``.
    """

    episode: EpisodeRules
    lockstep: bool
    reward_enabled: bool
    recorder_enabled: bool
    stall_timeout_s: float
    silence_timeout_s: float
    reset_timeout_s: float
    period_s: float
    lifetime_s: float
    chunk: int = 1
    detector_ends_episode: bool = True

    @classmethod
    def of(cls, config: SupervisorConfig, robot: Embodiment) -> SupervisorRules:
        """Return the rules in the parameters of the node and in the embodiment."""
        decision_s = robot.action.chunk / robot.control_rate_hz
        silence_s = decision_s + LIFETIMES * robot.action_lifetime_s
        return cls(
            episode=robot.episode,
            lockstep=config.lockstep,
            reward_enabled=config.reward_enabled,
            recorder_enabled=config.recorder_enabled,
            stall_timeout_s=config.stall_timeout_s,
            silence_timeout_s=config.silence_timeout_s or silence_s,
            reset_timeout_s=config.reset_timeout_s or math.inf,
            period_s=1 / robot.control_rate_hz,
            lifetime_s=robot.action_lifetime_s,
            chunk=robot.action.chunk,
            detector_ends_episode=config.detector_ends_episode,
        )

    def check_reset_stamp(self, stamp: int, asked: int, now: int) -> None:
        """
        Refuse the stamp of a reset that no image of the new scene can have, in real time.

        Times are in ns of this node's clock. The clocks of two machines may differ by the lifetime
        of an action, as everywhere.

        :param stamp: that the world gave to the first observation of the new scene.
        :param asked: when the reset was asked for.
        :param now: when the answer came.
        :raises ValueError: with the expected and the found time.
        """
        early = (asked - stamp) / 1e9
        late = (stamp - now) / 1e9
        if max(early, late) > self.lifetime_s:
            found = f'{early:.2f} s before the request' if early > 0 else f'{late:.2f} s ahead'
            raise ValueError(
                'reset_world: expected the stamp of the first image of the new scene, between the '
                f'request and the answer, got one {found}; compare the clocks of camera and robot'
            )

    def ending_rules(self, max_steps: int) -> EndingRules:
        """Return the rules that end an episode with this time limit [decisions]."""
        return EndingRules(
            max_steps=max_steps,
            success_threshold=self.episode.success_threshold,
            chunk=self.chunk,
            period_s=self.period_s,
            detector_ends_episode=self.detector_ends_episode,
        )
