"""The world node: a simulated table with the topics of a real robot."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.config import expect
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_displacement, to_stamp
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_image, from_joints, from_ns, from_world, stamped
from efm_core.ros_params import declare
from efm_interfaces.srv import ResetWorld
from efm_sim import worlds
from efm_sim.config import WorldConfig
from efm_sim.gazebo.config import GazeboConfig
from efm_sim.gym.world import GymnasiumWorld
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
from geometry_msgs.msg import TwistStamped
import numpy as np
from rclpy.clock import Clock as RosClock
from rclpy.clock import ClockType
from rclpy.qos import qos_profile_system_default
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo

REPEAT_PERIOD_S = 1.0  # lockstep: wall time after which an unanswered moment is shown again


class WorldNode(ManagedNode):
    """
    Simulate one robot and its table, or let Gazebo or a Gymnasium environment play both.

    Serves ``reset_world``; subscribes ``command``; publishes ``image``, ``camera_info``,
    ``joint_states``, ``world_state`` and ``clock``. In lockstep the world advances by one control
    step when the command for its last observation has come; otherwise by the clock on the wall.
    Time never runs backwards, at a reset neither.
    """

    config_type = WorldConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('world', **kwargs)

    def build(self) -> None:
        """Build the scene, connect the topics."""
        self._embodiment = load_embodiment(self.config.embodiment)
        self._period_ns = round(1e9 / self._embodiment.control_rate_hz)
        self._table = self._make_world()
        self._table.render()  # a missing OpenGL is found out now
        self._time_ns = self._shown_ns = 0
        self._diagnostics = Diagnostics(self)
        self._displacement = np.zeros(2, np.float32)
        self._connect()

    def _make_world(self) -> Table | GymnasiumWorld:
        names = self._embodiment.action.names
        expect(len(names) == 2, 'action', 'two dimensions, which a planar command has', names)
        simulator = self.config.simulator
        table = None if simulator == worlds.GYM else declare(self, TableConfig)
        gazebo = declare(self, GazeboConfig) if simulator == worlds.GAZEBO else None
        return worlds.make_world(self.config.embodiment, simulator, table=table, gazebo=gazebo)

    def dismantle(self) -> None:
        """Free what the world holds; then as every node."""
        if hasattr(self, '_table'):
            self._table.close()
            del self._table
        super().dismantle()

    @property
    def _camera(self):
        return self._embodiment.cameras[0]

    def _connect(self) -> None:
        lockstep = self.config.lockstep
        image = dataclasses.replace(topics.IMAGE, name=self._camera.topic)
        self._images = ros_topics.publisher(self, image, lockstep)
        self._joints = ros_topics.publisher(self, topics.JOINT_STATES, lockstep)
        self._states = ros_topics.publisher(self, topics.WORLD_STATE)
        self._infos = self.create_publisher(CameraInfo, 'camera_info', qos_profile_system_default)
        self._clocks = self.create_publisher(Clock, 'clock', qos_profile_system_default)
        ros_topics.subscription(self, topics.COMMAND, self._on_command)
        self.create_service(ResetWorld, topics.RESET_WORLD, self._on_reset)
        steady = RosClock(clock_type=ClockType.STEADY_TIME)
        period_s = REPEAT_PERIOD_S if lockstep else self._period_ns / 1e9
        self.create_timer(period_s, self._on_wait if lockstep else self._on_period, clock=steady)

    def _on_reset(
        self, request: ResetWorld.Request, response: ResetWorld.Response
    ) -> ResetWorld.Response:
        """Make a new scene and show it; what comes for the old one is too late."""
        if request.instruction:
            response.message = 'this world chooses its own instructions; expected an empty one'
            return response
        self._table.reset(request.seed)
        self._displacement[:] = 0
        self._tick()
        response.success = True
        response.instruction = self._table.instruction
        response.stamp = from_ns(self._time_ns)
        return response

    def _on_command(self, message: TwistStamped) -> None:
        try:
            displacement = to_displacement(message, self._embodiment.control_rate_hz)
            if not np.isfinite(displacement).all():
                raise ValueError(f'command: expected finite numbers [m/s], got {displacement}')
        except ValueError as error:
            self._diagnostics.count_dropped(str(error))
            return
        if not self.config.lockstep:
            self._displacement = displacement
        elif to_stamp(message) == self._time_ns:
            self._advance(displacement)

    def _on_wait(self) -> None:
        """Show the same moment again if nobody has answered: somebody may have joined only now."""
        if self._time_ns and self._time_ns == self._shown_ns:
            self._show()
        self._shown_ns = self._time_ns

    def _on_period(self) -> None:
        """Move on with the wall clock; a command moves the tool for one period only."""
        self._advance(self._displacement)
        self._displacement = np.zeros(2, np.float32)

    def _advance(self, displacement: np.ndarray) -> None:
        started = time.monotonic()
        self._table.step(displacement)
        self._tick()
        self._diagnostics.count_processed(started)

    def _tick(self) -> None:
        """Let one control period pass."""
        self._time_ns = (
            self._time_ns + self._period_ns
            if self.config.lockstep
            else max(time.time_ns(), self._time_ns + 1)
        )
        self._show()

    def _show(self) -> None:
        """Publish what there is to see now."""
        stamp = self._time_ns
        self._clocks.publish(Clock(clock=from_ns(stamp)))
        self._images.publish(from_image(self._table.render(), stamp, self._camera.name))
        self._states.publish(
            from_world(
                self._table.positions(), self._table.success(), self._table.distance(), stamp
            )
        )
        self._joints.publish(
            from_joints(self._table.joint_names, self._table.joint_positions, stamp)
        )
        if self._infos.get_subscription_count():
            self._infos.publish(self._camera_info(stamp))

    def _camera_info(self, stamp: int) -> CameraInfo:
        matrix = self._table.camera_matrix()
        projection = np.hstack([matrix, np.zeros((3, 1))])
        return stamped(
            CameraInfo(
                height=self._camera.height,
                width=self._camera.width,
                distortion_model='plumb_bob',
                d=[0.0] * 5,
                k=matrix.ravel(),
                r=np.eye(3).ravel(),
                p=projection.ravel(),
            ),
            stamp,
            self._camera.name,
        )


def main(args: list[str] | None = None) -> None:
    """Run the world node."""
    run(WorldNode, args)


if __name__ == '__main__':
    main()
