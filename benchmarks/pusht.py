"""
Both stages on gym-pusht in one process and one thread: demonstrate, fine-tune, practise.

Last line: one JSON object. The tower learns along, from nothing: the suite's pretrained one knows
its own table only.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from copy import deepcopy
import json
from pathlib import Path
import time

from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_experiments.intervals import over_episodes
from efm_experiments.table.live import LiveRuntime, Sight
from efm_experiments.table.setting import text_encoder
from efm_experiments.towers.models import EndToEnd, new_end_to_end
from efm_experiments.towers.training import EndToEndConfig, learn, Lessons, StageOneEndToEnd
from efm_experiments.towers.unimodal import VisionConfig
from efm_model.tokeniser import ActionTokeniser
from efm_policy.policy import Policy
from efm_reward.judge import Judge
from efm_sim.gymnasium_world import GymnasiumWorld, load_world
from efm_sim.pusht import PushTDemonstrator
from efm_sim.rollout import Attempt, rollout, Runner, ScriptedAction
from efm_trainer.config import PracticeConfig, SftConfig
from efm_trainer.reinforce import Reinforce
from efm_trainer.sft import split
import torch

PUSHT = Path(__file__).resolve().parents[1] / 'config' / 'embodiments' / 'pusht.yaml'
WORLDS = 8
DEMONSTRATION, PRACTICE, EVALUATION = 10_000_000, 20_000_000, 30_000_000  # first scenes
SEEDS = 100_000  # scenes that belong to one seed in each of them


class Teacher:
    """Lets the scripted demonstrator act in each world."""

    version = 0

    def __init__(self, robot: Embodiment):
        self._tokeniser = ActionTokeniser(robot.action)

    def start(self, attempt: Attempt) -> PushTDemonstrator:
        """Return a demonstrator that begins a new episode."""
        demonstrator = PushTDemonstrator()
        demonstrator.begin(attempt.seed)
        return demonstrator

    def act(self, attempts: list[Attempt]) -> list[ScriptedAction]:
        """Return the next action of each attempt, as the policy could say it."""
        tokens = [
            self._tokeniser.encode(attempt.acting.act(attempt.world.information))
            for attempt in attempts
        ]
        return [ScriptedAction(token, self._tokeniser.decode(token)) for token in tokens]


def main(words: list[str] | None = None) -> dict:
    """Run both stages for each seed; print lines for people, then the JSON line; return it."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default, text in (
        ('demonstrations', 300, 'scenes that the demonstrator tries'),
        ('iterations', 2000, 'optimiser steps of stage 1'),
        ('observations', 64, 'in one step of stage 1'),
        ('practice', 200, 'episodes of stage 2'),
        ('evaluations', 100, 'episodes before, and after'),
        ('seeds', 1, 'from 0 on'),
    ):
        parser.add_argument(f'--{name}', type=int, default=default, help=text)
    parser.add_argument('--embodiment', type=Path, default=PUSHT)
    options = parser.parse_args(words)
    torch.set_num_threads(1)
    robot = load_embodiment(options.embodiment)
    worlds = [load_world(options.embodiment) for _ in range(WORLDS)]
    figures = [run(options, robot, worlds, seed) for seed in range(options.seeds)]
    for world in worlds:
        world.close()
    found = {'options': {**vars(options), 'embodiment': options.embodiment.name}, 'seeds': figures}
    print(json.dumps(found))
    return found


def run(
    options: argparse.Namespace, robot: Embodiment, worlds: list[GymnasiumWorld], seed: int
) -> dict:
    """Return what one seed gives, with the seconds of a core that each part took."""
    clock, figures = Clock(), {'seed': seed}
    made = demonstrate(robot, worlds, scenes(DEMONSTRATION, seed, options.demonstrations))
    figures['demonstrator'] = clock.note('demonstrations', rate(made))
    policy, reward, curve = fine_tune(made, robot, options, seed)
    figures['detector_f1'] = clock.note('fine_tuning', curve[-1]['validation_detector_f1'])
    evaluation = list(scenes(EVALUATION, seed, options.evaluations))
    before = evaluate(policy, reward, robot, worlds, evaluation)
    figures['before'] = clock.note('evaluation', rate(before))
    practised, log = practise(policy, reward, robot, worlds, options.practice, seed)
    figures['practice'] = clock.note('practice', log)
    after = evaluate(practised, reward, robot, worlds, evaluation)
    figures['after'] = clock.note('evaluation_after', rate(after))
    return {**figures, 'cpu_s': clock.seconds}


class Clock:
    """Notes how much of a core each part took, and says what it gave."""

    def __init__(self):
        self.seconds, self._began = {}, time.process_time()

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
    runner = Runner(robot, Teacher(robot), None, Kind.DEMONSTRATION, 0, lambda episode: None)
    return runner.run(worlds, seeds, 0)


def fine_tune(
    episodes: list[Episode], robot: Embodiment, options: argparse.Namespace, seed: int
) -> tuple[EndToEnd, EndToEnd, list[dict]]:
    """Return policy and reward model of stage 1, and its curve."""
    training = EndToEndConfig(
        iterations=options.iterations,
        observations=options.observations,
        validate_every=max(1, options.iterations // 4),
    )
    reached = [episode for episode in episodes if episode.outcome is Outcome.SUCCESS]
    stage = StageOneEndToEnd('scratch', len(reached), 'tool', robot, seed, training)
    lessons = [Lessons.of(part, robot) for part in split(reached, SftConfig(seed=seed))]
    model, _ = new_end_to_end('scratch', robot, seed, VisionConfig())
    chosen, curve = learn(model, [], *lessons, stage)
    models = []
    for kind in ('policy', 'reward'):
        models.append(deepcopy(model))
        models[-1].load_state_dict(chosen[kind])
    return models[0].eval(), models[1].eval(), curve


def players(policy: EndToEnd, reward: EndToEnd, robot: Embodiment, version: int) -> tuple:
    """Return policy and judge around the models as they are now."""
    encoder = text_encoder()
    return (
        Policy(LiveRuntime(policy, Sight(policy), version), encoder, robot),
        Judge(LiveRuntime(reward, Sight(reward)), encoder, robot),
    )


def evaluate(
    policy: EndToEnd,
    reward: EndToEnd,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    seeds: Iterable[int],
) -> list[Episode]:
    """Return an episode of each scene, which the truth or the time limit ends."""
    actor, _ = players(policy, reward, robot, 1)
    return rollout(worlds, actor, None, seeds, robot, Kind.EVALUATION)


def practise(
    policy: EndToEnd,
    reward: EndToEnd,
    robot: Embodiment,
    worlds: list[GymnasiumWorld],
    count: int,
    seed: int,
) -> tuple[EndToEnd, list[dict]]:
    """Return the policy after stage 2, and a line for each update; only the detector ends."""
    policy, config = deepcopy(policy), PracticeConfig(seed=seed)
    learner = Reinforce(policy, reward, text_encoder(), robot.steps_to_go, config)
    log, waiting = [], scenes(PRACTICE, seed, count)
    for first in range(0, count, config.episodes_per_update):
        chosen = waiting[first : first + config.episodes_per_update]
        actor, judge = players(policy, reward, robot, 1 + len(log))
        episodes = rollout(worlds, actor, judge, chosen, robot, Kind.PRACTICE, first)
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


if __name__ == '__main__':
    main()
