"""Real time with a camera at 30 Hz: pictures arrive before START, and nodes are late."""

from __future__ import annotations

from dataclasses import replace
import json

from efm_bringup.run import open_run
from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import save_embodiment
from efm_core.episode import Termination
from efm_data.episodes import find_bags, read_episode
from models import table_arm
import numpy as np
import pytest
from releases import publish_untrained

EPISODES = 8
STEPS = 45  # 1.5 s


@pytest.fixture
def fast(new_lab, tmp_path):
    """Return a run for a robot at 30 Hz, with a release that knows nothing."""
    lab = new_lab('real_time')
    robot = replace(table_arm(), control_rate_hz=30.0)
    open_run(str(lab.run), str(save_embodiment(robot, tmp_path / 'fast.yaml')))
    publish_untrained(lab.run, 1, robot)
    return lab


def test_every_bag_that_the_recorder_calls_whole_can_be_read(fast):
    words = ('--fleet', 1, '--body', 'tool', '--episodes', EPISODES, '--max-steps', STEPS)
    fast.efm('evaluate', *words, '--no-lockstep')
    robot = load_embodiment(fast.run / 'embodiment.yaml')
    results = [json.loads(line) for line in fast.results('evaluate')]
    recorded = {result['episode_id']: result for result in results if result['recording']}
    bags = find_bags(fast.run / 'episodes' / 'evaluation')
    assert sorted(recorded) == [bag.name for bag in bags]
    assert {recorded[bag.name]['index'] for bag in bags} == set(range(EPISODES))
    for bag in bags:
        episode = read_episode(bag, robot)
        assert episode.termination is Termination.TIMEOUT
        assert (np.diff(episode.stamps) > 0).all()
        assert np.isfinite(episode.steps_to_go[-1])
        assert episode.true_success_per_step is not None
