import importlib.util
import json
from pathlib import Path

from bags import make_episode
from models import FakeTextEncoder, table_arm
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def benchmark(monkeypatch):
    path = ROOT / 'benchmarks' / 'pusht.py'
    spec = importlib.util.spec_from_file_location('pusht_benchmark', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'text_encoder', FakeTextEncoder)
    return module


@pytest.fixture
def easy(tmp_path):
    """Return an embodiment file for a task that succeeds when the T touches its outline."""
    plain = yaml.safe_load((ROOT / 'config' / 'embodiments' / 'pusht.yaml').read_text())
    plain['gymnasium']['success_at'] = 0.15
    plain['task']['max_steps'] = 30
    path = tmp_path / 'easy.yaml'
    path.write_text(yaml.safe_dump(plain))
    return path


@pytest.mark.parametrize(
    'model', ['--model grounding --images 40 --encoder-iterations 2', '--model visuomotor']
)
def test_both_stages_run_and_every_figure_has_its_episodes(benchmark, easy, model):
    words = f'{model} --demonstrations 6 --iterations 4 --practice 8 --evaluations 3'
    found = benchmark.main([*words.split(), '--first-seed', '3', '--embodiment', str(easy)])
    (figures,) = found['seeds']
    assert figures['seed'] == 3
    assert figures['demonstrator']['episodes'] == 6
    assert set(figures['held_out']) == {'action', 'steps_to_go', 'instruction', 'detector_f1'}
    assert 2 <= figures['demonstrator']['reached'] <= 6
    for word in ('before', 'after'):
        low, high = figures[word]['interval']
        assert figures[word]['episodes'] == 3
        assert low <= figures[word]['reached'] / 3 <= high
    assert len(figures['practice']) == 1
    assert 0 < figures['practice'][0]['steps'] <= 8 * 30
    assert set(figures['cpu_s']) == {
        'demonstrations',
        'fine_tuning',
        'evaluation',
        'practice',
        'evaluation_after',
    }
    words = [easy.with_name('one.log'), easy.with_name('two.log')]
    for path in words:
        path.write_text(f'demonstrations 3 s\n{json.dumps(found)}\n')
    drawn = benchmark.main(['--draw', str(easy.with_name('practice.svg')), *map(str, words)])
    assert drawn['seeds'] == [figures, figures]
    assert 'of these at the goal' in easy.with_name('practice.svg').read_text()


def test_reached_success_counts_a_goal_at_any_observation(benchmark):
    robot = table_arm()
    there = np.array([False, True, False, False, False])
    once = make_episode(robot, 0, true_success_per_step=there)
    never = make_episode(robot, 1, true_success_per_step=there & False)
    found = benchmark.rate([once, never])
    assert (found['reached'], found['episodes'], found['mean_steps']) == (1, 2, 4.0)
