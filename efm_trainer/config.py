"""Learning parameters of both stages."""

from __future__ import annotations

from typing import Any

from efm_core.config import config, copy_field, parameter
from efm_model.config import LabelledConfig, ModelConfig


@config
class SftConfig:
    """Stage 1: supervised fine-tuning on demonstrations."""

    iterations: int = parameter(12000, 'Optimiser steps', low=1, high=10_000_000)
    batch_size: int = parameter(
        512, 'Samples per optimiser step, over all objectives', '', 3, 65536
    )
    instruction_fraction: float = parameter(
        0.1,
        'Fraction of the batch that predicts instructions, at least one sample (paper: a third); '
        'action and steps-to-go share the rest equally. With a frozen encoder it trains only '
        'its own head',
        '',
        0.0,
        0.9,
    )
    learning_rate: float = parameter(
        1e-3, 'Peak learning rate of the one-cycle schedule', '', 1e-7, 1.0
    )
    weight_decay: float = parameter(1e-2, 'Weight decay of AdamW', '', 0.0, 1.0)
    gradient_clip: float = parameter(1.0, 'Largest norm of the gradient', '', 1e-3, 1e6)
    shared_samples: bool = parameter(
        False,
        'Whether action and steps-to-go learn from the same samples, so that an encoder in '
        'training computes their features once',
    )
    augmentation: bool = parameter(
        False,
        'Whether the images of an encoder in training are shifted and recoloured at random',
    )
    label_smoothing_bins: float = parameter(
        0.5,
        'Width of the Gaussian target around the true steps-to-go; 0: no smoothing',
        'bins',
        0.0,
        20.0,
    )
    validation_fraction: float = parameter(
        0.1, 'Fraction of the episodes held out for validation', '', 0.0, 0.5
    )
    validate_every: int = parameter(
        200, 'Optimiser steps between two validations', '', 1, 1_000_000
    )
    policy_checkpoint: str = parameter(
        'last',
        'Optimiser step that becomes the policy; loss: the lowest validation loss, which is not '
        'the best policy',
        choices=('last', 'loss'),
    )
    reward_checkpoint: str = parameter(
        'detector',
        'Optimiser step that becomes the reward model; detector: the best F1 of d <= s for goals '
        'at most s steps away; loss: the lowest validation loss',
        choices=('detector', 'loss', 'last'),
    )
    reward_network: str = parameter(
        'shared',
        'Network of the reward model; shared: the one of the policy, at another optimiser step; '
        'separate: one of its own, which also learns from labelled attempts; auto: separate if '
        'there are any, else shared',
        choices=('auto', 'shared', 'separate'),
    )
    reward_proprioception: bool = parameter(
        False,
        'Whether a separate reward network of the visuomotor model uses the proprioception; a '
        'shared one has the inputs of the policy',
    )
    second_reward: bool = parameter(
        False,
        'Whether a second reward model of another seed, with a network of its own, is trained; it '
        'raises the alarm of practice and is not part of a release',
    )
    attempt_validation_fraction: float = parameter(
        0.5,
        'Fraction of the labelled attempts that measures the detector and does not train the '
        'reward model; at least one attempt of each outcome on each side, where there are two',
        '',
        0.1,
        0.9,
    )
    pretrained: str = copy_field(ModelConfig, 'pretrained')
    encoder_weights: str = parameter(
        '',
        "File of the initial grounding encoder; empty: the run's own from `efm pretrain`, "
        'else the shipped one',
    )
    vision_backbone: str = parameter(
        '',
        'Folder of a pretrained vision backbone in the format of transformers (DINOv2, SigLIP, '
        'ResNet), or efficientnet-lite0; it takes the place of the first layers of the '
        'visuomotor model; empty: layers that start at random',
    )
    backbone_learning_rate: float = parameter(
        1e-4, 'Peak learning rate of the vision backbone; 0: frozen', '', 0.0, 1.0
    )
    hidden_size: int = copy_field(ModelConfig, 'hidden_size')
    seed: int = copy_field(LabelledConfig, 'seed')

    def validate(self) -> None:
        """
        Check that named weights are used.

        :raises ValueError: when ``encoder_weights`` is given without pretraining.
        """
        if self.encoder_weights and self.pretrained == 'none':
            raise ValueError(
                'encoder_weights: expected none with --pretrained none, '
                f'got {self.encoder_weights}; use --pretrained joint'
            )


@config
class PracticeConfig:
    """Stage 2: policy gradient on the robot's own steps-to-go, with optional reuse of samples."""

    gamma: float = parameter(0.9, 'Discount factor of the returns', '', 0.0, 1.0)
    return_scale: float = parameter(0.1, 'Weight c of the returns in the loss', '', 0.0, 100.0)
    learning_rate: float = parameter(1e-3, 'Learning rate of AdamW', '', 0.0, 1.0)
    weight_decay: float = parameter(0.0, 'Weight decay of AdamW', '', 0.0, 1.0)
    gradient_clip: float = copy_field(SftConfig, 'gradient_clip')
    update: str = parameter(
        'episodes',
        'Data of one update; episodes: all samples of whole episodes; samples: updates x '
        'batch_size samples, and the rest is discarded, as in the paper',
        choices=('episodes', 'samples'),
    )
    episodes_per_update: int = parameter(
        8, 'Episodes per update (update: episodes)', 'episodes', 1, 100_000
    )
    batch_size: int = parameter(512, 'Samples per optimiser step', '', 1, 65536)
    updates: int = parameter(16, 'Optimiser steps per update (update: samples)', '', 1, 10_000)
    update_epochs: int = parameter(
        4,
        'Passes over the samples of an update; above 1 the probability ratio is clipped, see '
        'clip_range',
        '',
        1,
        100,
    )
    clip_range: float = parameter(
        0.2,
        'Largest change of the probability ratio p(a) / p_old(a) from 1 (update_epochs above 1)',
        '',
        0.0,
        1.0,
    )
    baseline: str = parameter(
        'linear',
        'Baseline subtracted from the returns; none: as in the paper; linear: a least-squares '
        'line over d, which removes the noise of the first d of each return',
        choices=('none', 'linear'),
    )
    ema_rate: float = parameter(
        0.3,
        'Fraction of the trained weights blended into the deployed policy at each update; 1: no '
        'averaging',
        '',
        1e-3,
        1.0,
    )
    max_staleness: int = parameter(
        0, 'Largest age of the policy of an episode that is learned from', 'versions', 0, 1000
    )
    seed: int = parameter(0, 'Seed of the order of the samples', '', 0, 2**31 - 1)


# Defaults of stage 1 by kind of model. Those of vision-language models ran on tiny ones only.
STAGE_ONE = {
    'grounding': SftConfig(),
    'visuomotor': SftConfig(
        iterations=1200,
        batch_size=64,
        label_smoothing_bins=1.0,
        shared_samples=True,
        augmentation=True,
        reward_network='auto',
        second_reward=True,
        hidden_size=256,
    ),
    'vlm': SftConfig(
        iterations=5000,
        batch_size=128,
        instruction_fraction=1 / 3,
        learning_rate=1e-4,
        label_smoothing_bins=0.0,
    ),
}
# As in the paper: each sample is used once, without a baseline; the trained policy is deployed.
ONCE: dict[str, Any] = {'update_epochs': 1, 'baseline': 'none', 'ema_rate': 1.0}
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
