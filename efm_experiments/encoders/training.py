"""
Stage 1 where the encoder learns along: one loop for every encoder, kept on disk.

The losses are those of ``efm_trainer.sft`` without the instruction's, on the same demonstrations
and the same split. Each observation counts for the action and for steps-to-go, so that it is seen
once where the usual loop would see it twice.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, KW_ONLY
import json
from pathlib import Path

from efm_core.config import config, parameter
from efm_core.embodiment import Embodiment
from efm_core.files import whole_directory
from efm_core.tokeniser import ActionTokeniser
from efm_experiments.caches import cache, fingerprint
from efm_experiments.config import table_robot, text_encoder
from efm_experiments.encoders.models import blank, ENCODERS, EndToEnd, new_end_to_end
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

POLICY = 'policy'
REWARD = 'reward'
SHARPNESS = 'validation_detector_f1'  # what the reward model is chosen by, as in efm_trainer.sft


@config
class EndToEndConfig:
    """Stage 1 with an encoder that is trained along; what is not said here is as ``SftConfig``."""

    iterations: int = parameter(2000, 'Optimiser steps', '', 2, 10**7)
    observations: int = parameter(32, 'Of one step, each for both losses', '', 1, 65536)
    learning_rate: float = parameter(1e-3, 'Peak, of what begins from nothing', '', 1e-7, 1.0)
    pretrained_rate: float = parameter(1e-4, 'Peak, of what was pretrained', '', 1e-7, 1.0)
    validate_every: int = parameter(200, 'Steps between two validations', '', 1, 10**6)
    vision: VisionConfig = field(default_factory=VisionConfig)


@dataclass(frozen=True)
class StageOneEndToEnd:
    """Everything that fixes what is learned; ``seed`` is that of the demonstrations too."""

    encoder: str
    demonstrations: int
    _: KW_ONLY
    body: str
    robot: Embodiment
    seed: int
    training: EndToEndConfig


@dataclass(frozen=True)
class Trained:
    """
    Both models, how they came about, and what that took.

    :param curve: losses at each validation, by name.
    """

    policy: EndToEnd
    reward: EndToEnd
    _: KW_ONLY
    curve: dict[str, list[float]]
    seconds: dict[str, float]


def train_along(stage: StageOneEndToEnd) -> Trained:
    """
    Return what stage 1 gives, from disk if it is there.

    :raises ValueError: when there is no such encoder.
    :raises ModuleNotFoundError: when the packages of the ImageNet encoder are not installed.
    """
    if stage.encoder not in ENCODERS:
        raise ValueError(f'encoder: expected one of {", ".join(ENCODERS)}, got {stage.encoder!r}')
    sources = fingerprint('efm_sim', 'efm_model', 'efm_trainer', 'efm_experiments/encoders')
    folder = cache() / 'end_to_end' / f'{digest(stage)}-{sources}'
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix('.lock')):
        if not folder.is_dir():
            make(stage, folder)
    policy, reward = (restore(stage, folder / f'{kind}.safetensors') for kind in (POLICY, REWARD))
    notes = json.loads((folder / 'notes.json').read_text())
    return Trained(policy, reward, curve=notes['curve'], seconds=notes['seconds'])


def restore(stage: StageOneEndToEnd, path: Path) -> EndToEnd:
    """Return a model from disk, ready for inference."""
    model = blank(stage.encoder, stage.robot, stage.seed)
    model.load_state_dict(load_file(path))
    return model.eval()


def make(stage: StageOneEndToEnd, folder: Path) -> None:
    """Collect, learn, and put the result into ``folder``; whole or not at all."""
    seconds = {}
    with whole_directory(folder) as unfinished:
        with timed(seconds, 'demonstrations'):
            found = demonstrations(stage.demonstrations, stage.seed, stage.body, table_robot())
        made = new_end_to_end(stage.encoder, stage.robot, stage.seed, stage.training.vision)
        learning, held_out = (
            Lessons.of(episodes, stage.robot)
            for episodes in split_demonstrations(found, SftConfig(seed=stage.seed))
        )
        with timed(seconds, 'fine_tuning'):
            chosen, curve = learn(*made, learning, held_out, stage)
        for kind, weights in chosen.items():
            weights = {name: value.contiguous() for name, value in weights.items()}
            save_file(weights, unfinished / f'{kind}.safetensors')
        columns = {name: [line[name] for line in curve] for name in curve[0]}
        (unfinished / 'notes.json').write_text(json.dumps({'curve': columns, 'seconds': seconds}))


@dataclass(frozen=True)
class Lessons:
    """
    Demonstrations with their targets.

    :param bins: of steps-to-go, ``(N,)`` int64.
    :param values: of the bins [steps], ``(bins,)``; ``threshold`` is s [steps].
    """

    samples: EpisodeBatch
    bins: torch.Tensor
    _: KW_ONLY
    values: torch.Tensor
    threshold: float

    @classmethod
    def of(cls, episodes: list, robot: Embodiment) -> Lessons:
        """Return the lessons of ``episodes``."""
        samples = to_batch(episodes, text_encoder(), ActionTokeniser(robot.action))
        values = torch.from_numpy(robot.steps_to_go.values)
        bins = to_bins(samples.steps_to_go, robot.steps_to_go)
        return cls(samples, bins, values=values, threshold=robot.episode.success_threshold)

    def losses(self, model: EndToEnd, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return both losses on the observations ``rows``, and d of each of them."""
        features = model.features(*self.samples.model_inputs(rows))
        acting = self.samples.has_action[rows]
        tokens = self.samples.tokens[rows]
        logits = model.steps_to_go_logits(features)
        return {
            'action': action_loss(model.policy_logits(features, tokens)[acting], tokens[acting]),
            'steps_to_go': steps_to_go_loss(
                logits, self.bins[rows], SftConfig().label_smoothing_bins
            ),
            'd': (torch.softmax(logits, dim=-1) @ self.values).detach(),
        }

    @torch.no_grad()
    def examine(self, model: EndToEnd) -> dict[str, float]:
        """Return the losses and the detector's F1 on everything, in inference mode."""
        model.eval()
        parts = torch.arange(len(self.bins)).split(FEATURE_BATCH)
        found = [self.losses(model, rows) for rows in parts]
        model.train()
        shares = torch.tensor([len(rows) / len(self.bins) for rows in parts])
        said = torch.cat([one['d'] for one in found]) <= self.threshold
        true = self.samples.steps_to_go <= self.threshold
        return {
            **{
                k: float(torch.stack([o[k] for o in found]) @ shares) for k in found[0] if k != 'd'
            },
            'detector_f1': float(2 * (said & true).sum() / (said.sum() + true.sum())),
        }


def learn(
    model: EndToEnd,
    pretrained: list,
    learning: Lessons,
    held_out: Lessons,
    stage: StageOneEndToEnd,
) -> tuple[dict[str, dict[str, torch.Tensor]], list[dict[str, float]]]:
    """Train; return the weights that become policy and reward model, and the curve."""
    config = stage.training
    best = -1.0
    optimiser, schedule = descent(model, pretrained, config)
    chosen = {}
    curve = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stage.seed)  # of dropout
        generator = torch.Generator().manual_seed(stage.seed)
        model.train()
        for iteration in range(1, config.iterations + 1):
            rows = torch.randint(len(learning.bins), (config.observations,), generator=generator)
            losses = learning.losses(model, rows)
            optimiser.zero_grad()
            (losses['action'] + losses['steps_to_go']).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), SftConfig().gradient_clip)
            optimiser.step()
            schedule.step()
            if iteration % config.validate_every == 0 or iteration == config.iterations:
                curve.append(line(iteration, losses, held_out.examine(model)))
                if curve[-1][SHARPNESS] >= best:
                    best = curve[-1][SHARPNESS]
                    chosen[REWARD] = deepcopy(model.state_dict())
    return {POLICY: model.state_dict(), **chosen}, curve


def descent(model: EndToEnd, pretrained: list, config: EndToEndConfig) -> tuple:
    """Return the optimiser and its schedule; what was pretrained learns more slowly."""
    known = {id(parameter) for parameter in pretrained}
    fresh = [parameter for parameter in model.parameters() if id(parameter) not in known]
    rates = [config.learning_rate] + [config.pretrained_rate] * bool(pretrained)
    groups = [{'params': part} for part in (fresh, pretrained) if part]
    decay = SftConfig().weight_decay
    optimiser = torch.optim.AdamW(groups, lr=rates[0], weight_decay=decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=config.iterations)
    return optimiser, schedule


def line(iteration: int, training: dict, held_out: dict[str, float]) -> dict[str, float]:
    """Return one line of the curve."""
    return {
        'iteration': iteration,
        **{
            f'training_{name}': round(training[name].item(), 4)
            for name in ('action', 'steps_to_go')
        },
        **{f'validation_{name}': round(value, 4) for name, value in held_out.items()},
    }
