"""From torch to ONNX, with proof that both say the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass, KW_ONLY
import io
import json
from pathlib import Path
from typing import ClassVar
import warnings

from efm_core.embodiment import Embodiment
from efm_core.files import write_whole
from efm_model.network import CompactModel
from efm_model.runtime import Runtime
from efm_model.text import STATE_SIZE
import numpy as np
import onnx
import torch
from torch import nn

OPSET = 17
FRAMES = ['observations', 'text', 'text_mask']


class PolicyGraph(nn.Module):
    """What ``policy.onnx`` computes: tokens, their log-probability and the logits."""

    inputs: ClassVar[list[str]] = [*FRAMES, 'gumbel']
    outputs: ClassVar[list[str]] = ['tokens', 'log_probability', 'logits']

    def __init__(self, model: CompactModel):
        super().__init__()
        self.model = model

    def forward(self, observations, text, text_mask, gumbel):
        """Sample with the noise that is given."""
        return self.model.sample(self.model.features(observations, text, text_mask), gumbel)


class RewardGraph(nn.Module):
    """What ``reward.onnx`` computes: the distribution over steps-to-go."""

    inputs = FRAMES
    outputs: ClassVar[list[str]] = ['probabilities']

    def __init__(self, model: CompactModel):
        super().__init__()
        self.model = model

    def forward(self, observations, text, text_mask):
        """Judge; one output all the same comes as a tuple of one."""
        features = self.model.features(observations, text, text_mask)
        return (torch.softmax(self.model.steps_to_go_logits(features), dim=-1),)


GRAPHS = {'policy': PolicyGraph, 'reward': RewardGraph}


@dataclass(frozen=True)
class ParityReport:
    """
    How far onnxruntime is from torch on the same inputs.

    :param difference: largest absolute difference of any real output.
    :param same_tokens: whether every sampled token is the same (true where none is sampled).
    """

    kind: str
    difference: float
    _: KW_ONLY
    same_tokens: bool
    samples: int
    tolerance: float = 1e-4

    @property
    def passed(self) -> bool:
        """Whether the exported file may be released."""
        return self.same_tokens and self.difference <= self.tolerance


def export_policy(
    model: CompactModel, path: str | Path, embodiment: Embodiment, version: int
) -> Path:
    """Write ``policy.onnx``: sampled action tokens; whole or not at all."""
    return _export(model, Path(path), embodiment, version, 'policy')


def export_reward(
    model: CompactModel, path: str | Path, embodiment: Embodiment, version: int
) -> Path:
    """Write ``reward.onnx``: the steps-to-go distribution; whole or not at all."""
    return _export(model, Path(path), embodiment, version, 'reward')


def parity(
    model: CompactModel,
    path: str | Path,
    embodiment: Embodiment,
    kind: str = 'policy',
    samples: int = 8,
    seed: int = 0,
) -> ParityReport:
    """Compare torch and the exported file on ``samples`` made-up observations and sentences."""
    graph = GRAPHS[kind](model).eval()
    inputs = example_inputs(model, kind, samples, seed)
    with torch.no_grad():
        expected = graph(*(torch.from_numpy(value) for value in inputs.values()))
    found = Runtime(path, kind, embodiment=embodiment).run(**inputs)
    real = [name for name in graph.outputs if name != 'tokens']
    expected = dict(zip(graph.outputs, (value.numpy() for value in expected), strict=True))
    return ParityReport(
        kind=kind,
        samples=samples,
        difference=max(float(np.abs(expected[name] - found[name]).max()) for name in real),
        same_tokens=kind != 'policy' or np.array_equal(expected['tokens'], found['tokens']),
    )


def example_inputs(
    model: CompactModel, kind: str, samples: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Return made-up inputs: smooth coloured noise, and token states of different lengths."""
    rng = np.random.default_rng(seed)
    height, width = model.config.observation_size
    coarse = rng.integers(0, 256, (samples, 2, height // 8, width // 8, 3), np.uint8)
    mask = (np.arange(12) < rng.integers(4, 13, (samples, 1))).astype(np.float32)
    vocabulary = model.config.vocabulary
    inputs = {
        'observations': np.ascontiguousarray(coarse.repeat(8, axis=2).repeat(8, axis=3)),
        'text': rng.normal(0, 0.5, (samples, 12, STATE_SIZE)).astype(np.float32),
        'text_mask': mask,
        'gumbel': rng.gumbel(size=(samples, len(vocabulary), max(vocabulary))).astype(np.float32),
    }
    return {name: inputs[name] for name in GRAPHS[kind].inputs}


def _export(
    model: CompactModel, path: Path, embodiment: Embodiment, version: int, kind: str
) -> Path:
    graph = GRAPHS[kind](
        model
    ).eval()  # a fresh wrapper begins in training mode, and would export its dropout
    buffer = io.BytesIO()
    axes = {
        name: {0: 'B', **({1: 'L'} if name.startswith('text') else {})}
        for name in graph.inputs + graph.outputs
    }
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the exporter's own, about tracing and its age
        torch.onnx.export(
            graph,
            tuple(torch.from_numpy(value) for value in example_inputs(model, kind, 2).values()),
            buffer,
            input_names=graph.inputs,
            output_names=graph.outputs,
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    exported = onnx.load_from_string(buffer.getvalue())
    onnx.helper.set_model_props(exported, _card(embodiment, version, kind))
    return write_whole(path, exported.SerializeToString())


def _card(embodiment: Embodiment, version: int, kind: str) -> dict[str, str]:
    return {
        'kind': kind,
        'version': str(version),
        'embodiment_hash': embodiment.hash,
        'embodiment': json.dumps(asdict(embodiment), sort_keys=True),
    }
