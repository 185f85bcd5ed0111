"""The node graph with a real Gazebo: demonstrations, practice, learning and evaluation."""

from __future__ import annotations

import json
from pathlib import Path
import subprocess
import sys

from efm_core.embodiment import load_embodiment
from efm_core.episode import Outcome, Termination
from efm_data.episodes import read_episodes
from efm_model.checkpoint import save_checkpoint
from efm_model.network import new_model
from efm_sim.gazebo.world import GazeboTable
import numpy as np
import psutil
import pytest
from waiting import alive_after, wait_for

ROOT = Path(__file__).resolve().parents[2]
ROBOT = ROOT / 'config' / 'embodiments' / 'table_arm.yaml'
GAZEBO = ('--world', 'gazebo')


def efm(verb, run, *words):
    """Run a command of efm to its end; return the Gazebo server processes that it started."""
    output = run.parent / 'output.txt'
    command = [sys.executable, '-m', 'efm.cli', verb, '--run', str(run)]
    with output.open('w') as file:
        process = psutil.Popen(
            [*command, *map(str, words)], cwd=ROOT, stdout=file, stderr=subprocess.STDOUT
        )
    servers = set()

    def has_ended():
        if process.poll() is not None:
            return True
        servers.update(c for c in process.children(recursive=True) if name_of(c) == 'gzserver')
        return False

    try:
        wait_for(has_ended, f'the end of efm {verb}', 300)
    finally:
        if process.poll() is None:
            process.terminate()
    assert process.returncode == 0, output.read_text()
    return servers


def name_of(process):
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ''


def episodes_of(run, folder):
    return read_episodes(run / 'episodes' / folder, load_embodiment(ROBOT))


@pytest.fixture(scope='module')
def run(installation, tmp_path_factory):
    """Return a run with untrained models as its stage 1, and its first release."""
    run = tmp_path_factory.mktemp('gazebo') / 'run'
    robot = load_embodiment(ROBOT)
    for name in ('policy', 'reward'):
        model = new_model(robot, seed=3, pretrained='none')
        save_checkpoint(run / 'sft' / name, model, robot, name, 1)
    efm('train', run)
    return run


def test_two_robots_practise_and_the_trainer_learns_from_every_episode(run):
    servers = efm(
        'practice', run, *GAZEBO, '--fleet', 2, '--episodes', 8, '--max-steps', 4, '--seed', 50
    )
    assert len(servers) == 2
    assert not alive_after(servers, 10)
    episodes = episodes_of(run, 'practice')
    assert [episode.seed for episode in episodes] == list(range(50, 58))
    for episode in episodes:
        assert episode.termination in (Termination.TIMEOUT, Termination.SUCCESS_DETECTED)
        assert np.isfinite(episode.steps_to_go).all()
    [update] = map(json.loads, (run / 'trainer' / 'metrics.jsonl').read_text().splitlines())
    assert (update['version'], update['episodes'], update['stale_total']) == (2, 8, 0)


def test_the_observation_is_the_image_of_gazebo(run):
    efm('evaluate', run, *GAZEBO, '--fleet', 1, '--episodes', 1, '--max-steps', 3, '--seed', 9)
    [episode] = episodes_of(run, 'evaluation')
    assert len(episode) == 3
    table = GazeboTable()
    try:
        table.reset(9)
        assert episode.instruction == table.instruction
        first = episode.observations.images[0][0]
        np.testing.assert_array_equal(first, table.render())
        assert (first != table.render_in_mujoco()).any()
    finally:
        table.close()


def test_the_demonstrator_records_a_success(run):
    efm('record', run, *GAZEBO, '--fleet', 1, '--episodes', 1, '--max-steps', 60)
    episodes = episodes_of(run, 'demonstration')
    successes = [episode for episode in episodes if episode.outcome is Outcome.SUCCESS]
    assert len(successes) == 1
    assert successes[0].true_success
