"""Images are matched to steps, in whatever order the messages arrive."""

from __future__ import annotations

from efm_core.observation_matcher import EARLY_IMAGES, ObservationMatcher
import numpy as np
import pytest


@pytest.fixture
def running():
    """Return a matcher whose first observation has stamp 100."""
    matcher = ObservationMatcher()
    matcher.start('event', 100)
    return matcher


def test_steps_count_from_zero(running):
    assert running.admit(100, 'a')
    assert running.count(100) == 0
    assert running.admit(200, 'b')
    assert running.count(200) == 1


def test_image_older_than_the_first_observation_is_no_step(running):
    assert not running.admit(99, 'old')


def test_repeated_stamp_counts_once(running):
    running.count(100)
    assert not running.admit(100, 'again')


def test_older_image_that_arrives_late_is_no_step(running):
    running.count(200)
    assert not running.admit(150, 'late')


def test_image_that_arrives_before_its_event_is_not_lost():
    matcher = ObservationMatcher()
    assert not matcher.admit(100, 'first')
    assert matcher.start('event', 100) == [(100, 'first')]
    assert matcher.admit(100, 'first')


def test_every_image_since_the_reset_is_kept_in_order():
    matcher = ObservationMatcher()
    for stamp in (90, 100, 133, 166):
        assert not matcher.admit(stamp, f'image {stamp}')
    arrived = matcher.start('event', 100)
    assert arrived == [(100, 'image 100'), (133, 'image 133'), (166, 'image 166')]
    steps = [(stamp, matcher.admit(stamp, 'a'), matcher.count(stamp)) for stamp, _ in arrived]
    assert steps == [(100, True, 0), (133, True, 1), (166, True, 2)]


def test_with_chunks_the_early_images_between_two_steps_are_no_steps():
    matcher = ObservationMatcher(decision_ns=40, period_ns=10)
    for stamp in range(1000, 1060, 10):
        matcher.admit(stamp, 'a')
    steps = [
        (stamp, matcher.count(stamp))
        for stamp, _ in matcher.start('event', 1000)
        if matcher.admit(stamp, 'a')
    ]
    assert steps == [(1000, 0), (1040, 1)]


def test_image_that_the_last_episode_counted_is_kept_for_the_next_start(running):
    running.count(100)
    assert running.admit(300, 'next scene')  # the END of the episode before is still on its way
    running.count(300)
    running.end()
    assert running.start('second', 300) == [(300, 'next scene')]
    assert running.admit(300, 'next scene')
    assert running.count(300) == 0


def test_of_too_many_early_images_the_newest_are_kept():
    matcher = ObservationMatcher()
    for stamp in range(100, 100 + 2 * EARLY_IMAGES):
        matcher.admit(stamp, 'a')
    stamps = [stamp for stamp, _ in matcher.start('event', 100)]
    assert stamps == list(range(100 + EARLY_IMAGES, 100 + 2 * EARLY_IMAGES))


def test_repeated_image_is_kept_once():
    matcher = ObservationMatcher()
    matcher.admit(100, 'a')
    matcher.admit(100, 'a')
    assert matcher.start('event', 100) == [(100, 'a')]


def test_image_of_the_scene_before_the_reset_belongs_to_no_episode():
    matcher = ObservationMatcher()
    matcher.admit(90, 'old scene')
    assert matcher.start('event', 100) == []


def test_nothing_belongs_to_an_episode_that_has_ended(running):
    running.count(100)
    running.end()
    assert not running.admit(200, 'after')
    assert running.event is None


def test_image_between_two_episodes_waits_for_the_second(running):
    running.count(100)
    running.end()
    running.admit(300, 'next scene')
    assert running.start('second', 300) == [(300, 'next scene')]


def test_observation_that_one_episode_could_not_answer_is_not_for_the_next(running):
    running.keep(100, 'a')
    running.end()
    running.start('second', 50)
    assert running.take() is None


def test_kept_image_is_returned_once_and_for_its_own_stamp_only(running):
    running.keep(100, 'a')
    assert running.waiting_for(50) is None
    assert running.waiting_for(100) == (100, 'a')
    assert running.waiting_for(100) is None


def test_clock_that_a_reset_sets_back_loses_no_image(running):
    running.count(100)
    running.end()
    running.admit(10, 'a')
    assert running.start('second', 10) == [(10, 'a')]
    assert running.admit(10, 'a')


def chunked(*taken: int) -> ObservationMatcher:
    """Return a matcher from 1000 on with steps of 4 x 10, after some of them."""
    matcher = ObservationMatcher(decision_ns=40, period_ns=10)
    matcher.start('event', 1000)
    for stamp in taken:
        matcher.count(stamp)
    return matcher


def test_with_chunks_one_image_of_each_span_is_a_step():
    matcher = chunked()
    steps = []
    for stamp in range(1000, 1130, 10):
        if matcher.admit(stamp, 'image'):
            steps.append((matcher.count(stamp), stamp))
    assert steps == [(0, 1000), (1, 1040), (2, 1080), (3, 1120)]


@pytest.mark.parametrize(
    ('stamp', 'is_step'), [(1034, False), (1035, True), (1047, True), (1074, True)]
)
def test_image_may_be_half_a_period_early_or_replace_a_missed_one(stamp, is_step):
    assert chunked(1000).admit(stamp, 'image') == is_step


def test_late_image_does_not_move_the_next_step():
    matcher = chunked(1000, 1070)
    assert not matcher.admit(1074, 'soon after')
    assert matcher.admit(1080, 'image')


def test_first_image_is_a_step_anywhere_in_its_span():
    matcher = chunked()
    assert matcher.admit(1025, 'image')
    matcher.count(1025)
    assert not matcher.admit(1034, 'image')


def test_image_between_two_steps_does_not_replace_a_kept_one():
    matcher = chunked(1000)
    matcher.keep(1040, 'waits')
    matcher.count(1040)
    matcher.admit(1050, 'between')
    assert matcher.waiting_for(1050) is None


MS = 1_000_000  # [ns]


def steps_of(stamps_ms, period_ms=100, missed=()):
    """Return the images [ms after START] that are steps, for a node that misses some of them."""
    matcher = ObservationMatcher(decision_ns=period_ms * MS, period_ns=period_ms * MS)
    matcher.start('event', 10_000 * MS)
    steps = []
    for at in stamps_ms:
        stamp = int((10_000 + at) * MS)
        if at not in missed and matcher.admit(stamp, 'image'):
            matcher.count(stamp)
            steps.append(at)
    return steps


@pytest.mark.parametrize('rate_hz', [15, 20, 25, 30, 60, 90])
@pytest.mark.parametrize('phase_ms', [0, 20, 49, 50, 51, 80])
def test_a_camera_faster_than_the_robot_gives_ten_decisions_a_second(rate_hz, phase_ms):
    steps = steps_of([phase_ms + 1000 * n / rate_hz for n in range(10 * rate_hz)])
    assert 99 <= len(steps) <= 101
    assert np.diff(steps).min() >= 50


@pytest.mark.parametrize('phase_ms', range(0, 100, 7))
def test_a_camera_at_the_rate_of_the_robot_skips_no_step_however_it_jitters(phase_ms):
    jitter = np.random.default_rng(phase_ms).uniform(-4, 4, 200)
    stamps = [10 + phase_ms + 100 * n + jitter[n] for n in range(200)]
    assert steps_of(stamps) == stamps


def test_a_slower_camera_gives_a_step_for_each_image():
    stamps = list(range(0, 5000, 200))
    assert steps_of(stamps) == stamps


def test_two_nodes_choose_the_same_images_soon_after_one_of_them_missed_some():
    stamps = [round(1000 * n / 30) for n in range(120)]
    whole = steps_of(stamps)
    gaps = steps_of(stamps, missed=(whole[5], whole[6], whole[7]))
    assert [at for at in gaps if at > whole[9]] == [at for at in whole if at > whole[9]]
