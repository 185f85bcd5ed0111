"""The results file of the fleet."""

from __future__ import annotations

import json
import math

from efm_supervisor.config import FleetConfig
from efm_supervisor.results import ResultsFile
import pytest


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


def write(path, *lines):
    """Return the file of an evaluation; each line: index, outcome, termination, release, seed."""
    made = ResultsFile(str(path))
    for index, outcome, termination, version, seed in lines:
        fields = {'outcome': outcome, 'termination': termination, 'policy_version': version}
        made.append('robot_0', index, {**fields, 'seed': seed}, '')
    return made


def test_a_requested_episode_is_finished_unless_it_is_void(tmp_path):
    made = write(
        tmp_path / 'evaluation_after.jsonl',
        (0, 'failure', 'timeout', 3, 1000),
        (1, 'unlabelled', 'fault', 0, 1001),
        (2, 'unlabelled', 'stopped', 3, 1002),
        (3, 'unlabelled', 'fault', 3, 1003),
        (3, 'success', 'timeout', 3, 1003),
        (4, 'success', 'timeout', 3, 1004),
        (9, 'success', 'timeout', 3, 1009),
    )
    with open(tmp_path / 'evaluation_after.jsonl', 'a') as file:
        file.write('{"index": 5, "outc')
    asked = {'kind': 'evaluation', 'seed': 1000, 'policy_version': 3}
    assert made.finished(FleetConfig(**asked, episodes=6)) == {0, 3, 4}
    assert made.finished(FleetConfig(**asked, episodes=20)) == {0, 3, 4, 9}


@pytest.mark.parametrize('asked', [{'seed': 0}, {'policy_version': 4}])
def test_an_evaluation_is_not_resumed_with_another_release_or_other_scenes(tmp_path, asked):
    made = write(tmp_path / 'evaluation_after.jsonl', (2, 'success', 'timeout', 3, 1002))
    match = 'episodes_subdir: expected a new one, .* release 3 and seed 1000, got release'
    with pytest.raises(ValueError, match=match):
        made.finished(FleetConfig(**{'seed': 1000, 'policy_version': 3, **asked}))


def test_a_policy_server_may_choose_the_release(tmp_path):
    made = write(tmp_path / 'evaluation_after.jsonl', (2, 'success', 'timeout', 3, 1002))
    assert made.finished(FleetConfig(seed=1000, policy_version=0)) == {2}
