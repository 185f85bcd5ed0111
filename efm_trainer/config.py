"""Numbers of both stages of learning."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter


@dataclass(frozen=True, kw_only=True)
class SftConfig:
    """Stage 1: supervised fine-tuning on demonstrations."""

    iterations: int = parameter(12000, 'Optimiser steps', low=1, high=10_000_000)
    batch_size: int = parameter(512, 'Samples per step, over all objectives', '', 3, 65536)
    instruction_fraction: float = parameter(
        0.1,
        'Share of the batch that predicts instructions, at least one sample (the paper: a third); '
        'the others have half of the rest each. With a frozen encoder it trains its own head only',
        '',
        0.0,
        0.9,
    )
    learning_rate: float = parameter(1e-3, 'Peak of the one-cycle schedule', '', 1e-7, 1.0)
    weight_decay: float = parameter(1e-2, 'Of AdamW', '', 0.0, 1.0)
    gradient_clip: float = parameter(1.0, 'Largest norm of the gradient', '', 1e-3, 1e6)
    label_smoothing_bins: float = parameter(
        0.5, 'Width of the Gaussian around the true steps-to-go; 0 for none', 'bins', 0.0, 20.0
    )
    validation_fraction: float = parameter(0.1, 'Share of the episodes held out', '', 0.0, 0.5)
    validate_every: int = parameter(200, 'Steps between two validations', '', 1, 1_000_000)
    policy_checkpoint: str = parameter(
        'last',
        'Which step becomes the policy: behaviour cloning gets better beyond its best loss',
        choices=('last', 'loss'),
    )
    reward_checkpoint: str = parameter(
        'detector',
        'Which step becomes the reward model: the one whose d <= s tells best (F1) when the goal '
        'is s steps away; that of the best loss; the last',
        choices=('detector', 'loss', 'last'),
    )
    pretrained: str = parameter(
        'joint',
        'What the encoder knows beforehand; joint is frozen, so that its features are cached',
        choices=('joint', 'vision', 'none'),
    )
    encoder_weights: str = parameter(
        '',
        "File of the initial grounding encoder; empty: the run's own from `efm pretrain`, "
        'else the one that ships',
    )
    hidden_size: int = parameter(
        128, 'Width of the heads; a task of many turns may want more', '', 8, 4096
    )
    seed: int = parameter(0, 'Of initial weights, split and batches', '', 0, 2**31 - 1)

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when one is out of range, or weights are named that are not used.
        """
        check(self)
        if self.encoder_weights and self.pretrained == 'none':
            raise ValueError(
                'encoder_weights: expected none with --pretrained none, '
                f'got {self.encoder_weights}; take --pretrained joint'
            )


@dataclass(frozen=True, kw_only=True)
class PracticeConfig:
    """Stage 2: REINFORCE on the robot's own steps-to-go; samples may teach more than once."""

    gamma: float = parameter(0.9, 'Discount of the returns', '', 0.0, 1.0)
    return_scale: float = parameter(0.1, 'c, the weight of a return in the loss', '', 0.0, 100.0)
    learning_rate: float = parameter(1e-3, 'Of the optimiser', '', 0.0, 1.0)
    weight_decay: float = parameter(0.0, 'Of the optimiser', '', 0.0, 1.0)
    gradient_clip: float = parameter(1.0, 'Largest norm of the gradient', '', 1e-3, 1e6)
    update: str = parameter(
        'episodes',
        'episodes: one pass over whole episodes; samples: updates x batch samples, the rest is '
        'thrown away, as in the paper',
        choices=('episodes', 'samples'),
    )
    episodes_per_update: int = parameter(8, 'Episodes that one update waits for', '', 1, 100_000)
    batch_size: int = parameter(512, 'Samples per optimiser step', '', 1, 65536)
    updates: int = parameter(16, 'Optimiser steps per update (samples only)', '', 1, 10_000)
    update_epochs: int = parameter(
        4,
        'Times that every sample is learned from; above 1 a sample stops teaching where p(a) is '
        'too far from what it was when it was acted, see clip',
        '',
        1,
        100,
    )
    clip_range: float = parameter(
        0.2,
        'How far p(a) / p(a when it was acted) may go from 1 (update_epochs > 1 only)',
        '',
        0.0,
        1.0,
    )
    baseline: str = parameter(
        'linear',
        'What is taken from the returns: nothing, as in the paper; or the straight line through '
        'the returns over d, without the noise of d that every return begins with',
        choices=('none', 'linear'),
    )
    ema_rate: float = parameter(
        0.3,
        'Share of the way to what learns that what acts goes at each update; 1: what learns acts, '
        'below: what acts is a moving average of it, which keeps long practice steady',
        '',
        1e-3,
        1.0,
    )
    max_staleness: int = parameter(
        0, 'Learn from episodes of a policy at most this much older', 'versions', 0, 1000
    )
    seed: int = parameter(0, 'Of the order of the samples', '', 0, 2**31 - 1)

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when one is out of range.
        """
        check(self)


# By the model that learns. Those of vision-language models have only been tried on tiny ones.
STAGE_ONE = {
    'compact': SftConfig(),
    'vlm': SftConfig(
        iterations=5000,
        batch_size=128,
        instruction_fraction=1 / 3,
        learning_rate=1e-4,
        label_smoothing_bins=0.0,
    ),
}
# Every sample teaches once, by its plain return, and what learns acts.
ONCE = {'update_epochs': 1, 'baseline': 'none', 'ema_rate': 1.0}
PRESETS = {
    'default': PracticeConfig(),
    'paper': PracticeConfig(
        return_scale=0.05,
        learning_rate=3e-4,
        weight_decay=1e-2,
        gradient_clip=1e6,
        update='samples',
        batch_size=64,
        **ONCE,
    ),
}
VLM_PRACTICE = PracticeConfig(
    return_scale=0.05, learning_rate=2e-5, update='samples', batch_size=64, **ONCE
)
