import importlib.util
from pathlib import Path

from efm_model.torch_runtime import single_threaded

BENCHMARK = Path(__file__).resolve().parents[3] / 'benchmarks' / 'visuomotor_cost.py'


def test_each_size_is_exported_and_measured(tmp_path):
    spec = importlib.util.spec_from_file_location('visuomotor_benchmark', BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    with single_threaded():
        figures = benchmark.measure(tmp_path, 3, sizes=(16, 24))
    assert set(figures) == {16, 24}
    for found in figures.values():
        assert found['p50_ms'] > 0
        assert found['training_step_processor_ms'] > 0
        assert found['export_difference'] < 1e-4
