"""
Stage 1: supervised fine-tuning on demonstrations. Policy and reward model are chosen separately.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 1::

    L_BC  = -E[log p(a_t | o_t, g_t')]
    L_stg = -E[log p(t' - t | o_t, g_t')]

One model learns three objectives: action, steps-to-go and instruction. Its weights at one
iteration become the policy, those at another iteration the reward model. A separate reward model
is a network of its own. It learns steps-to-go and instruction from the
demonstrations and from labelled attempts of the robot. The policy is the same in both cases.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, KW_ONLY, replace
import json
from pathlib import Path
import shutil
from typing import Any

from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Outcome
from efm_data.labels import LabelledAttempt
from efm_model.checkpoint import save_checkpoint
from efm_model.network import ENCODER_WEIGHTS, new_model
from efm_model.protocol import Model
from efm_model.text import InstructionEncoder
from efm_model.visuomotor import new_visuomotor
from efm_trainer.attempts import AttemptSplit, split_attempts
from efm_trainer.augmentation import Augmentation
from efm_trainer.config import SftConfig
from efm_trainer.detector import DetectorReport, HeldOut, report
from efm_trainer.imitation import (
    check_ranges,
    Imitation,
    make_objectives,
    with_chunks,
)
from efm_trainer.prediction import predict_each
import torch

Progress = Callable[[int, int, dict[str, float]], None]
KINDS = ('policy', 'reward')
SECOND = 'second'  # checkpoint of the second reward model
# Added to the seed of the policy: the seeds of networks that are reward models alone.
REWARD_SEED = 1_000_000
SECOND_SEED = 2_000_000
MOST_SEEDS = 2**31


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
    :param detector: what the success detector does on held-out episodes.
    """

    policy: Path
    reward: Path
    _: KW_ONLY
    curve: list[dict[str, float]]
    policy_iteration: int
    reward_iteration: int
    demonstrations: int
    detector: DetectorReport


def fine_tune(
    episodes: Iterable[Episode],
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
    directory: str | Path,
    progress: Progress = lambda iteration, total, losses: None,
    model: Model | None = None,
    family: str = 'grounding',
    attempts: Sequence[LabelledAttempt] = (),
) -> SftResult:
    """
    Train on demonstrations; write the checkpoints ``policy`` and ``reward``, and JSON files.

    ``curve.json`` has the losses, ``detector.json`` what the success detector does on held-out
    demonstrations and attempts. A separate reward network has ``reward_curve.json``.

    :param episodes: demonstrations; failed ones are not used.
    :param text_encoder: of the model.
    :param directory: folder of the checkpoints; it is created.
    :param progress: called after each validation with iteration, number of iterations and losses.
    :param model: the model to train; None for a new one.
    :param family: of a new model, a key of ``NEW_MODELS``.
    :param attempts: labelled attempts of the robot; only a separate reward network learns from
        them.
    :raises ValueError: when fewer than two demonstrations succeeded, too many actions exceed their
        range, or a shared reward network has attempts.
    :raises FileExistsError: when the directory has checkpoints.
    """
    known = ' or '.join(NEW_MODELS)
    expect(model is not None or family in NEW_MODELS, 'model', known, family)
    is_separate = has_separate_reward(config, attempts)
    named = 'reward_network'
    expect(is_separate or not attempts, named, 'separate, to learn from attempts', 'shared')
    expect(model is None or not is_separate, named, 'shared, for a given model', 'separate')
    data = _split(episodes, attempts, embodiment, text_encoder, config)
    model = model or NEW_MODELS[family](data.training, embodiment, text_encoder, config)
    augment = Augmentation(config.seed) if config.augmentation else None
    unseen = make_objectives(model, data.held_out, embodiment, text_encoder, config)
    total = network_count(config, attempts) * config.iterations
    chosen, curve = _train(
        model,
        make_objectives(model, data.training, embodiment, text_encoder, config, augment),
        unseen,
        config,
        lambda iteration, _, losses: progress(iteration, total, losses),
    )
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for kind in KINDS[:1] if is_separate else KINDS:
        _save(model, directory / kind, chosen[kind], data, kind)
    (directory / 'curve.json').write_text(json.dumps(curve, indent=1))

    def show(iteration: int, losses: dict[str, float]) -> None:
        progress(config.iterations + iteration, total, losses)

    if is_separate:
        reward_iteration, detector = _add_reward_models(data, directory, family, show)
    else:
        # The model has the weights of the reward model now.
        reward_iteration = chosen['reward'].iteration
        found = report(unseen.predictions(), (), embodiment.episode)
        detector = _with_second(found, data, directory, family, show)
    model.eval()
    return SftResult(
        directory / 'policy',
        directory / 'reward',
        curve=curve,
        policy_iteration=chosen['policy'].iteration,
        reward_iteration=reward_iteration,
        demonstrations=len(data.training),
        detector=detector,
    )


def has_separate_reward(config: SftConfig, attempts: Sequence[LabelledAttempt]) -> bool:
    """Return whether the reward model is a network of its own."""
    if config.reward_network == 'auto':
        return bool(attempts)
    return config.reward_network == 'separate'


def network_count(config: SftConfig, attempts: Sequence[LabelledAttempt] = ()) -> int:
    """Return how many networks stage 1 trains, each for ``config.iterations``."""
    return 1 + has_separate_reward(config, attempts) + config.second_reward


def retrain_reward(
    policy: Path,
    episodes: Iterable[Episode],
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
    directory: str | Path,
    progress: Progress = lambda iteration, total, losses: None,
    family: str = 'visuomotor',
    attempts: Sequence[LabelledAttempt] = (),
) -> DetectorReport:
    """
    Train only the reward models, for a policy that stays; write all checkpoints.

    Arguments and errors as ``fine_tune``. The reward network is a separate one.

    :param policy: checkpoint of the policy; it is copied.
    :return: what the success detector does on held-out episodes.
    :raises FileNotFoundError: when there is no such checkpoint.
    """
    if not policy.is_dir():
        raise FileNotFoundError(f'policy: expected the checkpoint of stage 1, got no {policy}')
    config = replace(config, reward_network='separate')
    data = _split(episodes, attempts, embodiment, text_encoder, config)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copytree(policy, directory / 'policy')
    total = (network_count(config) - 1) * config.iterations
    _, detector = _add_reward_models(
        data, directory, family, lambda iteration, losses: progress(iteration, total, losses)
    )
    return detector


@dataclass(frozen=True)
class _Data:
    """
    The data of stage 1, split by episode.

    :param training: demonstrations.
    :param held_out: demonstrations that succeeded.
    """

    training: list[Episode]
    held_out: list[Episode]
    _: KW_ONLY
    attempts: AttemptSplit
    embodiment: Embodiment
    text_encoder: InstructionEncoder
    config: SftConfig


def _split(
    episodes: Iterable[Episode],
    attempts: Sequence[LabelledAttempt],
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
) -> _Data:
    """Return the data of stage 1; errors as ``fine_tune``."""
    training, held_out = split_demonstrations(episodes, config)
    check_ranges(training + held_out, embodiment)
    return _Data(
        training,
        held_out,
        attempts=split_attempts(attempts, config.attempt_validation_fraction, config.seed),
        embodiment=embodiment,
        text_encoder=text_encoder,
        config=config,
    )


def _save(model: Model, directory: Path, chosen: Snapshot, data: _Data, kind: str) -> None:
    """Load the weights of a snapshot into a model, and write them as a checkpoint."""
    model.load_state_dict(chosen.weights)
    save_checkpoint(
        directory,
        model,
        data.embodiment,
        kind,
        1,
        iteration=chosen.iteration,
        sft=asdict(data.config),
        demonstrations=len(data.training),
        attempts=len(data.attempts.training),
    )


def _add_reward_models(
    data: _Data,
    directory: Path,
    family: str,
    progress: Callable[[int, dict[str, float]], None],
) -> tuple[int, DetectorReport]:
    """
    Train the separate reward models; write their checkpoints and the figures of the detector.

    :param progress: called after each validation with iteration and losses.
    :return: the iteration of its weights, and the figures.
    """
    config = data.config
    model, chosen, curve = _train_reward(
        data, family, REWARD_SEED, progress, config.reward_proprioception
    )
    _save(model, directory / 'reward', chosen, data, 'reward')
    (directory / 'reward_curve.json').write_text(json.dumps(curve, indent=1))
    found = report(*_held_out(model, data), data.embodiment.episode)
    detector = _with_second(
        found,
        data,
        directory,
        family,
        lambda iteration, losses: progress(config.iterations + iteration, losses),
    )
    return chosen.iteration, detector


def _with_second(
    detector: DetectorReport,
    data: _Data,
    directory: Path,
    family: str,
    progress: Callable[[int, dict[str, float]], None],
) -> DetectorReport:
    """
    Train the second reward model if it is wanted; write its checkpoint and all figures.

    It has another seed and never sees the proprioception.

    :param detector: figures of the first one.
    """
    if data.config.second_reward:
        second, best, _ = _train_reward(data, family, SECOND_SEED, progress)
        _save(second, directory / SECOND, best, data, 'reward')
        found = report(*_held_out(second, data), data.embodiment.episode, dwells=())
        detector = replace(detector, second=found.proposed)
    detector.write(directory)
    return detector


def _train_reward(
    data: _Data,
    family: str,
    seed: int,
    progress: Callable[[int, dict[str, float]], None],
    proprioception: bool = False,
) -> tuple[Model, Snapshot, list[dict[str, float]]]:
    """
    Train a network on steps-to-go and instruction alone.

    :param seed: added to the seed of the policy.
    :param proprioception: whether the network uses it.
    :return: the model, its best weights, and the curve of losses.
    """
    config = replace(
        data.config, seed=(data.config.seed + seed) % MOST_SEEDS, shared_samples=False
    )
    robot = data.embodiment
    encoder = data.text_encoder
    model = NEW_MODELS[family](
        data.training, robot, encoder, config, proprioception=proprioception
    )
    augment = Augmentation(config.seed) if config.augmentation else None
    episodes = [*data.training, *data.attempts.successes]
    failures = data.attempts.failures
    chosen, curve = _train(
        model,
        make_objectives(model, episodes, robot, encoder, config, augment, failures),
        make_objectives(model, data.held_out, robot, encoder, config),
        config,
        lambda iteration, _, losses: progress(iteration, losses),
        kinds=KINDS[1:],
    )
    return model, chosen['reward'], curve


def _held_out(model: Model, data: _Data) -> tuple[list[HeldOut], list[HeldOut]]:
    """Return what a reward model predicts for held-out demonstrations and attempts."""
    robot = data.embodiment
    encoder = data.text_encoder
    demonstrations = make_objectives(model, data.held_out, robot, encoder, data.config)
    episodes = [attempt.episode for attempt in data.attempts.held_out]
    model.eval()
    d = predict_each(model, episodes, encoder, robot.steps_to_go)
    attempts = [
        HeldOut(part, attempt.success_at)
        for part, attempt in zip(d, data.attempts.held_out, strict=True)
    ]
    found = demonstrations.predictions()
    model.eval()
    return found, attempts


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
    proprioception: bool = True,
) -> Model:
    """
    Return a new grounding model whose instruction head knows all training instructions.

    :param proprioception: not used: this model has none.
    """
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
    proprioception: bool = True,
) -> Model:
    """
    Return a new visuomotor model that standardises proprioception as in the training data.

    :param proprioception: whether the model uses it.
    """
    pieces = _pieces_of(training, text_encoder)
    model = new_visuomotor(
        embodiment,
        config.seed,
        pieces,
        config.vision_backbone,
        proprioception,
        hidden_size=config.hidden_size,
    )
    if model.encoder.backbone is not None and config.backbone_learning_rate == 0:
        model.encoder.backbone.requires_grad_(False)
    if not proprioception:
        return model
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
    kinds: Sequence[str] = KINDS,
) -> tuple[dict[str, Snapshot], list[dict[str, float]]]:
    """
    Train; return the snapshots for policy and reward model, and the curve of losses.

    :param kinds: which of the two the model becomes; a reward model learns no actions.
    """
    counts = objective_counts(config, has_policy='policy' in kinds)
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
            losses = _step(model, training, optimiser, config, counts, generator)
            schedule.step()
            if iteration % config.validate_every == 0 or iteration == config.iterations:
                scores = held_out.evaluate(counts)
                curve.append(_curve_point(iteration, losses, scores))
                for kind in kinds:
                    _keep_best(chosen, model, iteration, scores, config, kind)
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


def objective_counts(config: SftConfig, has_policy: bool = True) -> dict[str, int]:
    """
    Return the number of samples of each objective in one batch.

    :param has_policy: whether the network learns actions; if not, steps-to-go has their samples.
    """
    instruction = min(
        max(1, round(config.instruction_fraction * config.batch_size)), config.batch_size - 2
    )
    if not has_policy:
        return {'steps_to_go': config.batch_size - instruction, 'instruction': instruction}
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
    counts: Mapping[str, int],
    generator: torch.Generator,
) -> dict[str, float]:
    """Take one optimiser step on a batch of all objectives; return their losses."""
    batch = imitation.draw(counts, generator)
    losses = dict.fromkeys(counts, 0.0)
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
    kind: str,
) -> None:
    """
    Store the weights of this iteration if they are the best so far for a kind.

    The success of the policy still rises long after its best validation loss. The detector of the
    reward model still improves near the goal, where samples are few, after the best loss of
    steps-to-go.
    """
    objective, criterion = {
        'policy': ('action', config.policy_checkpoint),
        'reward': ('steps_to_go', config.reward_checkpoint),
    }[kind]
    score = {
        'last': iteration,
        'loss': -scores[objective],
        'detector': scores['detector_f1'],
    }[criterion]
    if kind not in chosen or score >= chosen[kind].score:
        chosen[kind] = Snapshot(iteration, deepcopy(model.state_dict()), score=score)
