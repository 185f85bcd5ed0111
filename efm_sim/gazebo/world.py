"""The table played by Gazebo: scenes, tasks and success as in MuJoCo, physics and pictures not."""

from __future__ import annotations

import cv2
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.gazebo.scene import ARM, block_joints, CAMERA, joint_names, make_world
from efm_sim.gazebo.server import Server
from efm_sim.table.config import TableConfig
from efm_sim.table.graphics import mujoco
from efm_sim.table.scene import ARM_PREFIX
from efm_sim.table.world import Table
import numpy as np

DEFAULT_TABLE = TableConfig()
DEFAULT = GazeboConfig()
SLIDERS = ('x_slider', 'y_slider')


class GazeboTable(Table):
    """
    A ``Table`` whose physics and pictures come from a Gazebo of its own.

    MuJoCo draws the scene of a seed, knows the inverse kinematics and what success is; after every
    step it is put where Gazebo says that things are. So both worlds have the same scenes, tasks
    and instructions, take the same actions, and are asked the same questions.
    """

    def __init__(self, config: TableConfig = DEFAULT_TABLE, numbers: GazeboConfig = DEFAULT):
        """
        Start Gazebo and reset it with seed 0.

        :raises FileNotFoundError: when Gazebo is not set up here, saying how to.
        :raises RuntimeError: when it does not start.
        """
        self._server = Server(make_world(config, numbers), numbers.gazebo_patience_s)
        self._steps = _whole(config.control_period_s / config.substeps, numbers.gazebo_step_s)
        self._driven = joint_names(config)
        try:
            super().__init__(config)
        except BaseException:
            self._server.close()
            raise

    def arrange(
        self, types: tuple[str, ...], blocks: np.ndarray, yaws: np.ndarray, tool: np.ndarray
    ) -> None:
        """Put everything where it is said to be, at rest; arguments as ``Table.arrange``."""
        super().arrange(types, blocks, yaws, tool)
        self._reference = self._setpoint.copy()
        self._speed = np.zeros_like(self._setpoint)
        self._server.ask_all(
            [
                'seed 1',
                *(self._placing(body) for body in self._bodies()),
                *self._slides(),
                *(self._painting(slot) for slot in self._slot_names),
            ]
        )

    def step(self, action: np.ndarray) -> None:
        """Move the tool for one control step in Gazebo; arguments as ``Table.step``."""
        start = self._setpoint
        # It works out what the arm is told; what MuJoCo makes of that is thrown away.
        super().step(action)
        change = (self._setpoint - start) / self.config.substeps
        lead = self._servo.lead_s / self.model.opt.timestep
        moves = [
            self._move(start + change * (substep + lead))
            for substep in range(1, self.config.substeps + 1)
        ]
        joints = self._server.ask_all([*moves, 'joints'])[-1]
        self._mirror(joints.split()[1:])

    def render(self) -> np.ndarray:
        """Return what the policy camera sees in Gazebo, (H, W, 3) uint8 RGB."""
        size = self.config.image_size
        return cv2.resize(self._server.frame(CAMERA), (size, size), interpolation=cv2.INTER_AREA)

    def render_in_mujoco(self) -> np.ndarray:
        """Return the same moment as MuJoCo would draw it, (H, W, 3) uint8 RGB."""
        return super().render()

    def close(self) -> None:
        """End Gazebo, and free MuJoCo's graphics memory."""
        super().close()
        self._server.close()

    def _move(self, control: np.ndarray) -> str:
        """Return the command that moves the joints as a servo would in one of MuJoCo's steps."""
        before = self._reference
        period = self.model.opt.timestep
        pull = self._servo.frequency * period
        self._speed += pull**2 * (control - before) / period
        self._speed /= 1 + 2 * pull  # as MuJoCo's integrator: only the damping is implicit
        self._reference = before + period * self._speed
        courses = zip(self._driven, before.tolist(), self._reference.tolist(), strict=True)
        words = ' '.join(f'{name} {start!r} {end!r}' for name, start, end in courses)
        return f'move {self._steps} {words}'

    def _mirror(self, words: list[str]) -> None:
        """Put MuJoCo's table where Gazebo's is, at rest."""
        found = dict(zip(words[::2], map(float, words[1::2]), strict=True))
        self.data.qpos[self._joints] = [found[name] for name in self._driven]
        for address, slot in zip(self._blocks, self._slot_names, strict=True):
            self.data.qpos[address : address + 3] = [found[name] for name in block_joints(slot)]
        self.data.qvel[:] = 0
        mujoco.mj_kinematics(self.model, self.data)

    def _bodies(self) -> list[tuple[str, str]]:
        """Return MuJoCo's name and Gazebo's name of all that is moved as one piece."""
        blocks = [(slot, f'{slot}::block') for slot in self._slot_names]
        if self.config.body == 'tool':
            return [('tool_tip', 'tool::tool_tip'), *blocks]
        names = [self.model.body(index).name for index in range(self.model.nbody)]
        arm = [name.removeprefix(ARM_PREFIX) for name in names if name.startswith(ARM_PREFIX)]
        return [(ARM_PREFIX + name, f'{ARM}::{name}') for name in arm] + blocks

    def _placing(self, names: tuple[str, str]) -> str:
        body = self.data.body(names[0])
        return _place(names[1], body.xpos, body.xquat)

    def _slides(self) -> list[str]:
        """Return commands that put the links on which blocks and floating tool slide."""
        pieces = [(slot, slot, SLIDERS) for slot in self._slot_names]
        if self.config.body == 'tool':
            pieces.append(('tool_tip', 'tool', SLIDERS[:1]))
        upright = (1.0, 0.0, 0.0, 0.0)
        commands = []
        for body, model, sliders in pieces:
            x, y, z = self.data.body(body).xpos
            commands += [
                _place(f'{model}::{name}', position, upright)
                for name, position in zip(sliders, ((x, 0.0, z), (x, y, z)), strict=False)
            ]
        return commands

    def _painting(self, slot: str) -> str:
        red, green, blue = self.model.geom(slot).rgba[:3]
        return f'paint {slot}::block::picture {red} {green} {blue}'


def _whole(period_s: float, step_s: float) -> int:
    """
    Return how many of Gazebo's physics steps one of MuJoCo's is.

    :raises ValueError: when that is no whole number.
    """
    steps = round(period_s / step_s)
    if steps < 1 or abs(steps * step_s - period_s) > 1e-9:
        raise ValueError(f'gazebo_step_s: expected a whole part of {period_s} s, got {step_s}')
    return steps


def _place(link: str, position: np.ndarray, rotation: np.ndarray) -> str:
    return ' '.join(['place', link, *(repr(float(n)) for n in (*position, *rotation))])
