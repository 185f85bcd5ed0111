"""The commands with a robot of four dimensions, in an environment that the suite does not name."""

from __future__ import annotations

import json
import os

from efm_bringup.run import open_run
from efm_core.embodiment import load_embodiment
from efm_core.episode import Outcome, Termination
from efm_data.episodes import read_episodes
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_policy.policy import Policy
from efm_sim.rollout import demonstrate
from efm_sim.worlds import make_world
from efm_trainer.config import PracticeConfig
from efm_trainer.trainer import Trainer
import hand
import numpy as np
import pytest
from sources import ROOT
from trainer_fakes import make_run

EPISODES = 2


@pytest.fixture
def lab(new_lab, monkeypatch):
    """Return a run whose processes find the environment."""
    path = [str(ROOT / 'test'), os.environ.get('PYTHONPATH', '')]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join(filter(None, path)))
    return new_lab('hand')


def record(lab, tmp_path, *words, **section):
    """Record demonstrations in lockstep; return the episodes and the robot."""
    path = hand.write(tmp_path / 'hand.yaml', **section)
    lab.efm('record', '--world', 'gym', '--embodiment', path, '--lockstep', *words)
    robot = load_embodiment(lab.run / 'embodiment.yaml')
    return list(read_episodes(lab.run / 'episodes' / 'demonstration', robot)), robot


def untaught(lab, path):
    """Make the run's first release, of a policy that knows nothing."""
    open_run(str(lab.run), str(path))
    robot = load_embodiment(path)
    make_run(lab.run, robot)
    encoder = TextEncoder(ensure_text_encoder())
    Trainer(lab.run, robot, text_encoder=encoder, config=PracticeConfig()).close()


def test_practice_learns_from_episodes_that_end_with_their_scene(lab, tmp_path):
    plain = {**hand.one_camera(), 'observation_size': [64, 64]}
    untaught(lab, hand.write(tmp_path / 'hand.yaml', plain, kwargs={'last_step': 3}))
    lab.efm('practice', '--world', 'gym', '--episodes', 8, '--max-steps', 6)
    robot = load_embodiment(lab.run / 'embodiment.yaml')
    episodes = list(read_episodes(lab.run / 'episodes' / 'practice', robot))
    ended = [e for e in episodes if e.termination is Termination.TERMINATED]
    assert len(ended) >= 4  # the others may have stopped where the detector fired
    for episode in ended:
        assert (len(episode), episode.true_success) == (3, False)
        near = episode.steps_to_go[-1] <= robot.episode.success_threshold
        assert episode.outcome is (Outcome.SUCCESS if near else Outcome.FAILURE)
    (update,) = (lab.run / 'trainer' / 'metrics.jsonl').read_text().splitlines()
    assert json.loads(update)['episodes'] == 8


def test_its_demonstrator_records_the_same_as_in_one_process(lab, tmp_path):
    recorded, robot = record(lab, tmp_path, '--episodes', EPISODES)
    assert len(recorded) == EPISODES
    world = make_world(lab.run / 'embodiment.yaml')
    seeds = [episode.seed for episode in recorded]
    shown = demonstrate([world], seeds, robot, max_steps=0, demonstrator=world.demonstrator)
    for episode, other in zip(recorded, shown, strict=True):
        assert episode.outcome is other.outcome is Outcome.SUCCESS
        assert episode.instruction == 'lift the puck'
        assert episode.observations.equals(other.observations)
        np.testing.assert_array_equal(episode.actions, other.actions)
        np.testing.assert_array_equal(episode.tokens, other.tokens)
        np.testing.assert_array_equal(episode.true_success_per_step, other.true_success_per_step)
        assert [image.shape[1] for image in episode.observations.images] == [16, 8]
        assert episode.observations.proprioception.shape == (len(episode) + 1, 4)
        assert episode.actions.shape == (len(episode), 4)
        assert set(episode.actions[:, 3]) == {-1.0, 1.0}


def test_it_learns_from_its_demonstrations_alone_and_practises(lab, tmp_path):
    """Two cameras, joints and a gripper: demonstrations, stage 1, release, practice."""
    record(lab, tmp_path, '--episodes', 6)
    text = lab.efm('train', '--iterations', 20, '--validate-every', 10)
    assert 'visuomotor' in text
    assert 'success detector on held-out demonstrations, s = ' in text
    lab.efm('practice', '--world', 'gym', '--lockstep', '--episodes', 8, '--max-steps', 4)
    robot = load_embodiment(lab.run / 'embodiment.yaml')
    episodes = list(read_episodes(lab.run / 'episodes' / 'practice', robot))
    encoder = TextEncoder(ensure_text_encoder())
    first = Policy.load(lab.run / 'releases' / '000001' / 'policy.onnx', encoder, robot)
    same = [episode for episode in episodes if episode.policy_version == 1]
    assert same
    for episode in same:  # what the robot did follows from what its bag says that it saw
        first.begin(episode.instruction, episode.seed)
        for seen, tokens in zip(episode.observations, episode.tokens, strict=False):
            np.testing.assert_array_equal(first.act(seen).tokens, tokens)
