"""
Stage 1 with a trainable encoder: one training loop for all encoders, cached on disk.

The losses, the demonstrations and the split are those of ``efm_trainer.sft``, without the
instruction loss. Each observation counts for the action loss and for the steps-to-go loss, so that
the image encoder runs once for both. ``efm_trainer.sft`` draws separate observations for the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, KW_ONLY
import json
from pathlib import Path

from efm_core.config import config, parameter
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode
from efm_core.files import whole_directory
from efm_core.tokeniser import ActionTokeniser
from efm_experiments.caches import cache, fingerprint
from efm_experiments.config import table_robot, text_encoder
from efm_experiments.encoders.models import (
    ENCODERS,
    EndToEndModel,
    make_end_to_end,
    untrained_model,
)
from efm_experiments.encoders.unimodal import VisionConfig
from efm_experiments.experiment import digest
from efm_experiments.table.demonstrations import demonstrations
from efm_experiments.table.sft_cache import timed
from efm_trainer.config import SftConfig
from efm_trainer.dataset import EpisodeBatch, FEATURE_BATCH, to_batch, to_bins
from efm_trainer.losses import action_loss, steps_to_go_loss
from efm_trainer.sft import split_demonstrations
from filelock import FileLock
from safetensors.torch import load_file, save_file
import torch
from torch import nn

POLICY = 'policy'
REWARD = 'reward'
# The reward model is the step with the highest value, as in efm_trainer.sft.
SELECTION_METRIC = 'validation_detector_f1'

Weights = dict[str, torch.Tensor]


@config
class EndToEndConfig:
    """
    Stage 1 with a trainable encoder; all other values are those of ``SftConfig``.

    :raises ValueError: when a value is out of range.
    """

    iterations: int = parameter(2000, 'Optimiser steps', '', 2, 10**7)
    observations: int = parameter(
        32, 'Observations per optimiser step, each for both losses', '', 1, 65536
    )
    learning_rate: float = parameter(
        1e-3, 'Peak learning rate of newly initialised weights', '', 1e-7, 1.0
    )
    pretrained_rate: float = parameter(
        1e-4, 'Peak learning rate of pretrained weights', '', 1e-7, 1.0
    )
    validate_every: int = parameter(200, 'Optimiser steps between validations', '', 1, 10**6)
    vision: VisionConfig = field(default_factory=VisionConfig)


@dataclass(frozen=True)
class EndToEndRecipe:
    """Everything that determines a result; ``seed`` is also the seed of the demonstrations."""

    encoder: str
    demonstrations: int
    _: KW_ONLY
    body: str
    robot: Embodiment
    seed: int
    training: EndToEndConfig


@dataclass(frozen=True)
class EndToEndResult:
    """
    Policy and reward model of one training run.

    :param curve: losses at each validation, by name.
    :param seconds: processor time of each part [s].
    """

    policy: EndToEndModel
    reward: EndToEndModel
    _: KW_ONLY
    curve: dict[str, list[float]]
    seconds: dict[str, float]


def train_end_to_end(recipe: EndToEndRecipe) -> EndToEndResult:
    """
    Return the result of stage 1, from disk if it is there.

    :raises ValueError: when the encoder is not in ``ENCODERS``.
    :raises ModuleNotFoundError: when the packages of the ImageNet encoder are not installed.
    """
    if recipe.encoder not in ENCODERS:
        raise ValueError(f'encoder: expected one of {", ".join(ENCODERS)}, got {recipe.encoder!r}')
    sources = fingerprint('efm_sim', 'efm_model', 'efm_trainer', 'efm_experiments/encoders')
    folder = cache() / 'end_to_end' / f'{digest(recipe)}-{sources}'
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix('.lock')):
        if not folder.is_dir():
            train(recipe, folder)
    policy, reward = (load(recipe, folder / f'{kind}.safetensors') for kind in (POLICY, REWARD))
    notes = json.loads((folder / 'notes.json').read_text())
    return EndToEndResult(policy, reward, curve=notes['curve'], seconds=notes['seconds'])


def load(recipe: EndToEndRecipe, path: Path) -> EndToEndModel:
    """Return a trained model from disk, ready for inference."""
    model = untrained_model(recipe.encoder, recipe.robot, recipe.seed)
    model.load_state_dict(load_file(path))
    return model.eval()


def train(recipe: EndToEndRecipe, folder: Path) -> None:
    """Collect demonstrations, train, and write the result into ``folder``."""
    seconds: dict[str, float] = {}
    with whole_directory(folder) as unfinished:
        with timed(seconds, 'demonstrations'):
            found = demonstrations(recipe.demonstrations, recipe.seed, recipe.body, table_robot())
        model, pretrained = make_end_to_end(
            recipe.encoder, recipe.robot, recipe.seed, recipe.training.vision
        )
        training, held_out = (
            LabelledDemonstrations.of(episodes, recipe.robot)
            for episodes in split_demonstrations(found, SftConfig(seed=recipe.seed))
        )
        with timed(seconds, 'fine_tuning'):
            chosen, curve = optimise(model, pretrained, training, held_out, recipe)
        for kind, weights in chosen.items():
            weights = {name: value.contiguous() for name, value in weights.items()}
            save_file(weights, unfinished / f'{kind}.safetensors')
        columns = {name: [entry[name] for entry in curve] for name in curve[0]}
        (unfinished / 'notes.json').write_text(json.dumps({'curve': columns, 'seconds': seconds}))


@dataclass(frozen=True)
class LabelledDemonstrations:
    """
    Demonstrations with their steps-to-go labels.

    :param bins: steps-to-go bin of every observation, ``(N,)`` int64.
    :param values: steps-to-go of every bin [steps], ``(C,)`` float32.
    :param threshold: s of the success detector [steps].
    """

    samples: EpisodeBatch
    bins: torch.Tensor
    _: KW_ONLY
    values: torch.Tensor
    threshold: float

    @classmethod
    def of(cls, episodes: Sequence[Episode], robot: Embodiment) -> LabelledDemonstrations:
        """Return ``episodes`` with their labels."""
        samples = to_batch(list(episodes), text_encoder(), ActionTokeniser(robot.action))
        values = torch.from_numpy(robot.steps_to_go.values)
        bins = to_bins(samples.steps_to_go, robot.steps_to_go)
        return cls(samples, bins, values=values, threshold=robot.episode.success_threshold)

    def losses(self, model: EndToEndModel, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return both losses on the observations ``rows``, and d of each of them, ``(B,)``."""
        features = model.features(self.samples.model_inputs(rows))
        has_action = self.samples.has_action[rows]
        tokens = self.samples.tokens[rows]
        logits = model.steps_to_go_logits(features)
        policy_logits = model.policy_logits(features, tokens)
        return {
            'action': action_loss(policy_logits[has_action], tokens[has_action]),
            'steps_to_go': steps_to_go_loss(
                logits, self.bins[rows], SftConfig().label_smoothing_bins
            ),
            'd': (torch.softmax(logits, dim=-1) @ self.values).detach(),
        }

    @torch.no_grad()
    def validate(self, model: EndToEndModel) -> dict[str, float]:
        """Return the losses and the F1 of d <= s on all observations, in inference mode."""
        model.eval()
        parts = torch.arange(len(self.bins)).split(FEATURE_BATCH)
        found = [self.losses(model, rows) for rows in parts]
        model.train()
        shares = torch.tensor([len(rows) / len(self.bins) for rows in parts])
        detected = torch.cat([one['d'] for one in found]) <= self.threshold
        true = self.samples.steps_to_go <= self.threshold
        losses = {
            name: float(torch.stack([one[name] for one in found]) @ shares)
            for name in ('action', 'steps_to_go')
        }
        f1 = 2 * (detected & true).sum() / (detected.sum() + true.sum())
        return {**losses, 'detector_f1': float(f1)}


def optimise(
    model: EndToEndModel,
    pretrained: list[nn.Parameter],
    training: LabelledDemonstrations,
    held_out: LabelledDemonstrations,
    recipe: EndToEndRecipe,
) -> tuple[dict[str, Weights], list[dict[str, float]]]:
    """
    Train ``model``; return the weights of policy and reward model, and the learning curve.

    :param pretrained: parameters with the lower learning rate.
    """
    config = recipe.training
    best = -1.0
    optimiser, schedule = make_optimiser(model, pretrained, config)
    chosen: dict[str, Weights] = {}
    curve: list[dict[str, float]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # for dropout
        generator = torch.Generator().manual_seed(recipe.seed)
        model.train()
        for iteration in range(1, config.iterations + 1):
            rows = torch.randint(len(training.bins), (config.observations,), generator=generator)
            losses = training.losses(model, rows)
            optimiser.zero_grad()
            (losses['action'] + losses['steps_to_go']).backward()
            nn.utils.clip_grad_norm_(model.parameters(), SftConfig().gradient_clip)
            optimiser.step()
            schedule.step()
            if iteration % config.validate_every == 0 or iteration == config.iterations:
                curve.append(curve_entry(iteration, losses, held_out.validate(model)))
                if curve[-1][SELECTION_METRIC] >= best:
                    best = curve[-1][SELECTION_METRIC]
                    chosen[REWARD] = deepcopy(model.state_dict())
    return {POLICY: model.state_dict(), **chosen}, curve


def make_optimiser(
    model: EndToEndModel, pretrained: list[nn.Parameter], config: EndToEndConfig
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Return the optimiser and its schedule; pretrained parameters get their own rate."""
    known = {id(parameter) for parameter in pretrained}
    fresh = [parameter for parameter in model.parameters() if id(parameter) not in known]
    rates = [config.learning_rate] + [config.pretrained_rate] * bool(pretrained)
    groups = [{'params': part} for part in (fresh, pretrained) if part]
    decay = SftConfig().weight_decay
    optimiser = torch.optim.AdamW(groups, lr=rates[0], weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=config.iterations)
    return optimiser, schedule


def curve_entry(
    iteration: int, training: dict[str, torch.Tensor], held_out: dict[str, float]
) -> dict[str, float]:
    """Return one entry of the learning curve."""
    return {
        'iteration': iteration,
        **{
            f'training_{name}': round(training[name].item(), 4)
            for name in ('action', 'steps_to_go')
        },
        **{f'validation_{name}': round(value, 4) for name, value in held_out.items()},
    }
