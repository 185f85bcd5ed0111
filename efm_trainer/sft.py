"""
Stage 1: supervised fine-tuning on demonstrations. Policy and reward model are chosen separately.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 1::

    L_BC  = -E[log p(a_t | o_t, g_t')]
    L_stg = -E[log p(t' - t | o_t, g_t')]

One model learns three objectives: action, steps-to-go and instruction. Its weights at one
iteration become the policy, those at another iteration the reward model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass, KW_ONLY
import json
from pathlib import Path
from typing import Any

from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Outcome
from efm_model.checkpoint import save_checkpoint
from efm_model.network import ENCODER_WEIGHTS, new_model
from efm_model.protocol import Model
from efm_model.text import InstructionEncoder
from efm_model.visuomotor import new_visuomotor
from efm_trainer.augmentation import Augmentation
from efm_trainer.config import SftConfig
from efm_trainer.detector import DetectorFigures, examine
from efm_trainer.imitation import (
    check_ranges,
    Imitation,
    make_objectives,
    OBJECTIVES,
    with_chunks,
)
import torch

Progress = Callable[[int, int, dict[str, float]], None]
KINDS = ('policy', 'reward')


@dataclass(frozen=True)
class SftResult:
    """
    The result of stage 1.

    :param policy: directory of the policy's checkpoint.
    :param reward: directory of the reward model's checkpoint.
    :param curve: training and validation losses at each validation, with the iteration.
    :param policy_iteration: iteration of the policy's weights.
    :param reward_iteration: iteration of the reward model's weights.
    :param demonstrations: number of training demonstrations.
    """

    policy: Path
    reward: Path
    _: KW_ONLY
    curve: list[dict[str, float]]
    policy_iteration: int
    reward_iteration: int
    demonstrations: int
    detector: list[DetectorFigures]


def fine_tune(
    episodes: Iterable[Episode],
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
    directory: str | Path,
    progress: Progress = lambda iteration, total, losses: None,
    model: Model | None = None,
    family: str = 'grounding',
) -> SftResult:
    """
    Train on demonstrations; write the checkpoints ``policy`` and ``reward``, and two JSON files.

    ``curve.json`` has the losses, ``detector.json`` what the success detector does on held-out
    demonstrations.

    :param episodes: demonstrations; failed ones are not used.
    :param text_encoder: of the model.
    :param directory: folder of the checkpoints; it is created.
    :param progress: called after each validation with iteration, number of iterations and losses.
    :param model: the model to train; None for a new one.
    :param family: of a new model, a key of ``NEW_MODELS``.
    :raises ValueError: when fewer than two demonstrations succeeded, or too many actions exceed
        their range.
    :raises FileExistsError: when the directory has checkpoints.
    """
    known = ' or '.join(NEW_MODELS)
    expect(model is not None or family in NEW_MODELS, 'model', known, family)
    training, held_out = split_demonstrations(episodes, config)
    check_ranges(training + held_out, embodiment)
    model = model or NEW_MODELS[family](training, embodiment, text_encoder, config)
    augment = Augmentation(config.seed) if config.augmentation else None
    unseen = make_objectives(model, held_out, embodiment, text_encoder, config)
    chosen, curve = _train(
        model,
        make_objectives(model, training, embodiment, text_encoder, config, augment),
        unseen,
        config,
        progress,
    )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        model.load_state_dict(chosen[kind].weights)
        save_checkpoint(
            directory / kind,
            model,
            embodiment,
            kind,
            1,
            iteration=chosen[kind].iteration,
            sft=asdict(config),
            demonstrations=len(training),
        )
    (directory / 'curve.json').write_text(json.dumps(curve, indent=1))
    # The model has the weights of the reward model now.
    detector = examine(unseen.predictions(), embodiment.episode)
    plain = [figures.to_plain() for figures in detector]
    (directory / 'detector.json').write_text(json.dumps(plain, indent=1))
    model.eval()
    return SftResult(
        directory / 'policy',
        directory / 'reward',
        curve=curve,
        policy_iteration=chosen['policy'].iteration,
        reward_iteration=chosen['reward'].iteration,
        demonstrations=len(training),
        detector=detector,
    )


def split_demonstrations(
    episodes: Iterable[Episode], config: SftConfig
) -> tuple[list[Episode], list[Episode]]:
    """
    Return the demonstrations for training and those for validation, the held-out ones.

    Failed demonstrations are not used. Unlabelled ones are targets for actions, not for
    steps-to-go. All held-out demonstrations succeeded.

    :raises ValueError: when fewer than two demonstrations succeeded.
    """
    usable = [e for e in episodes if len(e) and e.outcome is not Outcome.FAILURE]
    succeeded = [e for e in usable if e.outcome is Outcome.SUCCESS]
    if len(succeeded) < 2:
        raise ValueError(
            f'demonstrations: expected at least 2 that succeeded, '
            f'got {len(succeeded)} of {len(usable)}'
        )
    order = torch.randperm(len(succeeded), generator=torch.Generator().manual_seed(config.seed))
    count = max(1, round(config.validation_fraction * len(succeeded)))
    held_out = [succeeded[i] for i in order[:count]]
    held_out_ids = {id(episode) for episode in held_out}
    return [e for e in usable if id(e) not in held_out_ids], held_out


@dataclass(frozen=True)
class Snapshot:
    """
    Weights of the model at one iteration.

    :param weights: ``Model.state_dict()``.
    :param score: validation score by which the best snapshot is chosen; larger is better.
    """

    iteration: int
    weights: dict[str, torch.Tensor]
    _: KW_ONLY
    score: float


def _new_grounding(
    training: list[Episode],
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
) -> Model:
    """Return a new grounding model whose instruction head knows all training instructions."""
    return new_model(
        embodiment,
        config.seed,
        config.pretrained,
        _pieces_of(training, text_encoder),
        Path(config.encoder_weights or ENCODER_WEIGHTS),
        hidden_size=config.hidden_size,
    )


def _new_visuomotor(
    training: list[Episode],
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
) -> Model:
    """Return a new visuomotor model that standardises proprioception as in the training data."""
    pieces = _pieces_of(training, text_encoder)
    model = new_visuomotor(
        embodiment, config.seed, pieces, config.vision_backbone, hidden_size=config.hidden_size
    )
    if model.encoder.backbone is not None and config.backbone_learning_rate == 0:
        model.encoder.backbone.requires_grad_(False)
    values = []
    changes = []
    for episode in training:
        stride = with_chunks(episode, embodiment).stride
        measured = torch.from_numpy(episode.observations.proprioception)
        values.append(measured)
        changes.append(measured[stride:] - measured[:-stride])
    model.encoder.standardiser.fit(torch.cat(values), torch.cat(changes))
    return model


def _pieces_of(episodes: list[Episode], text_encoder: InstructionEncoder) -> tuple[str, ...]:
    """Return all word pieces of the instructions, in order."""
    return tuple(sorted({p for e in episodes for p in text_encoder.pieces(e.instruction)}))


# Model families that learn from demonstrations alone, and the functions that make a new one.
NEW_MODELS = {'grounding': _new_grounding, 'visuomotor': _new_visuomotor}


def _train(
    model: Model,
    training: Imitation,
    held_out: Imitation,
    config: SftConfig,
    progress: Progress,
) -> tuple[dict[str, Snapshot], list[dict[str, float]]]:
    """Train; return the snapshots for policy and reward model, and the curve of losses."""
    groups = parameter_groups(model, config)
    optimiser = torch.optim.AdamW(groups, weight_decay=config.weight_decay, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, [group['lr'] for group in groups], total_steps=config.iterations
    )
    chosen: dict[str, Snapshot] = {}
    curve = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # for dropout
        generator = torch.Generator().manual_seed(config.seed)
        model.train()
        for iteration in range(1, config.iterations + 1):
            losses = _step(model, training, optimiser, config, generator)
            schedule.step()
            if iteration % config.validate_every == 0 or iteration == config.iterations:
                scores = held_out.evaluate()
                curve.append(_curve_point(iteration, losses, scores))
                _keep_best(chosen, model, iteration, scores, config)
                progress(iteration, config.iterations, curve[-1])
    model.eval()
    return chosen, curve


def parameter_groups(model: Model, config: SftConfig) -> list[dict[str, Any]]:
    """
    Return the weights that stage 1 trains, in groups with their peak learning rates.

    A vision backbone is a group of its own.
    """
    backbone = getattr(model.encoder, 'backbone', None)
    pretrained = set(backbone.parameters()) if backbone is not None else set()
    groups: dict[float, list[torch.Tensor]] = {}
    for weight in model.parameters():
        if weight.requires_grad:
            own = weight in pretrained
            rate = config.backbone_learning_rate if own else config.learning_rate
            groups.setdefault(rate, []).append(weight)
    return [{'params': weights, 'lr': rate} for rate, weights in groups.items()]


def objective_counts(config: SftConfig) -> dict[str, int]:
    """Return the number of samples of each objective in one batch."""
    instruction = min(
        max(1, round(config.instruction_fraction * config.batch_size)), config.batch_size - 2
    )
    action = (config.batch_size - instruction + 1) // 2
    return {
        'action': action,
        'steps_to_go': config.batch_size - instruction - action,
        'instruction': instruction,
    }


def _step(
    model: Model,
    imitation: Imitation,
    optimiser: torch.optim.Optimizer,
    config: SftConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """Take one optimiser step on a batch of all objectives; return their losses."""
    batch = imitation.draw(objective_counts(config), generator)
    losses = dict.fromkeys(OBJECTIVES, 0.0)
    optimiser.zero_grad()
    for part in objective_microbatches(batch, model.max_batch_size):
        found = {
            name: loss * (len(part[name]) / len(batch[name]))
            for name, loss in imitation.losses(part).items()
        }
        sum(found.values(), torch.zeros(())).backward()
        for name, loss in found.items():
            losses[name] += float(loss.detach())
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    optimiser.step()
    return losses


def objective_microbatches(
    batch: dict[str, torch.Tensor], max_batch_size: int
) -> list[dict[str, torch.Tensor]]:
    """
    Return a batch in parts for one pass each, by objective.

    Without a limit, and within it, there is one part with all objectives. Beyond the limit each
    part has one objective.

    :param batch: indices of each objective, ``(B,)`` int64.
    :param max_batch_size: ``Model.max_batch_size``; 0 for no limit.
    """
    if not max_batch_size or sum(map(len, batch.values())) <= max_batch_size:
        return [batch]
    return [
        {name: part} for name, indices in batch.items() for part in indices.split(max_batch_size)
    ]


def _curve_point(
    iteration: int, losses: dict[str, float], scores: dict[str, float]
) -> dict[str, float]:
    """Return one point of the curve."""
    return {
        'iteration': iteration,
        **{f'training/{name}': loss for name, loss in losses.items()},
        **{f'validation/{name}': value for name, value in scores.items()},
    }


def _keep_best(
    chosen: dict[str, Snapshot],
    model: Model,
    iteration: int,
    scores: dict[str, float],
    config: SftConfig,
) -> None:
    """
    Store the weights of this iteration for each kind for which they are the best so far.

    The success of the policy still rises long after its best validation loss. The detector of the
    reward model still improves near the goal, where samples are few, after the best loss of
    steps-to-go.
    """
    for kind, objective, criterion in (
        ('policy', 'action', config.policy_checkpoint),
        ('reward', 'steps_to_go', config.reward_checkpoint),
    ):
        score = {
            'last': iteration,
            'loss': -scores[objective],
            'detector': scores['detector_f1'],
        }[criterion]
        if kind not in chosen or score >= chosen[kind].score:
            chosen[kind] = Snapshot(iteration, deepcopy(model.state_dict()), score=score)
