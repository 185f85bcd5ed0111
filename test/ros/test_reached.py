"""Simulator truth of a robot's episode, from its topics."""

from __future__ import annotations

from efm_core import topics
from efm_core.ros_messages import from_world, stamped
from efm_interfaces.msg import EpisodeEvent, EpisodeOutcome
from efm_supervisor.ros_reached import ReachedSubscriber
import numpy as np
import pytest


def outcome(stamp, episode_id='evaluation-000000'):
    """Return the outcome of an episode whose last observation has this stamp [ns]."""
    return stamped(EpisodeOutcome(episode_id=episode_id), stamp)


@pytest.mark.parametrize('successes', [(), (110,)])
def test_the_truth_between_the_first_and_the_last_observation_decides(stage, successes):
    subscriber = ReachedSubscriber(stage.peer, stage.namespace.strip('/'))
    events = stage.speak(topics.EPISODE_EVENT)
    states = stage.speak(topics.WORLD_STATE)
    assert subscriber.reached(outcome(120)) is None
    for event, stamp in ((EpisodeEvent.START, 100), (EpisodeEvent.END, 120)):
        message = EpisodeEvent(event=event, episode_id='evaluation-000000')
        events.publish(stamped(message, stamp))
    for stamp in (90, 100, 110, 120):
        success = stamp in (90, *successes)  # at 90 the scene is that of the episode before
        states.publish(from_world({'tool': np.zeros(3)}, success, 0.1, stamp))
    stage.spin_until(lambda: subscriber.reached(outcome(120)) is not None, 'the last state')
    assert subscriber.reached(outcome(120)) is bool(successes)
    assert subscriber.reached(outcome(120, 'evaluation-000001')) is None
