"""Run an ONNX model on the first onnxruntime provider that starts: TensorRT, CUDA or CPU."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from efm_core.files import FileContent
from efm_core.machine import cache_folder
from efm_model.config import SessionConfig
from efm_model.onnx_file import check_complete
from efm_model.text import MAX_TOKENS
import numpy as np
import onnxruntime

NAMES = {
    'tensorrt': 'TensorrtExecutionProvider',
    'cuda': 'CUDAExecutionProvider',
    'cpu': 'CPUExecutionProvider',
}
# Neither TF32 nor half precision: the parity test of the export ran in float32. No cache of
# TensorRT engines: its key has the file name and the graph but not the weights, so that a new
# release would run with the weights of the release before.
OPTIONS: dict[str, dict[str, Any]] = {
    'tensorrt': {
        'trt_fp16_enable': False,
        'trt_engine_cache_enable': False,
        'trt_timing_cache_enable': True,
        'trt_timing_cache_path': str(cache_folder() / 'tensorrt'),
    },
    'cuda': {'use_tf32': False, 'arena_extend_strategy': 'kSameAsRequested'},
    'cpu': {},
}
# Sizes of the dynamic axes that TensorRT prepares for. Outside this range TensorRT builds a new
# engine during a call, which takes seconds.
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


class ModelInput(Protocol):
    """What onnxruntime reports of one input of a model."""

    name: str
    shape: list[int | str]  # an axis of any length has a name instead of a size
    type: str


class OnnxSession:
    """
    One ONNX file, opened on the first provider that starts and completes a run.

    The file is read once, and onnxruntime gets these bytes; it loads no other file.

    :ivar provider: the provider in use: tensorrt, cuda or cpu.
    :ivar provider_failures: one sentence for each provider that was tried before and failed.
    :ivar metadata: the metadata of the file.
    :ivar inputs: the inputs of the model, by name.
    :ivar outputs: names of the outputs.
    """

    def __init__(
        self,
        source: str | Path | FileContent,
        name: str,
        *,
        config: SessionConfig | None = None,
        engine: Any = onnxruntime,
    ):
        """
        Open the file.

        :param source: path of the file, or its content.
        :param name: name of the model in error messages.
        :param engine: the module ``onnxruntime``, or a replacement in tests.
        :raises FileNotFoundError: when the file does not exist.
        :raises ValueError: when the file is damaged or needs other files, or the requested
            provider is missing.
        """
        config = config or SessionConfig()
        file = source if isinstance(source, FileContent) else FileContent.read(source)
        check_complete(file, name)
        self.provider_failures: list[str] = []
        for provider in candidates(engine.get_available_providers(), config.provider):
            try:
                self._open(file.data, provider, config, engine)
            except Exception as error:  # the exceptions of onnxruntime share no other base class
                reason = ' '.join(str(error).split())
                self.provider_failures.append(
                    f'{name}: provider {provider} did not start: {reason}'
                )
            else:
                return
        raise ValueError(
            f'{name}: expected a readable ONNX file and a provider that runs it, '
            f'got {file.path} ({"; ".join(self.provider_failures)})'
        )

    def _open(self, data: bytes, provider: str, config: SessionConfig, engine: Any) -> None:
        self.provider = provider
        self._session = _start(data, provider, config, engine)
        self.inputs: dict[str, ModelInput] = {
            entry.name: entry for entry in self._session.get_inputs()
        }
        self.outputs = [output.name for output in self._session.get_outputs()]
        self.metadata: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        uses_binding = provider != 'cpu' or config.binding
        self._binding = self._session.io_binding() if uses_binding else None
        self.run(example_run(self.inputs))

    def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """
        Run the model once.

        :param inputs: one array for each input, with the shape and dtype that the file declares.
        :return: the outputs by name.
        """
        if self._binding is None:
            values = self._session.run(None, inputs)
        else:
            values = self._run_bound(self._binding, inputs)
        return dict(zip(self.outputs, values, strict=True))

    def _run_bound(self, binding: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run with bound inputs and outputs, which saves copies within onnxruntime."""
        for name, value in inputs.items():
            binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self.outputs:
            binding.bind_output(name)
        self._session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()


def candidates(available: Iterable[str], provider: str = 'auto') -> list[str]:
    """
    Return the short names of the providers to try, fastest first.

    :param available: providers of this onnxruntime, by the names that onnxruntime uses.
    :param provider: the only provider to try; ``auto`` for all of them.
    :raises ValueError: when this onnxruntime does not have ``provider``.
    """
    known = [name for name, long_name in NAMES.items() if long_name in set(available)]
    if provider == 'auto':
        return known
    if provider not in known:
        raise ValueError(
            f'provider: expected one that this onnxruntime has, {" or ".join(known)}; got '
            f'{provider}; install onnxruntime-gpu in place of onnxruntime, or set provider to auto'
        )
    return [provider]


def session_options(config: SessionConfig, engine: Any = onnxruntime) -> Any:
    """Return ``onnxruntime.SessionOptions`` with the values of ``config``."""
    options = engine.SessionOptions()
    options.intra_op_num_threads = config.threads
    options.inter_op_num_threads = config.threads if config.execution == 'parallel' else 1
    options.execution_mode = getattr(engine.ExecutionMode, f'ORT_{config.execution.upper()}')
    options.graph_optimization_level = getattr(
        engine.GraphOptimizationLevel, LEVELS[config.optimisation]
    )
    options.enable_cpu_mem_arena = config.arena
    options.enable_mem_pattern = config.arena
    options.add_session_config_entry('session.intra_op.allow_spinning', str(int(config.spinning)))
    return options


def profiles(inputs: Iterable[ModelInput]) -> dict[str, str]:
    """Return the options of TensorRT that declare the smallest, usual and largest input shapes."""
    return {
        f'trt_profile_{kind}_shapes': ','.join(
            f'{entry.name}:{"x".join(str(size) for size in resolve(entry.shape, lengths))}'
            for entry in inputs
        )
        for kind, lengths in PROFILES.items()
    }


def resolve(shape: list[int | str], lengths: Mapping[str, int]) -> list[int]:
    """Return a shape with a size in place of each named axis; 1 for an axis of unknown name."""
    return [size if isinstance(size, int) else lengths.get(size, 1) for size in shape]


def example_run(inputs: Mapping[str, ModelInput]) -> dict[str, np.ndarray]:
    """
    Return zeros of the usual input shapes.

    Some providers fail only in the first run, or compile the model then.
    """
    return {
        name: np.zeros(resolve(entry.shape, PROFILES['opt']), TYPES[entry.type])
        for name, entry in inputs.items()
    }


def _start(data: bytes, provider: str, config: SessionConfig, engine: Any) -> Any:
    """
    Return an onnxruntime session on ``provider``.

    Slower providers run the operators that ``provider`` does not have.

    :raises RuntimeError: when onnxruntime chose another provider instead.
    """
    order = list(NAMES)
    chain = [
        name
        for name in candidates(engine.get_available_providers())
        if order.index(name) >= order.index(provider)
    ]
    options = {name: dict(OPTIONS[name]) for name in chain}
    if provider == 'tensorrt':
        Path(OPTIONS['tensorrt']['trt_timing_cache_path']).mkdir(parents=True, exist_ok=True)
        plain = engine.InferenceSession(data, providers=[NAMES['cpu']])
        options['tensorrt'] |= profiles(plain.get_inputs())
    session = engine.InferenceSession(
        data,
        session_options(config, engine),
        providers=[(NAMES[name], options[name]) for name in chain],
        enable_fallback=0,
    )
    first = session.get_providers()[0]
    if first != NAMES[provider]:
        raise RuntimeError(f'onnxruntime took {first}; see its log')
    return session
