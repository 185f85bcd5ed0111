"""The steps of a chunk: each when it is due, none late, none twice, none of an older chunk."""

from __future__ import annotations

from efm_guard.chunk_executor import ActionRequest, ChunkExecutor
import numpy as np
import pytest

MS = 1_000_000  # [ns]
PERIOD = 100 * MS
LIFETIME = 60 * MS
T0 = 10_000 * MS


def chunk(start_ms: int = 0, steps: int = 5, first: int = 0, lifetime: int = 0) -> ActionRequest:
    """Return a chunk whose steps hold their numbers, counted from ``first``."""
    stamp = T0 + start_ms * MS
    values = np.arange(first, first + steps, dtype=np.float32)[:, None]
    deadline = stamp + lifetime if lifetime else 0
    return ActionRequest(
        'e1', stamp, deadline=deadline, embodiment_hash='hash', values=values, period=PERIOD
    )


def play(chunks: ChunkExecutor, times_ms: list[int]) -> list[tuple[int, int]]:
    """Return time [ms] and value of each step that is due at one of these times."""
    looks = ((at, chunks.due(T0 + at * MS)) for at in times_ms)
    return [(at, int(step.values[0])) for at, step in looks if step is not None]


def running(*requests: ActionRequest) -> ChunkExecutor:
    chunks = ChunkExecutor()
    for request in requests:
        chunks.join(request)
    return chunks


def test_every_step_comes_once_in_its_time():
    chunks = running(chunk())
    assert play(chunks, list(range(0, 700, 20))) == [
        (0, 0),
        (100, 1),
        (200, 2),
        (300, 3),
        (400, 4),
    ]
    assert chunks.skipped == 0


@pytest.mark.parametrize(
    ('first_look', 'steps_expected', 'skipped'),
    [
        (30, [0, 1, 2, 3, 4], 0),  # late within its time
        (99, [0, 1, 2, 3, 4], 0),
        (100, [1, 2, 3, 4], 1),  # the time of step 0 has passed
        (250, [2, 3, 4], 2),
        (499, [4], 4),
        (500, [], 5),  # nothing is left
    ],
)
def test_steps_whose_time_has_passed_are_dropped(first_look, steps_expected, skipped):
    chunks = running(chunk())
    times = [first_look, *(at for at in range(0, 700, 50) if at > first_look)]
    assert [step for _, step in play(chunks, times)] == steps_expected
    assert chunks.skipped == skipped


def test_a_step_carries_the_time_that_it_is_due_and_its_own_deadline():
    step = running(chunk(lifetime=LIFETIME)).due(T0 + 230 * MS)
    assert (step.stamp, step.deadline) == (T0 + 200 * MS, T0 + 260 * MS)
    assert step.values.shape == (1,)
    assert (step.episode_id, step.embodiment_hash) == ('e1', 'hash')


def test_a_step_after_its_own_deadline_is_not_executed_but_the_next_one_is():
    chunks = running(chunk(lifetime=LIFETIME))
    assert play(chunks, [0, 161, 199, 200, 260, 361, 400]) == [(0, 0), (200, 2), (400, 4)]
    assert chunks.skipped == 2


def test_a_step_does_not_come_before_its_time():
    assert play(running(chunk(50)), [0, 40, 50]) == [(50, 0)]


@pytest.mark.parametrize(
    ('joined_at', 'expected'),
    [
        (500, [(0, 0), (100, 1), (200, 2), (300, 3), (400, 4), (500, 10), (600, 11), (700, 12)]),
        # Two periods under way: steps 10 and 11 are past, 4 of the old one will never come.
        (700, [(0, 0), (100, 1), (200, 2), (300, 3), (400, 4), (700, 12), (800, 13)]),
    ],
)
def test_a_chunk_that_follows_joins_at_the_step_whose_time_it_is(joined_at, expected):
    chunks = running(chunk())
    found = play(chunks, list(range(0, joined_at, 50)))
    chunks.join(chunk(500, first=10))
    assert (found + play(chunks, list(range(joined_at, 1200, 50))))[: len(expected)] == expected


def test_a_chunk_in_mid_chunk_takes_the_place_of_the_rest():
    chunks = running(chunk())
    assert play(chunks, [0, 100, 200]) == [(0, 0), (100, 1), (200, 2)]
    newer = chunk(150, first=10)
    assert chunks.objection(newer, T0 + 280 * MS) == ''
    chunks.join(newer)
    assert play(chunks, list(range(280, 900, 10))) == [(280, 11), (350, 12), (450, 13), (550, 14)]


@pytest.mark.parametrize(
    ('other', 'now_ms', 'word'),
    [
        (chunk(-100), 120, 'older observation'),
        (chunk(0), 120, 'older observation'),  # the same again
        (chunk(100), 120, ''),
        (chunk(100), 599, ''),
        (chunk(100), 600, 'stale'),
    ],
)
def test_what_may_not_follow_is_refused(other, now_ms, word):
    found = running(chunk()).objection(other, T0 + now_ms * MS)
    assert found.startswith(word)
    assert bool(found) == bool(word)


def test_an_older_chunk_does_not_come_back_when_the_newer_one_is_over_or_cut():
    for chunks in (running(chunk()), running(chunk())):
        chunks.due(T0 + 900 * MS)
        chunks.cut()
        assert chunks.objection(chunk(-100), T0).startswith('older')


def test_nothing_is_left_after_a_drop_and_anything_may_follow():
    chunks = running(chunk())
    chunks.drop()
    assert play(chunks, list(range(0, 600, 50))) == []
    assert chunks.objection(chunk(-100), T0) == ''


def test_a_single_action_ends_the_chunk():
    chunks = running(chunk())
    single = ActionRequest(
        'e1', T0 + 120 * MS, deadline=0, embodiment_hash='hash', values=np.zeros(1, np.float32)
    )
    assert chunks.objection(single, T0 + 130 * MS) == ''
    chunks.join(single)
    assert play(chunks, list(range(0, 600, 50))) == []


def test_while_time_stands_still_a_step_may_be_asked_for_again():
    chunks = ChunkExecutor(repeats=True)
    chunks.join(chunk())
    assert play(chunks, [0, 0, 100, 100, 0]) == [(0, 0), (0, 0), (100, 1), (100, 1)]
    assert chunks.skipped == 0
