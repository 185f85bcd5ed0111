"""Speed and parity of the exported policy in half precision and in 8-bit integers."""

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
Observation = dict[str, np.ndarray]


class Observations(CalibrationDataReader):
    """The observations from which a static quantisation measures its ranges."""

    def __init__(self, observations: list[Observation]):
        self._left: Iterator[Observation] = iter(observations)

    def get_next(self) -> Observation | None:
        """Return the next observation, or None."""
        return next(self._left, None)


def make_files(
    policy: Path, observations: list[Observation], folder: Path, whole: bool = True
) -> dict[str, Path]:
    """
    Return the files of the policy in all precisions, by name.

    :param observations: for the calibration of static quantisation.
    :param whole: also quantise every operator that supports 8 bits; 100 times as slow.
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
    kinds: dict[str, list[str] | None] = {'int8 static, convolutions': CONVOLUTIONS}
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
    """Return the agreement of two files at temperature 0 on recorded observations."""
    pairs = [(exact.run(o), other.run(o)) for o in observations]
    tokens, logits = (
        [np.concatenate([found[name] for found in side]) for side in zip(*pairs, strict=True)]
        for name in ('tokens', 'logits')
    )
    kl = divergence(*logits)
    return {
        'same_tokens': same_tokens(*tokens),
        'kl_mean': float(kl.mean()),
        'kl_p99': float(np.percentile(kl, 99)),
    }


def compare(
    sessions: dict[str, OnnxSession], observation: Observation, rounds: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Return the latencies of each session [s], one list for each round; sessions take turns."""
    found: dict[str, list[list[float]]] = {name: [] for name in sessions}
    for _ in range(rounds):
        for name, session in sessions.items():
            end = time.monotonic() + seconds
            latencies: list[float] = []
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
    """Return speed and parity of each precision, against float32 in the same run."""
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
    """Return the speed with each session option, against the default in the same run."""
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
