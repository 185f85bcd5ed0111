"""
An image encoder that is pretrained to locate each type of block, without sentences.

It uses the scenes and labels of ``table/pretraining.py`` but no text. Image encoder and text
adapter are therefore never trained together.
"""

from __future__ import annotations

from collections.abc import Iterator

from efm_core.config import config, parameter
from efm_core.files import whole_file
from efm_experiments.caches import cache, fingerprint, name_of
from efm_experiments.table.pretraining import (
    ClassQueries,
    concatenate,
    FIRST_PLACE,
    LabelledScenes,
    PretrainingConfig,
    render_scenes,
)
from efm_model.grounding import GroundingEncoder
from efm_model.localisation import cell_weights, localisation_loss
from filelock import FileLock
import numpy as np
from safetensors.torch import load_file, save_file
import torch
from torch import nn
from torch.nn import functional

# names in the weight file
IMAGE = 'image.'
TOOL = 'tool'
USUAL = PretrainingConfig()


@config
class VisionConfig:
    """
    How the image encoder is pretrained without sentences.

    :raises ValueError: when a value is out of range.
    """

    scenes: int = parameter(USUAL.scenes, 'Random scenes rendered for training', '', 10, 10**6)
    iterations: int = parameter(USUAL.iterations, 'Optimiser steps', '', 2, 10**6)
    batch_size: int = parameter(USUAL.batch_size, 'Scenes per optimiser step', '', 1, 4096)
    seed: int = parameter(0, 'Seed of scenes and weights', '', 0, 2**31 - 1)


def pretrained_vision(config: VisionConfig) -> dict[str, torch.Tensor]:
    """
    Return the weights of the image encoder, and the query of the tool, ``(D + 3,)``.

    The result is cached on disk.
    """
    sources = fingerprint('efm_sim', 'efm_model', 'efm_experiments/encoders')
    path = cache() / 'encoders' / f'{name_of("vision", config)}-{sources}.safetensors'
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix('.lock')):
        if not path.is_file():
            weights = pretrain_vision(config)
            with whole_file(path) as unfinished:
                save_file({k: value.contiguous() for k, value in weights.items()}, unfinished)
    return load_file(path)


def pretrain_vision(config: VisionConfig) -> dict[str, torch.Tensor]:
    """Render scenes and train on them; schedule and losses as in ``table/pretraining.py``."""
    arms = round(config.scenes * USUAL.arm_share)
    scenes = concatenate(
        render_scenes(arms, config.seed, 'arm', USUAL.pushes),
        render_scenes(config.scenes - arms, config.seed + 1, 'tool', USUAL.pushes),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        grounding = GroundingEncoder(scenes.images.shape[1:3])
        classes = ClassQueries()
    parameters = [*grounding.image.parameters(), *classes.parameters()]
    optimiser = torch.optim.AdamW(parameters, USUAL.learning_rate, weight_decay=USUAL.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, USUAL.learning_rate, config.iterations
    )
    for images, types, points in batches(scenes, config):
        optimiser.zero_grad()
        loss(grounding, classes, images, types, points).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
    found = {IMAGE + name: value for name, value in grounding.image.state_dict().items()}
    return {**found, TOOL: classes.queries[-1].detach().clone()}


def batches(scenes: LabelledScenes, config: VisionConfig) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield images, the types of their blocks, and the points of the tool and the blocks."""
    rng = np.random.default_rng([config.seed, 2])
    for _ in range(config.iterations):
        rows = rng.integers(len(scenes.images), size=config.batch_size)
        arrays = (scenes.images, scenes.types, scenes.points[:, :FIRST_PLACE])
        yield tuple(torch.from_numpy(array[rows]) for array in arrays)


def loss(
    grounding: GroundingEncoder,
    classes: ClassQueries,
    images: torch.Tensor,
    types: torch.Tensor,
    points: torch.Tensor,
) -> torch.Tensor:
    """
    Return the sum of two losses: location of tool and block types, and occupancy by any block.

    :param images: ``(B, H, W, 3)`` uint8; ``types`` ``(B, 6)``; ``points`` ``(B, 7, 2)``.
    """
    keys, occupancy = grounding.image(images)
    blocks = cell_weights(points[:, 1:], grounding.image.rows, grounding.image.columns).sum(dim=1)
    where = functional.binary_cross_entropy_with_logits(occupancy, blocks.clamp(max=1))
    return localisation_loss(grounding, grounding.heat(classes(types), keys), points) + 3 * where
