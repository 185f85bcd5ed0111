"""What is shown of long work where there is no terminal."""

from __future__ import annotations

import io

from efm_bringup import progress
from efm_bringup.progress import Display
import pytest
from rich.console import Console


@pytest.fixture
def said(monkeypatch):
    """Return what a display says, every time it is updated."""
    monkeypatch.setattr(progress, 'PLAIN_PERIOD_S', -1.0)
    return io.StringIO()


def test_count_and_note_are_said(said):
    with Display('practice', 8, unit='episodes', console=Console(file=said)) as display:
        display.update(0, 'starting')
    assert said.getvalue() == 'practice: 0 of 8 episodes, starting\n'


def test_the_time_that_is_left_follows_from_what_was_done_since_the_first_word(said, monkeypatch):
    with Display('practice', 8, unit='episodes', console=Console(file=said)) as display:
        monkeypatch.setattr(progress.time, 'monotonic', lambda: 1e9)
        display.update(2, 'half said success')  # what came before is starting up
        assert said.getvalue().endswith('half said success\n')
        monkeypatch.setattr(progress.time, 'monotonic', lambda: 1e9 + 20)
        display.update(4, 'half said success')
        assert said.getvalue().endswith('half said success, 0:00:40 left\n')


def test_the_end_is_said_once(said):
    with Display('practice', 8, unit='episodes', console=Console(file=said)) as display:
        display.update(8, 'all said success')
    assert said.getvalue() == 'practice: 8 of 8 episodes, all said success\n'
