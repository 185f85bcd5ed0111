"""Commands that run the node graph: an evaluation that was interrupted."""

from __future__ import annotations

import io

from efm import graphs
from efm_bringup.config import GraphConfig
from efm_bringup.processes import ProcessConfig
from efm_core.episode_rules import EpisodeRules
from efm_supervisor.results import ResultsFile
from efm_trainer.detector import HeldOut, report
import numpy as np
import pytest
from rich.console import Console


class Command:
    """
    `efm evaluate --seed 1000` on a run with release 1; no process is started.

    :ivar started: the parameters of each fleet node that would have been started.
    """

    def __init__(self, run, monkeypatch):
        (run / 'releases' / '000001').mkdir(parents=True)
        self.run = run
        self.started = []
        monkeypatch.setattr(graphs, 'run_nodes', self.run_nodes)

    def run_nodes(self, nodes, *others):
        self.started += [node.parameters for node in nodes if node.name == 'fleet']
        return 0

    def __call__(self, mode='evaluate', **words):
        """Run the command; return what it prints."""
        said = io.StringIO()
        config = GraphConfig(run=str(self.run), seed=1000, text_encoder='none', **words)
        console = Console(file=said, width=500)
        assert graphs.run_mode(mode, config, ProcessConfig(), console) == 0
        return said.getvalue()

    def note(self, name, *indices):
        """Write a result of each of these episodes."""
        (self.run / 'results').mkdir(exist_ok=True)
        file = ResultsFile(str(self.run / 'results' / f'{name}.jsonl'))
        outcome = {'outcome': 'success', 'termination': 'timeout', 'policy_version': 1}
        for index in indices:
            file.append('robot_0', index, {**outcome, 'seed': 1000 + index}, '')


@pytest.fixture
def evaluate(tmp_path, monkeypatch):
    """Return the command."""
    return Command(tmp_path / 'run', monkeypatch)


def test_an_interrupted_evaluation_goes_on_with_what_is_missing(evaluate):
    evaluate.note('after', 0, 1, 3)
    said = evaluate(episodes=5, episodes_subdir='after')
    assert '2 of 5 episodes are missing' in said
    assert 'evaluation: 0 of 2 episodes' in said
    (fleet,) = evaluate.started
    assert (fleet['resume'], fleet['episodes'], fleet['policy_version']) == (True, 5, 1)


def test_an_evaluation_that_is_complete_starts_no_node(evaluate):
    evaluate.note('after', 0, 1, 2)
    assert '0 of 3 episodes are missing' in evaluate(episodes=3, episodes_subdir='after')
    assert not evaluate.started


def test_an_evaluation_without_a_name_adds_episodes(evaluate):
    evaluate.note('evaluation', 0, 1, 2)
    assert 'missing' not in evaluate(episodes=3)
    assert [fleet['resume'] for fleet in evaluate.started] == [False]


def write_figures(run, *steps_to_go):
    """Write what stage 1 measured on labelled attempts that all failed, but the first one."""
    rules = EpisodeRules(success_threshold=1.0, success_dwell=2)
    attempts = [HeldOut(np.array(d), None if i else 0) for i, d in enumerate(steps_to_go)]
    (run / 'sft').mkdir()
    report([HeldOut(np.array([9.0, 0.0, 0.0]), 2)], attempts, rules).write(run / 'sft')


def test_practice_prints_the_figures_of_the_detector_first(evaluate):
    write_figures(evaluate.run, [0.0, 0.0], [9.0, 9.0])
    said = evaluate('practice', episodes=5)
    assert 'success detector on held-out attempts' in said
    assert 'precision 1.00' in said
    assert len(evaluate.started) == 1


def test_practice_does_not_start_with_a_detector_that_is_wrong_too_often(evaluate):
    write_figures(evaluate.run, [0.0, 0.0], [0.0, 0.0])
    with pytest.raises(ValueError, match=r'precision 0\.50 .* at least 0\.9 before practice'):
        evaluate('practice', episodes=5)
    assert not evaluate.started
    evaluate('evaluate', episodes=5)
    evaluate('practice', episodes=5, min_precision=0.5)
    assert len(evaluate.started) == 2


def test_practice_ends_with_the_alarm_of_the_trainer(evaluate):
    (evaluate.run / 'trainer').mkdir()
    (evaluate.run / 'trainer' / 'alarm.txt').write_text('detector: it agrees less\n')
    said = evaluate('practice', episodes=5)
    assert 'ALARM' in said
    assert said.endswith('warning: detector: it agrees less\n')
    assert 'ALARM' not in evaluate('evaluate', episodes=5)
