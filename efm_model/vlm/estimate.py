"""
Estimates of memory and time of vision-language models, from their public configurations.

Nothing here is measured. Run ``python -m efm_model.vlm.estimate`` for the table. Memory is the sum
of weights, gradients, the moments of AdamW and activations. Time is the number of operations at a
fraction of the GPU's peak; for single tokens it is the time to read all weights.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY

GB = 1e9
BFLOAT16 = 2  # bytes
FLOAT32 = 4  # bytes
MFU = 0.35  # fraction of peak operations that such training reaches
BANDWIDTH = 0.6  # fraction of peak bandwidth that reading weights reaches
RUNTIME = 1.0  # memory of CUDA itself, and fragmentation [GB]
LAYER = 18  # activations of one layer without its MLP [tokens x hidden size]


@dataclass(frozen=True)
class Transformer:
    """
    Sizes of one transformer.

    :param mlp: width of the MLP.
    :param q_width: size of all query heads together.
    :param kv_width: size of all key heads together; values have the same.
    :param gated: whether the MLP has three matrices instead of two.
    """

    layers: int
    hidden_size: int
    _: KW_ONLY
    mlp: int
    q_width: int
    kv_width: int
    gated: bool

    @property
    def parameters(self) -> int:
        """Number of weights in matrices; norms and biases add less than 0.1 %."""
        attention = 2 * self.hidden_size * (self.q_width + self.kv_width)
        return self.layers * (attention + (3 if self.gated else 2) * self.hidden_size * self.mlp)

    def adapters(self, rank: int) -> int:
        """Return the number of weights of LoRA adapters at all matrices."""
        sides = 2 * (self.hidden_size + self.q_width) + 2 * (self.hidden_size + self.kv_width)
        mlp = (3 if self.gated else 2) * (self.hidden_size + self.mlp)
        return self.layers * rank * (sides + mlp)


@dataclass(frozen=True)
class Backbone:
    """
    Sizes of one vision-language model.

    :param vocabulary: number of tokens.
    :param tied: whether input and output embedding are one matrix.
    :param other: weights of patch embedding, positions and projector.
    :param patches: patches of one image in the vision transformer.
    :param tokens: tokens of one image in the text transformer.
    """

    name: str
    text: Transformer
    _: KW_ONLY
    vision: Transformer
    vocabulary: int
    tied: bool
    other: int
    patches: int
    tokens: int

    @property
    def embedding(self) -> int:
        """Number of weights of one embedding matrix."""
        return self.vocabulary * self.text.hidden_size

    @property
    def parameters(self) -> int:
        """Number of all weights."""
        embeddings = self.embedding * (1 if self.tied else 2)
        return self.text.parameters + self.vision.parameters + self.other + embeddings


@dataclass(frozen=True)
class Gpu:
    """
    Public data of a GPU.

    :param flops: peak of dense bfloat16 operations [FLOP/s].
    :param bandwidth: of the memory [B/s].
    :param memory: [GB].
    """

    name: str
    flops: float
    _: KW_ONLY
    bandwidth: float
    memory: int


SIGLIP = Transformer(27, 1152, mlp=4304, q_width=1152, kv_width=1152, gated=False)
BACKBONES = (
    Backbone(
        'PaliGemma-3B, 224 px',
        Transformer(18, 2048, mlp=16384, q_width=2048, kv_width=256, gated=True),
        vision=SIGLIP,
        vocabulary=257216,
        tied=True,
        other=3 * 14**2 * 1152 + 256 * 1152 + 1152 * 2048,
        patches=256,
        tokens=256,
    ),
    Backbone(
        'SmolVLM-2.2B, 384 px',
        Transformer(24, 2048, mlp=8192, q_width=2048, kv_width=2048, gated=True),
        vision=SIGLIP,
        vocabulary=49155,
        tied=False,
        other=3 * 14**2 * 1152 + 729 * 1152 + 9 * 1152 * 2048,
        patches=729,
        tokens=81,
    ),
    Backbone(
        'Qwen2.5-VL-3B, 224 px',
        Transformer(36, 2048, mlp=11008, q_width=2048, kv_width=256, gated=True),
        vision=Transformer(32, 1280, mlp=3420, q_width=1280, kv_width=1280, gated=True),
        vocabulary=151936,
        tied=True,
        other=2 * 3 * 14**2 * 1280 + 5120 * 5120 + 5120 * 2048,
        patches=256,
        tokens=64,
    ),
)
GPUS = (
    Gpu('RTX 4090', 165e12, bandwidth=1.008e12, memory=24),
    Gpu('A100 80 GB', 312e12, bandwidth=2.039e12, memory=80),
)
TEXT_TOKENS = 40
ANSWER = 2
IMAGES = 2


@dataclass(frozen=True)
class Estimate:
    """
    Memory and time of one model on one GPU.

    :param training_gb: memory of stage 1 with LoRA, bfloat16 and recomputed activations [GB].
    :param practice_gb: memory of stage 2, with the frozen reward model beside the policy [GB].
    :param acting_gb: memory of one model in inference at batch 1 [GB].
    :param samples_per_s: training samples of stage 1 [1/s].
    :param action_ms: time from image to action [ms].
    """

    training_gb: float
    practice_gb: float
    _: KW_ONLY
    acting_gb: float
    samples_per_s: float
    action_ms: float


def estimate(
    backbone: Backbone, gpu: Gpu, max_batch_size: int = 8, rank: int = 16, answers: int = 72
) -> Estimate:
    """
    Return the estimate of one model on one GPU.

    :param max_batch_size: prompts in one forward pass.
    :param rank: of the LoRA adapters.
    :param answers: tokens for actions and steps-to-go; their embeddings are trained too.
    """
    weights = BFLOAT16 * backbone.parameters / GB
    learned = backbone.text.adapters(rank) + backbone.vision.adapters(rank)
    learned += answers * backbone.text.hidden_size * (1 if backbone.tied else 2)
    optimiser = 4 * FLOAT32 * learned / GB  # weight, gradient, two moments
    # peft copies each embedding matrix to insert the trained rows; its gradient needs the same.
    copies = 4 * BFLOAT16 * backbone.embedding / GB
    activations = max_batch_size * activation_bytes(backbone) / GB
    training = weights + optimiser + copies + activations + RUNTIME
    forward = prompt_flops(backbone)
    # The backward pass costs one forward pass as weights are frozen, recomputation another.
    seconds = 3 * forward / (MFU * gpu.flops)
    prefill = max(forward / (MFU * gpu.flops), weights * GB / (BANDWIDTH * gpu.bandwidth))
    token = (weights * GB + 2 * BFLOAT16 * backbone.embedding) / (BANDWIDTH * gpu.bandwidth)
    return Estimate(
        training_gb=training,
        practice_gb=training + weights,
        acting_gb=weights + copies / 2 + activation_bytes(backbone, layers=False) / GB + RUNTIME,
        samples_per_s=1 / seconds,
        action_ms=1000 * (prefill + (ANSWER - 1) * token),
    )


def prompt_tokens(backbone: Backbone) -> int:
    """Return the number of tokens in the text transformer for one action."""
    return IMAGES * backbone.tokens + TEXT_TOKENS + ANSWER


def prompt_flops(backbone: Backbone) -> float:
    """Return the operations of one forward pass: two for each weight and token, and attention."""
    tokens = prompt_tokens(backbone)
    patches = IMAGES * backbone.patches
    text = backbone.text
    vision = backbone.vision
    attention = 4 * text.layers * text.q_width * tokens**2
    attention += 4 * vision.layers * vision.q_width * IMAGES * backbone.patches**2
    answers = 2 * backbone.embedding * ANSWER
    return 2 * text.parameters * tokens + 2 * vision.parameters * patches + attention + answers


def activation_bytes(backbone: Backbone, layers: bool = True) -> float:
    """
    Return the memory of the activations of one prompt [B].

    Recomputation keeps the input of each layer, and all activations of the layer that is
    computed.

    :param layers: whether the inputs of all layers are kept, as in training.
    """
    total = 3 * FLOAT32 * ANSWER * backbone.vocabulary
    for transformer, tokens in (
        (backbone.vision, IMAGES * backbone.patches),
        (backbone.text, prompt_tokens(backbone)),
    ):
        inputs = transformer.layers * tokens * transformer.hidden_size if layers else 0
        computed = tokens * (LAYER * transformer.hidden_size + 4 * transformer.mlp)
        total += BFLOAT16 * (inputs + computed)
    return total


def table() -> str:
    """Return all estimates as a Markdown table."""
    lines = [
        '| model | weights | card | training | practice | acting | samples/s | action |',
        '|---|---|---|---|---|---|---|---|',
    ]
    for backbone in BACKBONES:
        for gpu in GPUS:
            found = estimate(backbone, gpu)
            lines.append(
                f'| {backbone.name} | {backbone.parameters / 1e9:.2f} G | {gpu.name} '
                f'| {found.training_gb:.0f} GB | {found.practice_gb:.0f} GB '
                f'| {found.acting_gb:.0f} GB | {found.samples_per_s:.0f} '
                f'| {found.action_ms:.0f} ms |'
            )
    return '\n'.join(lines)


if __name__ == '__main__':
    print(table())
