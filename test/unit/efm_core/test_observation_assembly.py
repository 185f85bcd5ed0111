"""Which images and measured state make one observation: late, missing and skewed messages."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from efm_core.embodiment import Proprioception
from efm_core.images import encode_png
from efm_core.observation import MeasuredState
from efm_core.observation_assembly import ObservationAssembler
from models import table_arm
import numpy as np
import pytest

SIZE = 8
MS = 1_000_000  # [ns]
ARM = Proprioception('joint_positions', ('b', 'a'))
GRIPPER = Proprioception('joint_positions', ('finger',))
SPEED = Proprioception('joint_velocities', ('a',))


def robot(*parts):
    """Return a robot with a scene camera, a wrist camera and some proprioception."""
    camera = replace(table_arm().cameras[0], height=SIZE, width=SIZE, crop=(0, 0, 0, 0))
    wrist = replace(camera, name='wrist', topic='wrist/image', role='wrist')
    return table_arm(cameras=(camera, wrist), observation_size=(SIZE, SIZE), proprioception=parts)


def picture(value):
    return message(np.full((SIZE, SIZE, 3), value, np.uint8))


def message(image):
    """Return an object with the fields of ``CompressedImage``."""
    return SimpleNamespace(format='png', data=encode_png(image))


def values(observation):
    """Return one number for each image."""
    return [int(image[0, 0, 0]) for image in observation.images]


@pytest.fixture
def live():
    return ObservationAssembler(robot())


@pytest.fixture
def lockstep():
    return ObservationAssembler(robot(), exact=True)


def test_the_newest_image_of_another_camera_that_is_not_later_joins(live):
    for stamp in (10, 40, 70):
        live.add_image('wrist', stamp * MS, picture(stamp))
    assert values(live.assemble(60 * MS, picture(1))) == [1, 40]
    assert live.missing == ''


def test_images_that_arrive_out_of_order_are_compared_by_stamp(live):
    for stamp in (40, 10):
        live.add_image('wrist', stamp * MS, picture(stamp))
    assert values(live.assemble(60 * MS, picture(1))) == [1, 40]


def test_a_missing_image_is_named(live):
    assert live.assemble(60 * MS, picture(1)) is None
    assert live.missing == (
        'wrist: expected one at most 0.1 s older than the image of table, got none'
    )


def test_an_old_image_does_not_join(live):
    live.add_image('wrist', 10 * MS, picture(10))
    assert values(live.assemble(110 * MS, picture(1))) == [1, 10]
    assert live.assemble(111 * MS, picture(1)) is None
    assert live.missing.endswith('got one 0.101 s older')


def test_a_later_image_does_not_join(live):
    live.add_image('wrist', 61 * MS, picture(61))
    assert live.assemble(60 * MS, picture(1)) is None
    assert live.missing.endswith('got none')


def test_a_late_image_joins_when_it_comes(live):
    assert live.assemble(60 * MS, picture(1)) is None
    live.add_image('wrist', 55 * MS, picture(55))
    assert values(live.assemble(60 * MS, picture(1))) == [1, 55]
    assert live.missing == ''


def test_in_lockstep_only_an_image_with_the_same_stamp_joins(lockstep):
    lockstep.add_image('wrist', 59 * MS, picture(59))
    assert lockstep.assemble(60 * MS, picture(1)) is None
    lockstep.add_image('wrist', 60 * MS, picture(60))
    assert values(lockstep.assemble(60 * MS, picture(1))) == [1, 60]


def test_a_clock_that_was_set_back_leaves_no_later_images(live):
    live.add_image('wrist', 900 * MS, picture(90))
    live.add_image('wrist', 10 * MS, picture(10))
    assert values(live.assemble(20 * MS, picture(1))) == [1, 10]


def test_only_the_newest_messages_are_kept():
    few = ObservationAssembler(robot(), kept=2)
    for stamp in (10, 20, 30):
        few.add_image('wrist', stamp * MS, picture(stamp))
    assert few.assemble(15 * MS, picture(1)) is None


def test_an_image_of_another_size_is_an_error(live):
    live.add_image('wrist', 10 * MS, message(np.zeros((4, 4, 3), np.uint8)))
    with pytest.raises(ValueError, match='wrist: expected shape'):
        live.assemble(20 * MS, picture(1))


def test_proprioception_has_the_order_of_the_embodiment_and_comes_in_several_messages():
    live = ObservationAssembler(robot(ARM, GRIPPER, SPEED))
    live.add_image('wrist', 50 * MS, picture(2))
    arm = MeasuredState(('a', 'b'), np.array([0.1, 0.2]), velocities=np.array([3.0, 4.0]))
    live.add_state(55 * MS, arm)
    assert live.assemble(60 * MS, picture(1)) is None
    assert live.missing.startswith('joint_positions.finger: expected one at most')
    live.add_state(40 * MS, MeasuredState(('finger',), np.array([0.5])))
    found = live.assemble(60 * MS, picture(1))
    np.testing.assert_allclose(found.proprioception, [0.2, 0.1, 0.5, 3.0])
    assert found.proprioception.dtype == np.float32


def test_a_message_without_velocities_does_not_hide_the_one_before():
    live = ObservationAssembler(robot(SPEED))
    live.add_image('wrist', 50 * MS, picture(2))
    live.add_state(50 * MS, MeasuredState(('a',), np.zeros(1), velocities=np.array([3.0])))
    live.add_state(55 * MS, MeasuredState(('a',), np.zeros(1)))
    np.testing.assert_array_equal(live.assemble(60 * MS, picture(1)).proprioception, [3.0])


def test_a_number_that_is_not_finite_is_an_error():
    live = ObservationAssembler(robot(GRIPPER))
    live.add_image('wrist', 50 * MS, picture(2))
    live.add_state(50 * MS, MeasuredState(('finger',), np.array([np.nan])))
    with pytest.raises(ValueError, match='proprioception: expected finite numbers'):
        live.assemble(60 * MS, picture(1))


@pytest.mark.parametrize('seed', range(20))
def test_live_and_from_a_bag_the_same_observation_is_made(seed):
    """A bag has all messages at once; live they come in time, in any order among the topics."""
    random = np.random.default_rng(seed)
    body = robot(GRIPPER)
    live = ObservationAssembler(body)
    bag = ObservationAssembler(body, kept=None)
    wrist = np.cumsum(random.integers(5, 60, 40)) * MS
    joints = np.cumsum(random.integers(1, 30, 80)) * MS
    events = [('wrist', int(stamp), number) for number, stamp in enumerate(wrist)]
    events += [('joints', int(stamp), number) for number, stamp in enumerate(joints)]

    def feed(assembler, part, stamp, number):
        if part == 'wrist':
            assembler.add_image('wrist', stamp, picture(number))
        else:
            assembler.add_state(stamp, MeasuredState(('finger',), np.array([float(number)])))

    for event in events:
        feed(bag, *event)
    seen = 0
    for at in range(30 * MS, 900 * MS, 33 * MS):
        for event in [event for event in events if event[1] <= at]:
            feed(live, *event)
            events.remove(event)
        one = live.assemble(at, picture(1))
        other = bag.assemble(at, picture(1))
        assert (one is None) == (other is None)
        assert one is None or one.equals(other)
        seen += one is not None
    assert seen > 10
