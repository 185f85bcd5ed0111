"""
Stage 1: supervised fine-tuning on demonstrations; policy and reward are chosen separately.

Source: Ghasemipour et al. 2025 (arXiv:2509.15155), Stage 1::

    L_BC  = -E[log p(a_t | o_t, g_t')]
    L_stg = -E[log p(t' - t | o_t, g_t')]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import asdict, dataclass, KW_ONLY
import json
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Outcome
from efm_model.checkpoint import save_checkpoint
from efm_model.network import ENCODER_WEIGHTS, new_model
from efm_model.protocol import Model
from efm_model.text import TextEncoder
from efm_trainer.config import SftConfig
from efm_trainer.imitation import Imitation, make_objectives, OBJECTIVES
import torch

Progress = Callable[[int, int, dict], None]


@dataclass(frozen=True)
class SftResult:
    """
    Where stage 1 left its checkpoints.

    :param curve: losses at each validation, with their iteration.
    :param reward_iteration: the step that became the reward checkpoint.
    """

    policy: Path
    reward: Path
    _: KW_ONLY
    curve: list[dict[str, float]]
    policy_iteration: int
    reward_iteration: int


def fine_tune(
    episodes: Iterable[Episode],
    embodiment: Embodiment,
    encoder: TextEncoder,
    config: SftConfig,
    directory: str | Path,
    progress: Progress = lambda iteration, total, losses: None,
    model: Model | None = None,
) -> SftResult:
    """
    Learn from demonstrations; write the checkpoints ``policy`` and ``reward`` into ``directory``.

    :param encoder: of sentences, the model's own.
    :param model: what learns; without one, a new compact model.
    :param progress: called at each validation with iteration, total and losses.
    :raises ValueError: when there are too few demonstrations, or none that succeeded.
    """
    learning, held_out = split(episodes, config)
    model = model or _new_compact(learning, embodiment, encoder, config)
    imitation = make_objectives(model, learning, embodiment, encoder, config)
    check = make_objectives(model, held_out, embodiment, encoder, config)
    chosen, curve = _run(model, imitation, check, config, progress)
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    notes = {'sft': asdict(config), 'demonstrations': len(learning)}
    for kind in ('policy', 'reward'):
        model.load_state_dict(chosen[kind].weights)
        iteration = {'iteration': chosen[kind].iteration}
        save_checkpoint(directory / kind, model, embodiment, kind, 1, **iteration, **notes)
    (directory / 'curve.json').write_text(json.dumps(curve, indent=1))
    return SftResult(
        directory / 'policy',
        directory / 'reward',
        curve=curve,
        policy_iteration=chosen['policy'].iteration,
        reward_iteration=chosen['reward'].iteration,
    )


def split(episodes: Iterable[Episode], config: SftConfig) -> tuple[list[Episode], list[Episode]]:
    """
    Return the demonstrations to learn from and those held out, both with at least one success.

    A failed demonstration teaches nothing. An unlabelled one teaches actions, but not steps-to-go.

    :raises ValueError: when there are fewer than two successful ones.
    """
    usable = [e for e in episodes if len(e) and e.outcome is not Outcome.FAILURE]
    reached = [e for e in usable if e.outcome is Outcome.SUCCESS]
    if len(reached) < 2:
        raise ValueError(
            f'demonstrations: expected at least 2 that succeeded, '
            f'got {len(reached)} of {len(usable)}'
        )
    order = torch.randperm(len(reached), generator=torch.Generator().manual_seed(config.seed))
    count = max(1, round(config.validation_fraction * len(reached)))
    held_out = {id(reached[i]) for i in order[:count]}
    return [e for e in usable if id(e) not in held_out], [reached[i] for i in order[:count]]


@dataclass(frozen=True)
class Snapshot:
    """Weights at one step, and the score they are chosen by."""

    iteration: int
    weights: dict[str, torch.Tensor]
    _: KW_ONLY
    score: float


def _new_compact(
    learning: list[Episode], embodiment: Embodiment, encoder: TextEncoder, config: SftConfig
) -> Model:
    """Return a new model that knows the words of its demonstrations."""
    words = {piece for e in learning for piece in encoder.pieces(e.instruction)}
    return new_model(
        embodiment,
        config.seed,
        config.pretrained,
        tuple(sorted(words)),
        Path(config.encoder_weights or ENCODER_WEIGHTS),
        hidden_size=config.hidden_size,
    )


def _run(
    model: Model,
    imitation: Imitation,
    check: Imitation,
    config: SftConfig,
    progress: Progress,
) -> tuple[dict[str, Snapshot], list[dict[str, float]]]:
    """Train; return the snapshots that become policy and reward, and the curve."""
    optimiser = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad],
        weight_decay=config.weight_decay,
        fused=True,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, total_steps=config.iterations
    )
    chosen = {}
    curve = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # of dropout
        generator = torch.Generator().manual_seed(config.seed)
        model.train()
        for iteration in range(1, config.iterations + 1):
            losses = _step(model, imitation, optimiser, config, generator)
            schedule.step()
            if iteration % config.validate_every == 0 or iteration == config.iterations:
                held_out = check.all()
                curve.append(_row(iteration, losses, held_out))
                _choose(chosen, model, iteration, held_out, config)
                progress(iteration, config.iterations, curve[-1])
    model.eval()
    return chosen, curve


def counts(config: SftConfig) -> tuple[int, int, int]:
    """Return how many samples of a batch each objective has, in their order."""
    instruction = min(
        max(1, round(config.instruction_fraction * config.batch_size)), config.batch_size - 2
    )
    action = (config.batch_size - instruction + 1) // 2
    return action, config.batch_size - instruction - action, instruction


def _step(
    model: Model,
    imitation: Imitation,
    optimiser: torch.optim.Optimizer,
    config: SftConfig,
    generator: torch.Generator,
) -> dict[str, float]:
    """Take one optimiser step on a batch split over the objectives; return the losses."""
    shares = dict(zip(OBJECTIVES, counts(config), strict=True))
    rows = {name: imitation.draw(name, count, generator) for name, count in shares.items()}
    losses = dict.fromkeys(OBJECTIVES, 0.0)
    optimiser.zero_grad()
    for part in passes(rows, model.max_batch_size):
        found = {
            name: getattr(imitation, name)(drawn) * (len(drawn) / shares[name])
            for name, drawn in part.items()
        }
        sum(found.values()).backward()
        for name, loss in found.items():
            losses[name] += loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.gradient_clip)
    optimiser.step()
    return losses


def passes(rows: dict[str, torch.Tensor], max_batch_size: int) -> list[dict[str, torch.Tensor]]:
    """Return the rows of each pass through the model; all objectives in one, if it takes them."""
    if not max_batch_size:
        return [rows]
    return [{name: part} for name, drawn in rows.items() for part in drawn.split(max_batch_size)]


def _row(iteration: int, losses: dict, held_out: dict[str, float]) -> dict[str, float]:
    """Return one line of the curve."""
    return {
        'iteration': iteration,
        **{f'training/{name}': float(loss) for name, loss in losses.items()},
        **{f'validation/{name}': value for name, value in held_out.items()},
    }


def _choose(
    chosen: dict[str, Snapshot],
    model: Model,
    iteration: int,
    held_out: dict[str, float],
    config: SftConfig,
) -> None:
    """
    Keep the weights of this step where they are better.

    The policy's success keeps rising long after its validation loss is at its best. So does the
    detector's sharpness near the goal, where few samples are, after the best loss of steps-to-go.
    """
    for kind, objective, word in (
        ('policy', 'action', config.policy_checkpoint),
        ('reward', 'steps_to_go', config.reward_checkpoint),
    ):
        scores = {
            'last': iteration,
            'loss': -held_out[objective],
            'detector': held_out['detector_f1'],
        }
        if kind not in chosen or scores[word] >= chosen[kind].score:
            chosen[kind] = Snapshot(iteration, deepcopy(model.state_dict()), score=scores[word])
