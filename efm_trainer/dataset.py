"""
Episodes as training arrays.

Letters: ``E`` episodes, ``N`` observations of all episodes, ``T`` actions of one episode, ``K``
tokens of an action, ``S`` different instructions, ``L`` length of the longest encoded instruction,
``D`` size of one of its states, ``B`` batch, ``F`` features. An index is the position of an
observation among the ``N``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, KW_ONLY

from efm_core.embodiment import StepsToGoRange
from efm_core.episode import Episode, Outcome
from efm_core.observation import Observation
from efm_core.tokeniser import ActionTokeniser
from efm_model.protocol import encodes_frames, Inputs, Model
from efm_model.runtime import image_input, PROPRIOCEPTION
from efm_model.text import InstructionEncoder
import numpy as np
import torch

# Observations whose features are computed in one pass; larger batches no longer fit into a cache.
FEATURE_BATCH = 64
FeatureLookup = Callable[[torch.Tensor], torch.Tensor]
InputChange = Callable[[Inputs], Inputs]


@dataclass(frozen=True)
class EpisodeBatch:
    """
    Observations of several episodes, with everything that training needs of them.

    :param images: of each camera, ``(N, H, W, 3)`` uint8 RGB.
    :param proprioception: ``(N, P)`` float32.
    :param previous: index of the previous observation in the policy's input, ``(N,)`` int64; a
        first observation is its own previous one.
    :param tokens: executed actions, ``(N, K)`` int64; zeros at the last observation.
    :param has_action: false at the last observation of each episode and at a perturbation,
        ``(N,)`` bool.
    :param steps_to_go: number of decisions until the last observation, t' - t, ``(N,)`` float32
        [steps]; the last chunk counts as one decision, even if it is not complete.
    :param has_goal: whether the episode reached its goal at its last observation, ``(N,)`` bool;
        ``steps_to_go`` is a target only there.
    :param episode: index of the episode, ``(N,)`` int64.
    :param sentence: index of the episode's instruction in ``sentences``, ``(E,)`` int64.
    :param first: index of the first observation of each episode, ``(E,)`` int64.
    :param last: index of the last observation of each episode, ``(E,)`` int64.
    :param text: encoded instructions, padded, ``(S, L, D)`` float32.
    :param mask: 1 for the instruction, 0 for padding, ``(S, L)`` float32.
    :param sentences: the different instructions.
    """

    images: tuple[torch.Tensor, ...]
    proprioception: torch.Tensor
    _: KW_ONLY
    previous: torch.Tensor
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

    @property
    def frames(self) -> torch.Tensor:
        """The images of the first camera, ``(N, H, W, 3)`` uint8 RGB."""
        return self.images[0]

    def model_inputs(self, indices: torch.Tensor) -> dict[str, torch.Tensor]:
        """
        Return the argument of ``Model.features`` for some observations.

        :param indices: ``(B,)`` int64.
        """
        pairs = torch.stack([self.previous[indices], indices], dim=1)
        sentence = self.sentence[self.episode[indices]]
        inputs = {image_input(camera): image[pairs] for camera, image in enumerate(self.images)}
        if self.proprioception.shape[1]:
            inputs[PROPRIOCEPTION] = self.proprioception[pairs]
        return {**inputs, 'text': self.text[sentence], 'text_mask': self.mask[sentence]}


def to_batch(
    episodes: Iterable[Episode],
    text_encoder: InstructionEncoder,
    tokeniser: ActionTokeniser | None = None,
) -> EpisodeBatch:
    """
    Return episodes as arrays; episodes without an action are left out.

    :param tokeniser: encodes the actions of demonstrations; None uses the tokens in the episodes,
        which the policy sampled.
    :raises ValueError: when no episode has an action.
    """
    episodes = [episode for episode in episodes if len(episode)]
    if not episodes:
        raise ValueError('episodes: expected at least one with an action, got none')
    lengths = np.array([len(episode) for episode in episodes])
    last = np.cumsum(lengths + 1) - 1
    first = last - lengths
    owner = np.repeat(np.arange(len(episodes)), lengths + 1)
    index = np.arange(len(owner))
    stride = np.array([e.stride for e in episodes])[owner]
    previous = index - stride
    sentences = tuple(dict.fromkeys(episode.instruction for episode in episodes))
    text, mask = to_text(sentences, text_encoder)
    seen = Observation.concatenate([episode.observations for episode in episodes])
    return EpisodeBatch(
        tuple(map(torch.from_numpy, seen.images)),
        torch.from_numpy(seen.proprioception),
        previous=torch.from_numpy(np.where(previous >= first[owner], previous, index)),
        tokens=torch.from_numpy(np.concatenate([_tokens(e, tokeniser) for e in episodes])),
        has_action=torch.from_numpy(np.concatenate([_has_action(e) for e in episodes])),
        steps_to_go=torch.from_numpy(np.ceil((last[owner] - index) / stride).astype(np.float32)),
        has_goal=torch.tensor([e.outcome is Outcome.SUCCESS for e in episodes])[owner],
        episode=torch.from_numpy(owner),
        sentence=torch.tensor([sentences.index(e.instruction) for e in episodes]),
        first=torch.from_numpy(first),
        last=torch.from_numpy(last),
        text=text,
        mask=mask,
        sentences=sentences,
    )


def _has_action(episode: Episode) -> np.ndarray:
    """Return at which observations an action is to be learned from, ``(T + 1,)`` bool."""
    perturbed = episode.perturbed
    kept = np.ones(len(episode), bool) if perturbed is None else ~perturbed
    return np.append(kept, False)


def _tokens(episode: Episode, tokeniser: ActionTokeniser | None) -> np.ndarray:
    """Return the tokens of an episode with zeros for its last observation, ``(T + 1, K)``."""
    tokens = tokeniser.encode(episode.actions) if tokeniser else episode.tokens
    return np.concatenate([tokens, np.zeros((1, tokens.shape[1]), np.int64)])


def to_text(
    sentences: Iterable[str], text_encoder: InstructionEncoder
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Return encoded instructions as one array, and the mask of its valid entries.

    :return: ``(S, L, D)`` float32, padded with zeros, and ``(S, L)`` float32, 1 where valid.
    """
    states = [torch.from_numpy(np.array(text_encoder.encode(sentence))) for sentence in sentences]
    lengths = torch.tensor([len(state) for state in states])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    return torch.nn.utils.rnn.pad_sequence(states, batch_first=True), mask.to(torch.float32)


def to_bins(steps: torch.Tensor, steps_to_go: StepsToGoRange) -> torch.Tensor:
    """
    Return the nearest bin of each number of steps, ``(B,)`` int64.

    :param steps: ``(B,)`` float32 [steps]; larger numbers than the last bin fall into it.
    """
    width = steps_to_go.max_steps / (steps_to_go.bins - 1)
    return (steps / width).round().clamp(0, steps_to_go.bins - 1).to(torch.int64)


def microbatches(indices: torch.Tensor, max_batch_size: int) -> tuple[torch.Tensor, ...]:
    """
    Return a batch in parts that a model takes in one pass.

    :param indices: ``(B,)`` int64.
    :param max_batch_size: ``Model.max_batch_size``; 0 for no limit.
    """
    return indices.split(max_batch_size) if max_batch_size else (indices,)


def feature_lookup(
    model: Model, batch: EpisodeBatch, change: InputChange | None = None
) -> FeatureLookup:
    """
    Return a function from indices ``(B,)`` to ``Model.features``.

    Features of a frozen encoder are computed now, once for each observation. Those of a trained
    encoder are computed at each call, with gradients.

    :param change: applied to the inputs of an encoder in training, such as an `Augmentation`.
    """
    if not model.features_are_frozen:
        apply = change or (lambda inputs: inputs)
        return lambda indices: model.features(apply(batch.model_inputs(indices)))
    features = compute_all_features(model, batch)
    return lambda indices: features[indices]


@torch.no_grad()
def compute_all_features(model: Model, batch: EpisodeBatch) -> torch.Tensor:
    """Return the features of every observation, ``(N, F)`` float32."""
    parts = torch.arange(len(batch.frames)).split(FEATURE_BATCH)
    return torch.cat([compute_features(model, batch, indices) for indices in parts])


def compute_features(model: Model, batch: EpisodeBatch, indices: torch.Tensor) -> torch.Tensor:
    """
    Return the features of some observations; the encoder computes each frame once.

    :param indices: ``(B,)`` int64.
    :return: ``(B, F)`` float32.
    """
    if not encodes_frames(model):
        return model.features(batch.model_inputs(indices))
    pairs = torch.stack([batch.previous[indices], indices], dim=1)
    frames = pairs.unique()
    keys, occupancy = model.encode_frames(batch.frames[frames])
    pairs = torch.searchsorted(frames, pairs)
    sentence = batch.sentence[batch.episode[indices]]
    text = batch.text[sentence]
    mask = batch.mask[sentence]
    return model.ground(keys[pairs], occupancy[pairs[:, 1]], text, mask)


def scene_lookup(model: Model, batch: EpisodeBatch) -> FeatureLookup:
    """
    Return a function from indices of first or last observations to ``Model.scene_features``.

    As in ``feature_lookup``, features of a frozen encoder are computed once.
    """
    if not model.features_are_frozen:
        return lambda indices: model.scene_features(batch.frames[indices])
    needed = torch.cat([batch.first, batch.last]).unique()
    with torch.no_grad():
        features = torch.cat(
            [model.scene_features(batch.frames[part]) for part in needed.split(FEATURE_BATCH)]
        )
    return lambda indices: features[torch.searchsorted(needed, indices)]
