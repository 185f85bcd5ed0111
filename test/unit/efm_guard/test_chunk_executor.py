"""The rows of a chunk: each in its turn, none late, none twice, none of an older chunk."""

from __future__ import annotations

from efm_guard.chunk_executor import ActionRequest, ChunkExecutor
import numpy as np
import pytest

MS = 1_000_000  # [ns]
PERIOD = 100 * MS
LIFETIME = 60 * MS
T0 = 10_000 * MS


def chunk(start_ms: int = 0, rows: int = 5, first: int = 0, lifetime: int = 0) -> ActionRequest:
    """Return a chunk whose rows hold their numbers, counted from ``first``."""
    stamp = T0 + start_ms * MS
    values = np.arange(first, first + rows, dtype=np.float32)[:, None]
    deadline = stamp + lifetime if lifetime else 0
    return ActionRequest(
        'e1', stamp, deadline=deadline, embodiment_hash='hash', values=values, period=PERIOD
    )


def play(rows: ChunkExecutor, times_ms: list[int]) -> list[tuple[int, int]]:
    """Return time [ms] and value of each row that comes at one of these looks at the clock."""
    looks = ((at, rows.due(T0 + at * MS)) for at in times_ms)
    return [(at, int(row.values[0])) for at, row in looks if row is not None]


def running(*chunks: ActionRequest) -> ChunkExecutor:
    rows = ChunkExecutor()
    for each in chunks:
        rows.join(each)
    return rows


def test_every_row_comes_once_in_its_turn():
    rows = running(chunk())
    assert play(rows, list(range(0, 700, 20))) == [(0, 0), (100, 1), (200, 2), (300, 3), (400, 4)]
    assert rows.skipped == 0


@pytest.mark.parametrize(
    ('first_look', 'rows_expected', 'skipped'),
    [
        (30, [0, 1, 2, 3, 4], 0),  # late within its turn
        (99, [0, 1, 2, 3, 4], 0),
        (100, [1, 2, 3, 4], 1),  # the turn of row 0 has passed
        (250, [2, 3, 4], 2),
        (499, [4], 4),
        (500, [], 5),  # nothing is left
    ],
)
def test_rows_whose_time_has_passed_are_dropped(first_look, rows_expected, skipped):
    rows = running(chunk())
    times = [first_look, *(at for at in range(0, 700, 50) if at > first_look)]
    assert [row for _, row in play(rows, times)] == rows_expected
    assert rows.skipped == skipped


def test_a_row_carries_the_time_that_it_is_due_and_its_own_deadline():
    row = running(chunk(lifetime=LIFETIME)).due(T0 + 230 * MS)
    assert (row.stamp, row.deadline) == (T0 + 200 * MS, T0 + 260 * MS)
    assert row.values.shape == (1,)
    assert (row.episode_id, row.embodiment_hash) == ('e1', 'hash')


def test_a_row_after_its_own_deadline_is_not_executed_but_the_next_one_is():
    rows = running(chunk(lifetime=LIFETIME))
    assert play(rows, [0, 161, 199, 200, 260, 361, 400]) == [(0, 0), (200, 2), (400, 4)]
    assert rows.skipped == 2


def test_a_row_does_not_come_before_its_time():
    assert play(running(chunk(50)), [0, 40, 50]) == [(50, 0)]


@pytest.mark.parametrize(
    ('joined_at', 'expected'),
    [
        (500, [(0, 0), (100, 1), (200, 2), (300, 3), (400, 4), (500, 10), (600, 11), (700, 12)]),
        # Two periods under way: rows 10 and 11 are past, 4 of the old one will never come.
        (700, [(0, 0), (100, 1), (200, 2), (300, 3), (400, 4), (700, 12), (800, 13)]),
    ],
)
def test_a_chunk_that_follows_joins_at_the_row_whose_time_it_is(joined_at, expected):
    rows = running(chunk())
    found = play(rows, list(range(0, joined_at, 50)))
    rows.join(chunk(500, first=10))
    assert (found + play(rows, list(range(joined_at, 1200, 50))))[: len(expected)] == expected


def test_a_chunk_in_mid_chunk_takes_the_place_of_the_rest():
    rows = running(chunk())
    assert play(rows, [0, 100, 200]) == [(0, 0), (100, 1), (200, 2)]
    newer = chunk(150, first=10)
    assert rows.objection(newer, T0 + 280 * MS) == ''
    rows.join(newer)
    assert play(rows, list(range(280, 900, 10))) == [(280, 11), (350, 12), (450, 13), (550, 14)]


@pytest.mark.parametrize(
    ('other', 'now_ms', 'word'),
    [
        (chunk(-100), 120, 'older observation'),
        (chunk(0), 120, 'older observation'),  # the same again
        (chunk(100), 120, ''),
        (chunk(100), 599, ''),
        (chunk(100), 600, 'stale'),
        (chunk(230), 120, 'ahead of time'),
        (chunk(220), 120, ''),
    ],
)
def test_what_may_not_follow_is_refused(other, now_ms, word):
    found = running(chunk()).objection(other, T0 + now_ms * MS)
    assert found.startswith(word)
    assert bool(found) == bool(word)


def test_an_older_chunk_does_not_come_back_when_the_newer_one_is_over_or_cut():
    for rows in (running(chunk()), running(chunk())):
        rows.due(T0 + 900 * MS)
        rows.cut()
        assert rows.objection(chunk(-100), T0).startswith('older')


def test_nothing_is_left_after_a_drop_and_anything_may_follow():
    rows = running(chunk())
    rows.drop()
    assert play(rows, list(range(0, 600, 50))) == []
    assert rows.objection(chunk(-100), T0) == ''


def test_a_single_action_ends_the_chunk():
    rows = running(chunk())
    single = ActionRequest(
        'e1', T0 + 120 * MS, deadline=0, embodiment_hash='hash', values=np.zeros(1, np.float32)
    )
    assert rows.objection(single, T0 + 130 * MS) == ''
    rows.join(single)
    assert play(rows, list(range(0, 600, 50))) == []


def test_while_time_stands_still_a_row_may_be_asked_for_again():
    rows = ChunkExecutor(repeats=True)
    rows.join(chunk())
    assert play(rows, [0, 0, 100, 100, 0]) == [(0, 0), (0, 0), (100, 1), (100, 1)]
    assert rows.skipped == 0
