from __future__ import annotations

from dataclasses import dataclass, replace
import json
from pathlib import Path
import subprocess
import sys

from efm_experiments import runner
from efm_experiments.experiment import digest, Experiment, Record, Results
from efm_experiments.progress import report
from efm_experiments.publish import make_page, read, to_csv, to_json
from efm_experiments.runner import pool
from efm_experiments.store import Store
import pytest
from rich.console import Console
from waiting import wait_for


@dataclass(frozen=True)
class Numbers:
    base: int = 10
    fails: bool = False


class Sums:
    """An experiment whose cells count how often they are run."""

    def __init__(self, *configs):
        self.runs = []
        self.experiment = Experiment(
            name='sums',
            title='Sums',
            about='Adds.',
            config=None,
            smoke=None,
            cells=lambda _: {f'cell {k}': config for k, config in enumerate(configs)},
            run_cell=self.run_cell,
            summarise=lambda results: [],
            plot=lambda results: {},
            seeds=3,
        )

    def run_cell(self, config, seed):
        self.runs.append((config.base, seed))
        if config.fails:
            raise ValueError('no sum today')
        return {'sum': config.base + seed, 'parts': [config.base, seed]}


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Return a function that runs an experiment in this process."""

    def run(sums, seeds=0):
        monkeypatch.setattr(runner, 'load', lambda name: sums.experiment)
        return runner.run('sums', tmp_path, seeds, False, 1, Console(quiet=True))

    return run


def test_a_change_of_the_sources_runs_cells_again(run, monkeypatch):
    sums = Sums(Numbers())
    run(sums)
    run(sums)
    assert len(sums.runs) == 3
    monkeypatch.setattr(runner, 'fingerprint', lambda *folders: 'another')
    run(sums)
    assert len(sums.runs) == 6


def test_every_cell_is_run_with_every_seed(run):
    results = run(Sums(Numbers(10), Numbers(20)))
    assert results.cells == ['cell 0', 'cell 1']
    assert results.values('cell 0', 'sum') == [10, 11, 12]
    assert results.values('cell 1', 'sum') == [20, 21, 22]


def test_finished_cells_are_not_run_again_and_more_seeds_are_added(run):
    run(Sums(Numbers()), seeds=2)
    again = Sums(Numbers())
    assert run(again, seeds=3).values('cell 0', 'sum') == [10, 11, 12]
    assert again.runs == [(10, 2)]


def test_a_changed_config_is_run_again(run):
    run(Sums(Numbers(10)), seeds=1)
    assert run(Sums(Numbers(11)), seeds=1).values('cell 0', 'sum') == [11]


def test_a_failed_cell_is_named_and_stops_no_other(run, tmp_path):
    with pytest.raises(RuntimeError, match='1 of 2 cells failed; cell 0, seed 0: no sum today'):
        run(Sums(Numbers(fails=True), Numbers()), seeds=1)
    good = Sums(Numbers(), Numbers())
    run(good, seeds=1)
    assert good.runs == [(10, 0)]


def test_no_temporary_file_remains_beside_the_cells(run, tmp_path):
    run(Sums(Numbers()), seeds=2)
    assert sorted(path.name for path in (tmp_path / 'cells').iterdir()) == [
        'cell_0-0.json',
        'cell_0-1.json',
    ]


def test_an_unknown_experiment_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r'expected one of pointmass, .*got .nonsense'):
        runner.run('nonsense', None, 1, True, 1, Console(quiet=True))


def test_digest_depends_on_every_number():
    assert digest(Numbers(1)) == digest(Numbers(1))
    assert digest(Numbers(1)) != digest(Numbers(2))


def record(**changes) -> Record:
    """Return a record of cell a, seed 0."""
    plain = Record(
        'a',
        0,
        digest='d',
        config={'base': 1},
        values={'x': 0.5, 'y': [1, 2]},
        seconds=2.0,
        cpu_seconds=1.0,
        date='',
        commit='c',
        machine='m',
    )
    return replace(plain, **changes)


def test_csv_has_one_line_for_every_number():
    assert to_csv(Results((record(),))).splitlines() == [
        'cell,seed,name,index,value',
        'a,0,x,,0.5',
        'a,0,y,0,1',
        'a,0,y,1,2',
    ]


def test_json_restores_all_results(tmp_path):
    results = Results((record(), record(seed=1, values={'x': 1.0, 'y': []})))
    path = tmp_path / 'results.json'
    path.write_text(to_json(Sums().experiment, results, 'efm experiment sums'))
    assert read(path) == ('efm experiment sums', results)


def test_the_store_refuses_values_that_are_not_finite(tmp_path):
    with pytest.raises(ValueError, match='JSON'):
        Store(tmp_path).save(record(values={'x': float('nan')}))


def test_a_page_without_results_is_its_head(tmp_path):
    assert make_page(tmp_path).startswith('# Results')


def test_a_stored_record_is_plain_json(tmp_path):
    Store(tmp_path).save(record())
    assert json.loads(Store(tmp_path).path('a', 0).read_text())['values']['x'] == 0.5


PARENT = """
import os, time
from efm_experiments.runner import pool
if __name__ == '__main__':
    with pool(1) as executor:
        print(executor.submit(os.getpid).result(), flush=True)
        executor.submit(time.sleep, 60).result()
"""


def test_workers_end_when_the_run_is_killed(tmp_path):
    (tmp_path / 'parent.py').write_text(PARENT)
    command = [sys.executable, str(tmp_path / 'parent.py')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    wait_for(lambda: not Path(f'/proc/{worker}').exists(), 'the end of the worker', 20)


def test_notes_of_workers_reach_the_display():
    notes = []
    with pool(2, notes.append) as executor:
        for word in ('one', 'two'):
            executor.submit(report, word).result()
    wait_for(lambda: sorted(notes) == ['one', 'two'], 'both notes', 20)
