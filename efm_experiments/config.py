"""Numbers of one run of both stages at the table, and the robot and the worlds they describe."""

from __future__ import annotations

from dataclasses import replace
import functools

from efm_core.config import config, parameter
from efm_core.embodiment import Embodiment, load_embodiment, StepsToGoRange
from efm_core.embodiment_files import find_embodiment
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from efm_trainer.config import ONCE, PracticeConfig

LEARNERS = (
    'reinforce',
    'charged',
    'sparse_truth',
    'sparse_detector',
    'filtered_cloning',
    'grpo',
    'ppo',
    'anchored',
    'averaged',
    'replay',
    'clipped',
    'clipped_line',
    'clipped_line_averaged',
    'clipped_critic',
)
# The suite's own learner, where samples teach more than once; everything else uses them once.
OFTEN = {
    'clipped': {**ONCE, 'update_epochs': 4},
    'clipped_line': {**ONCE, 'update_epochs': 4, 'baseline': 'linear'},
    'clipped_line_averaged': {**ONCE, 'update_epochs': 4, 'baseline': 'linear', 'ema_rate': 0.3},
}
HOME = TableConfig()  # where demonstrations are made
SEEDS = 1_000_000  # scenes that belong to one seed in each of the following
DEMONSTRATION, PRACTICE, EVALUATION, CHECK = (k * 1_000_000_000 for k in range(1, 5))


@config
class Setting:
    """One run of both stages."""

    demonstrations: int = parameter(400, 'Successful demonstrations', '', 2, 10**6)
    iterations: int = parameter(12000, 'Optimiser steps of stage 1', '', 1, 10**7)
    pretrained: str = parameter('joint', 'Of the policy', choices=('joint', 'vision', 'none'))
    reward_pretrained: str = parameter(
        'joint', 'Of the reward model', choices=('joint', 'vision', 'none')
    )
    practice: int = parameter(304, 'Episodes of practice', '', 0, 10**6)
    evaluations: int = parameter(300, 'Episodes of an evaluation', '', 1, 10**5)
    curve: tuple[int, ...] = parameter((), 'Practice after which to evaluate', 'episodes')
    curve_evaluations: int = parameter(150, 'Episodes of such an evaluation', '', 1, 10**5)
    limit: int = parameter(60, 'Time limit of practice', 'steps', 1, 10**4)
    longest: int = parameter(90, 'Time limit of evaluations', 'steps', 1, 10**4)
    body: str = parameter('arm', 'What carries the tool', choices=('arm', 'tool'))
    split: str = parameter(
        'train', 'Of evaluations', choices=('train', 'phrasing', 'synonym', 'pairs')
    )
    worlds: int = parameter(16, 'Episodes at once', '', 1, 256)
    learner: str = parameter('reinforce', 'Of stage 2', choices=LEARNERS)
    group: int = parameter(1, 'Episodes of each practice scene', '', 1, 1000)
    gamma: float = parameter(0.9, 'Discount of the returns', '', 0.0, 1.0)
    return_scale: float = parameter(0.1, 'c', '', 0.0, 100.0)
    learning_rate: float = parameter(1e-3, 'Of stage 2', '', 0.0, 1.0)
    update: str = parameter('episodes', 'As PracticeConfig', choices=('episodes', 'samples'))
    episodes_per_update: int = parameter(8, 'Of stage 2', '', 1, 10**5)
    batch_size: int = parameter(512, 'Samples per optimiser step', '', 1, 10**6)
    updates: int = parameter(16, 'Optimiser steps per update (samples only)', '', 1, 10**4)
    temperature: float = parameter(1.0, 'Of sampling in practice', '', 0.0, 10.0)
    anchor: float = parameter(0.0, 'Weight of KL(policy, stage 1)', '', 0.0, 1e3)
    ensemble: int = parameter(1, 'Reward models; the most pessimistic one counts', '', 1, 20)
    ending: str = parameter('detector', 'What ends practice', choices=('detector', 'truth'))
    threshold: float = parameter(2.0, 's', 'steps', 0.0, 1e3)
    dwell: int = parameter(2, 'Observations in a row with d <= s', '', 1, 100)
    steps_to_go_bins: int = parameter(61, 'From 0 to 60 steps', '', 2, 1000)
    action_bins: int = parameter(11, 'Levels of each action dimension', '', 3, 255)

    @property
    def embodiment(self) -> Embodiment:
        """The suite's table, with this setting's numbers."""
        robot = table_robot()
        rules = replace(
            robot.episode,
            max_steps=self.limit,
            success_threshold=self.threshold,
            success_dwell=self.dwell,
        )
        return replace(
            robot,
            episode=rules,
            action=replace(robot.action, bins=self.action_bins),
            steps_to_go=StepsToGoRange(robot.steps_to_go.max_steps, self.steps_to_go_bins),
        )

    @property
    def practice_config(self) -> PracticeConfig:
        """What the project's own learner takes."""
        names = ('gamma', 'return_scale', 'learning_rate', 'update', 'episodes_per_update')
        words = {name: getattr(self, name) for name in (*names, 'batch_size', 'updates')}
        return PracticeConfig(**words, **OFTEN.get(self.learner, ONCE))


# Everything there is, in seconds: for tests.
TINY = Setting(
    demonstrations=4,
    iterations=3,
    practice=4,
    evaluations=3,
    curve=(2,),
    curve_evaluations=2,
    limit=6,
    longest=8,
    body='tool',
    worlds=4,
    episodes_per_update=2,
)


@functools.cache
def text_encoder() -> TextEncoder:
    """Return the sentence encoder; it remembers every sentence of a run."""
    return TextEncoder(ensure_text_encoder(), cache_size=100_000)


def worlds(count: int, body: str, split: str, like: TableConfig = HOME) -> list[Table]:
    """
    Return tables; each process makes them once, since each needs a graphics context.

    :param like: all else about them.
    """
    config = replace(like, body=body, split=split)
    tables = _tables(config)
    tables += [Table(config) for _ in range(len(tables), count)]
    return tables[:count]


@functools.cache
def _tables(config: TableConfig) -> list[Table]:
    return []


@functools.cache
def table_robot() -> Embodiment:
    """Return the suite's table as its YAML file has it."""
    return load_embodiment(find_embodiment(''))
