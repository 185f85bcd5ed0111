"""The command that practises in a Gymnasium environment: PushT, with every node around it."""

from __future__ import annotations

import json

from efm_bringup.run import open_run
from efm_core.embodiment import load_embodiment
from efm_core.episode import Outcome, Termination
from efm_core.preprocessing import observe
from efm_core.tokeniser import ActionTokeniser
from efm_data.episodes import read_episodes
from efm_model.checkpoint import load_checkpoint
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_sim.gym.pusht import PushTDemonstrator
from efm_sim.gym.pusht_pictures import main
from efm_sim.gym.world import load_world
from efm_sim.rollout import demonstrate
from efm_sim.scene import Scene
from efm_trainer.config import PracticeConfig
from efm_trainer.trainer import Trainer
import numpy as np
import pytest
from safetensors.torch import load_file
from sources import ROOT
import torch
from trainer_fakes import make_run
import yaml

PUSHT = ROOT / 'config' / 'embodiments' / 'pusht.yaml'


@pytest.fixture
def untaught(new_lab):
    """Return a run whose stage 1 knows nothing, with the release that the trainer makes of it."""
    lab = new_lab('pusht')
    open_run(str(lab.run), str(PUSHT))
    make_run(lab.run, load_embodiment(PUSHT))
    encoder = TextEncoder(ensure_text_encoder())
    Trainer(lab.run, load_embodiment(PUSHT), text_encoder=encoder, config=PracticeConfig()).close()
    return lab


def test_a_fleet_practises_in_an_environment_and_the_trainer_learns_from_it(untaught):
    untaught.efm('practice', '--world', 'gym', '--fleet', 2, '--episodes', 8, '--max-steps', 6)
    robot = load_embodiment(untaught.run / 'embodiment.yaml')
    episodes = list(read_episodes(untaught.run / 'episodes' / 'practice', robot))
    assert [episode.index for episode in episodes] == list(range(8))
    for episode in episodes:
        assert episode.instruction == 'push the T onto its green outline'
        assert episode.termination in (Termination.TIMEOUT, Termination.SUCCESS_DETECTED)
        assert (np.diff(episode.stamps) == robot.period_ns).all()
        assert episode.true_success_per_step.shape == (len(episode) + 1,)
        assert (np.diff(episode.observations.images[0].astype(int), axis=0) != 0).any()
    (update,) = (untaught.run / 'trainer' / 'metrics.jsonl').read_text().splitlines()
    assert (json.loads(update)['version'], json.loads(update)['episodes']) == (2, 8)
    assert len({episode.observations.images[0][0].tobytes() for episode in episodes}) == 8


@pytest.fixture(scope='module')
def shown(new_lab, tmp_path_factory):
    """Return a run with demonstrations of an easier task, recorded through the graph."""
    plain = yaml.safe_load(PUSHT.read_text())
    plain['gymnasium']['success_at'] = 0.2
    easy = tmp_path_factory.mktemp('easy') / 'easy.yaml'
    easy.write_text(yaml.safe_dump(plain))
    lab = new_lab('shown')
    lab.efm('record', '--world', 'gym', '--embodiment', easy, '--fleet', 2, '--episodes', 3)
    return lab


def test_its_own_demonstrator_shows_the_same_as_in_one_process(shown):
    robot = load_embodiment(shown.run / 'embodiment.yaml')
    recorded = list(read_episodes(shown.run / 'episodes' / 'demonstration', robot))
    reached = [episode for episode in recorded if episode.outcome is Outcome.SUCCESS]
    assert len(reached) >= 3
    world = load_world(shown.run / 'embodiment.yaml')
    tokeniser = ActionTokeniser(robot.action)
    for episode in reached[:3]:
        teacher = PushTDemonstrator()
        world.reset(episode.seed)
        teacher.begin(episode.seed)
        for tokens, seen in zip(episode.tokens, episode.observations, strict=False):
            assert observe(world.images(), robot).equals(seen)
            shown_action = teacher.act(Scene(world.positions()))
            np.testing.assert_array_equal(tokens, tokeniser.encode(shown_action))
            world.step(tokeniser.decode(tokens))
        assert world.success()
    world.close()


def test_a_tower_of_its_own_is_what_the_robots_see_with(shown):
    main([str(shown.run / 'pictures.npz'), '--count', '24'])
    pictures = ('--pictures', shown.run / 'pictures.npz', '--iterations', 2, '--batch', 4)
    assert '% of the image: effector' in shown.efm('pretrain', *pictures)
    grounding = shown.run / 'encoder.safetensors'
    assert 'encoder_weights: expected none' in shown.efm(
        'train', '--pretrained', 'none', '--encoder-weights', grounding, code=1
    )
    assert f'encoder: {grounding}' in shown.efm('train', '--hidden-size', 24, '--iterations', 4)
    robot = load_embodiment(shown.run / 'embodiment.yaml')
    model, card = load_checkpoint(shown.run / 'sft' / 'policy', robot)
    assert (model.config.hidden_size, card['sft']['encoder_weights']) == (24, str(grounding))
    for name, value in load_file(grounding).items():
        assert torch.equal(model.grounding.state_dict()[name], value), name
    found = shown.efm('evaluate', '--world', 'gym', '--episodes', 2, '--max-steps', 5)
    assert '2 of 2' in found


def test_the_seed_selects_the_task_and_its_sentence_through_the_graph(new_lab):
    pytest.importorskip('metaworld', reason='metaworld is not here; `make setup` installs it')
    lab = new_lab('ten')
    named = ('--embodiment', 'metaworld_mt10', '--seed', 4, '--episodes', 3)
    lab.efm('record', '--world', 'gym', *named)
    robot = load_embodiment(lab.run / 'embodiment.yaml')
    recorded = list(read_episodes(lab.run / 'episodes' / 'demonstration', robot))[:3]
    world = load_world(lab.run / 'embodiment.yaml')
    expected = demonstrate(
        [world],
        range(4, 7),
        robot,
        max_steps=robot.episode.max_steps,
        demonstrator=world.demonstrator,
    )
    sentences = ['open the drawer', 'close the drawer', 'press the button down']
    assert [episode.instruction for episode in recorded] == sentences
    for one, other in zip(recorded, expected, strict=True):
        assert one.observations.equals(other.observations)
        np.testing.assert_array_equal(one.actions, other.actions)
    world.close()
