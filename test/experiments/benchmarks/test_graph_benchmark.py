import importlib.util
from pathlib import Path
from types import SimpleNamespace

from models import exported, FakeTextEncoder, table_arm
import pytest

BENCHMARK = Path(__file__).resolve().parents[3] / 'benchmarks' / 'graph.py'


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location('graph_benchmark', BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(str(BENCHMARK.parent))
    spec.loader.exec_module(module)
    files = SimpleNamespace(policy=exported('policy'), reward=exported('reward'))
    monkeypatch.setattr(module, 'load_release', lambda uri, sha256: files)
    monkeypatch.setattr(module, 'TextEncoder', lambda path: FakeTextEncoder())
    monkeypatch.setattr(module, 'ensure_text_encoder', lambda: None)
    return module


def test_the_loop_in_one_process_is_measured(benchmark, tmp_path):
    figures = benchmark.measure_in_process(tmp_path, table_arm(), 3)
    assert all(value > 0 for value in figures.values())
    assert figures['policy_act_p50_ms'] <= figures['policy_act_p99_ms']
