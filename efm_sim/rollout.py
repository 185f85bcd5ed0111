"""
Episodes without ROS: several worlds in one process, one batched inference for all of them.

The rules that end an episode are those of a robot. Simulator truth is recorded for reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, KW_ONLY, replace
import math
from typing import Any, cast, Protocol

from efm_core.action import PolicyAction
from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, perturbations, Termination
from efm_core.episode_rules import EndingRules
from efm_core.observation import Observation
from efm_core.preprocessing import observe
from efm_core.tokeniser import ActionTokeniser
from efm_sim.demonstrator import Demonstrator, is_perturbed, load_demonstrator
from efm_sim.scene import Scene
from efm_sim.table.config import DemonstratorConfig
from efm_sim.world import PublishedWorld, World
import numpy as np

OnEpisode = Callable[[Episode], None]


@dataclass
class RunningEpisode:
    """
    One episode in progress in one world.

    :param index: number of the episode among those of the rollout.
    :param rules: what ends it.
    :param policy_episode: the policy's state of this episode, or its demonstrator.
    :param reward_episode: the reward model's state of this episode; None without a reward model.
    :param observations: so far.
    :param truth: simulator truth at each observation, for reports only.
    :param steps_to_go: prediction at each observation [steps]; empty without a reward model.
    :param actions: so far, one for each decision.
    :param detected: whether success was detected at some observation.
    :param ending: outcome and termination; None while the episode runs.
    """

    world: World
    index: int
    _: KW_ONLY
    seed: int
    rules: EndingRules
    policy_episode: Any = None
    reward_episode: Any = None
    observations: list[Observation] = field(default_factory=list)
    truth: list[bool] = field(default_factory=list)
    steps_to_go: list[float] = field(default_factory=list)
    actions: list[PolicyAction] = field(default_factory=list)
    detected: bool = False
    ending: tuple[Outcome, Termination] | None = None


class BatchPolicy(Protocol):
    """A policy that acts in several episodes at once, such as `efm_policy.policy.Policy`."""

    @property
    def version(self) -> int:
        """Release of the policy."""
        ...

    def start(self, instruction: str, seed: int, /) -> Any:
        """Return the state of a new episode."""

    def act_batch(
        self, episodes: list[Any], observations: list[Observation], /
    ) -> Sequence[PolicyAction]:
        """Return the next action of each episode."""
        ...


class Prediction(Protocol):
    """What a rollout needs of a prediction of the reward model."""

    @property
    def steps_to_go(self) -> float:
        """Mean number of steps to the goal."""
        ...

    @property
    def success(self) -> bool:
        """Whether success is detected."""
        ...


class BatchRewardModel(Protocol):
    """A reward model for several episodes at once, such as `efm_reward.model.RewardModel`."""

    @property
    def version(self) -> int:
        """Release of the reward model."""
        ...

    def start(self, instruction: str, /) -> Any:
        """Return the state of a new episode."""

    def predict_batch(
        self, episodes: list[Any], observations: list[Observation], /
    ) -> Sequence[Prediction]:
        """Return the prediction for each episode."""
        ...


class Actor(Protocol):
    """The source of the actions of a `Runner`: a policy or a demonstrator."""

    @property
    def version(self) -> int:
        """Release of the policy; 0 for a demonstrator."""
        ...

    def start(self, episode: RunningEpisode, /) -> Any:
        """Return the `policy_episode` of a new episode."""

    def act(self, episodes: list[RunningEpisode], /) -> Sequence[PolicyAction]:
        """Return the next action of each episode."""
        ...


def rollout(
    worlds: Sequence[World],
    policy: BatchPolicy,
    reward_model: BatchRewardModel | None,
    seeds: Iterable[int],
    embodiment: Embodiment,
    kind: Kind = Kind.PRACTICE,
    first_index: int = 0,
    max_steps: int | Mapping[str, int] = 0,
    detector_ends_episode: bool = True,
    on_episode: OnEpisode = lambda episode: None,
) -> list[Episode]:
    """
    Run one episode of a policy for every seed; return the episodes in the order of ``seeds``.

    :param worlds: worlds that run at once. Their number does not change the result.
    :param policy: such as `efm_policy.policy.Policy`.
    :param reward_model: such as `efm_reward.model.RewardModel`. None: simulator truth ends an
        episode, for measurements and never for practice.
    :param seeds: seeds of the scenes.
    :param embodiment: the robot; its episode rules apply.
    :param kind: purpose of the episodes.
    :param first_index: index of the first episode.
    :param max_steps: time limit [steps]; 0 for the embodiment's. A mapping has the limit of each
        instruction.
    :param detector_ends_episode: if false, every episode lasts until its time limit.
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
    worlds: Sequence[PublishedWorld],
    seeds: Iterable[int],
    embodiment: Embodiment,
    config: DemonstratorConfig | None = None,
    max_steps: int = 60,
    on_episode: OnEpisode = lambda episode: None,
    demonstrator: str = '',
) -> list[Episode]:
    """
    Run one episode of the scripted demonstrator for every seed; arguments as `rollout`.

    The demonstrator decides at every control step. Simulator truth ends an episode.

    :param config: parameters of the table's demonstrator; None for the defaults.
    :param max_steps: time limit [control steps]; 0 for the embodiment's.
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
    """An actor with the actions of a policy, in one batch for all worlds."""

    def __init__(self, policy: BatchPolicy):
        self._policy = policy
        self.version = policy.version

    def start(self, episode: RunningEpisode) -> Any:
        """Return the policy's state of a new episode."""
        return self._policy.start(episode.world.instruction, episode.seed)

    def act(self, episodes: list[RunningEpisode]) -> Sequence[PolicyAction]:
        """Return the next action of each episode."""
        newest = [episode.observations[-1] for episode in episodes]
        return self._policy.act_batch([episode.policy_episode for episode in episodes], newest)


class ScriptedActor:
    """An actor with the table's scripted demonstrator, one for each episode."""

    version = 0

    def __init__(
        self, config: DemonstratorConfig, tokeniser: ActionTokeniser, *, demonstrator: str = ''
    ):
        self._config = config
        self._tokeniser = tokeniser
        self._name = demonstrator

    def start(self, episode: RunningEpisode) -> Demonstrator:
        """Return a demonstrator for a new episode."""
        demonstrator = load_demonstrator(self._name, self._config)
        demonstrator.begin(episode.seed)
        return demonstrator

    def act(self, episodes: list[RunningEpisode]) -> list[PolicyAction]:
        """Return the next action of each episode; its world must be a `PublishedWorld`."""
        return [self._act(episode.policy_episode, episode) for episode in episodes]

    def _act(self, demonstrator: Demonstrator, episode: RunningEpisode) -> PolicyAction:
        world = cast(PublishedWorld, episode.world)
        values = demonstrator.act(scene_of(world, episode.observations[-1]))
        tokens = self._tokeniser.encode(values)
        return PolicyAction(tokens, values, is_perturbation=is_perturbed(demonstrator))


class Runner:
    """Steps all worlds together until every seed has its episode."""

    def __init__(
        self,
        embodiment: Embodiment,
        actor: Actor,
        *,
        reward_model: BatchRewardModel | None,
        kind: Kind,
        max_steps: int | Mapping[str, int],
        on_episode: OnEpisode,
        detector_ends_episode: bool = True,
    ):
        """Prepare; arguments as `rollout`."""
        self._embodiment = embodiment
        self._actor = actor
        self._reward_model = reward_model
        self._kind = kind
        self._on_episode = on_episode
        detected = Termination.SUCCESS_DETECTED if reward_model else Termination.STOPPED
        self._max_steps = max_steps
        self._rules = EndingRules(
            max_steps=embodiment.episode.max_steps,
            success_threshold=embodiment.episode.success_threshold,
            detector_ends_episode=detector_ends_episode,
            success_termination=detected,
        )

    def run(self, worlds: Sequence[World], seeds: Iterable[int], first: int) -> list[Episode]:
        """Return the episodes of ``seeds``; their indices count from ``first``."""
        waiting = iter(enumerate(seeds, start=first))
        free = list(worlds)
        running: list[RunningEpisode] = []
        done: list[Episode] = []
        while True:
            fresh = [self._begin(w, *job) for w, job in zip(free, waiting, strict=False)]
            running += fresh
            if not running:
                return sorted(done, key=lambda episode: episode.index)
            self._observe(running)
            over = [episode for episode in running if episode.ending]
            running = [episode for episode in running if not episode.ending]
            free = [episode.world for episode in over]
            done += [self._finish(episode) for episode in over]
            self._act(running)

    def _begin(self, world: World, index: int, seed: int) -> RunningEpisode:
        world.reset(seed)
        rules = self._rules_of(world.instruction)
        episode = RunningEpisode(world, index, seed=seed, rules=rules)
        episode.policy_episode = self._actor.start(episode)
        if self._reward_model:
            episode.reward_episode = self._reward_model.start(world.instruction)
        return episode

    def _rules_of(self, instruction: str) -> EndingRules:
        """
        Return what ends an episode of an instruction.

        :raises ValueError: when there is no time limit for it.
        """
        limits = self._max_steps
        if isinstance(limits, Mapping):
            expect(
                instruction in limits,
                'max_steps',
                f'a limit of each of {list(limits)}',
                instruction,
            )
            limits = limits[instruction]
        return replace(self._rules, max_steps=self._embodiment.episode.step_limit(limits))

    def _observe(self, episodes: list[RunningEpisode]) -> None:
        """Add one observation to every episode, and its ending if the observation ends it."""
        for episode in episodes:
            world = episode.world
            episode.observations.append(observe(world.images(), self._embodiment, world.state()))
            episode.truth.append(bool(episode.world.success()))
        successes = [episode.truth[-1] for episode in episodes]
        if self._reward_model:
            successes = self._predict(self._reward_model, episodes)
        for episode, success in zip(episodes, successes, strict=True):
            episode.ending = self._ending(episode, success)

    def _predict(
        self, reward_model: BatchRewardModel, episodes: list[RunningEpisode]
    ) -> list[bool]:
        """Add a prediction to every episode; return whether it detects success."""
        newest = [episode.observations[-1] for episode in episodes]
        predictions = reward_model.predict_batch(
            [episode.reward_episode for episode in episodes], newest
        )
        for episode, prediction in zip(episodes, predictions, strict=True):
            episode.steps_to_go.append(prediction.steps_to_go)
        return [prediction.success for prediction in predictions]

    def _ending(
        self, episode: RunningEpisode, success: bool
    ) -> tuple[Outcome, Termination] | None:
        """Return the ending of an episode after its newest observation; None if it continues."""
        episode.detected = episode.detected or success
        return episode.rules.ending(
            success=success,
            has_succeeded=episode.detected,
            is_time_up=episode.rules.is_time_up(decisions=len(episode.actions)),
            has_ended=episode.world.terminated(),
            steps_to_go=episode.steps_to_go[-1] if episode.steps_to_go else math.inf,
        )

    def _act(self, episodes: list[RunningEpisode]) -> None:
        """Execute one action in every world; of a chunk, all chunk steps."""
        if not episodes:
            return
        for episode, action in zip(episodes, self._actor.act(episodes), strict=True):
            episode.actions.append(action)
            for values in chunk_steps_of(action.values):
                episode.world.step(as_commanded(values, self._embodiment))

    def _finish(self, running: RunningEpisode) -> Episode:
        """Return an ended episode with all its arrays."""
        if running.ending is None:
            raise ValueError(f'episode {running.index}: expected an ending, got none')
        actions = running.actions
        size = len(self._embodiment.action.names)
        control_steps = [len(chunk_steps_of(action.values)) for action in actions]
        unknown = np.full(len(running.observations), np.nan, np.float32)
        outcome, termination = running.ending
        episode = Episode(
            episode_id=f'{self._kind.value}-{running.index:06d}',
            index=running.index,
            kind=self._kind,
            instruction=running.world.instruction,
            seed=running.seed,
            observations=Observation.stack(running.observations),
            stamps=np.cumsum([1, *control_steps], dtype=np.int64) * self._embodiment.period_ns,
            tokens=_stack([a.tokens for a in actions], np.int64, size),
            actions=_stack([a.values for a in actions], np.float32, size),
            log_probs=np.array([a.log_probability for a in actions], np.float32),
            steps_to_go=np.array(running.steps_to_go, np.float32)
            if self._reward_model
            else unknown,
            outcome=outcome,
            termination=termination,
            policy_version=self._actor.version,
            reward_version=self._reward_model.version if self._reward_model else 0,
            embodiment_hash=self._embodiment.hash,
            true_success=running.truth[-1],
            true_success_per_step=np.array(running.truth),
            perturbed=perturbations(action.is_perturbation for action in actions),
        )
        self._on_episode(episode)
        return episode


def as_commanded(values: np.ndarray, robot: Embodiment) -> np.ndarray:
    """Return an action after the rounding of its ROS command; ``(A,)`` float32."""
    if not robot.command.is_planar_displacement:
        return np.asarray(values, np.float32)
    velocity = np.asarray(values, np.float64) * robot.control_rate_hz
    return velocity.astype(np.float32) / np.float32(robot.control_rate_hz)


def scene_of(world: PublishedWorld, observation: Observation) -> Scene:
    """Return what a demonstrator receives of the present moment of a world."""
    return Scene(
        world.positions(), world.instruction, info=world.info(), images=observation.images
    )


def chunk_steps_of(values: np.ndarray) -> np.ndarray:
    """Return the chunk steps of an action, ``(H, A)``; of a single action ``(1, A)``."""
    return np.atleast_2d(values)


def _stack(parts: list[np.ndarray], dtype: type, size: int) -> np.ndarray:
    """Return equal parts as one array, ``(N, ...)``; without parts ``(0, size)``."""
    return np.asarray(parts, dtype) if parts else np.zeros((0, size), dtype)
