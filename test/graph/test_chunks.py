"""Chunks of two control steps through real processes: demonstrate, learn, practise, evaluate."""

from __future__ import annotations

from efm_core.embodiment import load_embodiment
from efm_core.episode import Kind, Outcome
from efm_data.episodes import read_episodes
import numpy as np
import pytest
from sources import ROOT

CHUNK = 2
TABLE_ARM = ROOT / 'config' / 'embodiments' / 'table_arm.yaml'
SMALL = ('--body', 'tool', '--fleet', 1, '--max-steps', 6, '--episodes')


@pytest.fixture(scope='module')
def lab(new_lab, tmp_path_factory):
    """Return a run with chunks that went through the whole loop once."""
    lab = new_lab('chunks')
    chunked = tmp_path_factory.mktemp('robot') / 'table_arm.yaml'
    text = TABLE_ARM.read_text()
    chunked.write_text(text.replace('  bins: 11\n', f'  bins: 11\n  chunk: {CHUNK}\n'))
    lab.efm('record', '--embodiment', chunked, '--body', 'tool', '--fleet', 1, '--episodes', 4)
    lab.efm('train', '--iterations', 40)
    lab.efm('practice', *SMALL, 8, '--seed', 5000)
    return lab


def episodes_of(lab, folder):
    robot = load_embodiment(lab.run / 'embodiment.yaml')
    return list(read_episodes(lab.run / 'episodes' / folder, robot))


def test_a_demonstrator_shows_single_actions(lab):
    for episode in episodes_of(lab, 'demonstration'):
        assert episode.kind is Kind.DEMONSTRATION
        assert episode.actions.shape[1:] == (2,)
    assert sum(e.outcome is Outcome.SUCCESS for e in episodes_of(lab, 'demonstration')) == 4


def test_practice_is_one_observation_and_one_chunk_a_step(lab):
    robot = load_embodiment(lab.run / 'embodiment.yaml')
    episodes = episodes_of(lab, 'practice')
    assert len(episodes) == 8
    for episode in episodes:
        assert 0 < len(episode) <= 6
        assert episode.actions.shape[1:] == (CHUNK, 2)
        assert episode.tokens.shape[1:] == (2 * CHUNK,)
        assert (np.diff(episode.stamps) == CHUNK * robot.period_ns).all()
        assert np.isfinite(episode.steps_to_go).all()
        (images,) = episode.observations.images
        assert (np.diff(images.astype(int), axis=0) != 0).any(axis=(1, 2, 3)).all()


def test_what_was_practised_became_a_release(lab):
    assert [path.name for path in sorted((lab.run / 'releases').iterdir())] == ['000001', '000002']


def test_in_real_time_chunks_are_executed_by_the_clock(lab):
    lab.efm('evaluate', *SMALL, 1, '--no-lockstep')
    (episode,) = episodes_of(lab, 'evaluation')
    assert 3 <= len(episode) <= 7
    assert episode.actions.shape[1:] == (CHUNK, 2)
    assert (np.diff(episode.stamps) > 0).all()


def test_chunks_may_come_from_elsewhere(lab):
    with lab.served() as (_, where, _):
        lab.efm(
            'evaluate',
            *SMALL,
            2,
            '--seed',
            9000,
            '--episodes-subdir',
            'elsewhere',
            '--server',
            where,
        )
    lab.efm('evaluate', *SMALL, 2, '--seed', 9000, '--episodes-subdir', 'own')
    found = episodes_of(lab, 'elsewhere')
    assert len(found) == 2
    for elsewhere, own in zip(found, episodes_of(lab, 'own'), strict=True):
        np.testing.assert_array_equal(elsewhere.actions, own.actions)
        assert elsewhere.actions.shape[1:] == (CHUNK, 2)
