"""
`practice.launch.py`: a robot practises, the trainer learns, and all nodes end when asked to.

A test of `launch_testing`. Its command ``launch_test`` runs this file, with the folder ``test`` in
``PYTHONPATH``; `test_launch_practice.py` calls it so.
"""

from __future__ import annotations

import os
from pathlib import Path
import tempfile
import unittest

from colcon_prefix import make_prefix, prefix_environment
from efm_bringup.run import open_run
from efm_core.embodiment import load_embodiment
from efm_core.episode import Kind, Termination
from efm_data.episodes import read_episodes
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_release.release import load_release
from efm_trainer.trainer import Trainer
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription
from launch_testing import post_shutdown_test
from launch_testing.actions import ReadyToTest
from launch_testing.asserts import assertExitCodes
from sources import ROOT
from trainer_fakes import make_run
from waiting import wait_for

ARGUMENTS = {'fleet': '1', 'body': 'tool', 'max_steps': '5', 'episodes': '100000'}
NODES = ('world', 'policy', 'reward', 'guard', 'supervisor', 'recorder', 'trainer', 'fleet')


def make_untaught_run(run: Path) -> Path:
    """Return a run whose models are untrained, with the release that the trainer makes of them."""
    embodiment = load_embodiment(open_run(str(run), ''))
    make_run(run, embodiment)
    encoder = TextEncoder(ensure_text_encoder())
    Trainer(run, embodiment, text_encoder=encoder).close()
    return run


def generate_test_description():
    folder = Path(tempfile.mkdtemp(prefix='efm-launch-'))
    os.environ.update(prefix_environment(make_prefix(folder / 'prefix')))
    run = make_untaught_run(folder / 'run')
    practice = IncludeLaunchDescription(
        str(ROOT / 'launch' / 'practice.launch.py'),
        launch_arguments=[('run', str(run)), *ARGUMENTS.items()],
    )
    return LaunchDescription([practice, ReadyToTest()]), {'run': run}


class WhileItRuns(unittest.TestCase):
    """Runs beside the nodes."""

    def test_the_trainer_publishes_a_release_from_practice(self, run):
        release = run / 'releases' / '000002'
        wait_for(release.is_dir, 'the second release', 180)
        embodiment = load_embodiment(run / 'embodiment.yaml')
        assert load_release(str(release), None, embodiment.hash).manifest['parent'] == 1
        results = run / 'results' / 'practice.jsonl'
        assert len(results.read_text().splitlines()) >= 8

    def test_every_node_of_the_graph_was_started(self, proc_info):
        expected = {f'{node}_node' for node in NODES}

        def started():
            return {name.rpartition('-')[0] for name in proc_info.process_names()}

        wait_for(lambda: started() == expected, f'{expected}')


@post_shutdown_test()
class AfterItWasAskedToEnd(unittest.TestCase):
    """Runs after the nodes have ended."""

    def test_every_node_ends_with_code_0(self, proc_info):
        assertExitCodes(proc_info)

    def test_no_node_broke_down(self, proc_output):
        for line in proc_output:
            assert b'Traceback' not in line.text, line.process_name

    def test_every_bag_is_a_whole_practice_episode(self, run):
        embodiment = load_embodiment(run / 'embodiment.yaml')
        episodes = list(read_episodes(run / 'episodes' / 'practice', embodiment))
        assert len(episodes) >= 8
        for episode in episodes:
            assert episode.kind is Kind.PRACTICE
            if episode.termination is not Termination.FAULT:
                assert 0 < len(episode) <= 5
