"""Options of the models: their sizes, their pretraining and their inference."""

from __future__ import annotations

from typing import Any

from efm_core.config import config, copy_field, parameter
from efm_core.embodiment import Embodiment
from efm_core.shared_config import TextEncoderConfig
from efm_core.tokeniser import ActionTokeniser

PRETRAINED = ('joint', 'vision', 'none')
PROVIDERS = ('auto', 'tensorrt', 'cuda', 'cpu')


@config
class ModelConfig:
    """
    All sizes of one grounding model.

    :param observation_size: height and width of the policy's input [px].
    :param vocabulary: number of action tokens at each of the ``K`` positions.
    :param steps_to_go_bins: number of bins of the steps-to-go distribution.
    :param pieces: word pieces of the instruction head; empty for a model without that head.
    :param chunk: control steps of an action; the vocabulary covers the positions of all of them.
    """

    observation_size: tuple[int, int]
    vocabulary: tuple[int, ...]
    steps_to_go_bins: int
    pieces: tuple[str, ...] = ()
    chunk: int = 1
    pretrained: str = parameter(
        'joint',
        'Pretraining of the encoder; joint: vision and language, frozen in fine-tuning; vision: '
        'images only; none: random weights',
        choices=PRETRAINED,
    )
    hidden_size: int = parameter(128, 'Width of the heads', low=8, high=4096)
    dropout: float = parameter(0.1, 'Dropout of the heads', low=0.0, high=0.9)

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the frames of the only camera that the model uses [px]."""
        return (self.observation_size,)

    @property
    def proprioception_size(self) -> int:
        """Zero: the model uses no proprioception."""
        return 0

    @property
    def encoder_is_frozen(self) -> bool:
        """Whether fine-tuning keeps the encoder frozen, so that its features can be cached."""
        return self.pretrained == 'joint'

    @classmethod
    def for_embodiment(cls, embodiment: Embodiment, **changes: Any) -> ModelConfig:
        """Return the config with the embodiment's observations, action tokens and bins."""
        height, width = embodiment.image_sizes[0]
        return cls(
            observation_size=(height, width),
            vocabulary=ActionTokeniser(embodiment.action).vocabulary,
            steps_to_go_bins=embodiment.steps_to_go.bins,
            chunk=embodiment.action.chunk,
            **changes,
        )


@config
class BackboneConfig:
    """
    A pretrained vision backbone, without its weights.

    :param model_type: of the network, a key of ``CLASSES`` in ``efm_model/backbone.py`` or
        ``efficientnet-lite0``.
    :param settings: of that class, JSON values.
    :param mean: subtracted from the pixel values of each colour, which are 0 to 255.
    :param deviation: divides the difference.
    """

    model_type: str
    settings: dict[str, Any]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> BackboneConfig:
        """Return the config from its JSON form, in which tuples are lists."""
        statistics = {name: tuple(plain[name]) for name in ('mean', 'deviation')}
        return cls(model_type=plain['model_type'], settings=plain['settings'], **statistics)


@config
class VisuomotorConfig:
    """
    All sizes of one visuomotor model.

    :param image_sizes: height and width of the frames of each camera [px].
    :param camera_roles: role of each camera; those of one role and size share an encoder.
    :param proprioception_size: numbers of the proprioception; 0 for a model without it.
    :param vocabulary: number of action tokens at each of the ``K`` positions.
    :param steps_to_go_bins: number of bins of the steps-to-go distribution.
    :param pieces: word pieces of the instruction head; empty for a model without that head.
    :param chunk: control steps of an action; the vocabulary covers the positions of all of them.
    :param backbone: of the images of all cameras; None for the small network.
    """

    image_sizes: tuple[tuple[int, int], ...]
    camera_roles: tuple[str, ...]
    proprioception_size: int
    vocabulary: tuple[int, ...]
    steps_to_go_bins: int
    pieces: tuple[str, ...] = ()
    chunk: int = 1
    backbone: BackboneConfig | None = None
    hidden_size: int = copy_field(ModelConfig, 'hidden_size', default=256)
    dropout: float = copy_field(ModelConfig, 'dropout')

    @classmethod
    def for_embodiment(
        cls, embodiment: Embodiment, proprioception: bool = True, **changes: Any
    ) -> VisuomotorConfig:
        """
        Return the config with the embodiment's observations, action tokens and bins.

        :param proprioception: whether the model uses the proprioception of the embodiment.
        """
        numbers = len(embodiment.proprioception_names)
        return cls(
            image_sizes=embodiment.image_sizes,
            camera_roles=tuple(camera.role for camera in embodiment.cameras),
            proprioception_size=numbers if proprioception else 0,
            vocabulary=ActionTokeniser(embodiment.action).vocabulary,
            steps_to_go_bins=embodiment.steps_to_go.bins,
            chunk=embodiment.action.chunk,
            **changes,
        )


@config
class SessionConfig:
    """How onnxruntime runs a model; docs/benchmarks.md has the measurements of the defaults."""

    provider: str = parameter(
        'auto',
        'Execution provider of the models; auto: the first of TensorRT, CUDA and CPU that starts',
        choices=PROVIDERS,
    )
    threads: int = parameter(1, 'Threads per operator', low=1, high=64)
    optimisation: str = parameter(
        'all', 'Level of graph optimisation', choices=('none', 'basic', 'extended', 'all')
    )
    execution: str = parameter(
        'sequential', 'Order of the operators', choices=('sequential', 'parallel')
    )
    arena: bool = parameter(True, 'Keep memory from one call to the next')
    spinning: bool = parameter(True, 'Let waiting threads spin, which keeps a core busy')
    binding: bool = parameter(False, 'Bind inputs and outputs on the CPU too, not only on GPUs')


@config
class InferenceConfig(TextEncoderConfig):
    """How a node or server runs exported models."""

    provider: str = copy_field(SessionConfig, 'provider')


@config
class LabelledConfig:
    """How an encoder learns from labelled images."""

    iterations: int = parameter(3000, 'Gradient steps', '', 2, 10**7)
    batch_size: int = parameter(64, 'Images per gradient step', '', 1, 4096)
    learning_rate: float = parameter(
        3e-3, 'Peak learning rate of the one-cycle schedule', '', 1e-6, 0.1
    )
    weight_decay: float = parameter(1e-2, 'Weight decay of AdamW', '', 0.0, 1.0)
    validation_fraction: float = parameter(
        0.1, 'Fraction of the different images held out for validation', '', 0.01, 0.5
    )
    validate_every: int = parameter(500, 'Gradient steps between two validations', '', 1, 10**6)
    seed: int = parameter(0, 'Seed of initial weights, split and batches', '', 0, 2**31 - 1)
