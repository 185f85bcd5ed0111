"""The world node: a simulated robot and its world, with the topics of a real robot."""

from __future__ import annotations

import time
from typing import Any

from efm_core.embodiment import load_embodiment
from efm_core.ros_lifecycle import run
from efm_core.ros_params import declare
from efm_core.ros_world import check_simulated, WorldServerNode
from efm_sim import worlds
from efm_sim.config import WorldConfig
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.ros_publisher import WorldPublisher
from efm_sim.table.config import TableConfig
from efm_sim.world import PublishedWorld
import numpy as np
from rclpy.clock import Clock, ClockType

REPEAT_PERIOD_S = 1.0  # lockstep: time without a command after which an observation is repeated


class WorldNode(WorldServerNode):
    """
    Simulates one robot and its world: the table in MuJoCo or Gazebo, or a Gymnasium environment.

    Serves ``reset_world``; subscribes ``command``; publishes the image and ``camera_info`` of each
    camera, ``joint_states``, ``world_state``, ``terminated`` and ``clock``. In lockstep, the
    command for the newest observation advances the world by one control step. In real time, the
    wall clock advances it. Stamps always increase, also at a reset.
    """

    config_type = WorldConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('world', **kwargs)

    def build(self) -> None:
        """Create the world, then the publishers, the service and the timer."""
        self._embodiment = load_embodiment(self.config.embodiment)
        self._period_ns = round(1e9 / self._embodiment.control_rate_hz)
        self._world = self._make_world()
        self._world.images()  # fails now, not at the first reset, if OpenGL is missing
        self._time_ns = 0
        self._checked_ns = 0  # the time at the last call of `_repeat`
        self._last: np.ndarray | None = None
        self._action = self._embodiment.standstill(None)
        cameras = self._embodiment.cameras
        self._publisher = WorldPublisher(self, cameras, lockstep=self.config.lockstep)
        self.serve_world(self._embodiment)
        self._create_timer()

    def _make_world(self) -> PublishedWorld:
        check_simulated(self._embodiment)
        simulator = self.config.simulator
        table = None if simulator == worlds.GYM else declare(self, TableConfig)
        gazebo = declare(self, GazeboConfig) if simulator == worlds.GAZEBO else None
        return worlds.make_world(self.config.embodiment, simulator, table=table, gazebo=gazebo)

    def dismantle(self) -> None:
        """Close the world; destroy what `build` created."""
        if hasattr(self, '_world'):
            self._world.close()
            del self._world
        super().dismantle()

    def _create_timer(self) -> None:
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        if self.config.lockstep:
            self.create_timer(REPEAT_PERIOD_S, self._repeat, clock=steady)
        else:
            self.create_timer(self._period_ns / 1e9, self._on_period, clock=steady)

    def reset_world(self, seed: int) -> tuple[str, int]:
        """Make the scene of ``seed`` and publish it; forget the command for the old scene."""
        self._world.reset(seed)
        self._forget_commands()
        self._tick()
        return self._world.instruction, self._time_ns

    def on_command(self, values: np.ndarray, stamp: int) -> None:
        """
        Advance the world; in real time, keep the command for the next control period.

        In lockstep a scene that has ended answers no command, so that each episode ends on the
        same observation. A chunk's commands pass: the next decision is due after the last one.
        """
        if not self.config.lockstep:
            self._action = values
            self._last = values
        elif stamp == self._time_ns:
            is_over = self._embodiment.action.chunk == 1 and self._world.terminated()
            if not is_over:
                self._advance(values)

    def _forget_commands(self) -> None:
        """Stand still; before the first command of a scene the gripper's value is unknown."""
        self._last = None
        self._action = self._embodiment.standstill(None)

    def _repeat(self) -> None:
        """Publish the newest observation again for late subscribers, if no command came."""
        if self._time_ns and self._time_ns == self._checked_ns:
            self._publish()
        self._checked_ns = self._time_ns

    def _on_period(self) -> None:
        """Advance by one control period; a command moves the robot for one period only."""
        self._advance(self._action)
        self._action = self._embodiment.standstill(self._last)

    def _advance(self, values: np.ndarray | None) -> None:
        """Execute an action for one control period; None: the world waits for one."""
        started = time.monotonic()
        if values is not None:
            self._world.step(values)
        self._tick()
        self.diagnostics.count_processed(started)

    def _tick(self) -> None:
        """Advance the time by one control period and publish."""
        self._time_ns = (
            self._time_ns + self._period_ns
            if self.config.lockstep
            else max(time.time_ns(), self._time_ns + 1)
        )
        self._publish()

    def _publish(self) -> None:
        self._publisher.publish(self._world, self._time_ns)


def main(args: list[str] | None = None) -> None:
    """Run the world node."""
    run(WorldNode, args)


if __name__ == '__main__':
    main()
