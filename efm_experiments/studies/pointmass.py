"""
The paper's pointmass (appendix G): practice shortens the paths of a point.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155) and the authors' notebook.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace
import itertools
from typing import Any

from efm_core.config import config, parameter
from efm_core.files import whole_file
from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_experiments.caches import cache, name_of
from efm_experiments.experiment import Experiment, Results, ResultTable
from efm_experiments.plots import axes_of, band, COLOURS
from efm_experiments.studies import point
from efm_reward.reward import returns, rewards
from filelock import FileLock
from matplotlib.figure import Figure
import numpy as np
from safetensors.torch import load_file, save_file
import torch
from torch import nn

ABOUT = """
A point moves in a square: its input is position, velocity and goal, its output acceleration. It
learns from 10,000 demonstrations that visit five random waypoints before the goal, so that most
of each demonstration is a detour. Stage 1 clones them and learns the steps-to-go. Stage 2
practises with the decrease of its own steps-to-go as the only reward.

World, controller, networks, bins, batch sizes and learning rates are those of the notebook. So
are the end of practice episodes at the true goal, and the weight of a sample: its return over
the largest distance, 140. Deviations from the notebook:

- The notebook evaluates the log-probability of steps-to-go at the number of steps instead of the
  index of its bin. Here it is the bin.
- The notebook repeats the noise in every collection (seed 42). Here the noise is fresh.
- Episodes run in parallel. A collection may exceed 2,048 steps; 2,048 samples of it are drawn.
- Stage 1 draws minibatches with replacement. Stage 2 shuffles its samples.
- An episode ends when the point is more than 10 from the middle. The notebook continues.

Evaluation: 1,000 fresh episodes of at most 140 steps with sampled actions. Success is reached
success: an episode ends at its goal.

**Result.** The notebook's stage 2 collapses on some seeds; the publication shows a single run.
Where a point overshoots, the standard deviation of its actions shrinks to the notebook's floor,
0.01 of the demonstrations' deviation. The gradient of a log-probability grows with its inverse,
and a negative return pushes the mean away without bound. Two cells change one part of stage 2: a
bound of 1 on the gradient norm (`gradient clipped`), and a floor of 0.1 (`std floor 0.1`). Five
seeds do not prove that the floor prevents every collapse. The suite's robots act by discrete
tokens, which have no such floor.
"""


@config
class PointmassConfig:
    """
    The numbers of the notebook.

    :raises ValueError: when a value is out of range.
    """

    demonstrations: int = parameter(10_000, 'Demonstrations', '', 2, 10**7)
    waypoints: int = parameter(5, 'Waypoints of each demonstration', '', 0, 100)
    max_steps: int = parameter(
        140, 'Largest steps-to-go, and time limit of an episode', 'steps', 2, 10**6
    )
    bins: int = parameter(50, 'Bins of the steps-to-go distribution', '', 2, 10**4)
    hidden_size: int = parameter(256, 'Width of three layers in both networks', '', 1, 10**4)
    min_std: float = parameter(
        1e-2,
        "Smallest standard deviation of an action, in units of the demonstrations' deviation",
        '',
        0.0,
        1.0,
    )
    iterations: int = parameter(32_768, 'Optimiser steps of stage 1', '', 1, 10**8)
    batch_size: int = parameter(256, 'Samples per optimiser step of stage 1', '', 1, 10**6)
    learning_rate: float = parameter(3e-4, 'Learning rate of Adam in both stages', '', 0.0, 1.0)
    collections: int = parameter(64, 'Collections of stage 2', '', 1, 10**6)
    collection_steps: int = parameter(2048, 'Steps in a collection', 'steps', 1, 10**7)
    practice_batch_size: int = parameter(64, 'Samples per optimiser step of stage 2', '', 1, 10**6)
    gamma: float = parameter(0.9, 'Discount of the returns', '', 0.0, 1.0)
    gradient_clip: float = parameter(1e9, 'Largest gradient norm in stage 2', '', 0.0, 1e9)
    practice_min_std: float = parameter(1e-2, 'The same as min_std, in stage 2', '', 0.0, 1.0)
    evaluations: int = parameter(1000, 'Episodes of an evaluation', '', 1, 10**6)


class PointmassNetwork(nn.Module):
    """One network for the action and one for steps-to-go; they share no weights."""

    def __init__(self, config: PointmassConfig):
        super().__init__()
        self.min_std = config.min_std
        self.action = hidden_layers(config.hidden_size)
        self.mean_and_scale = nn.Linear(config.hidden_size, 2 * point.ACTION)
        nn.init.normal_(self.mean_and_scale.weight, std=1e-2 / config.hidden_size**0.5)
        nn.init.zeros_(self.mean_and_scale.bias)
        self.distance = hidden_layers(config.hidden_size)
        self.bins = nn.Linear(config.hidden_size, config.bins, bias=False)

    def policy(self, observations: torch.Tensor) -> torch.distributions.Normal:
        """Return the distribution of the normalised action, ``(B, 2)``."""
        mean, scale = self.mean_and_scale(self.action(observations)).chunk(2, dim=-1)
        scale = nn.functional.softplus(scale) + self.min_std
        return torch.distributions.Normal(mean, scale, validate_args=False)

    def steps_to_go(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the logits of the steps-to-go bins, ``(B, bins)``."""
        return self.bins(self.distance(observations))


def hidden_layers(hidden: int) -> nn.Sequential:
    """Return three linear layers with ReLU."""
    sizes = [point.OBSERVATION, hidden, hidden, hidden]
    pairs = itertools.pairwise(sizes)
    return nn.Sequential(*(part for pair in pairs for part in (nn.Linear(*pair), nn.ReLU())))


@dataclass(frozen=True)
class Normaliser:
    """
    Normalisation by the statistics of demonstrations.

    :param mean: of observations, ``(6,)``; ``deviation`` is their standard deviation.
    :param action_mean: of actions, ``(2,)``; ``action_deviation`` is their standard deviation.
    """

    mean: np.ndarray
    deviation: np.ndarray
    _: KW_ONLY
    action_mean: np.ndarray
    action_deviation: np.ndarray

    @classmethod
    def of(cls, traces: list[point.Trace]) -> Normaliser:
        """Return the statistics of demonstrations; goals are normalised as positions."""
        seen = np.concatenate([trace.observations for trace in traces])[:, :4]
        done = np.concatenate([trace.actions for trace in traces])
        mean, deviation = (np.r_[v, v[:2]] for v in (seen.mean(axis=0), seen.std(axis=0)))
        return cls(
            mean, deviation, action_mean=done.mean(axis=0), action_deviation=done.std(axis=0)
        )

    def observations(self, observations: np.ndarray) -> torch.Tensor:
        """Return normalised observations, ``(N, 6)`` float32."""
        return torch.from_numpy(((observations - self.mean) / self.deviation).astype(np.float32))


class PointmassLearner:
    """Both stages of learning on one pair of networks."""

    def __init__(self, config: PointmassConfig, traces: list[point.Trace], *, seed: int):
        torch.manual_seed(seed)
        self.config = config
        self.normaliser = Normaliser.of(traces)
        self.network = PointmassNetwork(config)
        self.generator = torch.Generator().manual_seed(seed)
        self.values = torch.arange(config.bins) * (
            config.max_steps / config.bins
        )  # left edges of the bins [steps]
        rate = config.learning_rate
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rate, fused=True)

    def imitate(self, traces: list[point.Trace]) -> None:
        """Stage 1: clone the actions and learn the steps-to-go."""
        config = self.config
        seen = self.normaliser.observations(
            np.concatenate([trace.observations for trace in traces])
        )
        done = self.normalise(np.concatenate([trace.actions for trace in traces]))
        left = np.concatenate([np.arange(len(trace), -1, -1) for trace in traces])
        bins = torch.from_numpy((left * config.bins // config.max_steps).clip(0, config.bins - 1))
        for _ in range(config.iterations):
            rows = torch.randint(len(seen), (config.batch_size,), generator=self.generator)
            cloning = -self.network.policy(seen[rows]).log_prob(done[rows]).sum(-1).mean()
            logits = self.network.steps_to_go(seen[rows])
            self.step(cloning + nn.functional.cross_entropy(logits, bins[rows]))
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, fused=True
        )

    def practise(self, traces: list[point.Trace]) -> None:
        """Stage 2, one collection: minimise -E[R / max_steps log p(a | o, g)] in one epoch."""
        config = self.config
        seen = self.normaliser.observations(np.concatenate([t.observations[:-1] for t in traces]))
        done = self.normalise(np.concatenate([t.actions for t in traces]))
        weights = torch.from_numpy(np.concatenate([self.returns(t) for t in traces]))
        order = torch.randperm(len(seen), generator=self.generator)[: config.collection_steps]
        for rows in order.split(config.practice_batch_size):
            logs = self.network.policy(seen[rows]).log_prob(done[rows]).sum(-1)
            self.step(-(weights[rows] / config.max_steps * logs).mean(), config.gradient_clip)

    def step(self, loss: torch.Tensor, clip: float = 1e9) -> None:
        """Take one optimiser step with a gradient norm of at most ``clip``."""
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimiser.step()

    def normalise(self, actions: np.ndarray) -> torch.Tensor:
        """Return normalised actions, ``(N, 2)`` float32."""
        scaled = (actions - self.normaliser.action_mean) / self.normaliser.action_deviation
        return torch.from_numpy(scaled.astype(np.float32))

    @torch.no_grad()
    def returns(self, trace: point.Trace) -> np.ndarray:
        """Return the return of every action of an episode, ``(T,)`` [steps]."""
        logits = self.network.steps_to_go(self.normaliser.observations(trace.observations))
        d = torch.softmax(logits, dim=-1) @ self.values
        return returns(rewards(d.numpy()), self.config.gamma)

    @torch.no_grad()
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return sampled accelerations, ``(N, 2)``."""
        policy = self.network.policy(self.normaliser.observations(observations))
        noise = torch.randn(policy.mean.shape, generator=self.generator)
        sampled = (policy.mean + noise * policy.stddev).numpy()
        return sampled * self.normaliser.action_deviation + self.normaliser.action_mean

    def collect(self, rng: np.random.Generator) -> list[point.Trace]:
        """Return whole episodes with at least the steps of one collection."""
        traces: list[point.Trace] = []
        while sum(len(trace) for trace in traces) < self.config.collection_steps:
            points = point.Points(self.config.collection_steps // 64, rng)
            found = point.rollout(points, self.act, self.config.max_steps)
            traces += [trace for trace in found if len(trace)]
        return traces


def run_cell(config: PointmassConfig, seed: int) -> dict[str, Any]:
    """Return the values of both stages with one seed."""
    rng = np.random.default_rng([seed, 0])
    demonstrations = point.demonstrate(config.demonstrations, config.waypoints, rng)
    learner = PointmassLearner(config, demonstrations, seed=seed)
    run_stage_one(learner, demonstrations, seed)
    learner.network.min_std = config.practice_min_std
    values: dict[str, Any] = {
        'demonstration_steps': float(np.mean([len(t) for t in demonstrations]))
    }
    values |= evaluate(learner, seed, 'before')
    curve = []
    rng = np.random.default_rng([seed, 1])
    for _ in range(config.collections):
        traces = learner.collect(rng)
        curve.append([len(traces), *measure(traces)])
        learner.practise(traces)
    episodes, success, steps, _ = map(list, zip(*curve, strict=True))
    values |= {'practice_episodes': sum(episodes), 'episodes': np.cumsum(episodes).tolist()}
    return {**values, 'success': success, 'steps': steps, **evaluate(learner, seed, 'after')}


def run_stage_one(learner: PointmassLearner, demonstrations: list[point.Trace], seed: int) -> None:
    """Run stage 1, or load it from disk if the same configuration has run."""
    stage = replace(
        learner.config,
        gamma=0.0,
        gradient_clip=0.0,
        practice_min_std=0.0,
        collections=1,
        collection_steps=1,
        practice_batch_size=1,
        evaluations=1,
    )
    path = cache() / 'pointmass' / f'{name_of(stage, seed)}.safetensors'
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix('.lock')):
        if not path.is_file():
            learner.imitate(demonstrations)
            with whole_file(path) as unfinished:
                save_file(learner.network.state_dict(), unfinished)
        learner.network.load_state_dict(load_file(path))
    learner.generator.manual_seed(seed + 1)  # the same with and without the cache


def evaluate(learner: PointmassLearner, seed: int, phase: str) -> dict[str, Any]:
    """
    Return success, steps and return of fresh episodes; for seed 0 also some paths.

    :param phase: suffix of the value names.
    """
    rng = np.random.default_rng([seed, 2])
    points = point.Points(learner.config.evaluations, rng)
    traces = point.rollout(points, learner.act, learner.config.max_steps)
    found = dict(zip(('success', 'steps', 'return'), measure(traces), strict=True))
    values = {f'{name}_{phase}': value for name, value in found.items()}
    for n, trace in enumerate(traces[:4] if seed == 0 else []):
        seen = trace.observations.astype(np.float64).round(3)
        values[f'path_{phase}_{n}_x'], values[f'path_{phase}_{n}_y'] = seen[:, :2].T.tolist()
        values[f'goal_{n}'] = seen[0, 4:].tolist()
    return values


def measure(traces: list[point.Trace]) -> tuple[float, float, float]:
    """Return reached success, mean steps, and the mean sum of negative distances to the goal."""
    away = [t.observations[1:, :2] - t.observations[1:, 4:] for t in traces]
    total = [-np.linalg.norm(part, axis=1).sum() for part in away]
    success = [t.success for t in traces]
    steps = [len(t) for t in traces]
    return float(np.mean(success)), float(np.mean(steps)), float(np.mean(total))


def summarise(results: Results) -> list[ResultTable]:
    """Return published and measured figures."""
    rows = [
        [f'{name}, {phase} practice', *row(results, f'{key}_{phase}', scale), known]
        for name, key, scale, published in (
            ('reached [%]', 'success', 100, ('92', '100')),
            ('steps', 'steps', 1, ('69', 'about 13')),
            ('return', 'return', 1, ('-58.6', 'about -8')),
        )
        for phase, known in zip(('before', 'after'), published, strict=True)
    ]
    rows.append(['steps of a demonstration', *row(results, 'demonstration_steps'), ''])
    rows.append(['practice episodes', *row(results, 'practice_episodes', digits=0), ''])
    rows.append(['collapsed seeds', *(collapsed(results, cell) for cell in results.cells), ''])
    header = ('figure', *results.cells, 'published')
    return [ResultTable('Before and after practice', header, rows=rows)]


def collapsed(results: Results, cell: str) -> str:
    """Return the number of seeds in which practice lowered success, as text."""
    runs = [results.values(cell, f'success_{phase}') for phase in ('before', 'after')]
    return f'{sum(after < before for before, after in zip(*runs, strict=True))} of {len(runs[0])}'


def row(results: Results, name: str, scale: float = 1.0, digits: int = 1) -> list[str]:
    """Return one value of every cell, as text."""
    spread = rate_over_seeds if name.startswith('success') else over_seeds
    return [spread(results.values(cell, name)).text(scale, digits) for cell in results.cells]


def plot(results: Results) -> dict[str, Figure]:
    """Draw learning curves and example paths."""
    return {'learning': plot_learning(results), 'paths': plot_paths(results)}


def plot_learning(results: Results) -> Figure:
    """Draw reached success and steps over practice."""
    figure, (left, right) = axes_of(2)
    for colour, cell in zip(COLOURS, results.cells, strict=False):
        success = 100 * np.array(results.values(cell, 'success'))
        updates = np.arange(success.shape[1])
        band(left, updates, success, cell, colour)
        band(right, updates, results.values(cell, 'steps'), cell, colour)
    left.set(xlabel='practice collections', ylabel='reached [%]', ylim=(0, 102))
    right.set(xlabel='practice collections', ylabel='steps per episode', ylim=(0, None))
    left.legend()
    return figure


def plot_paths(results: Results) -> Figure:
    """Draw paths of the same scenes before and after practice."""
    values = results.of(results.cells[-1])[0].values
    figure, axes = axes_of(4, 2.3)
    for n, part in enumerate(axes):
        if f'goal_{n}' not in values:
            continue
        for word, colour in (('before', '#94a3b8'), ('after', '#0f766e')):
            x, y = (values[f'path_{word}_{n}_{axis}'] for axis in 'xy')
            part.plot(x, y, '.-', color=colour, markersize=3, label=word)
        part.plot(*values[f'goal_{n}'], '*', color='#d97706', markersize=11)
        part.set(xticks=[], yticks=[], aspect='equal', xlim=(-1.3, 1.3), ylim=(-1.3, 1.3))
    axes[0].legend(fontsize=7)
    return figure


def cells(config: PointmassConfig) -> dict[str, PointmassConfig]:
    """Return the notebook, and two changes of its stage 2."""
    return {
        'notebook': config,
        'gradient clipped': replace(config, gradient_clip=1.0),
        'std floor 0.1': replace(config, practice_min_std=0.1),
    }


CONFIG = PointmassConfig()
EXPERIMENT = Experiment(
    name='pointmass',
    title='Pointmass',
    about=ABOUT,
    config=CONFIG,
    smoke=replace(
        CONFIG,
        demonstrations=40,
        hidden_size=16,
        iterations=20,
        collections=2,
        collection_steps=128,
        evaluations=20,
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
    sources=('efm_experiments', 'efm_reward'),
)
