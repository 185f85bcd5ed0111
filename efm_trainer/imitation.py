"""
The objectives of stage 1 on a set of demonstrations: action, steps-to-go, instruction.

Letters as in ``dataset.py``; ``P`` word pieces of the longest instruction.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
import logging

from efm_core.chunks import to_chunks
from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode
from efm_core.tokeniser import ActionTokeniser
from efm_model.protocol import Model
from efm_model.text import InstructionEncoder
from efm_trainer.config import SftConfig
from efm_trainer.dataset import (
    EpisodeBatch,
    FEATURE_BATCH,
    feature_lookup,
    FeatureLookup,
    InputChange,
    microbatches,
    scene_lookup,
    to_batch,
    to_bins,
)
from efm_trainer.detector import HeldOut
from efm_trainer.losses import action_loss, instruction_loss, NO_PIECE, steps_to_go_loss
import numpy as np
import torch

# Larger fractions of actions outside of their range say that the embodiment is wrong.
MAX_CLIPPED = 0.05
LOG = logging.getLogger(__name__)
OBJECTIVES = ('action', 'steps_to_go', 'instruction')


class Imitation:
    """
    The three objectives of stage 1 on one set of demonstrations.

    :ivar indices: what each objective may draw: indices of observations for ``action`` and
        ``steps_to_go``, indices of episodes for ``instruction``; each ``(M,)`` int64.
    """

    def __init__(
        self,
        model: Model,
        batch: EpisodeBatch,
        *,
        pieces: torch.Tensor,
        embodiment: Embodiment,
        config: SftConfig,
        change: InputChange | None = None,
    ):
        """
        Compute the features of a frozen encoder.

        :param pieces: ids of each episode's instruction, padded with ``NO_PIECE``,
            ``(E, P + 1)`` int64.
        :param change: as in ``feature_lookup``.
        """
        self._model = model
        self._batch = batch
        self._pieces = pieces
        self._config = config
        self._values = torch.from_numpy(embodiment.steps_to_go.values)
        self._threshold = embodiment.episode.success_threshold
        self._stride = embodiment.action.chunk
        self._bins = to_bins(batch.steps_to_go, embodiment.steps_to_go)
        self._features = feature_lookup(model, batch, change)
        self._scenes = scene_lookup(model, batch)
        self.indices = {
            'action': batch.has_action.nonzero()[:, 0],
            'steps_to_go': batch.has_goal.nonzero()[:, 0],
            'instruction': torch.arange(len(batch.first)),
        }

    def losses(self, samples: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """
        Return the mean loss of each objective.

        :param samples: indices of each objective, ``(B,)`` int64, some of ``self.indices``.
        """
        features = self._features
        shared = [samples[name] for name in ('action', 'steps_to_go') if name in samples]
        if self._config.shared_samples and shared:
            features = self._encode_once(torch.cat(shared).unique())
        of = {
            'action': self._action_loss,
            'steps_to_go': self._steps_to_go_loss,
            'instruction': self._instruction_loss,
        }
        return {name: of[name](indices, features) for name, indices in samples.items()}

    def _encode_once(self, observations: torch.Tensor) -> FeatureLookup:
        """Return a lookup in the features of some observations, ``(B,)`` int64 in order."""
        features = self._features(observations)
        return lambda indices: features[torch.searchsorted(observations, indices)]

    def _action_loss(self, indices: torch.Tensor, features: FeatureLookup) -> torch.Tensor:
        tokens = self._batch.tokens[indices]
        return action_loss(self._model.policy_logits(features(indices), tokens), tokens)

    def _steps_to_go_loss(self, indices: torch.Tensor, features: FeatureLookup) -> torch.Tensor:
        logits = self._model.steps_to_go_logits(features(indices))
        return steps_to_go_loss(logits, self._bins[indices], self._config.label_smoothing_bins)

    def _instruction_loss(self, indices: torch.Tensor, _: FeatureLookup) -> torch.Tensor:
        first = self._scenes(self._batch.first[indices])
        last = self._scenes(self._batch.last[indices])
        pieces = self._pieces[indices]
        logits = self._model.instruction_logits(first, last, pieces[:, :-1].clamp(min=0))
        return instruction_loss(logits, pieces[:, 1:])

    def draw(
        self, counts: Mapping[str, int], generator: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """
        Return random indices of each objective, with repeats.

        With ``shared_samples``, action and steps-to-go take the same observations, as far as each
        has a target there; without any, an objective is left out.
        """
        if not self._config.shared_samples:
            return {
                name: choose(self.indices[name], count, generator)
                for name, count in counts.items()
            }
        batch = self._batch
        count = counts['action'] + counts['steps_to_go']
        drawn = choose((batch.has_action | batch.has_goal).nonzero()[:, 0], count, generator)
        samples = {
            'action': drawn[batch.has_action[drawn]],
            'steps_to_go': drawn[batch.has_goal[drawn]],
            'instruction': choose(self.indices['instruction'], counts['instruction'], generator),
        }
        return {name: indices for name, indices in samples.items() if len(indices)}

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """
        Return the mean loss of each objective on all demonstrations, and ``detector_f1``.

        The model is in evaluation mode during the call and in training mode after it.
        """
        self._model.eval()
        values = {name: self._mean_loss(name) for name in OBJECTIVES}
        values['detector_f1'] = self.detector_f1()
        self._model.train()
        return values

    def _mean_loss(self, objective: str) -> float:
        """Return the mean loss of an objective on all its indices."""
        indices = self.indices[objective]
        return sum(
            self.losses({objective: part})[objective].item() * (len(part) / len(indices))
            for part in microbatches(indices, self._model.max_batch_size)
        )

    def detector_f1(self) -> float:
        """Return the F1 score of the success detector d <= s against t' - t <= s."""
        indices = self.indices['steps_to_go']
        logits = torch.cat(
            [
                self._model.steps_to_go_logits(self._features(part))
                for part in microbatches(indices, self._model.max_batch_size)
            ]
        )
        detected = torch.softmax(logits, dim=-1) @ self._values <= self._threshold
        true = self._batch.steps_to_go[indices] <= self._threshold
        return (2 * (detected & true).sum() / (detected.sum() + true.sum())).item()

    @torch.no_grad()
    def predictions(self) -> list[HeldOut]:
        """
        Return d and the true steps-to-go of each demonstration, at the decisions of a policy.

        The model is in evaluation mode during the call and in training mode after it.
        """
        self._model.eval()
        parts = torch.arange(len(self._batch.frames)).split(
            self._model.max_batch_size or FEATURE_BATCH
        )
        logits = [self._model.steps_to_go_logits(self._features(part)) for part in parts]
        d = torch.softmax(torch.cat(logits), dim=-1) @ self._values
        self._model.train()
        found = []
        for first, last in zip(self._batch.first, self._batch.last, strict=True):
            # A robot with chunks observes only where a chunk begins; the last one is the goal.
            at = torch.arange(int(last), int(first) - 1, -self._stride).flip(0)
            found.append(HeldOut(d[at].numpy(), self._batch.steps_to_go[at].numpy()))
        return found


def choose(indices: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Return ``count`` random entries of ``indices``, with repeats."""
    return indices[torch.randint(len(indices), (count,), generator=generator)]


def with_chunks(episode: Episode, embodiment: Embodiment) -> Episode:
    """
    Return a demonstration with one chunk of actions for each of its control steps.

    The chunks overlap, so that the number of training samples stays the same. The previous frame
    of an observation is then H control steps earlier, as in the policy's input.

    :raises ValueError: when the demonstration has chunks of another length.
    """
    chunk = embodiment.action.chunk
    actions = episode.actions
    steps = actions.shape[1] if actions.ndim == 3 else 1
    where = f'episode {episode.episode_id}: chunk steps'
    expect(steps in (1, chunk), where, f'1 or {chunk}', steps)
    if steps == chunk:
        return episode
    return replace(
        episode,
        actions=to_chunks(actions, embodiment),
        stride=chunk,
        perturbed=in_chunks(episode.perturbed, chunk),
    )


def in_chunks(perturbed: np.ndarray | None, chunk: int) -> np.ndarray | None:
    """Return whether the chunk that begins at each control step has a perturbation, ``(T,)``."""
    if perturbed is None:
        return None
    return np.array([perturbed[t : t + chunk].any() for t in range(len(perturbed))], bool)


def check_ranges(episodes: list[Episode], embodiment: Embodiment) -> None:
    """
    Warn of demonstrated actions that exceed their range; the tokeniser replaces them.

    :raises ValueError: when the fraction exceeds ``MAX_CLIPPED``, with the worst episode.
    """
    tokeniser = ActionTokeniser(embodiment.action.single_step)
    clipped = [tokeniser.is_clipped(e.actions.reshape(-1, e.actions.shape[-1])) for e in episodes]
    count = sum(int(part.sum()) for part in clipped)
    if not count:
        return
    fraction = count / sum(map(len, clipped))
    worst = max(range(len(episodes)), key=lambda i: clipped[i].sum())
    what = (
        f'demonstrations: {count} actions ({fraction:.1%}) exceed action.low or action.high of '
        f'{embodiment.name}, most of them in episode {episodes[worst].episode_id}'
    )
    if fraction > MAX_CLIPPED:
        raise ValueError(
            f'{what}; expected at most {MAX_CLIPPED:.0%}, got more; widen the range in the '
            'embodiment, or record again'
        )
    LOG.warning('%s; stage 1 replaces them by the bound', what)


def make_objectives(
    model: Model,
    episodes: list[Episode],
    embodiment: Embodiment,
    text_encoder: InstructionEncoder,
    config: SftConfig,
    change: InputChange | None = None,
) -> Imitation:
    """
    Return the objectives of a model on demonstrations.

    :param change: as in ``feature_lookup``.
    :raises ValueError: when no episode has an action, or one has chunks of another length.
    """
    episodes = [with_chunks(episode, embodiment) for episode in episodes]
    batch = to_batch(episodes, text_encoder, ActionTokeniser(embodiment.action))
    pieces = torch.nn.utils.rnn.pad_sequence(
        [
            torch.tensor(model.encode_pieces(text_encoder.pieces(episode.instruction)))
            for episode in episodes
        ],
        batch_first=True,
        padding_value=NO_PIECE,
    )
    return Imitation(
        model,
        batch,
        pieces=pieces,
        embodiment=embodiment,
        config=config,
        change=change,
    )
