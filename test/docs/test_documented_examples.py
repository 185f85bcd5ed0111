"""The Python examples of README and docs/python.md run as they stand there."""

import re

import efm
from efm import graphs
from efm_core.embodiment_files import save_embodiment
from models import table_arm
import pytest
from releases import publish_untrained
from sources import ROOT
from trainer_fakes import demonstrations

SHORT = table_arm(episode=table_arm().episode.__class__(max_steps=2, success_threshold=1.0))
# Sizes of docs/python.md, which take minutes, and what the test puts in their place.
SMALL = {
    'range(20)': 'range(2)',
    'iterations=12000': "iterations=2, pretrained='none', hidden_size=8",
    'range(5_000_000, 5_000_240)': 'range(8)',
}


def blocks(page):
    """Return the Python blocks of a page."""
    return re.findall(r'```python\n(.*?)```', (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Work in a folder that has an untrained release, whose episodes end after two steps."""
    run = tmp_path / 'runs' / 'demo'
    publish_untrained(run, 1, SHORT)
    save_embodiment(SHORT, run / 'embodiment.yaml')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_of_the_readme_runs(folder, capsys):
    (example,) = blocks('README.md')
    assert len(example.strip().splitlines()) <= 12
    found = {}
    exec(example, found)
    assert [episode.seed for episode in found['episodes']] == list(range(20))
    assert {len(episode) for episode in found['episodes']} == {2}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert re.fullmatch(r'(\d+ of 20 \(\d+ % \[\d+, \d+\]\) ?){2}', lines[-1])


def test_the_examples_of_the_python_page_run(folder, monkeypatch):
    monkeypatch.setattr(efm, 'load_embodiment', lambda: SHORT)
    monkeypatch.setattr(efm, 'demonstrate', lambda *_, seeds: demonstrations(SHORT, 3))
    started = []
    monkeypatch.setattr(graphs, 'run_mode', lambda *given: started.append(given) or 0)
    page = '\n---\n'.join(blocks('docs/python.md'))
    for text, small in SMALL.items():
        assert text in page
        page = page.replace(text, small)
    evaluate, learn, read = page.split('---\n')
    exec(evaluate, {})
    exec(learn, {})
    releases = folder / 'runs' / 'python' / 'releases'
    assert [path.name for path in releases.iterdir()] == ['000001']
    (folder / 'runs' / 'python_ros' / 'episodes' / 'demonstration').mkdir(parents=True)
    found = {}
    exec(read, found)
    ((mode, config, *_),) = started
    assert (mode, config.run, config.num_robots, config.episodes) == (
        'record',
        'runs/python_ros',
        2,
        10,
    )
    assert found['episodes'] == []
