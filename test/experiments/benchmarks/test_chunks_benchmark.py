import importlib.util
from pathlib import Path

from efm_model.network import GroundingModel
from models import signed_arm, table_arm
import pytest

BENCHMARK = Path(__file__).resolve().parents[3] / 'benchmarks' / 'chunks.py'


@pytest.fixture
def benchmark(monkeypatch):
    spec = importlib.util.spec_from_file_location('chunks_benchmark', BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    # Two small robots replace the table and the 70 tokens, whose export takes seconds.
    robots = {'table_arm': table_arm(), 'aloha': signed_arm()}
    monkeypatch.setattr(module, 'load_embodiment', lambda path: robots[path.stem])
    return module


def test_every_model_is_measured_against_the_tables(benchmark, tmp_path):
    figures = benchmark.measure(tmp_path, 5)
    assert len(figures) == 3
    assert figures['table, one action']['processor_over_table'] == 1
    for found in figures.values():
        assert 0 < found['p50_ms'] <= found['p99_ms']


def test_separate_weights_make_a_larger_model(benchmark, tmp_path, monkeypatch):
    robots = {'table_arm': table_arm()}
    robots['aloha'] = table_arm(
        action=table_arm().action.__class__(
            ('x', 'y'), 'm', low=(-1.0, -1.0), high=(1.0, 1.0), chunk=3
        )
    )
    monkeypatch.setattr(benchmark, 'load_embodiment', lambda path: robots[path.stem])
    models = {name: model for name, (model, _) in benchmark.export_all(tmp_path).items()}
    size = {name: count(model) for name, model in models.items()}
    assert size['aloha, own weights'] > 1.3 * size['aloha, 5 x 14 x 256']


def count(model: GroundingModel) -> int:
    return sum(p.numel() for p in model.policy.parameters())
