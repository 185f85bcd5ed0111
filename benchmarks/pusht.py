"""
Both stages on gym-pusht in one process and one thread: pretrain, demonstrate, fine-tune, practise.

Last line: one JSON object. The encoder that ships knows the suite's table only, so one is made for
this world first, from labelled pictures of it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from copy import deepcopy
import json
from pathlib import Path
import tempfile
import time

from efm_core.action import PolicyAction
from efm_core.embodiment import Embodiment, load_embodiment, load_simulation
from efm_core.episode import Episode, Kind, Termination
from efm_core.observation import observe
from efm_core.tokeniser import ActionTokeniser
from efm_evaluation.intervals import over_episodes
from efm_experiments.config import text_encoder
from efm_experiments.plots import axes_of, band, COLOURS
from efm_model.checkpoint import load_checkpoint
from efm_model.config import LabelledConfig
from efm_model.labelled import LabelledImages, pretrain_on_labels
from efm_model.network import CompactModel, save_encoder
from efm_model.torch_runtime import make_runtimes
from efm_policy.policy import Policy
from efm_reward.model import RewardModel
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.pusht import PushTDemonstrator
from efm_sim.gym.pusht_pictures import draw_pictures
from efm_sim.gym.world import GymnasiumWorld, load_world
from efm_sim.rollout import rollout, Runner, RunningEpisode
from efm_trainer.config import PracticeConfig, SftConfig
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import fine_tune
import numpy as np
import torch

PUSHT = Path(__file__).resolve().parents[1] / 'config' / 'embodiments' / 'pusht.yaml'
WORLDS = 8
# first scenes
DEMONSTRATION = 10_000_000
PRACTICE = 20_000_000
EVALUATION = 30_000_000
SMOOTH = 10  # updates that a point of the figure is the mean of
SEEDS = 100_000  # scenes that belong to one seed in each of them


class PushTActor:
    """An actor with the scripted demonstrator of gym-pusht, one for each episode."""

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
        tokens = [
            self._tokeniser.encode(episode.policy_episode.act(episode.world.positions()))
            for episode in episodes
        ]
        return [PolicyAction(token, self._tokeniser.decode(token)) for token in tokens]


def main(words: list[str] | None = None) -> dict:
    """Run both stages for each seed; print lines for people, then the JSON line; return it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default, text in (
        ('pictures', 20000, 'labelled ones that the encoder learns from'),
        ('pointing', 3000, 'optimiser steps of the encoder'),
        ('demonstrations', 2000, 'scenes that the demonstrator tries'),
        ('iterations', 12000, 'optimiser steps of stage 1'),
        ('hidden-size', 256, 'width of the heads'),
        ('practice', 800, 'episodes of stage 2'),
        ('evaluations', 200, 'episodes before, and after'),
        ('first-seed', 0, 'of demonstrations, stage 1 and practice'),
        ('seeds', 1, 'how many, one after another'),
    ):
        parser.add_argument(f'--{name}', type=int, default=default, help=text)
    text = 'learning rate of stage 2; the wide heads want half of the default'
    parser.add_argument('--practice-rate', type=float, default=5e-4, help=text)
    parser.add_argument('--embodiment', type=Path, default=PUSHT)
    text = 'only draw what runs before have printed, files with their last lines, into the first'
    parser.add_argument('--draw', type=Path, nargs='+', help=text)
    options = parser.parse_args(words)
    if options.draw:
        return draw(*options.draw)
    torch.set_num_threads(1)
    robot = load_embodiment(options.embodiment)
    worlds = [load_world(options.embodiment) for _ in range(WORLDS)]
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with tempfile.TemporaryDirectory() as folder:
        grounding = pretrain(options, robot, Path(folder))
        figures = [run(options, robot, worlds, seed, grounding) for seed in seeds]
    for world in worlds:
        world.close()
    found = {'options': {**vars(options), 'embodiment': options.embodiment.name}, 'seeds': figures}
    print(json.dumps(found))
    return found


def pretrain(options: argparse.Namespace, robot: Embodiment, folder: Path) -> Path:
    """Return the file of an encoder that knows pusher and T; the same for every seed."""
    clock = Clock()
    camera = robot.cameras[0]
    images, points = draw_pictures(options.pictures, 0, (camera.height, camera.width))
    seen = np.stack([observe(image, robot) for image in images])
    simulation = load_simulation(options.embodiment, EnvironmentConfig)
    sentence = np.zeros(len(seen), np.int64)
    labelled = LabelledImages(seen, points, sentences=(simulation.instruction,), sentence=sentence)
    config = LabelledConfig(iterations=options.pointing)
    grounding, errors = pretrain_on_labels(labelled, text_encoder(), config)
    path = folder / 'encoder.safetensors'
    save_encoder(grounding, path, clock.note('pretraining', errors))
    return path


def run(
    options: argparse.Namespace,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    seed: int,
    grounding: Path,
) -> dict:
    """Return what one seed gives, with the seconds of a core that each part took."""
    clock = Clock()
    figures = {'seed': seed}
    made = demonstrate(robot, worlds, scenes(DEMONSTRATION, seed, options.demonstrations))
    figures['demonstrator'] = clock.note('demonstrations', rate(made))
    policy, reward, figures['held_out'] = learn(made, robot, options, seed, grounding)
    clock.note('fine_tuning', figures['held_out'])
    evaluation = list(scenes(EVALUATION, seed, options.evaluations))
    before = evaluate(policy, reward, robot, worlds, evaluation)
    figures['before'] = clock.note('evaluation', rate(before))
    practised, figures['practice'] = practise(policy, reward, robot, worlds, options, seed)
    clock.note('practice', summary(figures['practice']))
    after = evaluate(practised, reward, robot, worlds, evaluation)
    figures['after'] = clock.note('evaluation_after', rate(after))
    return {**figures, 'cpu_s': clock.seconds}


def summary(log: list[dict]) -> dict:
    """Return the sums over the first and the last ten updates."""
    return {
        name: {key: sum(line[key] for line in part) for key in part[0]}
        for name, part in (('first', log[:10]), ('last', log[-10:]))
    }


class Clock:
    """Notes how much of a core each part took, and says what it gave."""

    def __init__(self):
        self.seconds = {}
        self._began = time.process_time()

    def note(self, name: str, value: object) -> object:
        """Return ``value``."""
        now = time.process_time()
        self.seconds[name], self._began = round(now - self._began, 1), now
        print(f'{name:16} {self.seconds[name]:7.1f} s  {value}', flush=True)
        return value


def scenes(first: int, seed: int, count: int) -> range:
    """Return the scenes that belong to a seed."""
    first += seed * SEEDS
    return range(first, first + count)


def rate(episodes: list[Episode]) -> dict:
    """Return how many reached the goal at some time, with Wilson's interval, and their steps."""
    hits = [bool(episode.true_success_per_step.any()) for episode in episodes]
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
    """Return an episode of each scene; the truth ends it."""
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
    grounding: Path,
) -> tuple[CompactModel, CompactModel, dict]:
    """Return policy and reward model of stage 1, and its last losses on held-out episodes."""
    every = max(1, options.iterations // 20)
    config = SftConfig(
        iterations=options.iterations,
        validate_every=every,
        encoder_weights=str(grounding),
        hidden_size=options.hidden_size,
        seed=seed,
    )
    folder = grounding.parent / f'sft_{seed}'
    found = fine_tune(episodes, robot, text_encoder(), config, folder)
    policy, reward = (load_checkpoint(path, robot)[0] for path in (found.policy, found.reward))
    held_out = {
        name.removeprefix('validation/'): round(value, 4)
        for name, value in found.curve[-1].items()
        if name.startswith('validation')
    }
    return policy, reward, held_out


def players(
    policy: CompactModel, reward: CompactModel, robot: Embodiment, version: int
) -> tuple[Policy, RewardModel]:
    """Return policy and judge around the models as they are now; their frozen encoder is one."""
    encoder = text_encoder()
    acting, judging = make_runtimes(policy, reward, version=version)
    return (
        Policy(acting, encoder, embodiment=robot),
        RewardModel(judging, encoder, embodiment=robot),
    )


def evaluate(
    policy: CompactModel,
    reward: CompactModel,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    seeds: Iterable[int],
) -> list[Episode]:
    """Return an episode of each scene, which the truth or the time limit ends."""
    actor, _ = players(policy, reward, robot, 1)
    return rollout(worlds, actor, None, seeds, robot, Kind.EVALUATION)


def practise(
    policy: CompactModel,
    reward: CompactModel,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    options: argparse.Namespace,
    seed: int,
) -> tuple[CompactModel, list[dict]]:
    """Return the policy after stage 2, and a line for each update; only the detector ends."""
    policy = deepcopy(policy)
    config = PracticeConfig(seed=seed, learning_rate=options.practice_rate)
    learner = Reinforce(
        policy, reward, text_encoder=text_encoder(), scale=robot.steps_to_go, config=config
    )
    log = []
    waiting = scenes(PRACTICE, seed, options.practice)
    for first in range(0, options.practice, config.episodes_per_update):
        chosen = waiting[first : first + config.episodes_per_update]
        actor, reward_model = players(policy, reward, robot, 1 + len(log))
        episodes = rollout(worlds, actor, reward_model, chosen, robot, Kind.PRACTICE, first)
        fired = [e.termination is Termination.SUCCESS_DETECTED for e in episodes]
        learner.update(episodes)
        log.append(
            {
                'reached': rate(episodes)['reached'],
                'detected': sum(fired),
                'right': sum(e.true_success for e, f in zip(episodes, fired, strict=True) if f),
                'steps': sum(map(len, episodes)),
            }
        )
    return policy, log


def draw(figure_path: Path, *paths: Path) -> dict:
    """Draw how practice went in the runs whose words lie in ``paths``; return their figures."""
    runs = [json.loads(path.read_text().splitlines()[-1]) for path in paths]
    seeds = [seed for run in runs for seed in run['seeds']]
    figure, (success, detector) = axes_of(2)
    count = PracticeConfig().episodes_per_update
    updates = len(seeds[0]['practice'])
    width = min(SMOOTH, updates)
    x = count * (np.arange(updates) + 1)[width - 1 :]

    def smooth(of: Callable[[dict], float]) -> list[np.ndarray]:
        lines = ([of(line) for line in seed['practice']] for seed in seeds)
        return [np.convolve(line, np.ones(width) / width, 'valid') for line in lines]

    band(success, x, smooth(lambda line: 100 * line['reached'] / count), 'in practice')
    for word, at in (('before', 0), ('after', count * updates)):
        shares = [100 * seed[word]['reached'] / seed[word]['episodes'] for seed in seeds]
        success.plot([at] * len(shares), shares, 'o', color=COLOURS[1])
    success.plot([], [], 'o', color=COLOURS[1], label='evaluated')
    success.set(xlabel='episodes of practice', ylabel='reached [%]', ylim=(0, 100))
    band(detector, x, smooth(lambda line: line['detected']), 'd <= s', COLOURS[2])
    band(detector, x, smooth(lambda line: line['right']), 'of these right', COLOURS[3])
    detector.set(xlabel='episodes of practice', ylabel=f'of {count} episodes', ylim=(0, count))
    for axes in (success, detector):
        axes.legend(frameon=False)
    figure.savefig(figure_path)
    return {'seeds': seeds}


if __name__ == '__main__':
    main()
