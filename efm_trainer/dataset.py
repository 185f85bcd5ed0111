"""
Episodes as training arrays.

Letters: ``N`` observations of all episodes, ``E`` episodes, ``T`` actions of one, ``K`` tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, KW_ONLY

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode, Outcome
from efm_core.tokeniser import ActionTokeniser
from efm_model.network import CompactModel
from efm_model.protocol import Model
from efm_model.text import TextEncoder
import numpy as np
import torch

CHUNK = 64  # observations whose features are computed at once; more no longer fit into a cache
Features = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Samples:
    """
    Observations with everything that may be learned from them.

    :param frames: ``(N, H, W, 3)`` uint8 RGB.
    :param previous: ``(N,)`` int64, row of the frame that the policy saw before; a first frame is
        its own.
    :param tokens: ``(N, K)`` int64; zeros where ``has_action`` is false.
    :param has_action: ``(N,)`` bool; the last observation of an episode has none.
    :param steps_to_go: ``(N,)`` float32, t' - t [steps], where ``has_goal``: the decisions that
        are left, and a chunk that is not whole counts as one.
    :param has_goal: ``(N,)`` bool, the episode is known to reach its goal at its last observation.
    :param episode: ``(N,)`` int64, which episode an observation belongs to.
    :param sentence: ``(E,)`` int64, row of ``text`` that holds the episode's instruction.
    :param first: ``(E,)`` int64, rows of the first observations; ``last`` of the last ones.
    :param text: token states of the different sentences, ``(S, L, 384)``; ``mask`` 1 where valid.
    """

    frames: torch.Tensor
    previous: torch.Tensor
    _: KW_ONLY
    tokens: torch.Tensor
    has_action: torch.Tensor
    steps_to_go: torch.Tensor
    has_goal: torch.Tensor
    episode: torch.Tensor
    sentence: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor
    text: torch.Tensor
    mask: torch.Tensor
    sentences: tuple[str, ...]

    def model_inputs(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return what ``CompactModel.features`` takes, for the observations ``rows``, ``(B,)``."""
        pairs = torch.stack([self.frames[self.previous[rows]], self.frames[rows]], dim=1)
        sentence = self.sentence[self.episode[rows]]
        return pairs, self.text[sentence], self.mask[sentence]


def to_samples(
    episodes: Iterable[Episode], encoder: TextEncoder, tokeniser: ActionTokeniser | None = None
) -> Samples:
    """
    Return ``episodes`` as arrays.

    :param tokeniser: encodes the actions of demonstrations; without it the tokens that the policy
        sampled are taken as they are.
    :raises ValueError: when there is no episode.
    """
    episodes = [episode for episode in episodes if len(episode)]
    if not episodes:
        raise ValueError('episodes: expected at least one with an action, got none')
    lengths = np.array([len(episode) for episode in episodes])
    last = np.cumsum(lengths + 1) - 1
    first = last - lengths
    owner = np.repeat(np.arange(len(episodes)), lengths + 1)
    row = np.arange(len(owner))
    stride = np.array([e.stride for e in episodes])[owner]
    before = row - stride
    sentences = tuple(dict.fromkeys(episode.instruction for episode in episodes))
    text, mask = to_text(sentences, encoder)
    return Samples(
        frames=torch.from_numpy(np.concatenate([e.observations for e in episodes])),
        previous=torch.from_numpy(np.where(before >= first[owner], before, row)),
        tokens=torch.from_numpy(np.concatenate([_tokens(e, tokeniser) for e in episodes])),
        has_action=torch.from_numpy(row != last[owner]),
        steps_to_go=torch.from_numpy(np.ceil((last[owner] - row) / stride).astype(np.float32)),
        has_goal=torch.tensor([e.outcome is Outcome.SUCCESS for e in episodes])[owner],
        episode=torch.from_numpy(owner),
        sentence=torch.tensor([sentences.index(e.instruction) for e in episodes]),
        first=torch.from_numpy(first),
        last=torch.from_numpy(last),
        text=text,
        mask=mask,
        sentences=sentences,
    )


def _tokens(episode: Episode, tokeniser: ActionTokeniser | None) -> np.ndarray:
    """Return an episode's tokens with a row of zeros for its last observation, ``(T + 1, K)``."""
    tokens = tokeniser.encode(episode.actions) if tokeniser else episode.tokens
    return np.concatenate([tokens, np.zeros((1, tokens.shape[1]), np.int64)])


def to_text(sentences: Iterable[str], encoder: TextEncoder) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token states, padded to ``(S, L, 384)`` float32, and their mask ``(S, L)``."""
    states = [torch.from_numpy(np.array(encoder.encode(sentence))) for sentence in sentences]
    lengths = torch.tensor([len(state) for state in states])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return torch.nn.utils.rnn.pad_sequence(states, batch_first=True), mask.to(torch.float32)


def to_bins(steps: torch.Tensor, steps_to_go: StepsToGoRange) -> torch.Tensor:
    """Return the nearest bin, ``(B,)`` int64, of each number of steps; the last takes more."""
    width = steps_to_go.max_steps / (steps_to_go.bins - 1)
    return (steps / width).round().clamp(0, steps_to_go.bins - 1).to(torch.int64)


def microbatches(rows: torch.Tensor, max_batch_size: int) -> tuple[torch.Tensor, ...]:
    """Return ``rows`` in parts that a model takes in one pass; 0 for any number."""
    return rows.split(max_batch_size) if max_batch_size else (rows,)


def features_of(model: Model, samples: Samples) -> Features:
    """
    Return a function from observation rows to features: a table where the encoder is frozen.

    An encoder that learns is asked anew every time, so that gradients reach it.
    """
    if not model.config.encoder_is_frozen:
        return lambda rows: model.features(*samples.model_inputs(rows))
    table = all_features(model, samples)
    return lambda rows: table[rows]


@torch.no_grad()
def all_features(model: CompactModel, samples: Samples) -> torch.Tensor:
    """Return the features of every observation, ``(N, F)``."""
    rows = torch.arange(len(samples.frames)).split(CHUNK)
    return torch.cat([compute_features(model, samples, chunk) for chunk in rows])


def compute_features(model: CompactModel, samples: Samples, rows: torch.Tensor) -> torch.Tensor:
    """Return the features of the observations ``rows``, ``(B, F)``; each frame is seen once."""
    pairs = torch.stack([samples.previous[rows], rows], dim=1)
    frames = pairs.unique()
    keys, occupancy = model.see(samples.frames[frames])
    pairs = torch.searchsorted(frames, pairs)
    sentence = samples.sentence[samples.episode[rows]]
    text = samples.text[sentence]
    mask = samples.mask[sentence]
    return model.relate(keys[pairs], occupancy[pairs[:, 1]], text, mask)


def scenes_of(model: Model, samples: Samples) -> Features:
    """Return a function from first and last rows to scenes; cached where the encoder is frozen."""
    if not model.config.encoder_is_frozen:
        return lambda rows: model.scenes(samples.frames[rows])
    needed = torch.cat([samples.first, samples.last]).unique()
    with torch.no_grad():
        found = torch.cat([model.scenes(samples.frames[rows]) for rows in needed.split(CHUNK)])
    return lambda rows: found[torch.searchsorted(needed, rows)]
