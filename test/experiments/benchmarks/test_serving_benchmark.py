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
def test_every_answered_request_is_counted(benchmark, period_s, monkeypatch):
    monkeypatch.setattr(benchmark, 'INSTRUCTION', 'push it')
    with serving() as (server, where):
        fleet = benchmark.SimulatedFleet(where, '', embodiment=table_arm(), robots=2)
        found = fleet.measure(0.35, period_s, 20.0)
        fleet.close()
    assert (found['late'], found['failed']) == (0, 0)
    assert len(found['latencies']) == server.counts['answered']
    assert set(found['batches']) <= {1, 2}
    assert server.counts['answered'] >= 2
    if period_s:
        assert server.counts['answered'] <= 8


def test_slices_become_a_row_of_medians(benchmark):
    known = {'server': 'batched', 'robots': 2, 'paced': False, 'ratio': 1.0, 'cpu_s': 0.002}
    parts = [
        {**known, 'per_s': rate, 'latencies': times, 'batches': [1, 2], 'late': 1, 'failed': 0}
        for rate, times in ((10.0, [0.001]), (30.0, [0.003]), (20.0, [0.002]))
    ]
    row = benchmark.summarise(tuple(parts))
    assert (row['per_s'], row['late'], row['batch']) == (20.0, 3, 1.5)
    assert row['p50_ms'] == pytest.approx(2.0)
    assert row['cpu_ms'] == pytest.approx(2.0)
