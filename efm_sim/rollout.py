"""
Episodes without ROS: several worlds in one process, one batched inference for all of them.

The same rules as on a robot: the judge ends an episode, or too many steps do; what the simulator
knows is written down for reports and otherwise not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, KW_ONLY
from typing import Any, Protocol

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.episode_rules import EndingRules
from efm_core.observation import observe
from efm_core.tokeniser import ActionTokeniser
from efm_sim.table.config import DemonstratorConfig
from efm_sim.table.demonstrator import DemonstratorProtocol, load_demonstrator
import numpy as np

OnEpisode = Callable[[Episode], None]


class World(Protocol):
    """What a rollout needs of a world; ``efm_sim.table.world.Table`` is one."""

    instruction: str

    def reset(self, seed: int) -> None:
        """Bring the scene of ``seed``."""

    def step(self, action: np.ndarray) -> None:
        """Execute ``action``, ``(A,)`` float32, for one control step."""

    def render(self) -> np.ndarray:
        """Return the camera's picture, ``(H, W, 3)`` uint8 RGB."""

    def success(self) -> bool:
        """Return the truth, for reports only."""


@dataclass
class RunningEpisode:
    """One episode under way in one world; ``acting`` and ``judging``: what the models remember."""

    world: World
    index: int
    _: KW_ONLY
    seed: int
    policy_episode: Any = None
    reward_episode: Any = None
    observations: list[np.ndarray] = field(default_factory=list)
    truth: list[bool] = field(default_factory=list)
    steps_to_go: list[float] = field(default_factory=list)
    actions: list[Any] = field(default_factory=list)
    detected: bool = False
    ending: tuple[Outcome, Termination] | None = None


def rollout(
    worlds: Sequence[World],
    policy: Any,
    reward_model: Any,
    seeds: Iterable[int],
    embodiment: Embodiment,
    kind: Kind = Kind.PRACTICE,
    first_index: int = 0,
    max_steps: int = 0,
    detector_ends_episode: bool = True,
    on_episode: OnEpisode = lambda episode: None,
) -> list[Episode]:
    """
    Let ``policy`` try the scene of every seed once; return the episodes in the order of ``seeds``.

    :param worlds: this many episodes run at once.
    :param policy: an ``efm_policy.policy.Policy``.
    :param reward_model: an ``efm_reward.model.RewardModel``; with None the simulator's truth
        ends an episode: for measurements, never for practice.
    :param max_steps: 0 for the embodiment's.
    :param detector_ends_episode: if false, every episode runs to its time limit.
    :param on_episode: called with each episode when it ends.
    """
    runner = Runner(
        embodiment,
        PolicyActor(policy),
        reward_model=reward_model,
        kind=kind,
        max_steps=max_steps,
        on_episode=on_episode,
        detector_ends_episode=detector_ends_episode,
    )
    return runner.run(worlds, seeds, first_index)


def demonstrate(
    worlds: Sequence[World],
    seeds: Iterable[int],
    embodiment: Embodiment,
    config: DemonstratorConfig | None = None,
    max_steps: int = 60,
    on_episode: OnEpisode = lambda episode: None,
    demonstrator: str = '',
) -> list[Episode]:
    """
    Run one episode of the scripted demonstrator for each seed; arguments as ``rollout``.

    :param max_steps: the demonstrator decides at each control step; 0 for the embodiment's.
    :param demonstrator: ``module:class``; empty for the table's.
    """
    actor = ScriptedActor(
        config or DemonstratorConfig(),
        ActionTokeniser(embodiment.action.single_step),
        demonstrator=demonstrator,
    )
    runner = Runner(
        embodiment,
        actor,
        reward_model=None,
        kind=Kind.DEMONSTRATION,
        max_steps=max_steps,
        on_episode=on_episode,
    )
    return runner.run(worlds, seeds, 0)


class PolicyActor:
    """Lets a policy act in all worlds at once."""

    def __init__(self, policy: Any):
        self._policy = policy
        self.version = policy.version

    def start(self, attempt: RunningEpisode) -> Any:
        """Return the policy's memory of a new episode."""
        return self._policy.start(attempt.world.instruction, attempt.seed)

    def act(self, attempts: list[RunningEpisode]) -> list[Any]:
        """Return the next action of each attempt."""
        newest = [attempt.observations[-1] for attempt in attempts]
        return self._policy.act_batch([attempt.policy_episode for attempt in attempts], newest)


class ScriptedActor:
    """Lets a demonstrator act in each world, which it sees as it truly is."""

    version = 0

    def __init__(
        self, config: DemonstratorConfig, tokeniser: ActionTokeniser, *, demonstrator: str = ''
    ):
        self._config = config
        self._tokeniser = tokeniser
        self._name = demonstrator

    def start(self, attempt: RunningEpisode) -> DemonstratorProtocol:
        """Return a demonstrator that begins a new episode."""
        demonstrator = load_demonstrator(self._name, self._config)
        demonstrator.begin(attempt.seed)
        return demonstrator

    def act(self, attempts: list[RunningEpisode]) -> list[PolicyAction]:
        """Return the next action of each attempt."""
        values = [attempt.policy_episode.act(attempt.world.positions()) for attempt in attempts]
        return [PolicyAction(self._tokeniser.encode(value), value) for value in values]


class Runner:
    """Steps all worlds together until every seed has had its episode."""

    def __init__(
        self,
        embodiment: Embodiment,
        actor: Any,
        *,
        reward_model: Any,
        kind: Kind,
        max_steps: int,
        on_episode: OnEpisode,
        detector_ends_episode: bool = True,
    ):
        self._embodiment = embodiment
        self._actor = actor
        self._reward_model = reward_model
        self._kind = kind
        self._on_episode = on_episode
        detected = Termination.SUCCESS_DETECTED if reward_model else Termination.STOPPED
        self._rules = EndingRules(
            max_steps=embodiment.episode.step_limit(max_steps),
            detector_ends_episode=detector_ends_episode,
            success_termination=detected,
        )

    def run(self, worlds: Sequence[World], seeds: Iterable[int], first: int) -> list[Episode]:
        """Return the episodes of ``seeds``; their indices count from ``first``."""
        waiting = iter(enumerate(seeds, start=first))
        free = list(worlds)
        running = []
        done = []
        while True:
            fresh = [self._begin(w, *job) for w, job in zip(free, waiting, strict=False)]
            running += fresh
            if not running:
                return sorted(done, key=lambda episode: episode.index)
            self._look(running)
            over = [attempt for attempt in running if attempt.ending]
            running = [attempt for attempt in running if not attempt.ending]
            free = [attempt.world for attempt in over]
            done += [self._finish(attempt) for attempt in over]
            self._move(running)

    def _begin(self, world: World, index: int, seed: int) -> RunningEpisode:
        world.reset(seed)
        attempt = RunningEpisode(world, index, seed=seed)
        attempt.policy_episode = self._actor.start(attempt)
        attempt.reward_episode = (
            self._reward_model.start(world.instruction) if self._reward_model else None
        )
        return attempt

    def _look(self, attempts: list[RunningEpisode]) -> None:
        """Take one observation of every world, and say which episodes it ends."""
        for attempt in attempts:
            attempt.observations.append(observe(attempt.world.render(), self._embodiment))
            attempt.truth.append(bool(attempt.world.success()))
        done = [attempt.truth[-1] for attempt in attempts]
        if self._reward_model:
            done = self._judged(attempts)
        for attempt, success in zip(attempts, done, strict=True):
            attempt.ending = self._ending(attempt, success)

    def _judged(self, attempts: list[RunningEpisode]) -> list[bool]:
        newest = [attempt.observations[-1] for attempt in attempts]
        found = self._reward_model.predict_batch(
            [attempt.reward_episode for attempt in attempts], newest
        )
        for attempt, prediction in zip(attempts, found, strict=True):
            attempt.steps_to_go.append(prediction.steps_to_go)
        return [prediction.success for prediction in found]

    def _ending(
        self, attempt: RunningEpisode, success: bool
    ) -> tuple[Outcome, Termination] | None:
        attempt.detected = attempt.detected or success
        return self._rules.ending(
            success=success,
            has_succeeded=attempt.detected,
            is_time_up=self._rules.is_time_up(decisions=len(attempt.actions)),
        )

    def _move(self, attempts: list[RunningEpisode]) -> None:
        """Execute one action in every world, or all rows of a chunk."""
        if not attempts:
            return
        for attempt, action in zip(attempts, self._actor.act(attempts), strict=True):
            attempt.actions.append(action)
            for row in chunk_steps_of(action.values):
                attempt.world.step(as_commanded(row, self._embodiment.control_rate_hz))

    def _finish(self, attempt: RunningEpisode) -> Episode:
        """Return the finished attempt as an episode."""
        actions = attempt.actions
        count = len(attempt.observations)
        size = len(self._embodiment.action.names)
        moved = [len(chunk_steps_of(action.values)) for action in actions]  # control steps
        unjudged = np.full(count, np.nan, np.float32)
        outcome, termination = attempt.ending
        episode = Episode(
            episode_id=f'{self._kind.value}-{attempt.index:06d}',
            index=attempt.index,
            kind=self._kind,
            instruction=attempt.world.instruction,
            seed=attempt.seed,
            observations=np.stack(attempt.observations),
            stamps=np.cumsum([1, *moved], dtype=np.int64) * self._embodiment.period_ns,
            tokens=_rows([a.tokens for a in actions], np.int64, size),
            actions=_rows([a.values for a in actions], np.float32, size),
            log_probs=np.array([a.log_probability for a in actions], np.float32),
            steps_to_go=np.array(attempt.steps_to_go, np.float32)
            if self._reward_model
            else unjudged,
            outcome=outcome,
            termination=termination,
            policy_version=self._actor.version,
            reward_version=self._reward_model.version if self._reward_model else 0,
            embodiment_hash=self._embodiment.hash,
            true_success=attempt.truth[-1],
            true_success_per_step=np.array(attempt.truth),
        )
        self._on_episode(episode)
        return episode


def as_commanded(values: np.ndarray, rate_hz: float) -> np.ndarray:
    """Return an action as it arrives over ROS, where it is a velocity; ``(A,)`` float32."""
    velocity = np.asarray(values, np.float64) * rate_hz
    return velocity.astype(np.float32) / np.float32(rate_hz)


def chunk_steps_of(values: np.ndarray) -> np.ndarray:
    """Return the rows of a chunk, ``(H, A)``, or of a single action, ``(1, A)``."""
    return np.atleast_2d(values)


def _rows(rows: list[np.ndarray], dtype: type, size: int) -> np.ndarray:
    return np.asarray(rows, dtype) if rows else np.zeros((0, size), dtype)
