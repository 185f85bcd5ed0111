"""
What a vision-language model would cost, reckoned from its public numbers; nothing is measured.

Run it with ``python -m efm_model.vlm.estimate``. Memory is weights, gradients, AdamW's moments and
activations; time is arithmetic at a share of the card's peak, and for single tokens the reading
of all weights.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY

GB = 1e9
BFLOAT16 = 2  # bytes
FLOAT32 = 4  # bytes
MFU = 0.35  # share of peak arithmetic that such training reaches
BANDWIDTH = 0.6  # share of peak bandwidth that reading weights reaches
RUNTIME = 1.0  # CUDA's own memory, and fragments [GB]
LAYER = 18  # activations of one layer in units of tokens x hidden size, without its MLP


@dataclass(frozen=True)
class GroundingEncoder:
    """
    One transformer: how many layers, and how wide.

    :param gated: three matrices in the MLP instead of two.
    :param kv_width: of keys and values together with their heads.
    """

    layers: int
    hidden: int
    _: KW_ONLY
    mlp: int
    q_width: int
    kv_width: int
    gated: bool

    @property
    def parameters(self) -> int:
        """Number of weights in its matrices; norms and biases are less than a thousandth."""
        attention = 2 * self.hidden * (self.q_width + self.kv_width)
        return self.layers * (attention + (3 if self.gated else 2) * self.hidden * self.mlp)

    def adapters(self, rank: int) -> int:
        """Return the number of weights of LoRA at all its matrices."""
        sides = 2 * (self.hidden + self.q_width) + 2 * (self.hidden + self.kv_width)
        mlp = (3 if self.gated else 2) * (self.hidden + self.mlp)
        return self.layers * rank * (sides + mlp)


@dataclass(frozen=True)
class Backbone:
    """
    The public numbers of one model.

    :param other: weights of patch embedding, positions and projector.
    :param tied: one matrix of words for reading and for answering.
    :param patches: that the tower sees of one picture; ``tokens`` that the text model sees of it.
    """

    name: str
    text: GroundingEncoder
    _: KW_ONLY
    vision: GroundingEncoder
    vocabulary: int
    tied: bool
    other: int
    patches: int
    tokens: int

    @property
    def words(self) -> int:
        """Weights of the matrix of words."""
        return self.vocabulary * self.text.hidden

    @property
    def parameters(self) -> int:
        """All weights."""
        words = self.words * (1 if self.tied else 2)
        return self.text.parameters + self.vision.parameters + self.other + words


@dataclass(frozen=True)
class Card:
    """A GPU: dense bfloat16 peak [FLOP/s], memory bandwidth [B/s], memory [GB]."""

    name: str
    flops: float
    _: KW_ONLY
    bandwidth: float
    memory: int


SIGLIP = GroundingEncoder(27, 1152, mlp=4304, q_width=1152, kv_width=1152, gated=False)
BACKBONES = (
    Backbone(
        'PaliGemma-3B, 224 px',
        GroundingEncoder(18, 2048, mlp=16384, q_width=2048, kv_width=256, gated=True),
        vision=SIGLIP,
        vocabulary=257216,
        tied=True,
        other=3 * 14**2 * 1152 + 256 * 1152 + 1152 * 2048,
        patches=256,
        tokens=256,
    ),
    Backbone(
        'SmolVLM-2.2B, 384 px',
        GroundingEncoder(24, 2048, mlp=8192, q_width=2048, kv_width=2048, gated=True),
        vision=SIGLIP,
        vocabulary=49155,
        tied=False,
        other=3 * 14**2 * 1152 + 729 * 1152 + 9 * 1152 * 2048,
        patches=729,
        tokens=81,
    ),
    Backbone(
        'Qwen2.5-VL-3B, 224 px',
        GroundingEncoder(36, 2048, mlp=11008, q_width=2048, kv_width=256, gated=True),
        vision=GroundingEncoder(32, 1280, mlp=3420, q_width=1280, kv_width=1280, gated=True),
        vocabulary=151936,
        tied=True,
        other=2 * 3 * 14**2 * 1280 + 5120 * 5120 + 5120 * 2048,
        patches=256,
        tokens=64,
    ),
)
CARDS = (
    Card('RTX 4090', 165e12, bandwidth=1.008e12, memory=24),
    Card('A100 80 GB', 312e12, bandwidth=2.039e12, memory=80),
)
TEXT_TOKENS = 40
ANSWER = 2
PICTURES = 2


@dataclass(frozen=True)
class Estimate:
    """
    What one model would cost on one card.

    :param training_gb: of stage 1 with LoRA, bfloat16 and recomputed activations; ``practice_gb``
        with the frozen reward model beside it; ``acting_gb`` of one model at batch 1.
    :param samples_per_s: that stage 1 learns from; ``action_ms``: from picture to action.
    """

    training_gb: float
    practice_gb: float
    _: KW_ONLY
    acting_gb: float
    samples_per_s: float
    action_ms: float


def estimate(
    backbone: Backbone, card: Card, max_batch_size: int = 8, rank: int = 16, answers: int = 72
) -> Estimate:
    """
    Return what ``backbone`` would cost.

    :param max_batch_size: prompts in one pass.
    :param answers: ids for actions and steps-to-go, whose rows learn too.
    """
    weights = BFLOAT16 * backbone.parameters / GB
    learned = backbone.text.adapters(rank) + backbone.vision.adapters(rank)
    learned += answers * backbone.text.hidden * (1 if backbone.tied else 2)
    optimiser = 4 * FLOAT32 * learned / GB  # weight, gradient, two moments
    # peft writes the answers' rows into a copy of each matrix of words, and so does its gradient.
    copies = 4 * BFLOAT16 * backbone.words / GB
    activations = max_batch_size * kept(backbone) / GB
    training = weights + optimiser + copies + activations + RUNTIME
    forward = prompt_flops(backbone)
    # Backward with frozen weights costs a forward; recomputing another.
    seconds = 3 * forward / (MFU * card.flops)
    prefill = max(forward / (MFU * card.flops), weights * GB / (BANDWIDTH * card.bandwidth))
    token = (weights * GB + 2 * BFLOAT16 * backbone.words) / (BANDWIDTH * card.bandwidth)
    return Estimate(
        training_gb=training,
        practice_gb=training + weights,
        acting_gb=weights + copies / 2 + kept(backbone, layers=False) / GB + RUNTIME,
        samples_per_s=1 / seconds,
        action_ms=1000 * (prefill + (ANSWER - 1) * token),
    )


def prompt_tokens(backbone: Backbone) -> int:
    """Return how many tokens the text model reads for one action."""
    return PICTURES * backbone.tokens + TEXT_TOKENS + ANSWER


def prompt_flops(backbone: Backbone) -> float:
    """Return the operations of one pass: two for each weight and token, and attention."""
    tokens = prompt_tokens(backbone)
    patches = PICTURES * backbone.patches
    text = backbone.text
    vision = backbone.vision
    attention = 4 * text.layers * text.q_width * tokens**2
    attention += 4 * vision.layers * vision.q_width * PICTURES * backbone.patches**2
    answers = 2 * backbone.words * ANSWER
    return 2 * text.parameters * tokens + 2 * vision.parameters * patches + attention + answers


def kept(backbone: Backbone, layers: bool = True) -> float:
    """
    Return the activations of one prompt [B].

    Recomputing keeps the input of each layer, and all of the one layer that is at work.
    """
    found = []
    for tower, tokens in (
        (backbone.vision, PICTURES * backbone.patches),
        (backbone.text, prompt_tokens(backbone)),
    ):
        inputs = tower.layers * tokens * tower.hidden if layers else 0
        at_work = tokens * (LAYER * tower.hidden + 4 * tower.mlp)
        found.append(BFLOAT16 * (inputs + at_work))
    return sum(found) + 3 * FLOAT32 * ANSWER * backbone.vocabulary


def table() -> str:
    """Return all estimates as a Markdown table."""
    lines = [
        '| model | weights | card | training | practice | acting | samples/s | action |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for backbone in BACKBONES:
        for card in CARDS:
            found = estimate(backbone, card)
            lines.append(
                f'| {backbone.name} | {backbone.parameters / 1e9:.2f} G | {card.name} '
                f'| {found.training_gb:.0f} GB | {found.practice_gb:.0f} GB '
                f'| {found.acting_gb:.0f} GB | {found.samples_per_s:.0f} '
                f'| {found.action_ms:.0f} ms |'
            )
    return '\n'.join(lines)


if __name__ == '__main__':
    print(table())
