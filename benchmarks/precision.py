"""The exported policy in half precision and in 8-bit integers: how fast, and does it act alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import time
from typing import Any

from efm_model.config import SessionConfig
from efm_model.providers import OnnxSession
from figures import divergence, percentiles, ratio, same_tokens
import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
    QuantType,
)
from onnxruntime.transformers.float16 import convert_float_to_float16

MATRICES = ['MatMul', 'Gemm']
CONVOLUTIONS = ['Conv', 'Relu', 'Add']
SAME = 0.99  # share of observations with the same tokens that is called parity
Observation = dict[str, np.ndarray]


class Observations(CalibrationDataReader):
    """What a static quantisation measures the ranges with."""

    def __init__(self, observations: list[Observation]):
        self._left: Iterator[Observation] = iter(observations)

    def get_next(self) -> Observation | None:
        """Return one more, or None."""
        return next(self._left, None)


def make_files(
    policy: Path, observations: list[Observation], folder: Path, whole: bool = True
) -> dict[str, Path]:
    """
    Return the policy in all precisions, by name.

    :param whole: also with every operator that can be in 8 bits; slow by a factor of 100.
    """
    folder.mkdir(exist_ok=True)
    files = {'float32': policy}

    def add(name: str) -> str:
        files[name] = folder / f'{len(files)}.onnx'
        return str(files[name])

    half = convert_float_to_float16(onnx.load(policy), keep_io_types=True)
    onnx.save(half, add('float16'))
    plain = str(folder / 'plain.onnx')
    quant_pre_process(str(policy), plain, skip_symbolic_shape=True)
    signed = {'weight_type': QuantType.QInt8}
    quantize_dynamic(plain, add('int8 dynamic, matrices'), op_types_to_quantize=MATRICES, **signed)
    kinds = {'int8 static, convolutions': CONVOLUTIONS}
    if whole:
        quantize_dynamic(plain, add('int8 dynamic, all'), **signed)
        kinds['int8 static, all'] = None
    for name, operators in kinds.items():
        quantize_static(
            plain,
            add(name),
            Observations(observations),
            op_types_to_quantize=operators,
            per_channel=True,
        )
    return files


def parity(
    exact: OnnxSession, other: OnnxSession, observations: list[Observation]
) -> dict[str, float]:
    """Return how alike two files act at temperature 0, on real observations."""
    pairs = [(exact.run(o), other.run(o)) for o in observations]
    tokens, logits = (
        [np.concatenate([found[name] for found in side]) for side in zip(*pairs, strict=True)]
        for name in ('tokens', 'logits')
    )
    apart = divergence(*logits)
    return {
        'same_tokens': same_tokens(*tokens),
        'kl_mean': float(apart.mean()),
        'kl_p99': float(np.percentile(apart, 99)),
    }


def compare(
    sessions: dict[str, OnnxSession], observation: Observation, rounds: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Return the latencies [s] of each round of each session; a round is one turn of all."""
    found: dict[str, list[list[float]]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            end = time.monotonic() + seconds
            latencies = []
            while not latencies or time.monotonic() < end:
                before = time.perf_counter()
                session.run(observation)
                latencies.append(time.perf_counter() - before)
            found[name].append(latencies)
    return found


def measure_precisions(
    policy: Path,
    calibration: list[Observation],
    observations: list[Observation],
    folder: Path,
    rounds: int,
    seconds: float,
    whole: bool = True,
) -> dict[str, dict[str, Any]]:
    """Return speed and parity of each precision, both against float32 in the same run."""
    files = make_files(policy, calibration, folder, whole)
    sessions = {name: OnnxSession(path, name) for name, path in files.items()}
    latencies = compare(sessions, observations[0], rounds, seconds)
    return {
        name: {
            **percentiles(latencies[name]),
            'speed': ratio(latencies['float32'], latencies[name]),
            **parity(sessions['float32'], session, observations),
            'kilobytes': round(files[name].stat().st_size / 1024),
        }
        for name, session in sessions.items()
    }


def measure_options(
    policy: Path, observation: Observation, rounds: int, seconds: float
) -> dict[str, dict[str, Any]]:
    """Return the speed with each session option changed, against the default in the same run."""
    changes: dict[str, dict[str, Any]] = {
        'default': {},
        'graph as exported': {'optimisation': 'none'},
        'basic rewriting': {'optimisation': 'basic'},
        'extended rewriting': {'optimisation': 'extended'},
        'no arena': {'arena': False},
        'inputs and outputs bound': {'binding': True},
        'two threads': {'threads': 2},
        'two threads, no spinning': {'threads': 2, 'spinning': False},
        'two threads, parallel': {'threads': 2, 'execution': 'parallel'},
    }
    sessions = {
        name: OnnxSession(policy, name, config=SessionConfig(**change))
        for name, change in changes.items()
    }
    latencies = compare(sessions, observation, rounds, seconds)
    return {
        name: {
            **percentiles(latencies[name]),
            'speed': ratio(latencies['default'], latencies[name]),
        }
        for name in sessions
    }
