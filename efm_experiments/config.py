"""Configuration of one run of both stages at the table, its robot and its simulated tables."""

from __future__ import annotations

from dataclasses import replace
import functools
from typing import Any

from efm_core.config import config, copy_field, parameter
from efm_core.embodiment import Embodiment, load_embodiment, StepsToGoRange
from efm_core.embodiment_files import find_embodiment
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from efm_trainer.config import ONCE, PracticeConfig

LEARNERS = (
    'reinforce',
    'timeout_penalty',
    'sparse_oracle',
    'sparse_detector',
    'filtered_cloning',
    'grpo',
    'ppo',
    'kl_regularised',
    'ema',
    'replay',
    'clipped',
    'clipped_linear',
    'clipped_linear_ema',
    'clipped_critic',
)
# The trainer's own learner with several epochs a batch. All other learners use each sample once.
MULTI_EPOCH: dict[str, dict[str, Any]] = {
    'clipped': {**ONCE, 'update_epochs': 4},
    'clipped_linear': {**ONCE, 'update_epochs': 4, 'baseline': 'linear'},
    'clipped_linear_ema': {**ONCE, 'update_epochs': 4, 'baseline': 'linear', 'ema_rate': 0.3},
}
# The fields of the trainer's own configuration that an experiment sets apart from its learner.
UPDATE = (
    'gamma',
    'return_scale',
    'learning_rate',
    'weight_decay',
    'gradient_clip',
    'update',
    'episodes_per_update',
    'batch_size',
    'updates',
)
TRAIN_DOMAIN = TableConfig()  # the domain of the demonstrations
SCENES_PER_SEED = 1_000_000
# The first scene of seed 0 for each purpose; no two purposes share a scene.
DEMONSTRATION_SCENES = 1_000_000_000
PRACTICE_SCENES = 2_000_000_000
EVALUATION_SCENES = 3_000_000_000


@config
class ExperimentConfig:
    """
    One run of both stages.

    :raises ValueError: when a value is out of range.
    """

    demonstrations: int = parameter(400, 'Successful demonstrations', '', 2, 10**6)
    iterations: int = parameter(12000, 'Optimiser steps of stage 1', '', 1, 10**7)
    pretrained: str = parameter(
        'joint', 'Pretraining of the policy encoder', choices=('joint', 'vision', 'none')
    )
    reward_pretrained: str = parameter(
        'joint', 'Pretraining of the reward model encoder', choices=('joint', 'vision', 'none')
    )
    practice: int = parameter(304, 'Practice episodes', '', 0, 10**6)
    evaluations: int = parameter(300, 'Episodes of an evaluation', '', 1, 10**5)
    curve: tuple[int, ...] = parameter(
        (), 'Practice episodes after which the policy is evaluated', 'episodes'
    )
    curve_evaluations: int = parameter(
        150, 'Episodes of an evaluation during practice', '', 1, 10**5
    )
    max_steps: int = parameter(60, 'Time limit of a practice episode', 'steps', 1, 10**4)
    evaluation_max_steps: int = parameter(
        90, 'Time limit of an evaluation episode', 'steps', 1, 10**4
    )
    body: str = parameter('arm', 'Body of the simulated robot', choices=('arm', 'tool'))
    split: str = parameter(
        'train',
        'Instruction split of the evaluations',
        choices=('train', 'phrasing', 'synonym', 'pairs'),
    )
    num_worlds: int = parameter(16, 'Simulated tables that run in parallel', '', 1, 256)
    learner: str = parameter('reinforce', 'Learner of stage 2', choices=LEARNERS)
    group_size: int = parameter(1, 'Practice episodes at the same scene', '', 1, 1000)
    gamma: float = parameter(0.9, 'Discount of the returns', '', 0.0, 1.0)
    return_scale: float = parameter(0.1, 'c, the weight of a return in the loss', '', 0.0, 100.0)
    learning_rate: float = parameter(1e-3, 'Learning rate of stage 2', '', 0.0, 1.0)
    weight_decay: float = copy_field(PracticeConfig, 'weight_decay')
    gradient_clip: float = copy_field(PracticeConfig, 'gradient_clip')
    update: str = parameter(
        'episodes', 'Unit of an update, see PracticeConfig', choices=('episodes', 'samples')
    )
    episodes_per_update: int = parameter(8, 'Practice episodes per update', '', 1, 10**5)
    batch_size: int = parameter(512, 'Samples per optimiser step of stage 2', '', 1, 10**6)
    updates: int = parameter(16, 'Optimiser steps per update (update: samples only)', '', 1, 10**4)
    temperature: float = parameter(1.0, 'Sampling temperature in practice', '', 0.0, 10.0)
    kl_weight: float = parameter(0.0, 'Weight of KL(policy, policy of stage 1)', '', 0.0, 1e3)
    ensemble_size: int = parameter(
        1, 'Reward models; the largest predicted d of all counts', '', 1, 20
    )
    practice_end: str = parameter(
        'detector',
        'Signal that ends a practice episode: the success detector or the simulator state',
        choices=('detector', 'simulator'),
    )
    success_threshold: float = parameter(2.0, 's: the detector needs d <= s', 'steps', 0.0, 1e3)
    success_dwell: int = parameter(
        2, 'Consecutive observations with d <= s that fire the detector', '', 1, 100
    )
    steps_to_go_bins: int = parameter(61, 'Bins of steps-to-go, from 0 to 60 steps', '', 2, 1000)
    action_bins: int = parameter(11, 'Levels of each action dimension', '', 3, 255)

    @property
    def embodiment(self) -> Embodiment:
        """The table's embodiment with the limits and bins of this configuration."""
        robot = table_robot()
        rules = replace(
            robot.episode,
            max_steps=self.max_steps,
            success_threshold=self.success_threshold,
            success_dwell=self.success_dwell,
        )
        return replace(
            robot,
            episode=rules,
            action=replace(robot.action, bins=self.action_bins),
            steps_to_go=StepsToGoRange(robot.steps_to_go.max_steps, self.steps_to_go_bins),
        )

    @property
    def practice_config(self) -> PracticeConfig:
        """The configuration of the trainer's own learner."""
        values = {name: getattr(self, name) for name in UPDATE}
        return PracticeConfig(**values, **MULTI_EPOCH.get(self.learner, ONCE))


# A complete run in seconds, for tests.
TINY = ExperimentConfig(
    demonstrations=4,
    iterations=3,
    practice=4,
    evaluations=3,
    curve=(2,),
    curve_evaluations=2,
    max_steps=6,
    evaluation_max_steps=8,
    body='tool',
    num_worlds=4,
    episodes_per_update=2,
)


@functools.cache
def text_encoder() -> TextEncoder:
    """Return the frozen sentence encoder; it caches every sentence of a run."""
    return TextEncoder(ensure_text_encoder(), cache_size=100_000)


def make_tables(
    count: int, body: str, split: str, domain: TableConfig = TRAIN_DOMAIN
) -> list[Table]:
    """
    Return ``count`` simulated tables.

    A process creates each table once and reuses it, because each needs a graphics context.

    :param body: 'arm' or 'tool'.
    :param split: instruction split.
    :param domain: all other properties of the tables.
    """
    config = replace(domain, body=body, split=split)
    tables = _cached_tables(config)
    tables += [Table(config) for _ in range(len(tables), count)]
    return tables[:count]


@functools.cache
def _cached_tables(config: TableConfig) -> list[Table]:
    """Return the list that holds the tables of one configuration."""
    return []


@functools.cache
def table_robot() -> Embodiment:
    """Return the table's embodiment as its YAML file defines it."""
    return load_embodiment(find_embodiment(''))
