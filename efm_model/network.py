"""
The compact model: frames and a sentence in, action tokens and steps-to-go out.

Letters: ``B`` batch, ``F`` features, ``K`` action tokens, ``V`` largest action vocabulary, ``P``
word pieces.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.files import whole_file, write_whole
from efm_model.config import ModelConfig
from efm_model.grounding import EFFECTOR, GroundingEncoder, NEVER, sample_around, SOURCE, TARGET
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch
from torch import nn
import torch._dynamo  # before any GL context: Triton's LLVM after Mesa's is a crash

ENCODER_WEIGHTS = Path(__file__).parent / 'weights' / 'grounding_encoder.safetensors'
FEATURES = 50
SCENE_GRID = 4
BEGIN, END, UNKNOWN = range(3)  # of the instruction head's vocabulary, before the word pieces


class PolicyHead(nn.Module):
    """
    Action tokens one after another: p(a_k | o, g, a_1 .. a_k-1).

    The rows of a chunk share their weights; each adds an embedding of its number to the state. So
    a chunk has as many weights as its row, and they stay in a core's cache.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.vocabulary = config.vocabulary
        self.width = max(config.vocabulary)
        hidden = config.hidden_size
        self.row = len(config.vocabulary) // config.chunk
        sizes = config.vocabulary[: self.row]
        before = sizes if config.chunk > 1 else sizes[:-1]  # nothing comes after the last token
        self.seen = nn.ModuleList(nn.Embedding(size, hidden) for size in before)
        self.mix = nn.ModuleList(nn.Linear(hidden, hidden) for _ in sizes)
        self.out = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)
        self.rows = nn.Embedding(config.chunk, hidden) if config.chunk > 1 else None
        if self.rows is not None:
            for embedding in self.seen:  # as many are added up as there are tokens
                nn.init.normal_(embedding.weight, std=len(self.vocabulary) ** -0.5)

    def logits(self, state: torch.Tensor, k: int) -> torch.Tensor:
        """
        Return the logits of token ``k``, ``(B, V)``.

        Those beyond its own vocabulary can never be drawn.
        """
        row, place = divmod(k, self.row)
        if self.rows is not None:
            state = state + self.rows.weight[row]
        logits = self.out[place](torch.relu(self.mix[place](state)))
        return nn.functional.pad(logits, (0, self.width - self.vocabulary[k]), value=NEVER)

    def after(self, state: torch.Tensor, k: int, token: torch.Tensor) -> torch.Tensor:
        """Return the state, ``(B, hidden)``, after ``token``, ``(B,)``, at position ``k``."""
        last = k + 1 == len(self.vocabulary)
        return state if last else state + self.seen[k % self.row](token)

    def forward(self, state: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of all positions given the true tokens before each, ``(B, K, V)``."""
        logits = []
        for k in range(len(self.vocabulary)):
            logits.append(self.logits(state, k))
            state = self.after(state, k, tokens[:, k])
        return torch.stack(logits, dim=1)

    def sample(
        self, state: torch.Tensor, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return tokens, ``(B, K)``, and logits, ``(B, K, V)``.

        The maximum of logits and noise is a sample.
        """
        tokens = []
        logits = []
        for k in range(len(self.vocabulary)):
            logits.append(self.logits(state, k))
            tokens.append((logits[k] + gumbel[:, k]).argmax(dim=-1))
            state = self.after(state, k, tokens[k])
        return torch.stack(tokens, dim=1), torch.stack(logits, dim=1)


class InstructionHead(nn.Module):
    """
    The instruction's word pieces from the first and the last frame of an episode.

    The paper's auxiliary objective.

    Each piece is predicted from the scenes and the few pieces before it; a causal convolution,
    because a recurrent network would cost ten times as much as all other heads. With a frozen
    encoder this trains nothing but itself, and so cannot help the policy; with an encoder that is
    trained along it can.
    """

    WIDTH = 32  # size of an embedding
    CONTEXT = 4  # pieces in view

    def __init__(self, config: ModelConfig, scene_size: int):
        super().__init__()
        self.scenes = nn.Linear(2 * scene_size, self.WIDTH)
        self.embedding = nn.Embedding(len(config.pieces) + 3, self.WIDTH)
        self.mix = nn.Linear(self.CONTEXT * self.WIDTH, self.WIDTH)
        self.out = nn.Linear(self.WIDTH, len(config.pieces) + 3)

    def forward(
        self, first: torch.Tensor, last: torch.Tensor, pieces: torch.Tensor
    ) -> torch.Tensor:
        """
        Return the logits of the next word piece at each position, ``(B, P, pieces + 3)``.

        :param first: scene of the first frame, ``(B, S)``; ``last`` that of the last.
        :param pieces: the instruction so far, ``(B, P)`` int64, from ``BEGIN`` on.
        """
        scenes = self.scenes(torch.cat([first, last], dim=-1))
        before = nn.functional.pad(self.embedding(pieces), (0, 0, self.CONTEXT - 1, 0))
        before = before.unfold(1, self.CONTEXT, 1).flatten(2)  # (B, P, WIDTH * CONTEXT)
        return self.out(torch.relu(self.mix(before) + scenes[:, None]))


class CompactModel(nn.Module):
    """An encoder that finds what the sentence names, and heads that act on it and judge it."""

    family = 'compact'
    max_batch_size = 0  # samples in one pass; any number

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.grounding = GroundingEncoder(config.observation_size)
        hidden = config.hidden_size
        self.trunk = nn.Sequential(
            nn.Linear(FEATURES, hidden),
            nn.LayerNorm(hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Dropout(config.dropout),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
        )
        self.policy = PolicyHead(config)
        self.steps_to_go = nn.Linear(hidden, config.steps_to_go_bins)
        if config.pieces:
            self.instruction = InstructionHead(
                config, SCENE_GRID**2 * (self.grounding.image.keys.out_channels)
            )
        self.grounding.requires_grad_(not config.encoder_is_frozen)

    def train(self, mode: bool = True) -> CompactModel:
        """Switch dropout on or off; a frozen encoder stays as it is at inference."""
        super().train(mode)
        if self.config.encoder_is_frozen:
            self.grounding.eval()
        return self

    def freeze_vision(self) -> None:
        """Let the image encoder learn no more."""
        self.grounding.image.requires_grad_(False)

    def features(
        self, observations: torch.Tensor, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """
        Return what the heads need of the frames and the sentence, ``(B, F)``.

        :param observations: previous and current frame, ``(B, 2, H, W, 3)`` uint8 RGB.
        :param text: token states, ``(B, L, 384)``, with their ``mask``, ``(B, L)``.
        """
        keys, occupancy = (
            seen.unflatten(0, (-1, 2)) for seen in self.see(observations.flatten(0, 1))
        )
        return self.relate(keys, occupancy[:, 1], text, mask)

    def see(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return keys and occupancy of ``frames``, ``(B, H, W, 3)``, whatever is asked."""
        return self.grounding.image(frames)

    def relate(
        self, keys: torch.Tensor, occupancy: torch.Tensor, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """
        Return the features, ``(B, F)``: where in the frames is what the sentence names.

        :param keys: of the previous and the current frame, ``(B, 2, D, C)``.
        :param occupancy: of the current frame, ``(B, C)``.
        """
        heat = self.grounding.heat(self.grounding.text(text, mask)[:, None], keys)
        points = self.grounding.points(heat)  # (B, 2, Q, 2)
        before = points[:, 0]
        now = points[:, 1]
        peaks = torch.softmax(heat[:, 1], dim=-1).amax(dim=-1)
        image = self.grounding.image
        around = sample_around(
            torch.sigmoid(occupancy),
            now[:, EFFECTOR],
            image.rows,
            image.columns,
        )
        return torch.cat([*geometry(now), (now - before).flatten(1), peaks, around], dim=1)

    def scenes(self, frames: torch.Tensor) -> torch.Tensor:
        """Return a coarse map, ``(B, S)``, of what is where in ``frames``, ``(B, H, W, 3)``."""
        keys, occupancy = self.grounding.image(frames)
        maps = torch.cat([keys, occupancy[:, None]], dim=1)
        maps = maps.unflatten(2, (self.grounding.image.rows, self.grounding.image.columns))
        return nn.functional.adaptive_avg_pool2d(maps, SCENE_GRID).flatten(1)

    def policy_logits(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each action token given those before it, ``(B, K, V)``."""
        return self.policy(self.trunk(features), tokens)

    def sample(
        self, features: torch.Tensor, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return tokens ``(B, K)``, their log-probability ``(B,)``, logits ``(B, K, V)``."""
        tokens, logits = self.policy.sample(self.trunk(features), gumbel)
        return tokens, log_probability(logits, tokens), logits

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of the steps-to-go bins, ``(B, bins)``."""
        return self.steps_to_go(self.trunk(features))

    def instruction_logits(
        self, first: torch.Tensor, last: torch.Tensor, pieces: torch.Tensor
    ) -> torch.Tensor:
        """Return the instruction head's logits; arguments as there."""
        return self.instruction(first, last, pieces)

    def encode_pieces(self, pieces: list[str]) -> list[int]:
        """Return an instruction's word pieces as numbers of its head, ``BEGIN`` to ``END``."""
        known = {piece: number for number, piece in enumerate(self.config.pieces, start=3)}
        return [BEGIN, *(known.get(piece, UNKNOWN) for piece in pieces), END]


def geometry(points: torch.Tensor) -> list[torch.Tensor]:
    """Return points ``(B, Q, 2)`` and the ways between: vectors, directions, lengths."""
    ways = torch.stack(
        [points[:, SOURCE] - points[:, EFFECTOR], points[:, TARGET] - points[:, SOURCE]], dim=1
    )
    lengths = (ways.square().sum(dim=-1, keepdim=True) + 1e-4).sqrt()
    return [points.flatten(1), ways.flatten(1), (ways / lengths).flatten(1), lengths.flatten(1)]


def log_probability(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return log p(tokens), ``(B,)``, the sum over the positions, of ``logits`` ``(B, K, V)``."""
    return torch.log_softmax(logits, dim=-1).gather(-1, tokens[..., None]).squeeze(-1).sum(dim=-1)


def new_model(
    embodiment: Embodiment,
    seed: int = 0,
    pretrained: str = 'joint',
    pieces: tuple[str, ...] = (),
    weights: Path = ENCODER_WEIGHTS,
    **changes: Any,
) -> CompactModel:
    """
    Return a model with fresh heads and the encoder that is asked for.

    :param pretrained: ``joint`` and ``vision`` start from the shipped weights, ``vision`` without
        the text adapter; ``none`` starts from random weights.
    :param weights: of the pretrained encoder.
    :param changes: what else is not as ``ModelConfig`` has it, such as ``hidden_size``.
    :raises FileNotFoundError: when there are no weights to start from.
    :raises ValueError: when the file is not an encoder.
    """
    changes |= {'pretrained': pretrained, 'pieces': tuple(pieces)}
    config = ModelConfig.for_embodiment(embodiment, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CompactModel(config)
    if pretrained != 'none':
        load_encoder(model.grounding, weights, only='image.' if pretrained == 'vision' else '')
    return model.eval()


def load_encoder(
    grounding: GroundingEncoder, weights: Path = ENCODER_WEIGHTS, only: str = ''
) -> None:
    """
    Load pretrained weights whose names begin with ``only`` into ``grounding``.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: when the file is not an encoder.
    """
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f'encoder: expected {weights}, got no such file; make one with `efm pretrain`, '
            'the one that ships with `python -m efm_experiments.table.pretraining`'
        )
    own = grounding.state_dict()
    try:
        found = load_file(str(weights))
    except SafetensorError as error:
        raise ValueError(
            f'encoder: expected a .safetensors file, got {weights}: {error}'
        ) from error
    if {n: v.shape for n, v in found.items()} != {n: v.shape for n, v in own.items()}:
        raise ValueError(
            f'encoder: expected the weights of an encoder, got something else: {weights}'
        )
    used = {name: value for name, value in found.items() if name.startswith(only)}
    grounding.load_state_dict({**own, **used})


def save_encoder(grounding: GroundingEncoder, path: Path, card: dict[str, Any]) -> None:
    """Write pretrained weights, whole or not at all, and beside them how they came about."""
    weights = {name: value.contiguous() for name, value in grounding.state_dict().items()}
    with whole_file(path) as unfinished:
        save_file(weights, unfinished)
        write_whole(path.with_suffix('.json'), json.dumps(card, indent=1) + '\n')
