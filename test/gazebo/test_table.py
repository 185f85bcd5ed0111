"""The table in a real Gazebo: it loads, draws, resets, pushes, and does it again."""

from __future__ import annotations

from efm_sim.gazebo.server import Server
from efm_sim.gazebo.world import GazeboTable
from efm_sim.table.config import DemonstratorConfig, TableConfig
from efm_sim.table.demonstrator import Demonstrator
from efm_sim.table.language import Task
from efm_sim.table.world import Table
import numpy as np
import psutil
import pytest
from waiting import alive_after

TYPES = ('red_cube', 'blue_cube', 'green_cube', 'red_cylinder', 'blue_cylinder', 'green_cylinder')
AWAY = np.array([(0, 0), (-0.15, 0.15), (0, 0.15), (0.15, 0.15), (-0.15, -0.15), (0.15, -0.15)])
RIGHT = np.float32([0.02, 0.0])


@pytest.fixture(scope='module')
def table(root):
    made = GazeboTable()
    yield made
    made.close()


@pytest.fixture(scope='module')
def twin():
    """Return the same table in MuJoCo."""
    made = Table()
    yield made
    made.close()


def where(table, link):
    """Return what Gazebo itself says, position (3,) and quaternion (4,)."""
    numbers = np.array([float(word) for word in table._server.ask(f'where {link}').split()])
    return numbers[:3], numbers[3:]


def pushing(table, steps=10):
    """Arrange a red cube right of the tool, push it to the right; return all that was seen."""
    table.reset(0, Task('red_cube', 'right'))
    table.arrange(TYPES, AWAY, np.zeros(6), np.array([-0.06, 0.004]))
    seen = [table.render()]
    for _ in range(steps):
        table.step(RIGHT)
        seen += [np.array(list(table.positions().values())), table.joint_positions]
    return [*seen, table.render()]


@pytest.mark.parametrize('seed', [0, 7])
def test_a_reset_brings_mujocos_scene_and_sentence(table, twin, seed):
    table.reset(seed)
    twin.reset(seed)
    assert table.instruction == twin.instruction
    assert table.success() == twin.success()
    for name, position in twin.positions().items():
        np.testing.assert_array_equal(table.positions()[name], position)


def test_every_link_is_where_mujoco_has_it(table):
    table.reset(4)
    answer = table._server.ask('joints').split()
    joints = dict(zip(answer[1::2], map(float, answer[2::2]), strict=True))
    np.testing.assert_allclose(
        [joints[name] for name in table._driven], table.joint_positions, atol=1e-9
    )
    for index, slot in enumerate(table._slot_names):
        found = [joints[f'{slot}::{name}'] for name in ('x', 'y')]
        np.testing.assert_allclose(found, table.data.qpos[table._blocks[index] :][:2], atol=1e-9)


@pytest.mark.parametrize('seed', [0, 3])
def test_gazebo_draws_what_mujoco_draws(table, seed):
    table.reset(seed)
    drawn = table.render().astype(float)
    twin = table.render_in_mujoco().astype(float)
    assert drawn.shape == (64, 64, 3)
    assert np.abs(drawn - twin).mean() < 3  # of 255
    assert np.abs(drawn - twin).mean() < 0.2 * np.abs(twin - twin.mean((0, 1))).mean()


def test_colours_follow_the_scene(table):
    redness = []
    for name in ('red_cube', 'green_cube', 'red_cube'):
        others = tuple(other for other in TYPES[:3] if other != name)
        table.reset(0, Task(name, 'right'))
        table.arrange((name, *others, *TYPES[3:]), AWAY, np.zeros(6), np.array([0.1, 0.0]))
        middle = table.render()[28:40, 28:36].astype(int)
        redness.append((middle[..., 0] - middle[..., 1]).max())
    assert redness[0] == redness[2] > 100
    assert redness[1] < 40


def test_the_arm_follows_the_commands(table):
    table.reset(1, Task('red_cube', 'right'))
    table.arrange(TYPES, AWAY, np.zeros(6), np.array([-0.1, 0.05]))
    for _ in range(5):
        table.step(RIGHT)
    tip, _ = where(table, 'arm::tool_tip')
    np.testing.assert_allclose(tip, [0.0, 0.05, 0.02], atol=0.003)
    np.testing.assert_allclose(tip, table.tool_position(), atol=0.001)


def test_without_a_block_in_its_way_the_tool_goes_as_mujocos_does(table, twin):
    for one in (table, twin):
        one.reset(1, Task('red_cube', 'right'))
        one.arrange(TYPES, AWAY, np.zeros(6), np.array([-0.08, 0.05]))
    for action in ((0.025, 0.0), (0.025, -0.01), (0.0, -0.02), (-0.015, 0.01), (0.02, 0.02)):
        table.step(np.float32(action))
        twin.step(np.float32(action))
        np.testing.assert_allclose(table.tool_position(), twin.tool_position(), atol=0.0006)


def test_a_push_moves_the_block_and_nothing_else(table, twin):
    before = AWAY[1:]
    pushing(table)
    pushing(twin)
    found = table.block_positions()
    expected = twin.block_positions()
    assert found['red_cube'][0] == pytest.approx(expected['red_cube'][0], abs=0.006)
    assert found['red_cube'][0] > 0.05
    assert found['red_cube'][1] == pytest.approx(expected['red_cube'][1], abs=0.006)
    others = np.array([found[name][:2] for name in TYPES[1:]])
    np.testing.assert_allclose(others, before, atol=1e-4)
    for slot in table._slot_names:
        position, quaternion = where(table, f'{slot}::block')
        assert position[2] == pytest.approx(0.019, abs=5e-4)
        assert abs(quaternion[1]) + abs(quaternion[2]) < 0.01  # it has not tipped over


def test_a_block_that_is_pushed_against_the_edge_stays_on_the_table(table):
    table.reset(0, Task('red_cube', 'right'))
    table.arrange(TYPES, np.array([(0.12, 0), *AWAY[1:]]), np.zeros(6), np.array([0.07, 0.0]))
    for _ in range(8):
        table.step(RIGHT)
    assert table.block_positions()['red_cube'][0] == pytest.approx(0.165, abs=0.005)


@pytest.mark.xfail(strict=True, reason='contacts are not repeatable yet; see docs/gazebo.md')
def test_the_same_pushes_give_the_same_world_bit_for_bit(table):
    first = pushing(table)
    table.reset(5)
    table.step(RIGHT)
    again = pushing(table)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (first[0] != first[-1]).any()


@pytest.mark.xfail(strict=True, reason='contacts are not repeatable yet; see docs/gazebo.md')
def test_another_server_gives_the_same_world_bit_for_bit(table, root):
    other = GazeboTable()
    try:
        for one, two in zip(pushing(table), pushing(other), strict=True):
            np.testing.assert_array_equal(one, two)
    finally:
        other.close()


def test_the_demonstrator_can_do_its_tasks_here(table):
    done = []
    for seed in (11, 12, 13):
        demonstrator = Demonstrator(DemonstratorConfig(noise=0.0, slowest=1.0))
        demonstrator.begin(seed)
        table.reset(seed)
        for _ in range(90):
            table.step(np.float32(demonstrator.act(table.positions())))
            if table.success():
                break
        done.append(table.success())
    assert sum(done) >= 2, done


def test_no_time_passes_and_nothing_moves_between_two_commands(table):
    table.reset(2)
    answers = [table._server.ask('joints') for _ in range(3)]
    assert len(set(answers)) == 1
    np.testing.assert_array_equal(table.render(), table.render())


@pytest.mark.parametrize(
    ('command', 'complaint'),
    [
        ('dance', "verb: expected one of this plugin's"),
        ('where nobody', "link: expected one of the world's"),
        ('move 3 nothing 0 0', "joint: expected one of the world's"),
        ('place arm::tool_tip 1 2', 'expected another word or number'),
        ('frame nothing', 'camera: expected one of'),
    ],
)
def test_a_wrong_command_is_refused_with_the_reason(table, command, complaint):
    with pytest.raises(ValueError, match=complaint):
        table._server.ask(command)
    assert table._server.ask('hello').startswith('11.')


def test_the_floating_tool_pushes_too_and_closing_leaves_no_process(root):
    floating = GazeboTable(TableConfig(body='tool'))
    family = psutil.Process(floating._server._process.pid).children(recursive=True)
    try:
        pushing(floating)
        assert floating.block_positions()['red_cube'][0] > 0.05
    finally:
        floating.close()
    assert family
    assert not alive_after(family, 5)


def test_a_world_that_does_not_load_says_what_gzserver_said(root):
    with pytest.raises(RuntimeError, match='gzserver: expected an answer'):
        Server('<sdf version="1.7"><world name="x"><oops></sdf>', 30.0, root=root)
