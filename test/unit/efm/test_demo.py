"""An interrupted demo continues where it stopped."""

from __future__ import annotations

import io
import json

from efm import demo
from efm.cli import make_parser
from efm.demo import DemoConfig, open_demo, plan_stages, run_demo
import pytest
from rich.console import Console


def config(tmp_path, **fields) -> DemoConfig:
    return DemoConfig(
        run=str(tmp_path / 'a run'), demonstrations=3, evaluations=4, practice=40, **fields
    )


def note(run, folder: str, *outcomes: str) -> None:
    """Write results as the fleet does; 'fault' is a termination."""
    (run / 'results').mkdir(parents=True, exist_ok=True)
    with open(run / 'results' / f'{folder}.jsonl', 'a') as file:
        for outcome in outcomes:
            termination = 'fault' if outcome == 'fault' else 'stopped'
            line = {'outcome': outcome, 'termination': termination, 'policy_version': 0}
            file.write(json.dumps(line) + '\n')


def run(settings: DemoConfig) -> int:
    return run_demo(settings, Console(file=io.StringIO()))


def test_each_stage_is_a_command_of_efm(tmp_path):
    for name, stage in plan_stages(config(tmp_path, num_robots=3)).items():
        arguments = make_parser().parse_args(stage.arguments)
        assert arguments.run == str(tmp_path / 'a run')
        assert getattr(arguments, 'num_robots', 3) == 3, name


def test_a_stage_runs_only_the_remaining_episodes(tmp_path):
    plan = plan_stages(config(tmp_path))
    note(tmp_path, 'practice', *['failure'] * 38, 'fault', 'success')
    assert plan['practise'].remaining_command(tmp_path)[-2:] == ['--episodes', '1']
    note(tmp_path, 'practice', 'failure')
    assert plan['practise'].remaining_command(tmp_path) == []


def test_an_evaluation_finds_its_missing_episodes_itself(tmp_path):
    plan = plan_stages(config(tmp_path))
    note(tmp_path, 'evaluation_before', 'failure', 'fault', 'success')
    assert plan['evaluate_before'].remaining_command(tmp_path)[-2:] == ['--episodes', '4']
    note(tmp_path, 'evaluation_before', 'failure', 'failure')
    assert plan['evaluate_before'].remaining_command(tmp_path) == []


def test_a_run_with_a_release_is_not_fine_tuned_again(tmp_path):
    stage = plan_stages(config(tmp_path))['fine_tune']
    assert stage.remaining_command(tmp_path) == stage.arguments
    (tmp_path / 'releases').mkdir()
    assert stage.remaining_command(tmp_path) == []


def test_only_successful_demonstrations_count(tmp_path):
    note(tmp_path, 'demonstration', 'success', 'failure')
    command = plan_stages(config(tmp_path))['record'].remaining_command(tmp_path)
    assert command[-2:] == ['--episodes', '2']


def test_the_name_of_a_run_may_contain_a_space(tmp_path):
    words = plan_stages(config(tmp_path))['fine_tune'].arguments
    assert words[:3] == ['train', '--run', str(tmp_path / 'a run')]


def test_stages_that_are_done_do_not_run_again(tmp_path, monkeypatch):
    asked = []
    codes = {'evaluate': 1}
    monkeypatch.setattr(demo, 'run_stage', lambda c: asked.append(c[3]) or codes.get(c[3], 0))
    settings = config(tmp_path)
    assert run(settings) == 1
    assert asked == ['record', 'train', 'evaluate']
    asked.clear()
    codes.clear()
    assert run(settings) == 0
    assert asked == ['evaluate', 'practice', 'evaluate', 'report']
    assert list(json.loads((tmp_path / 'a run' / 'stages.json').read_text())) == [
        'record',
        'fine_tune',
        'evaluate_before',
        'practise',
        'evaluate_after',
        'report',
    ]


def test_a_run_does_not_continue_with_other_options(tmp_path):
    settings = config(tmp_path)
    open_demo(tmp_path / 'a run', settings)
    assert open_demo(tmp_path / 'a run', settings) == {}
    with pytest.raises(ValueError, match=r'seed: expected the options of .*, \[0\], got \[1\]'):
        open_demo(tmp_path / 'a run', config(tmp_path, seed=1))
