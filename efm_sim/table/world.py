"""The simulated table: six coloured blocks, a pushing tool, a camera, an instruction."""

from __future__ import annotations

from collections import deque
import math
from typing import Any, TYPE_CHECKING

import cv2
from efm_core.observation import MeasuredState
from efm_sim.graphics import make_renderer, mujoco
from efm_sim.table.arrangement import (
    clear_of,
    draw_apart,
    draw_push,
    draw_task,
    draw_types,
    heading,
    place_position,
    START_LIMIT,
)
from efm_sim.table.config import TableConfig
from efm_sim.table.domain import paint
from efm_sim.table.language import BAR, bar_tasks, phrase, Task, tasks, types_in
from efm_sim.table.scene import (
    ARM_JOINTS,
    ARM_PREFIX,
    ARM_SERVO,
    BAR_HALF_SIDES,
    build_scene,
    RGBA,
    SLOTS,
    SLOTS_OF,
    TOOL_LIMIT,
    TOOL_SERVO,
)
import numpy as np

if TYPE_CHECKING:
    from efm_sim.table.arm import ArmKinematics

BLOCK_SPACING = 0.072  # smallest distance of two blocks at a reset [m]
TOOL_SPACING = 0.045  # smallest distance of the tool from a block at a reset [m]
BAR_SPACING = BAR_HALF_SIDES[0] + 0.025  # the same, from the centre of the bar [m]
# Largest distance from the tool to its commanded position [m]. A jammed tool accumulates no error.
MAX_FOLLOWING_ERROR = 0.03
DEFAULT = TableConfig()


class Table:
    """
    The table in MuJoCo: a `World` of a robot. Equal seeds give equal episodes, bit for bit.

    The table frame has x to the right of the image, y away from the camera and z up. Its origin is
    the centre of the table.

    :ivar task: current task.
    :ivar instruction: sentence of the current task.
    :ivar joint_names: joints of the arm, or of the floating tool.
    """

    def __init__(self, config: TableConfig = DEFAULT):
        """Build the model and reset it with seed 0. The first picture starts OpenGL."""
        self.config = config
        self.model = build_scene(config)
        self.data = mujoco.MjData(self.model)
        self._kinematics = _load_kinematics() if config.body == 'arm' else None
        self._servo = ARM_SERVO if config.body == 'arm' else TOOL_SERVO
        self.joint_names = ARM_JOINTS if config.body == 'arm' else ('tool_x', 'tool_y')
        prefix = ARM_PREFIX if config.body == 'arm' else ''
        joints = [self.model.joint(prefix + name) for name in self.joint_names]
        self._joint_addresses = np.array([joint.qposadr[0] for joint in joints])
        self._velocity_addresses = np.array([joint.dofadr[0] for joint in joints])
        self._slot_names = SLOTS_OF[config.objects]
        self._block_addresses = np.array(
            [self.model.joint(f'{slot}_x').qposadr[0] for slot in self._slot_names]
        )
        self._slot_index: dict[str, int] = {}
        self._renderers: dict[tuple[str, int, int], mujoco.Renderer] = {}
        self.reset(0)

    def reset(self, seed: int, task: Task | None = None, instruction: str | None = None) -> None:
        """
        Start an episode with a new scene. No state of the former episode remains.

        :param task: None: a random task of the configuration.
        :param instruction: None: a random sentence for the task.
        """
        rng = np.random.default_rng([seed, 0])
        has_bar = self.config.objects == 'bar'
        options = bar_tasks() if has_bar else tasks(self.config.task, self.config.split)
        self.task = task or draw_task(options, rng)
        self.instruction = instruction or phrase(
            self.task, np.random.default_rng([seed, 1]), self.config.split
        )
        types = (BAR,) if has_bar else draw_types(rng, types_in(self.task))
        blocks, tool = self._draw_start(types, rng)
        self.arrange(types, blocks, rng.uniform(-math.pi, math.pi, len(types)), tool)

    def arrange(
        self, types: tuple[str, ...], blocks: np.ndarray, yaws: np.ndarray, tool: np.ndarray
    ) -> None:
        """
        Place all objects and the tool, at rest.

        :param types: block types of the six slots: three cubes, then three cylinders. Of a bar:
            one type.
        :param blocks: positions, ``(6, 2)`` or ``(1, 2)`` float64 [m].
        :param yaws: ``(6,)`` or ``(1,)`` float64 [rad].
        :param tool: position, ``(2,)`` float64 [m].
        """
        mujoco.mj_resetData(self.model, self.data)
        self._slot_index = {name: index for index, name in enumerate(types)}
        for index, (slot, name) in enumerate(zip(self._slot_names, types, strict=True)):
            self.model.geom(slot).rgba = paint(RGBA[name.split('_')[0]], self.config.hue_deg)
            self.data.qpos[self._block_addresses[index] : self._block_addresses[index] + 3] = (
                *blocks[index],
                yaws[index],
            )
        self._command = np.array(tool, dtype=np.float64)
        self._delayed_actions = deque(np.zeros((self.config.latency_steps, 2)))
        self._setpoint = (
            self._kinematics.reset(self._command) if self._kinematics else self._command.copy()
        )
        self.data.qpos[self._joint_addresses] = self._setpoint
        self.data.ctrl[:] = self._setpoint
        mujoco.mj_forward(self.model, self.data)

    def step(self, action: np.ndarray) -> None:
        """
        Move the tool for one control step. The tool pushes the objects in its way.

        With latency, an earlier action is executed, and at first a zero action.

        :param action: displacement in x and y, ``(2,)`` float32 [m]; clipped to the largest action
            and to the workspace.
        :raises ValueError: when the shape differs or a number is not finite.
        """
        action = np.asarray(action, dtype=np.float64)
        if action.shape != (2,) or not np.isfinite(action).all():
            raise ValueError(f'action: expected 2 finite numbers [m], got {action}')
        self._delayed_actions.append(action)
        action = self._delayed_actions.popleft()
        limit = self.config.max_action_m
        tool = self.tool_position()[:2]
        command = np.clip(
            self._command + np.clip(action, -limit, limit),
            tool - MAX_FOLLOWING_ERROR,
            tool + MAX_FOLLOWING_ERROR,
        )
        self._command = np.clip(command, -TOOL_LIMIT, TOOL_LIMIT)
        start = self._setpoint
        self._setpoint = self._solve(self._command)
        change = (self._setpoint - start) / self.config.substeps
        lead = self._servo.lead_s / self.model.opt.timestep
        for substep in range(1, self.config.substeps + 1):
            self.data.ctrl[:] = start + change * (substep + lead)
            mujoco.mj_step(self.model, self.data)
        mujoco.mj_kinematics(self.model, self.data)

    def render(self) -> np.ndarray:
        """
        Return the image of the policy camera, ``(H, W, 3)`` uint8 RGB.

        :raises RuntimeError: when OpenGL does not start; the message names the Debian packages.
        """
        size = self.config.image_size
        large = self._draw('policy', 2 * size, 2 * size, pretty=False)
        # In software, this takes half the time of OpenGL's multisampling.
        return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)

    def render_pretty(self, height: int = 480, width: int = 640) -> np.ndarray:
        """
        Return a presentation picture, ``(height, width, 3)`` uint8 RGB.

        It shows the table from the side, with shadows.
        """
        return self._draw('pretty', height, width, pretty=True)

    def positions(self) -> dict[str, np.ndarray]:
        """
        Return positions by name, ``(3,)`` float64 [m] each.

        The order is: tool, source, target, the other blocks.
        """
        others = [name for name in self._slot_index if name not in types_in(self.task)]
        names = [self.task.source, self.task.target, *others]
        return {'tool': self.tool_position(), **{name: self._position(name) for name in names}}

    def block_positions(self) -> dict[str, np.ndarray]:
        """Return the positions of the blocks by name, ``(3,)`` float64 [m] each."""
        return {name: self._position(name) for name in self._slot_index}

    def block_yaws(self) -> dict[str, float]:
        """Return the yaws of the blocks by name [rad]."""
        return {
            name: float(self.data.qpos[self._block_addresses[index] + 2])
            for name, index in self._slot_index.items()
        }

    def tool_position(self) -> np.ndarray:
        """Return the position of the tool's tip, ``(3,)`` float64 [m]."""
        return self.data.geom('tip').xpos.copy()

    def distance(self) -> float:
        """Return the distance between the centres of source and target in the table plane [m]."""
        return float(
            np.linalg.norm(
                (self._position(self.task.source) - self._position(self.task.target))[:2]
            )
        )

    def terminated(self) -> bool:
        """Return False: the table never ends an episode."""
        return False

    def info(self) -> dict[str, Any]:
        """Return nothing: that is for Gymnasium environments."""
        return {}

    def success(self) -> bool:
        """Return whether the task is done: simulator truth, for reports and never for learning."""
        return self.distance() < self.config.success_distance_m

    @property
    def joint_positions(self) -> np.ndarray:
        """Positions of ``joint_names``, ``(J,)`` float64 [rad]; [m] for the floating tool."""
        return self.data.qpos[self._joint_addresses].copy()

    def images(self) -> tuple[np.ndarray, ...]:
        """Return the image of the policy camera, ``(H, W, 3)`` uint8 RGB."""
        return (self.render(),)

    def state(self) -> MeasuredState:
        """Return positions and velocities of the joints."""
        velocities = self.data.qvel[self._velocity_addresses].copy()
        return MeasuredState(self.joint_names, self.joint_positions, velocities=velocities)

    def camera_matrix(self) -> np.ndarray:
        """Return the intrinsic matrix of the policy camera, ``(3, 3)`` float64 [px]."""
        size = self.config.image_size
        focal = size / 2 / math.tan(math.radians(self.model.camera('policy').fovy[0]) / 2)
        return np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])

    def project(self, points: np.ndarray) -> np.ndarray:
        """
        Return points in the image of the policy camera, ``(..., 2)`` float64.

        The coordinates are u to the right and v down, from -1 to 1 between the edges.

        :param points: in the table frame, ``(..., 3)`` float64 [m].
        """
        camera = self.model.camera('policy')
        rotation = np.empty(9)
        mujoco.mju_quat2Mat(rotation, camera.quat)
        local = (np.asarray(points) - camera.pos) @ rotation.reshape(3, 3)
        scale = math.tan(math.radians(camera.fovy[0]) / 2)
        return local[..., :2] * (1, -1) / (-local[..., 2:] * scale)

    def close(self) -> None:
        """Free the graphics memory. `step` still works, and `render` starts OpenGL again."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}

    def _draw(self, camera: str, height: int, width: int, pretty: bool) -> np.ndarray:
        key = (camera, height, width)
        if key not in self._renderers:
            self._renderers[key] = make_renderer(self.model, height, width, pretty)
        renderer = self._renderers[key]
        renderer.update_scene(self.data, camera)
        return renderer.render()

    def _solve(self, tool: np.ndarray) -> np.ndarray:
        return (
            self._kinematics.move(tool, self.config.ik_iterations)
            if self._kinematics
            else tool.copy()
        )

    def _position(self, name: str) -> np.ndarray:
        if name not in self._slot_index:
            return place_position(name)
        return self.data.body(self._slot_names[self._slot_index[name]]).xpos.copy()

    def _draw_start(
        self, types: tuple[str, ...], rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """
        Return start positions of the blocks, ``(6, 2)`` or ``(1, 2)``, and the tool, ``(2,)`` [m].

        The task is not done yet, and no block or tool touches another.
        """
        tool_spacing = BAR_SPACING if BAR in types else TOOL_SPACING
        while True:
            points = draw_apart(rng, [BLOCK_SPACING] * len(types) + [tool_spacing])
            source = points[types.index(self.task.source)]
            target = self.task.target
            goal = points[types.index(target)] if target in types else place_position(target)[:2]
            if np.linalg.norm(source - goal) >= self.config.start_distance_m:
                return points[:-1], points[-1]


def random_scene(
    table: Table, rng: np.random.Generator, pushes: float = 0.0
) -> dict[str, np.ndarray]:
    """
    Arrange a random scene for pretraining; return the positions of tool and blocks by name.

    Blocks may touch. The tool is beside a block or at any place. The task and the instruction of
    the table do not belong to the scene.

    :param pushes: fraction of the scenes that show a push that is nearly over.
    :return: ``(3,)`` float64 [m] each.
    """
    types = draw_types(rng)
    limit = rng.uniform(START_LIMIT, 0.165)
    blocks = draw_apart(rng, [rng.choice([0.046, 0.072])] * len(SLOTS), limit)
    if pushes and rng.random() < pushes:
        blocks, tool = draw_push(rng, blocks)
    elif rng.random() < 0.5:
        angle = rng.uniform(-math.pi, math.pi)
        gap = rng.uniform(0.031, 0.06)
        tool = blocks[rng.integers(len(SLOTS))] + gap * heading(angle)
    else:
        tool = rng.uniform(-TOOL_LIMIT, TOOL_LIMIT, 2)
    table.arrange(
        types, blocks, rng.uniform(-math.pi, math.pi, len(SLOTS)), clear_of(tool, blocks)
    )
    return {'tool': table.tool_position(), **table.block_positions()}


def _load_kinematics() -> ArmKinematics:
    from efm_sim.table.arm import ArmKinematics  # the floating tool needs no IK library

    return ArmKinematics()
