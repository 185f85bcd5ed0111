"""The three objectives of stage 1 on a set of demonstrations: action, steps-to-go, instruction."""

from __future__ import annotations

from dataclasses import replace

from efm_core.chunks import to_chunks
from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode
from efm_core.tokeniser import ActionTokeniser
from efm_model.protocol import Model
from efm_model.text import TextEncoder
from efm_trainer.config import SftConfig
from efm_trainer.dataset import (
    features_of,
    microbatches,
    Samples,
    scenes_of,
    to_bins,
    to_samples,
)
from efm_trainer.losses import action_loss, instruction_loss, NO_PIECE, steps_to_go_loss
import torch

OBJECTIVES = ('action', 'steps_to_go', 'instruction')


class Imitation:
    """
    The three objectives on one set of demonstrations.

    :param pieces: each instruction in the numbers of the instruction head, ``(E, P + 1)``.
    """

    def __init__(
        self,
        model: Model,
        samples: Samples,
        *,
        pieces: torch.Tensor,
        embodiment: Embodiment,
        width: float,
    ):
        """Cache what a frozen encoder sees; ``width`` smooths the steps-to-go targets [bins]."""
        self._model = model
        self._samples = samples
        self._pieces = pieces
        self._width = width
        self._values = torch.from_numpy(embodiment.steps_to_go.values)
        self._threshold = embodiment.episode.success_threshold
        self._bins = to_bins(samples.steps_to_go, embodiment.steps_to_go)
        self._features = features_of(model, samples)
        self._scenes = scenes_of(model, samples)
        self.rows = {
            'action': samples.has_action.nonzero()[:, 0],
            'steps_to_go': samples.has_goal.nonzero()[:, 0],
            'instruction': torch.arange(len(samples.first)),
        }

    def action(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the action loss on observations ``rows``."""
        logits = self._model.policy_logits(self._features(rows), self._samples.tokens[rows])
        return action_loss(logits, self._samples.tokens[rows])

    def steps_to_go(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the steps-to-go loss on observations ``rows``."""
        logits = self._model.steps_to_go_logits(self._features(rows))
        return steps_to_go_loss(logits, self._bins[rows], self._width)

    def instruction(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the instruction loss on the episodes ``rows``."""
        first, last = (self._scenes(at[rows]) for at in (self._samples.first, self._samples.last))
        pieces = self._pieces[rows]
        logits = self._model.instruction_logits(first, last, pieces[:, :-1].clamp(min=0))
        return instruction_loss(logits, pieces[:, 1:])

    def draw(self, objective: str, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return ``count`` rows of one objective, drawn evenly."""
        rows = self.rows[objective]
        return rows[torch.randint(len(rows), (count,), generator=generator)]

    @torch.no_grad()
    def all(self) -> dict[str, float]:
        """Return every objective, and the detector's F1, on everything, in inference mode."""
        self._model.eval()
        losses = {name: self._mean(name) for name in OBJECTIVES}
        losses['detector_f1'] = self.detector_f1()
        self._model.train()
        return losses

    def _mean(self, name: str) -> float:
        """Return an objective on all its rows."""
        rows = self.rows[name]
        return sum(
            getattr(self, name)(part).item() * (len(part) / len(rows))
            for part in microbatches(rows, self._model.max_batch_size)
        )

    def detector_f1(self) -> float:
        """Return the F1 of d <= s against t' - t <= s."""
        rows = self.rows['steps_to_go']
        logits = torch.cat(
            [
                self._model.steps_to_go_logits(self._features(part))
                for part in microbatches(rows, self._model.max_batch_size)
            ]
        )
        said = torch.softmax(logits, dim=-1) @ self._values <= self._threshold
        true = self._samples.steps_to_go[rows] <= self._threshold
        return (2 * (said & true).sum() / (said.sum() + true.sum())).item()


def with_chunks(episode: Episode, robot: Embodiment) -> Episode:
    """
    Return a demonstration with chunks, one from each of its control steps.

    So it is as many samples as it was, of every phase that a chunk may begin at. The observation
    that counts as the one before is H control steps earlier, as it will be for the policy.

    :raises ValueError: when it has chunks of another length.
    """
    chunk = robot.action.chunk
    shown = episode.actions
    rows = shown.shape[1] if shown.ndim == 3 else 1
    expect(rows in (1, chunk), f'episode {episode.episode_id}: rows', f'1 or {chunk}', rows)
    if rows == chunk:
        return episode
    return replace(episode, actions=to_chunks(shown, robot), stride=chunk)


def make_objectives(
    model: Model,
    episodes: list[Episode],
    embodiment: Embodiment,
    encoder: TextEncoder,
    config: SftConfig,
) -> Imitation:
    episodes = [with_chunks(episode, embodiment) for episode in episodes]
    samples = to_samples(episodes, encoder, ActionTokeniser(embodiment.action))
    numbers = [torch.tensor(model.encode_pieces(encoder.pieces(e.instruction))) for e in episodes]
    pieces = torch.nn.utils.rnn.pad_sequence(numbers, batch_first=True, padding_value=NO_PIECE)
    return Imitation(
        model, samples, pieces=pieces, embodiment=embodiment, width=config.label_smoothing_bins
    )
