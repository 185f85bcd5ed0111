"""The fleet's own record of episodes."""

from __future__ import annotations

import json
import math

from efm_supervisor.results import Results


def test_the_next_run_goes_on_where_the_last_one_stopped(tmp_path):
    path = str(tmp_path / 'practice.jsonl')
    assert Results(path).next_index == 0
    Results(path).append('robot_1', 4, {'outcome': 'success'}, '/bags/4')
    assert Results(path).next_index == 5


def test_a_line_that_a_crash_has_cut_is_passed_over(tmp_path):
    path = tmp_path / 'practice.jsonl'
    Results(str(path)).append('robot_0', 7, {'outcome': 'failure'}, '')
    with open(path, 'a') as file:
        file.write('{"index": 8, "outc')
    assert Results(str(path)).next_index == 8
    Results(str(path)).append('robot_0', 8, {'outcome': 'success'}, '')
    assert json.loads(path.read_text().splitlines()[-1])['index'] == 8


def test_what_nobody_judged_is_null(tmp_path):
    path = tmp_path / 'evaluation.jsonl'
    Results(str(path)).append('robot_0', 0, {'steps_to_go': math.nan}, '')
    line = json.loads(path.read_text())
    assert line['steps_to_go'] is None
    assert (line['robot'], line['recording']) == ('robot_0', '')


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Results('').append('robot_0', 0, {}, '')
    assert (Results('').next_index, list(tmp_path.iterdir())) == (0, [])
