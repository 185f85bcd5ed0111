"""
The paper's pointmass (appendix G): a point that learned detours learns to go straight.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155) and the authors' notebook.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY, replace
import itertools

from efm_core.config import config, parameter
from efm_core.files import whole_file
from efm_evaluation.intervals import over_seeds, rate_over_seeds
from efm_experiments.caches import cache, name_of
from efm_experiments.experiment import Experiment, Results, Table
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
A point in a square (position, velocity and goal in; acceleration out) learns from 10,000
demonstrations that go by way of five random waypoints, so most of each demonstration is a detour.
Stage 1 clones them and learns how many steps are left; stage 2 practises on nothing but the
decrease of its own steps-to-go. World, controller, networks, bins, batch sizes and learning
rates are the notebook's. Deviations: (1) the notebook takes the log-probability of steps-to-go at
the raw number of steps where the index of its bin was meant; here it is the bin. (2) Its noise is
the same in every collection (seed 42 each time); here it is fresh. (3) Episodes run in parallel,
so a collection may hold some more than 2,048 steps; 2,048 samples of it are drawn. (4) Stage 1
takes minibatches with replacement, and stage 2 shuffles its samples. (5) A point more than 10 away
from the middle is lost and its episode over; the notebook lets it go on, to infinity. As in the
notebook, episodes of practice end by the true success, and the weight of a sample is its return
over the largest distance (140). Evaluation: 1,000 fresh episodes of at most 140 steps, sampled
actions. In this reproduction the notebook's stage 2 collapses on some seeds (what is published is
a single run). Why: where a point overshoots, the standard deviation of its actions shrinks to the
notebook's floor (0.01 of the demonstrations'), the gradient of a log-probability grows with its
inverse, and a negative return pushes the mean away without end. Two more cells change one thing in
stage 2: a bound of 1 on the norm of the gradient (`gradient clipped`), and a floor of 0.1 (`wider
actions`). The suite's robots act by discrete tokens and have no such floor.
"""


@config
class PointmassConfig:
    """Numbers of the notebook."""

    demonstrations: int = parameter(10_000, 'Episodes to learn from', '', 2, 10**7)
    waypoints: int = parameter(5, 'Detours in each', '', 0, 100)
    largest: int = parameter(
        140, 'Largest steps-to-go, and limit of an episode', 'steps', 2, 10**6
    )
    bins: int = parameter(50, 'Of the steps-to-go distribution', '', 2, 10**4)
    hidden: int = parameter(256, 'Width of three layers in each of the two towers', '', 1, 10**4)
    narrowest: float = parameter(
        1e-2, 'Smallest deviation of an action, of which 1 is that of demonstrations', '', 0.0, 1.0
    )
    iterations: int = parameter(32_768, 'Optimiser steps of stage 1', '', 1, 10**8)
    batch: int = parameter(256, 'Samples in each', '', 1, 10**6)
    learning_rate: float = parameter(3e-4, 'Of Adam, in both stages', '', 0.0, 1.0)
    collections: int = parameter(64, 'Of stage 2', '', 1, 10**6)
    collection: int = parameter(2048, 'Steps in each', 'steps', 1, 10**7)
    practice_batch: int = parameter(64, 'Samples in each optimiser step of stage 2', '', 1, 10**6)
    gamma: float = parameter(0.9, 'Discount of the returns', '', 0.0, 1.0)
    gradient_clip: float = parameter(1e9, 'Largest norm of the gradient in stage 2', '', 0.0, 1e9)
    practice_narrowest: float = parameter(1e-2, 'narrowest in stage 2', '', 0.0, 1.0)
    evaluations: int = parameter(1000, 'Episodes of an evaluation', '', 1, 10**6)


class Towers(nn.Module):
    """One tower for the action, one for steps-to-go; they share nothing."""

    def __init__(self, config: PointmassConfig):
        super().__init__()
        self.narrowest = config.narrowest
        self.action = tower(config.hidden)
        self.mean_and_scale = nn.Linear(config.hidden, 2 * point.ACTION)
        nn.init.normal_(self.mean_and_scale.weight, std=1e-2 / config.hidden**0.5)
        nn.init.zeros_(self.mean_and_scale.bias)
        self.distance = tower(config.hidden)
        self.bins = nn.Linear(config.hidden, config.bins, bias=False)

    def policy(self, observations: torch.Tensor) -> torch.distributions.Normal:
        """Return the distribution of the normalised action, (B, 2)."""
        mean, scale = self.mean_and_scale(self.action(observations)).chunk(2, dim=-1)
        scale = nn.functional.softplus(scale) + self.narrowest
        return torch.distributions.Normal(mean, scale, validate_args=False)

    def steps_to_go(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the logits of the bins, (B, bins)."""
        return self.bins(self.distance(observations))


def tower(hidden: int) -> nn.Sequential:
    """Return three layers, each with a ReLU."""
    sizes = [point.OBSERVATION, hidden, hidden, hidden]
    pairs = itertools.pairwise(sizes)
    return nn.Sequential(*(part for pair in pairs for part in (nn.Linear(*pair), nn.ReLU())))


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of observations, (6,), and actions, (2,), of demonstrations."""

    mean: np.ndarray
    deviation: np.ndarray
    _: KW_ONLY
    action_mean: np.ndarray
    action_deviation: np.ndarray

    @classmethod
    def of(cls, traces: list[point.Trace]) -> Scale:
        """Measure demonstrations; goals are scaled as positions are."""
        seen = np.concatenate([trace.observations for trace in traces])[:, :4]
        done = np.concatenate([trace.actions for trace in traces])
        mean, deviation = (np.r_[v, v[:2]] for v in (seen.mean(axis=0), seen.std(axis=0)))
        return cls(
            mean, deviation, action_mean=done.mean(axis=0), action_deviation=done.std(axis=0)
        )

    def look(self, observations: np.ndarray) -> torch.Tensor:
        """Return normalised observations, (N, 6)."""
        return torch.from_numpy(((observations - self.mean) / self.deviation).astype(np.float32))


class Learner:
    """Both stages, on one network."""

    def __init__(self, config: PointmassConfig, traces: list[point.Trace], *, seed: int):
        torch.manual_seed(seed)
        self.config = config
        self.scale = Scale.of(traces)
        self.net = Towers(config)
        self.generator = torch.Generator().manual_seed(seed)
        self.values = torch.arange(config.bins) * (config.largest / config.bins)  # left edges
        rate = config.learning_rate
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=rate, fused=True)

    def imitate(self, traces: list[point.Trace]) -> None:
        """Stage 1: clone the actions and learn how many steps are left."""
        config = self.config
        seen = self.scale.look(np.concatenate([trace.observations for trace in traces]))
        done = self.normalise(np.concatenate([trace.actions for trace in traces]))
        left = np.concatenate([np.arange(len(trace), -1, -1) for trace in traces])
        bins = torch.from_numpy((left * config.bins // config.largest).clip(0, config.bins - 1))
        for _ in range(config.iterations):
            rows = torch.randint(len(seen), (config.batch,), generator=self.generator)
            cloning = -self.net.policy(seen[rows]).log_prob(done[rows]).sum(-1).mean()
            logits = self.net.steps_to_go(seen[rows])
            self.step(cloning + nn.functional.cross_entropy(logits, bins[rows]))
        self.optimiser = torch.optim.Adam(
            self.net.parameters(), lr=config.learning_rate, fused=True
        )

    def practise(self, traces: list[point.Trace]) -> None:
        """Stage 2, one collection: -E[R / largest log p(a | o, g)], each sample once at most."""
        config = self.config
        seen = self.scale.look(np.concatenate([t.observations[:-1] for t in traces]))
        done = self.normalise(np.concatenate([t.actions for t in traces]))
        weights = torch.from_numpy(np.concatenate([self.returns(t) for t in traces]))
        order = torch.randperm(len(seen), generator=self.generator)[: config.collection]
        for rows in order.split(config.practice_batch):
            logs = self.net.policy(seen[rows]).log_prob(done[rows]).sum(-1)
            self.step(-(weights[rows] / config.largest * logs).mean(), config.gradient_clip)

    def step(self, loss: torch.Tensor, largest: float = 1e9) -> None:
        """Take one optimiser step, with a gradient of ``largest`` norm at most."""
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), largest)
        self.optimiser.step()

    def normalise(self, actions: np.ndarray) -> torch.Tensor:
        """Return actions as the network knows them, (N, 2)."""
        scaled = (actions - self.scale.action_mean) / self.scale.action_deviation
        return torch.from_numpy(scaled.astype(np.float32))

    @torch.no_grad()
    def returns(self, trace: point.Trace) -> np.ndarray:
        """Return R of every action of an episode, (T,)."""
        logits = self.net.steps_to_go(self.scale.look(trace.observations))
        d = torch.softmax(logits, dim=-1) @ self.values
        return returns(rewards(d.numpy()), self.config.gamma)

    @torch.no_grad()
    def act(self, observations: np.ndarray) -> np.ndarray:
        """Return sampled accelerations, (N, 2)."""
        policy = self.net.policy(self.scale.look(observations))
        noise = torch.randn(policy.mean.shape, generator=self.generator)
        sampled = (policy.mean + noise * policy.stddev).numpy()
        return sampled * self.scale.action_deviation + self.scale.action_mean

    def collect(self, rng: np.random.Generator) -> list[point.Trace]:
        """Return whole episodes of at least one collection's steps."""
        traces = []
        while sum(map(len, traces)) < self.config.collection:
            points = point.Points(self.config.collection // 64, rng)
            found = point.rollout(points, self.act, self.config.largest)
            traces += [trace for trace in found if len(trace)]
        return traces


def run_cell(config: PointmassConfig, seed: int) -> dict:
    """Run both stages with one seed."""
    rng = np.random.default_rng([seed, 0])
    demonstrations = point.demonstrate(config.demonstrations, config.waypoints, rng)
    learner = Learner(config, demonstrations, seed=seed)
    run_stage_one(learner, demonstrations, seed)
    learner.net.narrowest = config.practice_narrowest
    values = {'demonstration_steps': float(np.mean([len(t) for t in demonstrations]))}
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


def run_stage_one(learner: Learner, demonstrations: list[point.Trace], seed: int) -> None:
    """Imitate, or take what was imitated before by the same numbers of stage 1."""
    same = dict.fromkeys(('collections', 'collection', 'practice_batch', 'evaluations'), 1)
    stage = replace(learner.config, gamma=0.0, gradient_clip=0.0, practice_narrowest=0.0, **same)
    path = cache() / 'pointmass' / f'{name_of(stage, seed)}.safetensors'
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix('.lock')):
        if not path.is_file():
            learner.imitate(demonstrations)
            with whole_file(path) as unfinished:
                save_file(learner.net.state_dict(), unfinished)
        learner.net.load_state_dict(load_file(path))
    learner.generator.manual_seed(seed + 1)  # the same whether it was imitated now or before


def evaluate(learner: Learner, seed: int, word: str) -> dict:
    """Return success, steps and return of fresh episodes; of seed 0 also some paths."""
    rng = np.random.default_rng([seed, 2])
    points = point.Points(learner.config.evaluations, rng)
    traces = point.rollout(points, learner.act, learner.config.largest)
    found = dict(zip(('success', 'steps', 'return'), measure(traces), strict=True))
    values = {f'{name}_{word}': value for name, value in found.items()}
    for n, trace in enumerate(traces[:4] if seed == 0 else []):
        seen = trace.observations.astype(np.float64).round(3)
        values[f'path_{word}_{n}_x'], values[f'path_{word}_{n}_y'] = seen[:, :2].T.tolist()
        values[f'goal_{n}'] = seen[0, 4:].tolist()
    return values


def measure(traces: list[point.Trace]) -> tuple[float, float, float]:
    """Return success rate, mean steps, and the mean sum of negative distances to the goal."""
    away = [t.observations[1:, :2] - t.observations[1:, 4:] for t in traces]
    total = [-np.linalg.norm(part, axis=1).sum() for part in away]
    success = [t.success for t in traces]
    steps = [len(t) for t in traces]
    return tuple(float(np.mean(numbers)) for numbers in (success, steps, total))


def summarise(results: Results) -> list[Table]:
    """Return published against measured."""
    rows = [
        [f'{name}, {word}', *row(results, f'{key}_{word}', scale), known]
        for name, key, scale, published in (
            ('success [%]', 'success', 100, ('92', '100')),
            ('steps', 'steps', 1, ('69', 'about 13')),
            ('return', 'return', 1, ('-58.6', 'about -8')),
        )
        for word, known in zip(('before', 'after'), published, strict=True)
    ]
    rows.append(['steps of a demonstration', *row(results, 'demonstration_steps'), ''])
    rows.append(['episodes of practice', *row(results, 'practice_episodes', digits=0), ''])
    rows.append(
        ['seeds that collapsed', *(collapsed(results, cell) for cell in results.cells), '']
    )
    return [Table('Before and after practice', ('', *results.cells, 'published'), rows=rows)]


def collapsed(results: Results, cell: str) -> str:
    """Return in how many seeds practice left less success than it had found."""
    runs = [results.values(cell, f'success_{word}') for word in ('before', 'after')]
    return f'{sum(after < before for before, after in zip(*runs, strict=True))} of {len(runs[0])}'


def row(results: Results, name: str, scale: float = 1.0, digits: int = 1) -> list[str]:
    """Return one number of every cell."""
    spread = rate_over_seeds if name.startswith('success') else over_seeds
    return [spread(results.values(cell, name)).text(scale, digits) for cell in results.cells]


def plot(results: Results) -> dict[str, Figure]:
    """Draw learning curves and some paths."""
    return {'learning': plot_learning(results), 'paths': plot_paths(results)}


def plot_learning(results: Results) -> Figure:
    """Draw success and steps over practice."""
    figure, (left, right) = axes_of(2)
    for colour, cell in zip(COLOURS, results.cells, strict=False):
        success = 100 * np.array(results.values(cell, 'success'))
        updates = np.arange(success.shape[1])
        band(left, updates, success, cell, colour)
        band(right, updates, results.values(cell, 'steps'), cell, colour)
    left.set(xlabel='collections of practice', ylabel='success [%]', ylim=(0, 102))
    right.set(xlabel='collections of practice', ylabel='steps per episode', ylim=(0, None))
    left.legend()
    return figure


def plot_paths(results: Results) -> Figure:
    """Draw the same scenes before and after practice."""
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
    """Return the notebook's way, and the same with one thing changed in stage 2."""
    return {
        'notebook': config,
        'gradient clipped': replace(config, gradient_clip=1.0),
        'wider actions': replace(config, practice_narrowest=0.1),
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
        hidden=16,
        iterations=20,
        collections=2,
        collection=128,
        evaluations=20,
    ),
    cells=cells,
    run_cell=run_cell,
    summarise=summarise,
    plot=plot,
    sources=('efm_reward',),
)
