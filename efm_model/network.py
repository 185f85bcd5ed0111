"""
The grounding model: from two frames and an instruction to action tokens and steps-to-go.

The grounding encoder finds effector, source and target of the instruction in both frames. Their
positions and movements are the features. Small heads predict from the features.

Letters: ``B`` batch, ``L`` word pieces of an instruction, ``F`` features, ``D`` key size, ``C``
cells of the feature map, ``Q`` queries, ``K`` tokens of an action, ``V`` largest number of values
of a token, ``P`` word pieces that the instruction head predicts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from efm_core.embodiment import Embodiment
from efm_core.files import whole_file, write_whole
from efm_model.config import ModelConfig, VisuomotorConfig
from efm_model.grounding import EFFECTOR, GroundingEncoder, NEVER, sample_around, SOURCE, TARGET
from efm_model.protocol import Inputs
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch
from torch import nn
import torch._dynamo  # before any GL context: Triton's LLVM after Mesa's is a crash

ENCODER_WEIGHTS = Path(__file__).parent / 'weights' / 'grounding_encoder.safetensors'
FEATURES = 50
SCENE_GRID = 4  # cells of the coarse map in each direction
BEGIN, END, UNKNOWN = range(3)  # first ids of the instruction head; word pieces follow


class HeadSettings(Protocol):
    """What the heads read of a model's ``config``."""

    @property
    def vocabulary(self) -> tuple[int, ...]:
        """Number of values of each token of an action, ``K`` entries."""

    @property
    def chunk(self) -> int:
        """Control steps of an action."""

    @property
    def hidden_size(self) -> int:
        """Width of the heads."""

    @property
    def pieces(self) -> tuple[str, ...]:
        """Word pieces of the instruction head."""


class PolicyHead(nn.Module):
    """
    Autoregressive prediction of action tokens: p(a_k | o, g, a_1 .. a_k-1).

    All chunk steps share their weights; an embedding of the step's index is added to the state.
    So the weights of a chunk fit into the cache of one core.
    """

    def __init__(self, config: HeadSettings):
        """Create random weights."""
        super().__init__()
        self.vocabulary = config.vocabulary
        self.width = max(config.vocabulary)
        hidden = config.hidden_size
        self.step_tokens = len(config.vocabulary) // config.chunk  # tokens of one chunk step
        sizes = config.vocabulary[: self.step_tokens]
        # No token follows the last one, so that a single action needs no embedding of it.
        embeddings = [
            nn.Embedding(size, hidden) for size in (sizes if config.chunk > 1 else sizes[:-1])
        ]
        self.seen = nn.ModuleList(embeddings)
        self.mix = nn.ModuleList(nn.Linear(hidden, hidden) for _ in sizes)
        self.out = nn.ModuleList(nn.Linear(hidden, size) for size in sizes)
        self.chunk_steps = nn.Embedding(config.chunk, hidden) if config.chunk > 1 else None
        if self.chunk_steps is not None:
            for embedding in embeddings:  # the state is the sum of one for each token
                nn.init.normal_(embedding.weight, std=len(self.vocabulary) ** -0.5)

    def logits(self, state: torch.Tensor, k: int) -> torch.Tensor:
        """
        Return the logits of token ``k``, ``(B, V)`` float32; ``NEVER`` beyond its vocabulary.

        :param state: features and earlier tokens, ``(B, hidden_size)``.
        """
        step, place = divmod(k, self.step_tokens)
        if self.chunk_steps is not None:
            state = state + self.chunk_steps.weight[step]
        logits = self.out[place](torch.relu(self.mix[place](state)))
        return nn.functional.pad(logits, (0, self.width - self.vocabulary[k]), value=NEVER)

    def next_state(self, state: torch.Tensor, k: int, token: torch.Tensor) -> torch.Tensor:
        """
        Return the state after the token at position ``k``, ``(B, hidden_size)``.

        :param token: ``(B,)`` int64.
        """
        is_last = k + 1 == len(self.vocabulary)
        return state if is_last else state + self.seen[k % self.step_tokens](token)

    def forward(self, state: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """
        Return the logits of each token given the executed tokens before it, ``(B, K, V)``.

        :param state: output of the trunk, ``(B, hidden_size)``.
        :param tokens: ``(B, K)`` int64.
        """
        logits = []
        for k in range(len(self.vocabulary)):
            logits.append(self.logits(state, k))
            state = self.next_state(state, k, tokens[:, k])
        return torch.stack(logits, dim=1)

    def sample(
        self, state: torch.Tensor, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return sampled tokens, ``(B, K)`` int64, and their logits, ``(B, K, V)`` float32.

        The index of the maximum of logits plus Gumbel noise is a sample from their softmax.

        :param state: output of the trunk, ``(B, hidden_size)``.
        :param gumbel: standard Gumbel noise, ``(B, K, V)`` float32.
        """
        tokens = []
        logits = []
        for k in range(len(self.vocabulary)):
            logits.append(self.logits(state, k))
            tokens.append((logits[k] + gumbel[:, k]).argmax(dim=-1))
            state = self.next_state(state, k, tokens[k])
        return torch.stack(tokens, dim=1), torch.stack(logits, dim=1)


class InstructionHead(nn.Module):
    """
    Prediction of the instruction from the first and the last frame of an episode.

    Source: the auxiliary objective of Ghasemipour et al. 2025 (arXiv:2509.15155).

    Each word piece is predicted from both frames and the few pieces before it, by a causal
    convolution: a recurrent network would cost ten times as much as all other heads. With a
    frozen encoder this objective trains only its own head and cannot improve the policy.
    """

    WIDTH = 32  # size of an embedding
    CONTEXT = 4  # pieces before the predicted one that the head reads

    def __init__(self, config: HeadSettings, scene_size: int):
        """
        Create random weights.

        :param scene_size: size ``S`` of the features of one frame.
        """
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

        :param first: scene features of the first frame, ``(B, S)`` float32.
        :param last: scene features of the last frame, ``(B, S)`` float32.
        :param pieces: ids of the pieces so far, ``(B, P)`` int64; the first is ``BEGIN``.
        """
        scenes = self.scenes(torch.cat([first, last], dim=-1))
        before = nn.functional.pad(self.embedding(pieces), (0, 0, self.CONTEXT - 1, 0))
        before = before.unfold(1, self.CONTEXT, 1).flatten(2)  # (B, P, WIDTH * CONTEXT)
        return self.out(torch.relu(self.mix(before) + scenes[:, None]))


class TrunkAndHeads(nn.Module):
    """
    What the grounding and the visuomotor model do with features: a trunk and three heads.

    :ivar trunk: from features to the state that all heads share.
    """

    config: ModelConfig | VisuomotorConfig
    trunk: nn.Sequential
    policy: PolicyHead
    steps_to_go: nn.Linear
    instruction: InstructionHead

    def policy_logits(self, features: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Return the logits of each token given the tokens before it; see ``Model``."""
        return self.policy(self.trunk(features), tokens)

    def sample(
        self, features: torch.Tensor, gumbel: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return sampled tokens, their log-probability and their logits; see ``Model``."""
        tokens, logits = self.policy.sample(self.trunk(features), gumbel)
        return tokens, log_probability(logits, tokens), logits

    def steps_to_go_logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return the logits of the steps-to-go bins, ``(B, bins)`` float32."""
        return self.steps_to_go(self.trunk(features))

    def instruction_logits(
        self, first: torch.Tensor, last: torch.Tensor, pieces: torch.Tensor
    ) -> torch.Tensor:
        """Return the logits of the next word piece; see ``InstructionHead.forward``."""
        return self.instruction(first, last, pieces)

    def encode_pieces(self, pieces: list[str]) -> list[int]:
        """Return the ids of an instruction's word pieces, from ``BEGIN`` to ``END``."""
        return to_piece_ids(pieces, self.config.pieces)


class GroundingModel(TrunkAndHeads):
    """
    A grounding encoder and heads for action, steps-to-go and instruction.

    It provides ``efm_model.protocol.Model`` and ``FrameEncoder``.

    :ivar config: sizes of the model.
    :ivar grounding: the ``GroundingEncoder``.
    """

    config: ModelConfig
    family = 'grounding'
    max_batch_size = 0  # no limit

    def __init__(self, config: ModelConfig):
        """Create random weights; a frozen encoder is excluded from training."""
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

    def train(self, mode: bool = True) -> GroundingModel:
        """Switch dropout on or off; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.config.encoder_is_frozen:
            self.grounding.eval()
        return self

    @property
    def encoder(self) -> GroundingEncoder:
        """The part that computes the features."""
        return self.grounding

    @property
    def features_are_frozen(self) -> bool:
        """Whether training leaves ``features`` as they are now."""
        return not any(weight.requires_grad for weight in self.grounding.parameters())

    def freeze_vision(self) -> None:
        """Exclude the image encoder from training."""
        self.grounding.image.requires_grad_(False)

    def features(self, inputs: Inputs) -> torch.Tensor:
        """Return the input of both heads, ``(B, F)`` float32, from the first camera and text."""
        keys, occupancy = (
            encoded.unflatten(0, (-1, 2))
            for encoded in self.encode_frames(inputs['observations'].flatten(0, 1))
        )
        return self.ground(keys, occupancy[:, 1], inputs['text'], inputs['text_mask'])

    def encode_frames(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return keys ``(B, D, C)`` and occupancy logits ``(B, C)`` of single frames.

        :param frames: ``(B, H, W, 3)`` uint8 RGB.
        """
        return self.grounding.image(frames)

    def ground(
        self, keys: torch.Tensor, occupancy: torch.Tensor, text: torch.Tensor, mask: torch.Tensor
    ) -> torch.Tensor:
        """
        Return the features of encoded frames under an instruction, ``(B, F)`` float32.

        They are the positions of effector, source and target, the vectors between them, their
        movement since the previous frame, the peaks of the heat maps and the occupancy around the
        effector.

        :param keys: of the previous and the current frame, ``(B, 2, D, C)`` float32.
        :param occupancy: logits of the current frame, ``(B, C)`` float32.
        :param text: token states of the instruction, ``(B, L, 384)`` float32.
        :param mask: 1 for a word piece, 0 for padding, ``(B, L)`` float32.
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

    def scene_features(self, frames: torch.Tensor) -> torch.Tensor:
        """
        Return the means of keys and occupancy over a 4 x 4 grid, ``(B, S)`` float32.

        :param frames: ``(B, H, W, 3)`` uint8 RGB.
        """
        keys, occupancy = self.grounding.image(frames)
        maps = torch.cat([keys, occupancy[:, None]], dim=1)
        maps = maps.unflatten(2, (self.grounding.image.rows, self.grounding.image.columns))
        return nn.functional.adaptive_avg_pool2d(maps, SCENE_GRID).flatten(1)


def to_piece_ids(pieces: list[str], known: tuple[str, ...]) -> list[int]:
    """
    Return the ids of word pieces for ``InstructionHead``, from ``BEGIN`` to ``END``.

    :param known: pieces that the head knows, in the order of their ids.
    """
    ids = {piece: number for number, piece in enumerate(known, start=3)}
    return [BEGIN, *(ids.get(piece, UNKNOWN) for piece in pieces), END]


def geometry(points: torch.Tensor) -> list[torch.Tensor]:
    """
    Return points and the vectors between them as arrays ``(B, n)`` float32.

    The vectors lead from effector to source and from source to target.

    :param points: image coordinates of effector, source and target, ``(B, Q, 2)`` float32.
    :return: points, vectors, directions and lengths.
    """
    vectors = torch.stack(
        [points[:, SOURCE] - points[:, EFFECTOR], points[:, TARGET] - points[:, SOURCE]], dim=1
    )
    lengths = (vectors.square().sum(dim=-1, keepdim=True) + 1e-4).sqrt()
    return [
        points.flatten(1),
        vectors.flatten(1),
        (vectors / lengths).flatten(1),
        lengths.flatten(1),
    ]


def log_probability(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """
    Return log p(tokens), the sum over the tokens of an action, ``(B,)`` float32 [nats].

    :param logits: ``(B, K, V)`` float32.
    :param tokens: ``(B, K)`` int64.
    """
    return torch.log_softmax(logits, dim=-1).gather(-1, tokens[..., None]).squeeze(-1).sum(dim=-1)


def new_model(
    embodiment: Embodiment,
    seed: int = 0,
    pretrained: str = 'joint',
    pieces: tuple[str, ...] = (),
    weights: Path = ENCODER_WEIGHTS,
    **changes: Any,
) -> GroundingModel:
    """
    Return a grounding model with random heads, in evaluation mode.

    :param seed: of the random weights.
    :param pretrained: initial encoder. ``joint`` loads all pretrained weights and freezes them,
        ``vision`` loads those of the image encoder, ``none`` loads none.
    :param pieces: word pieces that the instruction head knows; empty for no such head.
    :param weights: file of the pretrained encoder.
    :param changes: other fields of ``ModelConfig``, such as ``hidden_size``.
    :raises FileNotFoundError: when the file of weights does not exist.
    :raises ValueError: when the file does not hold an encoder of this size.
    """
    changes |= {'pretrained': pretrained, 'pieces': tuple(pieces)}
    config = ModelConfig.for_embodiment(embodiment, **changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GroundingModel(config)
    if pretrained != 'none':
        load_encoder(model.grounding, weights, only='image.' if pretrained == 'vision' else '')
    return model.eval()


def load_encoder(
    grounding: GroundingEncoder, weights: Path = ENCODER_WEIGHTS, only: str = ''
) -> None:
    """
    Load pretrained weights into a grounding encoder.

    :param weights: a ``.safetensors`` file from ``save_encoder``.
    :param only: load only the weights whose names begin with this.
    :raises FileNotFoundError: when the file does not exist.
    :raises ValueError: when the file does not hold an encoder of this size.
    """
    if not Path(weights).is_file():
        raise FileNotFoundError(
            f'encoder: expected {weights}, got no such file; `efm pretrain` makes one for your '
            'world, `python -m efm_experiments.table.pretraining` the shipped one'
        )
    initial = grounding.state_dict()
    try:
        found = load_file(str(weights))
    except SafetensorError as error:
        raise ValueError(
            f'encoder: expected a .safetensors file, got {weights}: {error}'
        ) from error
    if {n: v.shape for n, v in found.items()} != {n: v.shape for n, v in initial.items()}:
        raise ValueError(
            f'encoder: expected names and shapes of a grounding encoder, got others in {weights}'
        )
    used = {name: value for name, value in found.items() if name.startswith(only)}
    grounding.load_state_dict({**initial, **used})


def save_encoder(grounding: GroundingEncoder, path: Path, card: dict[str, Any]) -> None:
    """
    Write the weights of a grounding encoder and, beside them, a ``.json`` file about them.

    :param path: a ``.safetensors`` file, written whole or not at all.
    :param card: settings and results of the pretraining, JSON values.
    """
    weights = {name: value.contiguous() for name, value in grounding.state_dict().items()}
    with whole_file(path) as unfinished:
        save_file(weights, unfinished)
        write_whole(path.with_suffix('.json'), json.dumps(card, indent=1) + '\n')
