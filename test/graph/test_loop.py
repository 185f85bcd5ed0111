"""The whole loop through real processes: demonstrate, fine-tune, practise, evaluate, report."""

from __future__ import annotations

import json

from efm_core.embodiment import load_embodiment
from efm_core.episode import Kind, Outcome, Termination
from efm_data.episodes import find_bags, read_episodes
from efm_release.release import load_release
from efm_reward.reward import rewards
import numpy as np
import pytest


def episodes_of(lab, folder):
    """Return the episodes of a folder; one that broke was tried again, and counts for nothing."""
    embodiment = load_embodiment(lab.run / 'embodiment.yaml')
    episodes = read_episodes(lab.run / 'episodes' / folder, embodiment)
    return [episode for episode in episodes if episode.termination is not Termination.FAULT]


def lines_of(lab, name):
    """Return the lines of a results file, by the episode's number; the last word counts."""
    lines = (lab.run / 'results' / name).read_text().splitlines()
    return {line['index']: line for line in map(json.loads, lines)}


def test_every_demonstration_is_a_whole_bag_of_a_success(practised):
    episodes = episodes_of(practised, 'demonstration')
    successes = [episode for episode in episodes if episode.outcome is Outcome.SUCCESS]
    assert len(successes) == 6
    for episode in successes:
        assert episode.kind is Kind.DEMONSTRATION
        assert episode.true_success
        assert len(episode) > 0
        assert np.isnan(episode.steps_to_go).all()
    assert len({episode.index for episode in episodes}) == len(episodes)


def test_every_release_is_whole_and_faithful(practised):
    embodiment = load_embodiment(practised.run / 'embodiment.yaml')
    folders = sorted((practised.run / 'releases').iterdir())
    assert [folder.name for folder in folders] == ['000001', '000002', '000003']
    for version, folder in enumerate(folders, 1):
        manifest = load_release(str(folder), None, embodiment.hash).manifest
        assert (manifest['version'], manifest['parent']) == (version, version - 1)
        assert [report['kind'] for report in manifest['parity']] == ['policy', 'reward']
        assert all(report['passed'] for report in manifest['parity'])


def test_every_practice_episode_names_the_version_that_acted(practised):
    episodes = episodes_of(practised, 'practice')
    assert [episode.index for episode in episodes] == list(range(16))
    assert [episode.policy_version for episode in episodes] == [1] * 8 + [2] * 8
    assert [episode.seed for episode in episodes] == list(range(5000, 5016))
    for episode in episodes:
        assert episode.termination in (Termination.TIMEOUT, Termination.SUCCESS_DETECTED)
        assert np.isfinite(episode.steps_to_go).all()
        assert (episode.log_probs < 0).all()
        assert 0 < len(episode) <= 10


def test_the_trainer_learned_from_every_episode_and_from_none_that_was_stale(practised):
    updates = [
        json.loads(line)
        for line in (practised.run / 'trainer' / 'metrics.jsonl').read_text().splitlines()
    ]
    assert [update['version'] for update in updates] == [2, 3]
    assert [update['episodes'] for update in updates] == [8, 8]
    assert [update['stale_total'] for update in updates] == [0, 0]
    assert updates[-1]['episodes_total'] >= 16
    assert not find_bags(practised.run / 'quarantine')


def test_every_episode_has_one_line_of_results(practised):
    for name, folder in (('practice', 'practice'), ('evaluation_before', 'evaluation_before')):
        lines = lines_of(practised, f'{name}.jsonl')
        episodes = episodes_of(practised, folder)
        assert sorted(lines) == [episode.index for episode in episodes]
        for episode in episodes:
            line = lines[episode.index]
            assert (line['episode_id'], line['steps']) == (episode.episode_id, len(episode))
            assert line['outcome'] == episode.outcome.value
            assert line['reached'] is bool(episode.true_success_per_step.any())
            assert line['policy_version'] == episode.policy_version
            assert line['steps_to_go'] == pytest.approx(episode.steps_to_go[-1])


def test_the_report_counts_what_was_done(practised):
    summary = json.loads((practised.run / 'summary.json').read_text())
    assert summary['episodes_demonstrated'] >= 6
    assert summary['episodes_practised'] >= 16
    assert summary['success_before']['reached']['episodes'] >= 4
    assert summary['unreadable_bags'] == 0
    assert (practised.run / 'report.html').stat().st_size > 1000


def test_what_was_left_unfinished_is_said_to_have_broken(practised):
    for left in practised.run.glob('episodes/*/.unfinished/*'):
        results = practised.run / 'results' / f'{left.parents[1].name}.jsonl'
        assert any(
            left.name in line and 'fault' in line for line in results.read_text().split('\n')
        )


def test_the_same_seed_gives_the_same_episodes_on_one_robot_and_on_two(practised):
    two = episodes_of(practised, 'evaluation_before')
    one = episodes_of(practised, 'again')
    assert [episode.index for episode in two] == [episode.index for episode in one] == [0, 1, 2, 3]
    for first, second in zip(two, one, strict=True):
        assert first.instruction == second.instruction
        assert first.outcome == second.outcome
        assert first.observations.equals(second.observations)
        for name in ('tokens', 'actions', 'log_probs', 'steps_to_go'):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name), name)
        np.testing.assert_array_equal(rewards(first.steps_to_go), rewards(second.steps_to_go))
    assert not all(two[0].observations[0].equals(other.observations[0]) for other in two[1:])


def test_in_real_time_an_episode_is_recorded_with_every_action_that_moved_the_robot(lab):
    words = ('--body', 'tool', '--max-steps', 10, '--fleet', 1, '--episodes', 2, '--no-lockstep')
    lab.efm('evaluate', *words)
    episodes = episodes_of(lab, 'evaluation')
    assert len(episodes) == 2
    for episode in episodes:
        assert 5 <= len(episode) <= 12
        assert np.isfinite(episode.steps_to_go[-1])
        assert (np.diff(episode.stamps) > 0).all()


def test_no_process_breaks_down_not_even_on_its_way_out(practised):
    """The last release comes while everybody is told to end."""
    logs = sorted((practised.run / 'logs').rglob('*.log'))
    assert {'practice', 'record'} <= {path.parent.name for path in logs}
    for path in logs:
        said = path.read_text()
        assert 'Traceback' not in said, path
        assert 'terminate called' not in said, path
