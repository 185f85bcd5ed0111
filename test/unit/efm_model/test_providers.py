from types import SimpleNamespace

from efm_model.config import SessionConfig
from efm_model.providers import candidates, example_run, NAMES, OnnxSession, profiles
from efm_model.runtime import Runtime
from models import exported, table_arm
import numpy as np
import onnxruntime
import pytest

EVERYTHING = ['CPUExecutionProvider', 'CUDAExecutionProvider', 'TensorrtExecutionProvider']


class Engine:
    """An onnxruntime that lists all providers, as its GPU package does without a GPU."""

    SessionOptions = onnxruntime.SessionOptions
    ExecutionMode = onnxruntime.ExecutionMode
    GraphOptimizationLevel = onnxruntime.GraphOptimizationLevel

    def __init__(self, raises=(), silent=(), *, breaks=()):
        self.raises = raises
        self.silent = silent
        self.breaks = breaks
        self.asked = []

    def get_available_providers(self):
        return EVERYTHING

    def InferenceSession(self, path, options=None, providers=(), enable_fallback=1):  # noqa: N802
        first = providers[0][0] if isinstance(providers[0], tuple) else providers[0]
        self.asked.append(providers)
        if first in self.raises:
            raise RuntimeError(f'no library\nfor {first}')
        real = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
        return Started(
            real, 'CPUExecutionProvider' if first in self.silent else first, engine=self
        )


class Started:
    """A session on the CPU that reports another provider."""

    def __init__(self, real, first, *, engine):
        self._real = real
        self._first = first
        self._engine = engine

    def __getattr__(self, name):
        return getattr(self._real, name)

    def get_providers(self):
        return [self._first, 'CPUExecutionProvider']

    def run_with_iobinding(self, binding):
        if self._first in self._engine.breaks:
            raise RuntimeError('out of memory')
        self._real.run_with_iobinding(binding)


def example(session, seed=0):
    rng = np.random.default_rng(seed)
    inputs = {name: value[:1] for name, value in example_run(session.inputs).items()}
    return {
        name: rng.integers(0, 256, value.shape, np.uint8)
        if value.dtype == np.uint8
        else rng.random(value.shape, np.float32)
        for name, value in inputs.items()
    }


def test_providers_are_tried_in_the_order_tensorrt_cuda_cpu():
    assert candidates(EVERYTHING) == ['tensorrt', 'cuda', 'cpu']
    assert candidates(['CPUExecutionProvider', 'AzureExecutionProvider']) == ['cpu']


def test_a_requested_provider_is_the_only_candidate_and_must_exist():
    assert candidates(EVERYTHING, 'cuda') == ['cuda']
    with pytest.raises(ValueError, match='this onnxruntime has, cpu; got cuda'):
        candidates(['CPUExecutionProvider'], 'cuda')


def test_a_provider_that_does_not_start_is_reported_and_the_next_one_runs_the_model():
    engine = Engine(raises=[NAMES['tensorrt']], silent=[NAMES['cuda']])
    session = OnnxSession(exported('policy'), 'policy', engine=engine)
    assert session.provider == 'cpu'
    first, second = session.provider_failures
    assert first == (
        'policy: provider tensorrt did not start: no library for TensorrtExecutionProvider'
    )
    assert second == (
        'policy: provider cuda did not start: onnxruntime took CPUExecutionProvider; see its log'
    )


def test_a_provider_that_fails_in_its_first_run_is_skipped_too():
    session = OnnxSession(exported('policy'), 'policy', engine=Engine(breaks=[NAMES['tensorrt']]))
    assert session.provider == 'cuda'
    assert 'tensorrt did not start: out of memory' in session.provider_failures[0]


def test_a_requested_provider_that_does_not_start_is_an_error():
    with pytest.raises(ValueError, match='provider cuda did not start'):
        OnnxSession(
            exported('policy'),
            'policy',
            config=SessionConfig(provider='cuda'),
            engine=Engine(silent=[NAMES['cuda']]),
        )


def test_slower_providers_follow_each_provider_in_the_session():
    engine = Engine(raises=[NAMES['tensorrt']])
    OnnxSession(exported('policy'), 'policy', engine=engine)
    plain, tensorrt, cuda = engine.asked
    assert plain == [NAMES['cpu']]  # read for its shapes, before TensorRT starts
    assert [name for name, _ in tensorrt] == [NAMES[n] for n in ('tensorrt', 'cuda', 'cpu')]
    assert [name for name, _ in cuda] == [NAMES['cuda'], NAMES['cpu']]
    assert tensorrt[0][1]['trt_engine_cache_enable'] is False
    assert cuda[0][1]['use_tf32'] is False


def test_the_tensorrt_profiles_cover_every_length_of_an_instruction():
    inputs = [
        SimpleNamespace(name='text', shape=['B', 'L', 384]),
        SimpleNamespace(name='observations', shape=['B', 2, 64, 64, 3]),
    ]
    assert profiles(inputs) == {
        'trt_profile_min_shapes': 'text:1x1x384,observations:1x2x64x64x3',
        'trt_profile_opt_shapes': 'text:1x16x384,observations:1x2x64x64x3',
        'trt_profile_max_shapes': 'text:64x64x384,observations:64x2x64x64x3',
    }


@pytest.mark.parametrize(
    'changes',
    [
        {'binding': True},
        {'threads': 2, 'spinning': False},
        {'execution': 'parallel', 'threads': 2},
        {'optimisation': 'none', 'arena': False},
    ],
    ids=str,
)
def test_no_session_option_changes_the_outputs(changes):
    plain = OnnxSession(exported('policy'), 'policy')
    other = OnnxSession(exported('policy'), 'policy', config=SessionConfig(**changes))
    for seed in range(3):
        expected, found = (s.run(example(plain, seed)) for s in (plain, other))
        assert found.keys() == expected.keys()
        np.testing.assert_array_equal(found['tokens'], expected['tokens'])
        np.testing.assert_allclose(found['logits'], expected['logits'], rtol=1e-4, atol=1e-4)


def test_the_outputs_of_a_bound_run_are_not_overwritten_by_the_next_run():
    session = OnnxSession(exported('policy'), 'policy', config=SessionConfig(binding=True))
    first = session.run(example(session, 0))
    kept = first['logits'].copy()
    session.run(example(session, 1))
    np.testing.assert_array_equal(first['logits'], kept)


def test_a_runtime_reports_its_provider():
    runtime = Runtime(exported('reward'), 'reward', embodiment=table_arm(), provider='cpu')
    assert (runtime.provider, runtime.provider_failures) == ('cpu', [])
