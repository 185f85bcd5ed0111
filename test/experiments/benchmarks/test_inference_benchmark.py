import importlib.util
import json
import math
from pathlib import Path
import shutil
import sys

from models import exported, FakeTextEncoder
import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[3] / 'benchmarks'


@pytest.fixture
def load(monkeypatch):
    """Return a function that imports one file of the benchmarks."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def load(name):
        spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def folder(load, tmp_path):
    """Return what a worker needs: the policy and one observation."""
    from efm_core.embodiment_files import save_embodiment
    from efm_model.export import example_inputs
    from efm_model.network import new_model
    from models import table_arm

    shutil.copy(exported('policy'), tmp_path / 'policy.onnx')
    model = new_model(table_arm(), pretrained='none')
    np.savez(tmp_path / 'policy.npz', **example_inputs(model, 'policy', 1))
    save_embodiment(table_arm(), tmp_path / 'embodiment.yaml')
    return tmp_path


def test_percentiles_are_over_all_rounds(load):
    found = load('figures').percentiles([[0.001, 0.003], [0.002]])
    assert found == pytest.approx({'p50': 2.0, 'p99': 2.98})


def test_a_ratio_is_taken_within_each_round(load):
    found = load('figures').ratio([[2.0], [40.0], [9.0]], [[1.0], [10.0], [3.0]])
    assert found == {'median': 3.0, 'low': 2.0, 'high': 4.0}


def test_parity_counts_observations_whose_tokens_are_all_the_same(load):
    figures = load('figures')
    assert figures.same_tokens(np.array([[1, 2], [3, 4]]), np.array([[1, 2], [3, 0]])) == 0.5
    expected = np.log([[[0.5, 0.5]]])
    found = np.log([[[0.25, 0.75]]])
    by_hand = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    np.testing.assert_allclose(figures.divergence(expected, found + 7), [[by_hand]])


def test_a_worker_measures_on_request_and_reports_its_memory(load, folder):
    from contextlib import ExitStack

    inference = load('inference')
    with ExitStack() as stack:
        worker = inference.start(
            stack, [str(BENCHMARKS / 'backends.py'), 'onnxruntime', '1', str(folder)]
        )
        worker.measure(5, 60.0)
        worker.measure(1000, 0.0)
    assert worker.facts['provider'] == 'cpu'
    assert 20 < worker.facts['memory_mb'] < 1000
    assert [len(one) for one in worker.rounds] == [
        5,
        3,
    ]  # the requested number; the smallest number, without time
    assert all(0 < latency < 10 for one in worker.rounds for latency in one)
    assert all(0 <= one[0] < 10 for one in worker.processor)


def test_a_missing_backend_gives_its_reason_and_a_null_ratio(load, folder, tmp_path):
    from contextlib import ExitStack

    inference = load('inference')
    with ExitStack() as stack:
        command = [str(BENCHMARKS / 'backends.py'), 'ACT', '1', str(folder)]
        worker = inference.start(stack, command, EFM_ACT=str(tmp_path / 'none'))
    assert 'expected it in' in worker.facts['missing']
    found = inference.summarise({('ACT', 1): worker}, {}, 1)
    assert set(inference.REQUIRED) <= set(found)
    assert found['act_over_compact'] is None


def test_a_small_run_measures_everything(load, monkeypatch, capsys):
    inference = load('inference')
    monkeypatch.setattr(inference, 'TextEncoder', lambda path: FakeTextEncoder())
    monkeypatch.setattr(inference, 'ensure_text_encoder', lambda: None)
    monkeypatch.setitem(sys.modules, 'figures', load('figures'))
    words = (
        '--demonstrations 5 --iterations 2 --rounds 1 --calls 3 --seconds 0.04 --threads 1 '
        '--backends onnxruntime visuomotor --quick'
    )
    inference.main(words.split())
    *lines, last = capsys.readouterr().out.splitlines()
    assert any(line.startswith('| visuomotor | 1 |') for line in lines)
    last = json.loads(last)
    assert set(inference.REQUIRED) <= set(last)
    assert last['precision']['float32']['same_tokens'] == 1.0
    assert last['precision']['float16']['same_tokens'] > 0.9
    assert last['precision']['int8 static, convolutions']['kilobytes'] > 0
    assert set(last['options']['default']) == {'p50', 'p99', 'speed'}
