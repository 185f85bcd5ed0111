"""
A reward model with one more bin, 'not from here', and what it learns that bin from.

Source: the idea of negatives made from demonstrations is that of ReWiND (Zhang et al. 2025,
arXiv:2505.10911). Letters: ``N`` observations, ``F`` features, ``C`` bins of the embodiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode, Termination
from efm_experiments.config import text_encoder
from efm_model.network import CompactModel, FEATURES
from efm_trainer.dataset import (
    compute_all_features,
    compute_features,
    EpisodeBatch,
    to_batch,
    to_bins,
)
from efm_trainer.losses import smooth_targets
import torch
from torch import nn

MOTION = slice(16, 22)  # of the features: how effector, source and target moved
NEAR_END = 10  # observations before a demonstration's last where a careless detector may fire
UNSURE = 5  # steps before a detected success that teach nothing: they are what it believes already
SMOOTHING = 0.5  # of the targets [bins], as in stage 1
BATCH = 256


@dataclass(frozen=True)
class Lessons:
    """
    Observations with what to say of them.

    :param features: ``(N, F)`` float32.
    :param bins: ``(N,)`` int64, from 0 to ``C - 1``; ``C`` is 'not from here'.
    """

    features: torch.Tensor
    bins: torch.Tensor


class Cautious(nn.Module):
    """
    Steps-to-go with an extra bin that is worth the largest number of steps.

    Outside it looks like any reward model: the extra bin's mass is added to the last one, so that
    d, reward and detector need not know.
    """

    def __init__(self, plain: CompactModel):
        """Begin with what ``plain`` says, and hardly ever 'not from here'."""
        super().__init__()
        self.plain = plain
        self.config = plain.config
        self.grounding = plain.grounding
        self.trunk = deepcopy(plain.trunk).requires_grad_(True)
        bins, hidden = plain.steps_to_go.weight.shape
        self.out = nn.Linear(hidden, bins + 1)
        with torch.no_grad():
            self.out.weight.copy_(nn.functional.pad(plain.steps_to_go.weight, (0, 0, 0, 1)))
            self.out.bias.copy_(nn.functional.pad(plain.steps_to_go.bias, (0, 1), value=-4.0))
        self.eval()

    def encode_frames(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the frozen encoder sees."""
        return self.plain.encode_frames(frames)

    def ground(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the features."""
        return self.plain.ground(*inputs)

    def all_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of every bin and of 'not from here', ``(N, C + 1)``."""
        return self.out(self.trunk(features))

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of the embodiment's bins, ``(N, C)``."""
        logits = self.all_logits(features)
        last = torch.logaddexp(logits[:, -2], logits[:, -1])
        return torch.cat([logits[:, :-2], last[:, None]], dim=1)


def teach(
    model: Cautious, lessons: Sequence[tuple[Lessons, float]], iterations: int, seed: int
) -> None:
    """Train trunk and bins of ``model``; each batch has a given share of each of ``lessons``."""
    lessons = [(part, share) for part, share in lessons if len(part.bins)]
    learned = [*model.trunk.parameters(), *model.out.parameters()]
    for parameter in learned:
        parameter.requires_grad_(True)
    optimiser = torch.optim.AdamW(learned, weight_decay=1e-2, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=iterations)
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # of dropout
        model.trunk.train()
        for _ in range(iterations):
            drawn = [draw(part, round(share * BATCH), generator) for part, share in lessons]
            features = torch.cat([part.features for part in drawn])
            loss = cautious_loss(
                model.all_logits(features), torch.cat([part.bins for part in drawn])
            )
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(learned, 1.0)
            optimiser.step()
            schedule.step()
    model.eval().requires_grad_(False)


def draw(lessons: Lessons, count: int, generator: torch.Generator) -> Lessons:
    """Return ``count`` lessons drawn evenly."""
    rows = torch.randint(len(lessons.bins), (count,), generator=generator)
    return Lessons(lessons.features[rows], lessons.bins[rows])


def cautious_loss(logits: torch.Tensor, bins: torch.Tensor) -> torch.Tensor:
    """
    Return the cross-entropy against smoothed steps-to-go, or 'not from here' as it is [nats].

    :param logits: ``(N, C + 1)``; ``bins`` as in ``Lessons``.
    """
    never = logits.shape[-1] - 1
    smooth = smooth_targets(bins.clamp(max=never - 1), never, SMOOTHING)
    targets = nn.functional.pad(smooth, (0, 1))
    targets[bins == never] = nn.functional.one_hot(torch.tensor(never)).to(targets.dtype)
    return nn.functional.cross_entropy(logits, targets)


def at_rest(features: torch.Tensor) -> torch.Tensor:
    """Return the features, ``(N, F)``, of the same observations if nothing had moved."""
    still = features.clone()
    still[:, MOTION] = 0
    return still


def rewound(features: torch.Tensor) -> torch.Tensor:
    """Return the features of one episode played backwards, all but its last, ``(T, F)``."""
    back = features[:-1].clone()
    back[:, MOTION] = -features[1:, MOTION]
    return back


def demonstrated(features: torch.Tensor, samples: EpisodeBatch, scale: StepsToGoRange) -> Lessons:
    """
    Return demonstrations forwards, backwards and at rest.

    How far it is to the goal does not depend on where things are moving: so motion alone can fool
    nobody, and a robot that waits at its goal is still there.
    """
    bins = to_bins(samples.steps_to_go, scale)
    ends = zip(samples.first, samples.last, strict=True)
    back = torch.cat([rewound(features[first : last + 1]) for first, last in ends])
    return Lessons(
        torch.cat([features, at_rest(features), back]),
        torch.cat([bins, bins, bins[samples.has_action]]),
    )


def mismatched(
    model: nn.Module, samples: EpisodeBatch, scale: StepsToGoRange, seed: int
) -> Lessons:
    """
    Return the ends of demonstrations under the instruction of another one: 'not from here'.

    By accident a few of these goals hold; nobody but the simulator could tell which.
    """
    generator = torch.Generator().manual_seed(seed)
    away = 1 + torch.randint(
        len(samples.sentence) - 1, samples.sentence.shape, generator=generator
    )
    other = samples.sentence[(torch.arange(len(away)) + away) % len(away)]
    wrong = replace(samples, sentence=other)
    of_episode = wrong.episode
    rows = (samples.steps_to_go <= NEAR_END) & (other != samples.sentence)[of_episode]
    with torch.no_grad():
        found = [compute_features(model, wrong, part) for part in rows.nonzero()[:, 0].split(64)]
    features = torch.cat(found) if found else torch.zeros(0, FEATURES)
    return Lessons(features, torch.full((len(features),), scale.bins))


def attempted(
    model: nn.Module, episodes: list[Episode], scale: StepsToGoRange, threshold: float
) -> Lessons:
    """
    Return what the robot can know of its own attempts.

    'Not from here' wherever it ran out of time, unless it seemed to be there (d <= s) for a
    moment; steps-to-go where it was detected, but for the last few steps.
    """
    samples = to_batch(episodes, text_encoder())
    late = torch.tensor([e.termination is Termination.TIMEOUT for e in episodes])[samples.episode]
    d = torch.cat([torch.from_numpy(e.steps_to_go) for e in episodes])
    bins = torch.where(late, scale.bins, to_bins(samples.steps_to_go, scale))
    known = torch.where(late, d > threshold, samples.steps_to_go >= UNSURE)
    return Lessons(compute_all_features(model, samples)[known], bins[known])
