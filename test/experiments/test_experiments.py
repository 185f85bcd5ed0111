from __future__ import annotations

from pathlib import Path

from efm_experiments.catalogue import CATALOGUE, load
from efm_experiments.experiment import Experiment
from efm_experiments.publish import headline, make_page, publish, QUOTE, republish
from efm_experiments.runner import run
from models import FakeTextEncoder
import pytest
from rich.console import Console

# Modules that use the sentence encoder.
USERS = (
    'encoders.training',
    'learners.baselines',
    'learners.failure_aware',
    'metaworld.practice',
    'metaworld.stage_one',
    'studies.detector',
    'studies.failure_aware',
    'studies.language',
    'studies.manipulation',
    'table.evaluation',
    'table.sft_cache',
)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
    """Give the tiny experiments a cache of their own, so that they share their stage 1."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('EFM_CACHE', str(tmp_path_factory.mktemp('cache')))
        for module in USERS:
            patch.setattr(f'efm_experiments.{module}.text_encoder', FakeTextEncoder)
        yield


@pytest.mark.parametrize('name', CATALOGUE)
def test_experiment_runs_from_cells_to_page(name, cache, tmp_path):
    console = Console(quiet=True)
    seeds = 2 if name == 'pointmass' else 1
    results = run(name, tmp_path / name, seeds, smoke=True, jobs=1, console=console)
    assert results.cells == list(load(name).variants(smoke=True))
    page = publish(name, results, f'efm experiment {name} --smoke', tmp_path)
    text = page.read_text()
    assert f'## {load(name).title}' in text
    assert f'`efm experiment {name} --smoke`' in text
    assert 'nan' not in text
    pictures = sorted((tmp_path / 'results' / name).glob('*.png'))
    assert pictures
    assert all(f'(results/{name}/{picture.name})' in text for picture in pictures)
    page.unlink()
    assert republish(tmp_path).read_text() == text


@pytest.mark.parametrize('name', CATALOGUE)
def test_every_cell_differs_and_seeds_are_enough(name):
    experiment = load(name)
    assert isinstance(experiment, Experiment)
    assert experiment.name == name
    cells = experiment.variants(smoke=False)
    assert len(cells) == len(set(cells.values()))
    assert (
        experiment.seeds >= 5 or name == 'convergence'
    )  # its question is about curves, not rates


def test_the_results_page_follows_from_the_stored_results():
    docs = Path(__file__).resolve().parents[2] / 'docs'
    if not (docs / 'results.md').is_file():
        pytest.skip('no results are stored yet')
    assert (docs / 'results.md').read_text() == make_page(docs / 'results')


def test_the_readme_table_follows_from_the_stored_results():
    root = Path(__file__).resolve().parents[2]
    text = (root / 'README.md').read_text()
    begin, end = QUOTE
    assert text.split(begin)[1].split(end)[0] == headline(root / 'docs' / 'results')
