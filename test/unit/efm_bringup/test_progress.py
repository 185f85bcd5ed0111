"""Progress of long work where there is no terminal."""

from __future__ import annotations

import io
import json

from efm_bringup import progress
from efm_bringup.progress import Display, ResultsTail
import pytest
from rich.console import Console


@pytest.fixture
def output(monkeypatch):
    """Return the output of a display that prints at each update."""
    monkeypatch.setattr(progress, 'PLAIN_PERIOD_S', -1.0)
    return io.StringIO()


def test_count_and_note_are_printed(output):
    with Display('practice', 8, unit='episodes', console=Console(file=output)) as display:
        display.update(0, 'starting')
    assert output.getvalue() == 'practice: 0 of 8 episodes, starting\n'


def test_the_remaining_time_follows_from_the_work_since_the_first_update(output, monkeypatch):
    with Display('practice', 8, unit='episodes', console=Console(file=output)) as display:
        monkeypatch.setattr(progress.time, 'monotonic', lambda: 1e9)
        display.update(2, 'half succeeded')  # the time before is the start-up
        assert output.getvalue().endswith('half succeeded\n')
        monkeypatch.setattr(progress.time, 'monotonic', lambda: 1e9 + 20)
        display.update(4, 'half succeeded')
        assert output.getvalue().endswith('half succeeded, 0:00:40 left\n')


def test_the_end_is_printed_once(output):
    with Display('practice', 8, unit='episodes', console=Console(file=output)) as display:
        display.update(8, 'all succeeded')
    assert output.getvalue() == 'practice: 8 of 8 episodes, all succeeded\n'


def results(tmp_path, *lines):
    """Return the tail of a results file with these outcomes; 'fault' is a termination."""
    tail = ResultsTail(tmp_path / 'results.jsonl', only_successes=True)
    with open(tmp_path / 'results.jsonl', 'a') as file:
        for outcome, version, *reached in lines:
            termination = 'fault' if outcome == 'fault' else 'timeout'
            plain = {'outcome': outcome, 'termination': termination, 'policy_version': version}
            if reached:
                plain['reached'] = reached[0]
            file.write(json.dumps(plain) + '\n')
    tail.read()
    return tail


def test_faults_count_apart_from_failures(tmp_path):
    tail = results(tmp_path, ('success', 2), ('failure', 3), ('fault', 3))
    assert (tail.episodes, tail.successes, tail.faults, tail.counted) == (2, 1, 1, 1)
    assert tail.note == 'labelled success 50 %, policy 3, faults: 1'


def test_truth_stands_beside_the_label_where_a_simulator_knows_it(tmp_path):
    tail = results(
        tmp_path,
        ('success', 2, True),
        ('failure', 2, True),
        ('failure', 2, True),
        ('failure', 2, False),
        ('fault', 2, True),
    )
    assert tail.note == 'labelled success 25 %, reached 75 %, policy 2, faults: 1'


def test_an_episode_of_unknown_truth_counts_for_the_label_only(tmp_path):
    tail = results(tmp_path, ('success', 0, None), ('success', 0, False), ('failure', 0, None))
    assert tail.note == 'labelled success 67 %, reached 0 %'
    tail = results(tmp_path, ('success', 0, None))
    assert tail.note == 'labelled success 100 %'


def test_only_lines_after_the_start_are_read(tmp_path):
    results(tmp_path, ('success', 0))
    tail = results(tmp_path, ('failure', 0))
    assert (tail.episodes, tail.note) == (1, 'labelled success 0 %')


def test_a_line_that_is_still_written_waits_for_its_end(tmp_path):
    tail = results(tmp_path)
    (tmp_path / 'results.jsonl').write_text('{"outcome": "succ')
    tail.read()
    assert (tail.episodes, tail.note) == (0, 'starting')
