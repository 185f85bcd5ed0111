"""Export of policies and reward models to ONNX, and the parity test of an export."""

from __future__ import annotations

from dataclasses import asdict, dataclass, KW_ONLY
import io
import json
from pathlib import Path
from typing import cast, ClassVar, Protocol
import warnings

from efm_core.embodiment import Embodiment
from efm_core.files import write_whole
from efm_model.protocol import Model, ModelSettings
from efm_model.runtime import image_input, PROPRIOCEPTION, Runtime
from efm_model.text import STATE_SIZE
import numpy as np
import onnx
import torch
from torch import nn

OPSET = 17
EXPORTABLE = ('grounding', 'visuomotor')  # model families that torch.onnx can export


class ExportSettings(ModelSettings, Protocol):
    """What the export reads of a model's ``config`` in addition."""

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the frames of each camera that the model uses [px]."""

    @property
    def proprioception_size(self) -> int:
        """Numbers of the proprioception that the model uses; 0 for none."""


class ExportableModel(Model, Protocol):
    """A model that ``torch.onnx`` can export."""

    @property
    def config(self) -> ExportSettings:
        """Everything that is needed to build the model without its weights."""


class Graph(nn.Module):
    """
    The computation of an exported file.

    :cvar outputs: names of the outputs, in the order of the tuple that ``forward`` returns.
    :ivar inputs: names of the inputs, in the order of the arguments of ``forward``.
    """

    outputs: ClassVar[list[str]]

    def __init__(self, model: Model):
        """Wrap a model of an exportable family."""
        super().__init__()
        self.model = model
        config = exportable(model).config
        self.inputs = [image_input(camera) for camera in range(len(config.image_sizes))]
        self.inputs += [PROPRIOCEPTION] if config.proprioception_size else []
        self.inputs += ['text', 'text_mask']


class PolicyGraph(Graph):
    """The computation of ``policy.onnx``: sample an action."""

    outputs = ['tokens', 'log_probability', 'logits']  # noqa: RUF012

    def __init__(self, model: Model):
        """Wrap a model of an exportable family."""
        super().__init__(model)
        self.inputs += ['gumbel']

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Return tokens, their log-probability and logits, as ``Model.sample``.

        :param values: the inputs of ``Model.features`` in the order of ``inputs``; then standard
            Gumbel noise, ``(B, K, V)`` float32.
        """
        inputs = dict(zip(self.inputs, values, strict=True))
        return self.model.sample(self.model.features(inputs), inputs['gumbel'])


class RewardGraph(Graph):
    """The computation of ``reward.onnx``: predict the distribution over steps-to-go."""

    outputs = ['probabilities']  # noqa: RUF012

    def forward(self, *values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """
        Return ``(B, bins)`` float32 in a tuple of one.

        :param values: the inputs of ``Model.features`` in the order of ``inputs``.
        """
        features = self.model.features(dict(zip(self.inputs, values, strict=True)))
        return (torch.softmax(self.model.steps_to_go_logits(features), dim=-1),)


GRAPHS: dict[str, type[Graph]] = {'policy': PolicyGraph, 'reward': RewardGraph}


@dataclass(frozen=True)
class ParityReport:
    """
    Difference between an exported file in onnxruntime and its model in torch.

    :param kind: ``policy`` or ``reward``.
    :param difference: largest absolute difference of all outputs with real values.
    :param same_tokens: whether all sampled tokens are equal; true for a reward model.
    :param samples: number of inputs that were compared.
    :param tolerance: largest difference of a faithful export.
    """

    kind: str
    difference: float
    _: KW_ONLY
    same_tokens: bool
    samples: int
    tolerance: float = 1e-4

    @property
    def passed(self) -> bool:
        """Whether the export is faithful, so that the file may be released."""
        return self.same_tokens and self.difference <= self.tolerance


def export_policy(model: Model, path: str | Path, embodiment: Embodiment, version: int) -> Path:
    """Write a policy to an ONNX file, whole or not at all; return the path."""
    return _export(model, Path(path), embodiment, version, 'policy')


def export_reward(model: Model, path: str | Path, embodiment: Embodiment, version: int) -> Path:
    """Write a reward model to an ONNX file, whole or not at all; return the path."""
    return _export(model, Path(path), embodiment, version, 'reward')


def parity(
    model: Model,
    path: str | Path,
    embodiment: Embodiment,
    kind: str = 'policy',
    samples: int = 8,
    seed: int = 0,
) -> ParityReport:
    """
    Compare an exported file with its model on generated inputs.

    :param kind: ``policy`` or ``reward``.
    :param samples: number of generated observations and instructions.
    :param seed: of the generated inputs.
    :raises FileNotFoundError: when the file does not exist.
    :raises ValueError: when the file is of another kind or embodiment.
    """
    graph = GRAPHS[kind](model).eval()
    inputs = example_inputs(model, kind, samples, seed)
    with torch.no_grad():
        outputs = graph(*(torch.from_numpy(value) for value in inputs.values()))
    expected = dict(zip(graph.outputs, (value.numpy() for value in outputs), strict=True))
    exported = Runtime(path, kind, embodiment=embodiment).run(**inputs)
    real = [name for name in graph.outputs if name != 'tokens']
    return ParityReport(
        kind=kind,
        samples=samples,
        difference=max(float(np.abs(expected[name] - exported[name]).max()) for name in real),
        same_tokens=kind != 'policy' or np.array_equal(expected['tokens'], exported['tokens']),
    )


def example_inputs(model: Model, kind: str, samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """
    Return generated inputs of a graph: smooth coloured noise and random token states.

    :param kind: ``policy`` or ``reward``.
    :return: inputs by name, as ``model_inputs`` returns them, for ``samples`` observations.
    :raises ValueError: when the family of the model cannot be exported.
    """
    config = exportable(model).config
    rng = np.random.default_rng(seed)
    vocabulary = config.vocabulary
    images = {}
    for camera, (height, width) in enumerate(config.image_sizes):
        coarse = rng.integers(0, 256, (samples, 2, height // 8, width // 8, 3), np.uint8)
        images[image_input(camera)] = np.ascontiguousarray(
            coarse.repeat(8, axis=2).repeat(8, axis=3)
        )
    mask = (np.arange(12) < rng.integers(4, 13, (samples, 1))).astype(np.float32)
    shape = (samples, 2, config.proprioception_size)
    inputs = {
        **images,
        PROPRIOCEPTION: rng.normal(0, 1, shape).astype(np.float32),
        'text': rng.normal(0, 0.5, (samples, 12, STATE_SIZE)).astype(np.float32),
        'text_mask': mask,
        'gumbel': rng.gumbel(size=(samples, len(vocabulary), max(vocabulary))).astype(np.float32),
    }
    return {name: inputs[name] for name in GRAPHS[kind](model).inputs}


def exportable(model: Model) -> ExportableModel:
    """
    Return ``model`` if its family is in ``EXPORTABLE``.

    :raises ValueError: for any other family.
    """
    if model.family not in EXPORTABLE:
        raise ValueError(
            f'export: expected a model of the family {" or ".join(EXPORTABLE)}, '
            f'got one of the family {model.family!r}'
        )
    return cast('ExportableModel', model)


def _export(model: Model, path: Path, embodiment: Embodiment, version: int, kind: str) -> Path:
    graph = GRAPHS[kind](model).eval()  # a new module is in training mode: it has dropout
    buffer = io.BytesIO()
    axes = {
        name: {0: 'B', **({1: 'L'} if name.startswith('text') else {})}
        for name in graph.inputs + graph.outputs
    }
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter warns about tracing and its own age
        torch.onnx.export(
            graph,
            tuple(torch.from_numpy(value) for value in example_inputs(model, kind, 2).values()),
            buffer,  # type: ignore[arg-type]  # without dynamo, a stream will do
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    exported = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(exported, _metadata(embodiment, version, kind))
    return write_whole(path, exported.SerializeToString())


def _metadata(embodiment: Embodiment, version: int, kind: str) -> dict[str, str]:
    return {
        'kind': kind,
        'version': str(version),
        'embodiment_hash': embodiment.hash,
        'embodiment': json.dumps(asdict(embodiment), sort_keys=True),
    }
