"""Where a model runs: the first onnxruntime provider of TensorRT, CUDA and CPU that starts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from efm_model.config import SessionConfig
from efm_model.text import MAX_TOKENS
import numpy as np
import onnxruntime

NAMES = {
    'tensorrt': 'TensorrtExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'cpu': 'CPUExecutionProvider',
}
# No TF32 and no half precision: the export was proven in float32. No cache of TensorRT's engines,
# which go by file and graph but not by weights: a release would act with its predecessor's.
OPTIONS: dict[str, dict[str, Any]] = {
    'tensorrt': {
        'trt_fp16_enable': False,
        'trt_engine_cache_enable': False,
        'trt_timing_cache_enable': True,
        'trt_timing_cache_path': str(Path('~/.cache/efm/tensorrt').expanduser()),
    },
    'cuda': {'use_tf32': False, 'arena_extend_strategy': 'kSameAsRequested'},
    'cpu': {},
}
# Shapes that TensorRT prepares for; without them it would build anew, for seconds, whenever a
# sentence is longer than all before it.
PROFILES = {
    'min': {'B': 1, 'L': 1},
    'opt': {'B': 1, 'L': 16},
    'max': {'B': 64, 'L': MAX_TOKENS},
}
LEVELS = {
    'none': 'ORT_DISABLE_ALL',
    'basic': 'ORT_ENABLE_BASIC',
    'extended': 'ORT_ENABLE_EXTENDED',
    'all': 'ORT_ENABLE_ALL',
}
TYPES = {'tensor(float)': np.float32, 'tensor(uint8)': np.uint8}


class Session:
    """
    One ONNX file on the first provider that starts and runs it once.

    :ivar provider: its name: tensorrt, cuda or cpu.
    :ivar refused: a sentence for each provider before it that did not.
    :ivar card: the metadata of the file.
    """

    def __init__(
        self,
        path: str | Path,
        name: str,
        *,
        config: SessionConfig | None = None,
        engine: Any = onnxruntime,
    ):
        """
        Open the file.

        :param name: what to call the file in errors.
        :param engine: the module ``onnxruntime``.
        :raises ValueError: when the file cannot be read, or the provider asked for is not there.
        """
        config = config or SessionConfig()
        order = candidates(engine.get_available_providers(), config.provider)
        self.refused: list[str] = []
        for provider in order:
            try:
                self._open(path, provider, config, engine)
            except Exception as error:  # onnxruntime's own exceptions share no other base
                reason = ' '.join(str(error).split())
                self.refused.append(f'{name}: provider {provider} did not start: {reason}')
            else:
                return
        raise ValueError(
            f'{name}: expected a readable ONNX file and a provider that runs it, '
            f'got {path} ({"; ".join(self.refused)})'
        )

    def _open(self, path: str | Path, provider: str, config: SessionConfig, engine: Any) -> None:
        self.provider = provider
        self._session = _start(path, provider, config, engine)
        self.inputs = {entry.name: entry for entry in self._session.get_inputs()}
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.card = self._session.get_modelmeta().custom_metadata_map
        binds = provider != 'cpu' or config.binding
        self._binding = self._session.io_binding() if binds else None
        self.run(rehearsal(self.inputs))

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs by name."""
        found = (
            self._session.run(None, inputs) if self._binding is None else self._run_bound(inputs)
        )
        return dict(zip(self.outputs, found, strict=True))

    def _run_bound(self, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run without the copies that onnxruntime makes of what it is not told the place of."""
        for name, value in inputs.items():
            self._binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self.outputs:
            self._binding.bind_output(name)
        self._session.run_with_iobinding(self._binding)
        return self._binding.copy_outputs_to_cpu()


def candidates(offered: Iterable[str], provider: str = 'auto') -> list[str]:
    """
    Return the providers to try, in order.

    :param offered: what onnxruntime was built with, by its own names.
    :param provider: the only one to try; ``auto`` for all.
    :raises ValueError: when it is not offered.
    """
    here = [name for name, long_name in NAMES.items() if long_name in set(offered)]
    if provider == 'auto':
        return here
    if provider not in here:
        raise ValueError(
            f'provider: expected one that this onnxruntime has, {" or ".join(here)}; got '
            f'{provider}; install onnxruntime-gpu in place of onnxruntime, or set provider to auto'
        )
    return [provider]


def session_options(config: SessionConfig, engine: Any = onnxruntime) -> Any:
    """Return onnxruntime's own options."""
    options = engine.SessionOptions()
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = config.threads if config.execution == 'parallel' else 1
    options.execution_mode = getattr(engine.ExecutionMode, f'ORT_{config.execution.upper()}')
    options.graph_optimization_level = getattr(
        engine.GraphOptimizationLevel, LEVELS[config.optimisation]
    )
    options.enable_cpu_mem_arena = options.enable_mem_pattern = config.arena
    options.add_session_config_entry('session.intra_op.allow_spinning', str(int(config.spinning)))
    return options


def profiles(inputs: Iterable[Any]) -> dict[str, str]:
    """Return TensorRT's options for the shapes of a model's inputs."""
    return {
        f'trt_profile_{kind}_shapes': ','.join(
            f'{entry.name}:{"x".join(str(size) for size in resolve(entry.shape, lengths))}'
            for entry in inputs
        )
        for kind, lengths in PROFILES.items()
    }


def resolve(shape: list[int | str], lengths: dict[str, int]) -> list[int]:
    """Return a shape with its words as numbers; one, where nothing is known of a word."""
    return [size if isinstance(size, int) else lengths.get(size, 1) for size in shape]


def rehearsal(inputs: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return zeros of the usual shapes: some providers fail, or build, in the first run only."""
    return {
        name: np.zeros(resolve(entry.shape, PROFILES['opt']), TYPES[entry.type])
        for name, entry in inputs.items()
    }


def _start(path: str | Path, provider: str, config: SessionConfig, engine: Any) -> Any:
    """
    Return a session of one provider, which leaves what it does not know to those after it.

    :raises RuntimeError: when another one took its place.
    """
    names = list(NAMES)
    chain = candidates(engine.get_available_providers())
    chain = [name for name in chain if names.index(name) >= names.index(provider)]
    given = {name: dict(OPTIONS[name]) for name in chain}
    if provider == 'tensorrt':
        Path(OPTIONS['tensorrt']['trt_timing_cache_path']).mkdir(parents=True, exist_ok=True)
        plain = engine.InferenceSession(str(path), providers=[NAMES['cpu']])
        given['tensorrt'] |= profiles(plain.get_inputs())
    session = engine.InferenceSession(
        str(path),
        session_options(config, engine),
        providers=[(NAMES[name], given[name]) for name in chain],
        enable_fallback=0,
    )
    first = session.get_providers()[0]
    if first != NAMES[provider]:
        raise RuntimeError(f'onnxruntime took {first}; its log says why')
    return session
