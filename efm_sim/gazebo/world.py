"""The table in Gazebo Classic: physics and images of Gazebo, scenes and tasks of MuJoCo."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
from efm_core.observation import MeasuredState
from efm_sim.gazebo.classic import ARM, block_joints, CAMERA, joint_names, make_classic_world
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.gazebo.server import GazeboServer
from efm_sim.graphics import mujoco
from efm_sim.table.config import TableConfig
from efm_sim.table.scene import ARM_PREFIX
from efm_sim.table.world import Table
import numpy as np

DEFAULT_TABLE = TableConfig()
DEFAULT_GAZEBO = GazeboConfig()
SLIDERS = ('x_slider', 'y_slider')


class GazeboTable(Table):
    """
    A `Table` with physics and images from a Gazebo server of its own.

    MuJoCo makes the scene of a seed, the inverse kinematics and the success. After every step, its
    state becomes that of Gazebo. So both worlds have the same scenes, tasks, instructions and
    actions, and the same interface.
    """

    def __init__(self, config: TableConfig = DEFAULT_TABLE, gazebo: GazeboConfig = DEFAULT_GAZEBO):
        """
        Start Gazebo and reset it with seed 0.

        :raises FileNotFoundError: when Gazebo is not set up; the message names the command that
            sets it up.
        :raises RuntimeError: when Gazebo does not start.
        :raises ValueError: when the physics step is too long or does not divide that of MuJoCo.
        """
        self._steps = _whole_steps(config.control_period_s / config.substeps, gazebo.gazebo_step_s)
        self._driven = joint_names(config)
        self._server = GazeboServer(make_classic_world(config, gazebo), gazebo.gazebo_patience_s)
        try:
            super().__init__(config)
        except BaseException:
            self._server.close()
            raise

    def arrange(
        self, types: tuple[str, ...], blocks: np.ndarray, yaws: np.ndarray, tool: np.ndarray
    ) -> None:
        """Place all objects and the tool, at rest; arguments as `Table.arrange`."""
        super().arrange(types, blocks, yaws, tool)
        self._reference = self._setpoint.copy()
        self._speed = np.zeros_like(self._setpoint)
        self._server.request_all(
            [
                'seed 1',
                *(self._place_command(body) for body in self._bodies()),
                *self._slider_commands(),
                *(self._paint_command(slot) for slot in self._slot_names),
            ]
        )

    def step(self, action: np.ndarray) -> None:
        """Move the tool for one control step in Gazebo; arguments as `Table.step`."""
        start = self._setpoint
        super().step(action)  # computes the setpoint; the state of MuJoCo is replaced below
        change = (self._setpoint - start) / self.config.substeps
        lead = self._servo.lead_s / self.model.opt.timestep
        moves = [
            self._move_command(start + change * (substep + lead))
            for substep in range(1, self.config.substeps + 1)
        ]
        joints = self._server.request_all([*moves, 'joints'])[-1]
        self._mirror(joints.split()[1:])

    def render(self) -> np.ndarray:
        """Return the image of the policy camera in Gazebo, ``(H, W, 3)`` uint8 RGB."""
        size = self.config.image_size
        return cv2.resize(self._server.frame(CAMERA), (size, size), interpolation=cv2.INTER_AREA)

    def state(self) -> MeasuredState:
        """Return positions of the joints; Gazebo reports no velocities."""
        return MeasuredState(self.joint_names, self.joint_positions)

    def render_in_mujoco(self) -> np.ndarray:
        """Return MuJoCo's image of the present state, ``(H, W, 3)`` uint8 RGB."""
        return super().render()

    def close(self) -> None:
        """End Gazebo; free MuJoCo's graphics memory."""
        super().close()
        self._server.close()

    def _move_command(self, control: np.ndarray) -> str:
        """Return the command that moves the joints as a servo does in one step of MuJoCo."""
        before = self._reference
        period = self.model.opt.timestep
        gain = self._servo.frequency * period
        self._speed += gain**2 * (control - before) / period
        self._speed /= 1 + 2 * gain  # as MuJoCo's integrator: only the damping is implicit
        self._reference = before + period * self._speed
        paths = zip(self._driven, before.tolist(), self._reference.tolist(), strict=True)
        words = ' '.join(f'{name} {start!r} {end!r}' for name, start, end in paths)
        return f'move {self._steps} {words}'

    def _mirror(self, words: list[str]) -> None:
        """Set the state of MuJoCo to that of Gazebo, at rest; ``words``: names and positions."""
        found = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        self.data.qpos[self._joint_addresses] = [found[name] for name in self._driven]
        for address, slot in zip(self._block_addresses, self._slot_names, strict=True):
            self.data.qpos[address : address + 3] = [found[name] for name in block_joints(slot)]
        self.data.qvel[:] = 0
        mujoco.mj_kinematics(self.model, self.data)

    def _bodies(self) -> list[tuple[str, str]]:
        """Return MuJoCo's name and Gazebo's name of each rigid body."""
        blocks = [(slot, f'{slot}::block') for slot in self._slot_names]
        if self.config.body == 'tool':
            return [('tool_tip', 'tool::tool_tip'), *blocks]
        names = [self.model.body(index).name for index in range(self.model.nbody)]
        arm = [name.removeprefix(ARM_PREFIX) for name in names if name.startswith(ARM_PREFIX)]
        return [(ARM_PREFIX + name, f'{ARM}::{name}') for name in arm] + blocks

    def _place_command(self, names: tuple[str, str]) -> str:
        body = self.data.body(names[0])
        return place_command(names[1], body.xpos, body.xquat)

    def _slider_commands(self) -> list[str]:
        """Return the commands that place the slider links of blocks and floating tool."""
        pieces: list[tuple[str, str, tuple[str, ...]]]
        pieces = [(slot, slot, SLIDERS) for slot in self._slot_names]
        if self.config.body == 'tool':
            pieces.append(('tool_tip', 'tool', SLIDERS[:1]))
        upright = (1.0, 0.0, 0.0, 0.0)
        commands = []
        for body, model, sliders in pieces:
            x, y, z = self.data.body(body).xpos
            commands += [
                place_command(f'{model}::{name}', position, upright)
                for name, position in zip(sliders, ((x, 0.0, z), (x, y, z)), strict=False)
            ]
        return commands

    def _paint_command(self, slot: str) -> str:
        red, green, blue = self.model.geom(slot).rgba[:3]
        return f'paint {slot}::block::picture {red} {green} {blue}'


def _whole_steps(period_s: float, step_s: float) -> int:
    """
    Return the number of Gazebo's physics steps in one physics step of MuJoCo.

    :raises ValueError: when it is not a whole number.
    """
    steps = round(period_s / step_s)
    if steps < 1 or abs(steps * step_s - period_s) > 1e-9:
        raise ValueError(
            f'gazebo_step_s: expected {period_s} s divided by a whole number, got {step_s}'
        )
    return steps


def place_command(link: str, position: Iterable[float], rotation: Iterable[float]) -> str:
    """Return the command that places a link; ``rotation``: quaternion w, x, y, z."""
    return ' '.join(['place', link, *(repr(float(n)) for n in (*position, *rotation))])
