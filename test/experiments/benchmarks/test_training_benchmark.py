"""The benchmark of training, in small."""

import importlib.util
import sys

from efm_model.torch_runtime import single_threaded
from models import FakeTextEncoder
from sources import ROOT


def test_both_stages_are_compared_with_bare_loops(monkeypatch):
    folder = ROOT / 'benchmarks'
    monkeypatch.syspath_prepend(str(folder))
    spec = importlib.util.spec_from_file_location('training_benchmark', folder / 'training.py')
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.delitem(sys.modules, 'visuomotor_cost')
    for name, value in (('EPISODES', 4), ('LENGTH', 3), ('PART', 1)):
        monkeypatch.setattr(benchmark, name, value)
    monkeypatch.setattr(benchmark, 'ensure_text_encoder', lambda: '')
    monkeypatch.setattr(benchmark, 'TextEncoder', lambda folder: FakeTextEncoder())
    with single_threaded():
        figures = benchmark.measure(size=16, rounds=1)
    assert set(figures) == {
        'samples_per_s',
        'learner_share',
        'practice_samples_per_s',
        'practice_learner_share',
    }
    assert min(figures.values()) > 0
