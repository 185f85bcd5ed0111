"""An episode's arrays must agree on its length."""

from __future__ import annotations

from dataclasses import replace

from bags import make_episode
import pytest


def test_length_is_the_number_of_actions(embodiment):
    episode = make_episode(embodiment, steps=5)
    assert len(episode) == 5
    assert len(episode.observations) == 6


@pytest.mark.parametrize(
    ('name', 'expected'),
    [('observations', 4), ('stamps', 4), ('steps_to_go', 4), ('actions', 3), ('log_probs', 3)],
)
def test_array_of_another_length_is_refused(embodiment, name, expected):
    episode = make_episode(embodiment, steps=3)
    with pytest.raises(
        ValueError, match=f'{name}: expected length {expected}, got {expected - 1}'
    ):
        replace(episode, **{name: getattr(episode, name)[1:]})
