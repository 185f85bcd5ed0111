"""
Both stages on gym-pusht in one process and one thread: pretrain, demonstrate, fine-tune, practise.

The shipped encoder is trained for the suite's table only. For the grounding model the benchmark
first pretrains an encoder on labelled images of PushT. The visuomotor model needs none. The last
line is one JSON object.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import replace
import json
from pathlib import Path
import tempfile
import time
from typing import Any, cast, TypeVar

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment, load_embodiment, load_simulation
from efm_core.episode import Episode, Kind, Termination
from efm_core.preprocessing import preprocess
from efm_core.tokeniser import ActionTokeniser
from efm_evaluation.intervals import over_episodes
from efm_evaluation.metrics import reached
from efm_experiments.config import text_encoder
from efm_experiments.plots import axes_of, band, COLOURS
from efm_model.checkpoint import load_checkpoint
from efm_model.config import LabelledConfig
from efm_model.labelled import LabelledImages, pretrain_on_labels
from efm_model.network import save_encoder
from efm_model.protocol import Model
from efm_model.torch_runtime import make_runtimes
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.demonstrator import action_of
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.pusht import PushTDemonstrator
from efm_sim.gym.pusht_pictures import draw_pictures
from efm_sim.gym.world import GymnasiumWorld, load_world
from efm_sim.rollout import rollout, Runner, RunningEpisode
from efm_sim.scene import Scene
from efm_trainer.config import PracticeConfig, STAGE_ONE
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
import numpy as np
import torch

PUSHT = Path(__file__).resolve().parents[1] / 'config' / 'embodiments' / 'pusht.yaml'
WORLDS = 8
GROUNDING = 'grounding'
ENCODER = 'encoder.safetensors'
Figures = dict[str, Any]
T = TypeVar('T')
# The first scene of seed 0 for each purpose.
DEMONSTRATION_SCENES = 10_000_000
PRACTICE_SCENES = 20_000_000
EVALUATION_SCENES = 30_000_000
SCENES_PER_SEED = 100_000
SMOOTH = 10  # updates in the moving average of the figure


class PushTActor:
    """The scripted demonstrator as the actor of a rollout."""

    version = 0

    def __init__(self, robot: Embodiment):
        self._tokeniser = ActionTokeniser(robot.action)

    def start(self, episode: RunningEpisode) -> PushTDemonstrator:
        """Return a demonstrator for a new episode."""
        demonstrator = PushTDemonstrator()
        demonstrator.begin(episode.seed)
        return demonstrator

    def act(self, episodes: list[RunningEpisode]) -> list[PolicyAction]:
        """Return the next action of each episode, rounded to the policy's tokens."""
        worlds = (cast(GymnasiumWorld, episode.world) for episode in episodes)
        return [
            action_of(episode.policy_episode, Scene(world.positions()), self._tokeniser)
            for episode, world in zip(episodes, worlds, strict=True)
        ]


def main(arguments: list[str] | None = None) -> Figures:
    """Run both stages for each seed; print progress and the JSON line; return the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default, text in (
        ('images', 20000, 'labelled images for the encoder'),
        ('encoder-iterations', 3000, 'optimiser steps of the encoder'),
        ('demonstrations', 2000, 'episodes of the demonstrator, failures included'),
        ('iterations', 0, "optimiser steps of stage 1; 0: the model's own number"),
        ('hidden-size', 256, 'width of the heads'),
        ('practice', 800, 'practice episodes'),
        ('evaluations', 200, 'evaluation episodes before and after practice'),
        ('first-seed', 0, 'first seed of demonstrations, stage 1 and practice'),
        ('seeds', 1, 'number of seeds, one after another'),
    ):
        help_text = f'{text} (default {default})'
        parser.add_argument(f'--{name}', type=int, default=default, help=help_text)
    text = 'family of the model (default grounding)'
    parser.add_argument('--model', choices=(GROUNDING, 'visuomotor'), default=GROUNDING, help=text)
    text = 'learning rate of stage 2 (default 5e-4, because of the wide heads)'
    parser.add_argument('--practice-rate', type=float, default=5e-4, help=text)
    parser.add_argument('--embodiment', type=Path, default=PUSHT, help='embodiment file')
    text = 'draw a figure into the first file, from outputs of earlier runs in the others'
    parser.add_argument('--draw', type=Path, nargs='+', help=text)
    options = parser.parse_args(arguments)
    if options.draw:
        return draw(*options.draw)
    torch.set_num_threads(1)
    robot = load_embodiment(options.embodiment)
    worlds = [load_world(options.embodiment) for _ in range(WORLDS)]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory() as folder:
        if options.model == GROUNDING:
            pretrain(options, robot, Path(folder))
        figures = [run(options, robot, worlds, seed, Path(folder)) for seed in seeds]
    for world in worlds:
        world.close()
    found = {'options': {**vars(options), 'embodiment': options.embodiment.name}, 'seeds': figures}
    print(json.dumps(found))
    return found


def pretrain(options: argparse.Namespace, robot: Embodiment, folder: Path) -> None:
    """Write an encoder that locates pusher and T; all seeds share it."""
    timer = PartTimer()
    camera = robot.cameras[0]
    images, points = draw_pictures(options.images, 0, (camera.height, camera.width))
    seen = np.stack([preprocess(image, camera, robot.image_sizes[0]) for image in images])
    simulation = load_simulation(options.embodiment, EnvironmentConfig)
    sentence = np.zeros(len(seen), np.int64)
    labelled = LabelledImages(seen, points, sentences=(simulation.instruction,), sentence=sentence)
    config = LabelledConfig(iterations=options.encoder_iterations)
    grounding, errors = pretrain_on_labels(labelled, text_encoder(), config)
    timer.note('pretraining', errors)
    save_encoder(grounding, folder / ENCODER, errors)


def run(
    options: argparse.Namespace,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    seed: int,
    folder: Path,
) -> Figures:
    """Return the figures of one seed, with the processor time of each part [s]."""
    timer = PartTimer()
    figures: Figures = {'seed': seed}
    made = demonstrate(robot, worlds, scenes(DEMONSTRATION_SCENES, seed, options.demonstrations))
    figures['demonstrator'] = timer.note('demonstrations', rate(made))
    policy, reward, figures['held_out'] = learn(made, robot, options, seed, folder)
    timer.note('fine_tuning', figures['held_out'])
    evaluation = list(scenes(EVALUATION_SCENES, seed, options.evaluations))
    before = evaluate(policy, reward, robot, worlds, evaluation)
    figures['before'] = timer.note('evaluation', rate(before))
    practised, figures['practice'] = practise(policy, reward, robot, worlds, options, seed)
    timer.note('practice', summary(figures['practice']))
    after = evaluate(practised, reward, robot, worlds, evaluation)
    figures['after'] = timer.note('evaluation_after', rate(after))
    return {**figures, 'cpu_s': timer.seconds}


def summary(log: list[Figures]) -> Figures:
    """Return the sums over the first and the last ten updates."""
    return {
        name: {key: sum(line[key] for line in part) for key in part[0]}
        for name, part in (('first', log[:10]), ('last', log[-10:]))
    }


class PartTimer:
    """
    Measures and prints the processor time of each part.

    :ivar seconds: processor time by part [s].
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.process_time()

    def note(self, name: str, value: T) -> T:
        """End a part; print its time and its result ``value``; return the result."""
        now = time.process_time()
        self.seconds[name] = round(now - self._began, 1)
        self._began = now
        print(f'{name:16} {self.seconds[name]:7.1f} s  {value}', flush=True)
        return value


def scenes(first: int, seed: int, count: int) -> range:
    """Return ``count`` scenes of a seed."""
    first += seed * SCENES_PER_SEED
    return range(first, first + count)


def rate(episodes: list[Episode]) -> Figures:
    """Return the reached success with its Wilson interval, and the mean steps."""
    hits = [bool(reached(episode)) for episode in episodes]
    found = over_episodes(hits)
    return {
        'reached': sum(hits),
        'episodes': len(hits),
        'interval': [round(found.low, 4), round(found.high, 4)],
        'mean_steps': round(sum(map(len, episodes)) / len(episodes), 1),
    }


def demonstrate(
    robot: Embodiment, worlds: list[GymnasiumWorld], seeds: Iterable[int]
) -> list[Episode]:
    """Return a demonstration of each scene, which the simulator ends."""
    runner = Runner(
        robot,
        PushTActor(robot),
        reward_model=None,
        kind=Kind.DEMONSTRATION,
        max_steps=0,
        on_episode=lambda episode: None,
    )
    return runner.run(worlds, seeds, 0)


def learn(
    episodes: list[Episode],
    robot: Embodiment,
    options: argparse.Namespace,
    seed: int,
    folder: Path,
) -> tuple[Model, Model, dict[str, float]]:
    """Return policy and reward model of stage 1, and the last losses on held-out episodes."""
    default = STAGE_ONE[options.model]
    iterations = options.iterations or default.iterations
    config = replace(
        default,
        iterations=iterations,
        validate_every=max(1, iterations // 20),
        encoder_weights=str(folder / ENCODER) if options.model == GROUNDING else '',
        hidden_size=options.hidden_size,
        reward_network='shared',
        second_reward=False,
        seed=seed,
    )
    checkpoints = folder / f'sft_{seed}'
    found = fine_tune(episodes, robot, text_encoder(), config, checkpoints, family=options.model)
    policy, reward = (load_checkpoint(path, robot)[0] for path in (found.policy, found.reward))
    held_out = {
        name.removeprefix('validation/'): round(value, 4)
        for name, value in found.curve[-1].items()
        if name.startswith('validation')
    }
    return policy, reward, held_out


def make_policy_and_reward(
    policy: Model, reward: Model, robot: Embodiment, version: int
) -> tuple[Policy, RewardModel]:
    """Return policy and reward model that use the current weights and share an encoder."""
    encoder = text_encoder()
    policy_runtime, reward_runtime = make_runtimes(policy, reward, version=version)
    return (
        Policy(policy_runtime, encoder, embodiment=robot),
        RewardModel(reward_runtime, encoder, embodiment=robot),
    )


def evaluate(
    policy: Model,
    reward: Model,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    seeds: Iterable[int],
) -> list[Episode]:
    """Return an episode of each scene, which the simulator or the time limit ends."""
    actor, _ = make_policy_and_reward(policy, reward, robot, 1)
    return rollout(worlds, actor, None, seeds, robot, Kind.EVALUATION)


def practise(
    policy: Model,
    reward: Model,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    options: argparse.Namespace,
    seed: int,
) -> tuple[Model, list[Figures]]:
    """Return the policy after stage 2, and a log entry for each update."""
    policy = deepcopy(policy)
    config = PracticeConfig(seed=seed, learning_rate=options.practice_rate)
    learner = Reinforce(
        policy, reward, text_encoder=text_encoder(), scale=robot.steps_to_go, config=config
    )
    log: list[Figures] = []
    waiting = scenes(PRACTICE_SCENES, seed, options.practice)
    for first in range(0, options.practice, config.episodes_per_update):
        chosen = waiting[first : first + config.episodes_per_update]
        actor, reward_model = make_policy_and_reward(policy, reward, robot, 1 + len(log))
        episodes = rollout(worlds, actor, reward_model, chosen, robot, Kind.PRACTICE, first)
        fired = [e.termination is Termination.SUCCESS_DETECTED for e in episodes]
        learner.update(episodes)
        log.append(
            {
                'reached': rate(episodes)['reached'],
                'detected': sum(fired),
                'right': sum(
                    bool(e.true_success) for e, f in zip(episodes, fired, strict=True) if f
                ),
                'steps': sum(map(len, episodes)),
            }
        )
    return policy, log


def draw(figure_path: Path, *paths: Path) -> Figures:
    """Draw the practice of the runs whose output is in ``paths``; return their figures."""
    runs = [json.loads(path.read_text().splitlines()[-1]) for path in paths]
    seeds = [seed for run in runs for seed in run['seeds']]
    figure, (success, detector) = axes_of(2)
    count = PracticeConfig().episodes_per_update
    updates = len(seeds[0]['practice'])
    width = min(SMOOTH, updates)
    x = count * (np.arange(updates) + 1)[width - 1 :]

    def smooth(of: Callable[[Figures], float]) -> list[np.ndarray]:
        lines = ([of(line) for line in seed['practice']] for seed in seeds)
        return [np.convolve(line, np.ones(width) / width, 'valid') for line in lines]

    band(success, x, smooth(lambda line: 100 * line['reached'] / count), 'in practice')
    for word, at in (('before', 0), ('after', count * updates)):
        shares = [100 * seed[word]['reached'] / seed[word]['episodes'] for seed in seeds]
        success.plot([at] * len(shares), shares, 'o', color=COLOURS[1])
    success.plot([], [], 'o', color=COLOURS[1], label='evaluated')
    success.set(xlabel='practice episodes', ylabel='reached [%]', ylim=(0, 100))
    band(detector, x, smooth(lambda line: line['detected']), 'detected', COLOURS[2])
    band(detector, x, smooth(lambda line: line['right']), 'of these at the goal', COLOURS[3])
    detector.set(xlabel='practice episodes', ylabel=f'episodes of {count}', ylim=(0, count))
    for axes in (success, detector):
        axes.legend(frameon=False)
    figure.savefig(figure_path)
    return {'seeds': seeds}


if __name__ == '__main__':
    main()
