"""The simulated table."""

from __future__ import annotations

from efm_sim import graphics
from efm_sim.table.arrangement import (
    draw_apart,
    draw_push,
    draw_types,
    PUSHED_DISTANCES,
    TOOL_DISTANCES,
)
from efm_sim.table.config import TableConfig
from efm_sim.table.language import Task, TYPES, types_in
from efm_sim.table.scene import CUBE_HALF_SIDE, find_urdf, TOOL_LIMIT
from efm_sim.table.world import random_scene, Table
import numpy as np
import pytest

RED_CUBE_POINT = (0.0, 0.0)
TOP_LEFT_POINT = (-0.115, 0.115)
BODIES = ('arm', 'tool')


@pytest.fixture(scope='module', params=BODIES)
def table(request):
    made = Table(TableConfig(body=request.param))
    yield made
    made.close()


@pytest.fixture(scope='module')
def arm():
    made = Table()
    yield made
    made.close()


def run(table: Table, seed: int, steps: int = 12) -> list[np.ndarray]:
    """Return all observable values of an episode with random actions."""
    rng = np.random.default_rng(seed)
    table.reset(seed)
    found = [table.render()]
    for _ in range(steps):
        table.step(rng.uniform(-0.025, 0.025, 2).astype(np.float32))
        found += [
            table.render(),
            np.array(list(table.positions().values())),
            table.joint_positions,
        ]
    return found


def lone_cube(table: Table, tool: tuple[float, float]) -> None:
    """Place a red cube at the centre, all other blocks far away, and the tool at ``tool``."""
    table.reset(0, Task('red_cube', 'right'))
    types = (
        'red_cube',
        'blue_cube',
        'green_cube',
        'red_cylinder',
        'blue_cylinder',
        'green_cylinder',
    )
    away = np.array(
        [RED_CUBE_POINT, (-0.15, 0.15), (0, 0.15), (0.15, 0.15), (-0.15, -0.15), (0.15, -0.15)]
    )
    table.arrange(types, away, np.zeros(6), np.array(tool))


def test_two_tables_with_equal_seeds_are_equal_bit_for_bit(table):
    other = Table(table.config)
    assert all(
        np.array_equal(first, second)
        for first, second in zip(run(table, 3), run(other, 3), strict=True)
    )
    other.close()


def test_a_reset_removes_all_state_of_the_former_episode(table):
    fresh = run(table, 5)
    run(table, 6, steps=30)
    assert all(
        np.array_equal(first, second) for first, second in zip(fresh, run(table, 5), strict=True)
    )


def test_seeds_give_different_scenes(table):
    assert not np.array_equal(run(table, 1, 1)[0], run(table, 2, 1)[0])


def test_both_bodies_start_from_the_same_scene():
    scenes = [Table(TableConfig(body=body)) for body in BODIES]
    for scene in scenes:
        scene.reset(7)
    first, second = (scene.positions() for scene in scenes)
    assert list(first) == list(second)
    np.testing.assert_allclose(list(first.values()), list(second.values()), atol=1e-6)
    assert scenes[0].instruction == scenes[1].instruction


@pytest.mark.parametrize('task', ['block_to_block', 'block_to_place'])
def test_no_episode_starts_at_its_goal_or_with_contacts(task):
    table = Table(TableConfig(body='tool', task=task))
    for seed in range(100):
        table.reset(seed)
        tool, *_ = table.positions().values()
        blocks = np.array(list(table.block_positions().values()))
        gaps = np.linalg.norm(blocks[:, None] - blocks, axis=-1) + np.eye(6)
        assert table.task.kind == task
        assert table.distance() >= 0.1
        assert gaps.min() >= 0.072
        assert np.linalg.norm(blocks[:, :2] - tool[:2], axis=1).min() >= 0.045


def test_positions_name_tool_source_and_target_first(table):
    table.reset(1, Task('red_cube', 'blue_cylinder'))
    names = list(table.positions())
    assert names[:3] == ['tool', 'red_cube', 'blue_cylinder']
    assert len(names) == 7
    table.reset(1, Task('red_cube', 'top_left'))
    positions = table.positions()
    assert list(positions)[:3] == ['tool', 'red_cube', 'top_left']
    assert len(positions) == 8
    np.testing.assert_array_equal(positions['top_left'], [*TOP_LEFT_POINT, 0])


def test_reset_accepts_a_task_and_an_instruction(table):
    table.reset(4, Task('green_cube', 'yellow_cylinder'), 'do it')
    assert table.instruction == 'do it'
    assert {'green_cube', 'yellow_cylinder'} <= set(table.positions())


def test_scenes_have_three_cubes_and_three_cylinders_in_different_colours():
    rng = np.random.default_rng(0)
    for _ in range(50):
        types = draw_types(rng, ('red_cube', 'blue_cube'))
        assert len(set(types)) == 6
        assert {'red_cube', 'blue_cube'} <= set(types) <= set(TYPES)
        assert [name.split('_')[1] for name in types] == ['cube'] * 3 + ['cylinder'] * 3


def test_the_tool_follows_its_command_within_4_mm(table):
    lone_cube(table, (-0.1, -0.1))
    for _ in range(8):
        table.step(np.array([0.0, 0.02], np.float32))
        table.step(np.array([0.005, 0.0], np.float32))
    np.testing.assert_allclose(table.tool_position(), [-0.06, 0.06, 0.02], atol=0.004)


def test_an_action_is_clipped_to_the_largest_action(table):
    lone_cube(table, (-0.1, -0.1))
    table.step(np.array([1.0, 0.0], np.float32))
    assert table.tool_position()[0] == pytest.approx(-0.075, abs=0.004)


def test_the_tool_stays_in_its_workspace(table):
    lone_cube(table, (-0.1, 0.0))
    for _ in range(10):
        table.step(np.array([-0.025, 0.0], np.float32))
    np.testing.assert_allclose(table.tool_position()[:2], [-TOOL_LIMIT, 0], atol=0.003)


def test_a_jammed_tool_comes_free_within_3_steps(table):
    lone_cube(table, (-0.1, -0.1))
    for _ in range(20):
        table.step(np.float32([-0.025, -0.025]))  # against a block at the end of its range
    stuck = table.tool_position()
    for _ in range(3):
        table.step(np.array([0.025, 0.025], np.float32))
    assert (table.tool_position() - stuck)[:2].min() > 0.03


def test_a_pushed_block_moves_with_the_tool(table):
    lone_cube(table, (-0.04, 0.0))
    for _ in range(4):
        table.step(np.array([0.02, 0.0], np.float32))
    cube = table.block_positions()['red_cube']
    assert cube[0] > 0.04 + CUBE_HALF_SIDE - 0.005  # the tool's tip is at about 0.04
    assert abs(cube[1]) < 0.005


def test_a_block_at_rest_does_not_move(table):
    lone_cube(table, (-0.1, -0.1))
    for _ in range(5):
        table.step(np.zeros(2, np.float32))
    np.testing.assert_allclose(table.block_positions()['red_cube'][:2], RED_CUBE_POINT, atol=1e-9)


def test_success_depends_on_the_distance(table):
    lone_cube(table, (-0.1, -0.1))
    assert table.distance() == pytest.approx(0.115)
    assert not table.success()
    near = np.array(
        [(0.07, 0), (-0.15, 0.15), (0, 0.15), (0.15, 0.15), (-0.15, -0.15), (0.15, -0.15)]
    )
    table.arrange(tuple(table.block_positions()), near, np.zeros(6), np.zeros(2))
    assert table.distance() == pytest.approx(0.045)
    assert table.success()


@pytest.mark.parametrize(
    'action', [np.array([np.nan, 0]), np.array([np.inf, 0]), np.zeros(3), np.zeros((1, 2))]
)
def test_an_invalid_action_is_refused(table, action):
    with pytest.raises(ValueError, match='action: expected 2 finite numbers'):
        table.step(action)


def test_an_image_has_its_size_and_all_six_blocks(arm):
    scene = random_scene(arm, np.random.default_rng(1))
    image = arm.render()
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    strength = image.max(axis=-1).astype(int) - image.min(axis=-1)
    for name, position in scene.items():
        column, row = ((arm.project(position) + 1) * 32).astype(int)
        assert name == 'tool' or strength[row, column] > 80, name


def test_a_point_is_projected_onto_its_pixel(arm):
    lone_cube(arm, (-0.19, 0.19))
    image = arm.render().astype(int)
    red = (image[..., 0] - image[..., 1:].max(axis=-1)) > 60
    rows, columns = np.nonzero(red[20:50])  # the red cylinder is above row 20
    u, v = arm.project(np.array([*RED_CUBE_POINT, CUBE_HALF_SIDE]))
    assert columns.mean() + 0.5 == pytest.approx((u + 1) * 32, abs=0.7)
    assert rows.mean() + 20.5 == pytest.approx((v + 1) * 32, abs=0.7)


def test_left_is_left_and_top_is_up_in_the_image(arm):
    origin, right, away = arm.project(np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]]))
    assert right[0] > origin[0] + 0.2
    assert away[1] < origin[1] - 0.2


def test_the_camera_matrix_agrees_with_project(arm):
    camera = arm.model.camera('policy')
    ahead = camera.pos + np.array([0, 0.53, -0.848])  # the camera looks along this
    np.testing.assert_allclose(arm.project(ahead), [0, 0], atol=1e-3)
    assert arm.camera_matrix()[0, 0] == pytest.approx(32 / np.tan(np.radians(10)))


def test_a_presentation_picture_has_the_requested_size(arm):
    assert arm.render_pretty(60, 80).shape == (60, 80, 3)


def test_presentation_pictures_do_not_change_the_image(arm):
    arm.reset(2)
    before = arm.render()
    arm.render_pretty(60, 80)
    assert np.array_equal(before, arm.render())


def test_a_closed_table_can_render_again(arm):
    arm.reset(2)
    before = arm.render()
    arm.close()
    assert np.array_equal(before, arm.render())


def test_the_measured_state_has_the_joints_with_positions_and_velocities(table):
    table.reset(3)
    before = table.state()
    assert before.joints == table.joint_names
    np.testing.assert_array_equal(before.velocities, np.zeros(len(before.joints)))
    table.step(np.float32([0.02, 0.0]))
    after = table.state()
    np.testing.assert_array_equal(after.positions, table.joint_positions)
    moved = after.positions - before.positions
    largest = abs(moved).argmax()
    assert after.velocities[largest] * moved[largest] > 0


def test_joint_names_and_positions_have_the_same_length(table):
    table.reset(0)
    assert len(table.joint_names) == {'arm': 6, 'tool': 2}[table.config.body]
    assert table.joint_positions.shape == (len(table.joint_names),)


def test_random_scenes_keep_blocks_and_tool_apart(arm):
    rng = np.random.default_rng(0)
    near = 0
    for _ in range(60):
        tool, *blocks = random_scene(arm, rng).values()
        gaps = np.linalg.norm(np.array(blocks)[:, :2] - tool[:2], axis=1)
        near += gaps.min() < 0.061
        assert gaps.min() > 0.0285
        assert np.linalg.norm(blocks[0] - blocks[1]) >= 0.046
    assert 25 <= near <= 50


def test_random_points_keep_their_distance():
    points = draw_apart(np.random.default_rng(0), [0.1, 0.1, 0.02], limit=0.1)
    assert np.linalg.norm(points[0] - points[1]) >= 0.1
    assert np.abs(points).max() <= 0.1


def test_an_error_names_missing_graphics_libraries(monkeypatch):
    def fail(*_):
        raise AttributeError("'NoneType' object has no attribute 'eglQueryString'")

    monkeypatch.setattr(graphics.mujoco, 'Renderer', fail)
    with pytest.raises(RuntimeError, match='apt install libegl1 libgl1-mesa-dri libopengl0'):
        Table(TableConfig(body='tool')).render()


def test_the_arm_is_found_in_the_source_tree():
    assert find_urdf().name == 'arm.urdf'


@pytest.mark.parametrize('wrong', [{'body': 'hand'}, {'substeps': 0}, {'start_distance_m': 0.05}])
def test_an_invalid_configuration_is_refused(wrong):
    with pytest.raises(ValueError, match='expected'):
        TableConfig(**wrong)


def test_the_split_pairs_gives_held_out_pairs():
    table = Table(TableConfig(body='tool', split='pairs'))
    for seed in range(5):
        table.reset(seed)
        assert set(types_in(table.task)) <= set(table.positions())


def test_draw_push_places_one_block_next_to_another_and_the_tool_behind_it():
    rng = np.random.default_rng(0)
    for _ in range(50):
        before = draw_apart(rng, [0.072] * 6)
        after, tool = draw_push(rng, before)
        (moved,) = np.flatnonzero((after != before).any(axis=1))
        gaps = np.linalg.norm(np.delete(after, moved, axis=0) - after[moved], axis=1)
        assert PUSHED_DISTANCES[0] <= gaps.min() <= PUSHED_DISTANCES[1]
        distance = np.linalg.norm(tool - after[moved])
        assert TOOL_DISTANCES[0] <= distance <= TOOL_DISTANCES[1]


def test_draw_push_moves_no_block_without_room():
    blocks = 0.03 * np.stack(np.meshgrid(*2 * [np.arange(-9.0, 10.0)]), axis=-1).reshape(-1, 2)
    after, _ = draw_push(np.random.default_rng(0), blocks)
    np.testing.assert_array_equal(after, blocks)
