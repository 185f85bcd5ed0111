"""The results file of the fleet."""

from __future__ import annotations

import json
import math

from efm_supervisor.results import ResultsFile


def test_the_next_run_continues_after_the_last_index(tmp_path):
    path = str(tmp_path / 'practice.jsonl')
    assert ResultsFile(path).next_index == 0
    ResultsFile(path).append('robot_1', 4, {'outcome': 'success'}, '/bags/4')
    assert ResultsFile(path).next_index == 5


def test_a_line_that_a_crash_has_cut_is_skipped(tmp_path):
    path = tmp_path / 'practice.jsonl'
    ResultsFile(str(path)).append('robot_0', 7, {'outcome': 'failure'}, '')
    with open(path, 'a') as file:
        file.write('{"index": 8, "outc')
    assert ResultsFile(str(path)).next_index == 8
    ResultsFile(str(path)).append('robot_0', 8, {'outcome': 'success'}, '')
    assert json.loads(path.read_text().splitlines()[-1])['index'] == 8


def test_steps_to_go_without_a_reward_model_is_null(tmp_path):
    path = tmp_path / 'evaluation.jsonl'
    ResultsFile(str(path)).append('robot_0', 0, {'steps_to_go': math.nan}, '')
    line = json.loads(path.read_text())
    assert line['steps_to_go'] is None
    assert (line['robot'], line['recording']) == ('robot_0', '')


def test_without_a_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ResultsFile('').append('robot_0', 0, {}, '')
    assert (ResultsFile('').next_index, list(tmp_path.iterdir())) == (0, [])
