"""Sizes of the compact model, and how its encoder is pretrained."""

from __future__ import annotations

from dataclasses import dataclass

from efm_core.config import check, parameter
from efm_core.embodiment import Embodiment
from efm_core.tokeniser import ActionTokeniser

PRETRAINED = ('joint', 'vision', 'none')
PROVIDERS = ('auto', 'tensorrt', 'cuda', 'cpu')
PROVIDER_TEXT = 'Where models run; auto for the first that starts of TensorRT, CUDA and CPU'


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """
    Everything that fixes the shapes of one compact model.

    :param observation_size: height and width of the policy's input [px].
    :param vocabulary: number of action tokens at each of the ``K`` positions.
    :param steps_to_go_bins: classes of the steps-to-go distribution.
    :param pieces: word pieces that the instruction head knows; empty for a model without that
        head.
    :param chunk: rows of an action; the positions of the vocabulary are those of all rows.
    """

    observation_size: tuple[int, int]
    vocabulary: tuple[int, ...]
    steps_to_go_bins: int
    pieces: tuple[str, ...] = ()
    chunk: int = 1
    pretrained: str = parameter(
        'joint',
        'What the encoder knows before fine-tuning: joint, vision only, nothing',
        choices=PRETRAINED,
    )
    hidden_size: int = parameter(128, 'Width of the heads', low=8, high=4096)
    dropout: float = parameter(0.1, 'Dropout of the heads', low=0.0, high=0.9)

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when a number is out of range.
        """
        check(self)

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether fine-tuning keeps the encoder frozen, so that its features may be cached."""
        return self.pretrained == 'joint'

    @classmethod
    def for_embodiment(cls, embodiment: Embodiment, **changes) -> ModelConfig:
        """Return the config with the embodiment's observations, action tokens and bins."""
        return cls(
            observation_size=tuple(embodiment.observation_size),
            vocabulary=ActionTokeniser(embodiment.action).vocabulary,
            steps_to_go_bins=embodiment.steps_to_go.bins,
            chunk=embodiment.action.chunk,
            **changes,
        )


@dataclass(frozen=True, kw_only=True)
class SessionConfig:
    """How onnxruntime runs a model; the defaults are by measurement: docs/benchmarks.md."""

    provider: str = parameter('auto', PROVIDER_TEXT, choices=PROVIDERS)
    threads: int = parameter(1, 'Threads that share an operator', low=1, high=64)
    optimisation: str = parameter(
        'all', 'How far the graph is rewritten', choices=('none', 'basic', 'extended', 'all')
    )
    execution: str = parameter(
        'sequential', 'Operators one by one or side by side', choices=('sequential', 'parallel')
    )
    arena: bool = parameter(True, 'Keep memory from one call to the next')
    spinning: bool = parameter(True, 'Threads that wait keep a core busy')
    binding: bool = parameter(False, 'Bind inputs and outputs on the CPU too, not on GPUs alone')

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when a number is out of range.
        """
        check(self)


@dataclass(frozen=True, kw_only=True)
class LabelledConfig:
    """How an encoder learns from labelled pictures."""

    iterations: int = parameter(3000, 'Gradient steps', '', 2, 10**7)
    batch_size: int = parameter(64, 'Pictures in one step', '', 1, 4096)
    learning_rate: float = parameter(3e-3, 'Peak of the one-cycle schedule', '', 1e-6, 0.1)
    weight_decay: float = parameter(1e-2, 'Of AdamW', '', 0.0, 1.0)
    validation_fraction: float = parameter(0.1, 'Share of the pictures held out', '', 0.01, 0.5)
    validate_every: int = parameter(500, 'Steps between two validations', '', 1, 10**6)
    seed: int = parameter(0, 'Of initial weights, split and batches', '', 0, 2**31 - 1)

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)
