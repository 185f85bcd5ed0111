import importlib.util
from pathlib import Path

from models import table_arm
import pytest
from serving import serving

BENCHMARK = Path(__file__).resolve().parents[3] / 'benchmarks' / 'serving.py'


@pytest.fixture(scope='module')
def benchmark():
    spec = importlib.util.spec_from_file_location('serving_benchmark', BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('period_s', [0.0, 0.1], ids=['flat out', 'paced'])
def test_robots_are_measured_as_they_ask(benchmark, period_s, monkeypatch):
    monkeypatch.setattr(benchmark, 'INSTRUCTION', 'push it')
    with serving() as (server, where):
        crew = benchmark.Crew(where, '', table_arm(), 2)
        found = crew.measure(0.35, period_s, 20.0)
        crew.close()
    assert (found['late'], found['failed']) == (0, 0)
    assert 0 < found['p50_ms'] <= found['p99_ms']
    assert 1 <= found['mean_batch'] <= 2
    assert server.counts['answered'] >= 2
    if period_s:
        assert server.counts['answered'] <= 8
