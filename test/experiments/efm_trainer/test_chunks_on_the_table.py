"""The whole loop in one process on the simulated table, with chunks of two control steps."""

from __future__ import annotations

from dataclasses import replace

from bags import write_bag
from efm_core.embodiment import load_embodiment
from efm_core.episode import Kind
from efm_core.preprocessing import observe
from efm_policy.policy import Policy
from efm_release.release import load_release
from efm_reward.model import RewardModel
from efm_sim.rollout import as_commanded, demonstrate, rollout
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from efm_trainer.config import PRESETS, SftConfig
from efm_trainer.sft import fine_tune
from efm_trainer.trainer import Trainer
import numpy as np
import pytest
from trainer_fakes import FakeTextEncoder, TABLE_ARM

CHUNK = 2
DECISIONS = 8
EPISODES = 2
CONFIG = SftConfig(iterations=30, batch_size=32, validate_every=15)


@pytest.fixture(scope='module')
def robot():
    table = load_embodiment(TABLE_ARM)
    return replace(table, action=replace(table.action, chunk=CHUNK))


@pytest.fixture(scope='module')
def world():
    made = Table(TableConfig(body='tool'))
    yield made
    made.close()


@pytest.fixture(scope='module')
def loop(robot, world, tmp_path_factory):
    """Return demonstrations, practice episodes and the results of both stages."""
    run = tmp_path_factory.mktemp('run')
    encoder = FakeTextEncoder()
    shown = demonstrate([world], range(8), robot, max_steps=60)
    result = fine_tune(shown, robot, encoder, CONFIG, run / 'sft')
    config = replace(PRESETS['default'], episodes_per_update=EPISODES)
    trainer = Trainer(run, robot, text_encoder=encoder, config=config)
    practised = practise(trainer.release, robot, world, encoder)
    for episode in practised:
        write_bag(episode, run / 'episodes' / 'practice' / episode.episode_id)
    release = trainer.step()
    trainer.close()
    return shown, result, practised, release


def practise(release, robot, world, encoder):
    """Return practice episodes with the policy of a release."""
    files = load_release(release.uri, release.sha256, robot.hash)
    policy = Policy.load(files.policy, encoder, robot)
    reward_model = RewardModel.load(files.reward, encoder, robot)
    seeds = range(100, 100 + EPISODES)
    limits = {'max_steps': DECISIONS, 'detector_ends_episode': False}
    return rollout([world], policy, reward_model, seeds, robot, Kind.PRACTICE, **limits)


def test_demonstrations_are_single_actions_and_stage_1_learns_chunks_from_them(loop):
    shown, result, _, _ = loop
    assert {episode.actions.shape[1:] for episode in shown} == {(2,)}
    assert result.curve[-1]['validation/action'] < result.curve[0]['validation/action']


def test_an_episode_has_one_observation_and_one_chunk_for_each_decision(loop, robot):
    for episode in loop[2]:
        assert episode.actions.shape == (DECISIONS, CHUNK, 2)
        assert episode.tokens.shape == (DECISIONS, 2 * CHUNK)
        assert len(episode.observations) == DECISIONS + 1
        assert (np.diff(episode.stamps) == CHUNK * robot.period_ns).all()


def test_the_tool_executed_every_step_of_every_chunk(loop, robot, world):
    for episode in loop[2]:
        world.reset(episode.seed)
        places = [world.tool_position()]
        assert observe(world.images(), robot).equals(episode.observations[0])
        for chunk, seen in zip(episode.actions, episode.observations[1:], strict=True):
            for step in chunk:
                world.step(as_commanded(step, robot))
                places.append(world.tool_position())
            assert observe(world.images(), robot).equals(seen)
        moved = np.linalg.norm(np.diff(places, axis=0), axis=1)
        assert (moved > 1e-4).mean() > 0.7


def test_practice_gives_the_next_release_which_acts_in_chunks_too(loop, robot, world):
    release = loop[3]
    assert release.version == 2
    (episode, *_) = practise(release, robot, world, FakeTextEncoder())
    assert episode.policy_version == 2
    assert episode.actions.shape == (DECISIONS, CHUNK, 2)
