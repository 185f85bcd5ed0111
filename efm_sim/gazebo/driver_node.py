"""The driver node of the arm in Gazebo Harmonic: tool velocities in, joint positions out."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from efm_core import ros_topics, topics
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_displacement
from efm_core.ros_diagnostics import Diagnostics
from efm_core.ros_lifecycle import ManagedNode, run
from efm_core.ros_messages import from_ns
from efm_interfaces.srv import ResetWorld
from efm_sim.gazebo.config import DriverConfig
from efm_sim.gazebo.harmonic import scene_request, Scenes, service_command
from efm_sim.table.arm import ArmKinematics
from efm_sim.table.config import TableConfig
from efm_sim.table.scene import TOOL_LIMIT
from geometry_msgs.msg import TwistStamped
import numpy as np
from std_msgs.msg import Float64MultiArray

JOINT_COMMANDS = 'forward_position_controller/commands'  # of ros2_control


class GazeboDriverNode(ManagedNode):
    """
    Move the arm in Gazebo Harmonic as the suite's own world node moves its own.

    Subscribes ``command``, publishes joint positions for ros2_control's forward position
    controller, serves ``reset_world``: scenes, tasks and sentences are those of the table in
    MuJoCo. A command moves the tool for one control period.
    """

    config_type = DriverConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('gazebo_driver', **kwargs)

    def build(self) -> None:
        """Load scenes and kinematics, connect the topics."""
        embodiment = load_embodiment(self.config.embodiment)
        self._rate_hz = embodiment.control_rate_hz
        self._scenes = Scenes(TableConfig(task=self.config.task))
        self._kinematics = ArmKinematics()
        self._diagnostics = Diagnostics(self)
        self._tool: np.ndarray | None = None
        self._joints = self.create_publisher(Float64MultiArray, JOINT_COMMANDS, 10)
        ros_topics.subscription(self, topics.COMMAND, self._on_command)
        self.create_service(ResetWorld, topics.RESET_WORLD, self._on_reset)

    def _on_command(self, message: TwistStamped) -> None:
        if not self.is_active or self._tool is None:
            return
        try:
            displacement = to_displacement(message, self._rate_hz)
            if not np.isfinite(displacement).all():
                raise ValueError(f'command: expected finite numbers [m/s], got {displacement}')
        except ValueError as error:
            self._diagnostics.count_dropped(str(error))
            return
        started = time.monotonic()
        self._tool = np.clip(self._tool + displacement, -TOOL_LIMIT, TOOL_LIMIT)
        self._send(self._kinematics.move(self._tool, iterations=1))
        self._diagnostics.count_processed(started)

    def _on_reset(
        self, request: ResetWorld.Request, response: ResetWorld.Response
    ) -> ResetWorld.Response:
        """Clear the table, bring the arm to its start, lay the scene; commands wait."""
        if request.instruction:
            response.message = 'this world chooses its own instructions; expected an empty one'
            return response
        self._scenes.reset(request.seed)
        blocks = self._scenes.block_positions()
        try:
            self._lay({})
            self._tool = self._scenes.tool_position()[:2]
            self._send(self._kinematics.reset(self._tool))
            time.sleep(self.config.settle_s)
            self._lay(blocks)
        except RuntimeError as error:
            response.message = str(error)
            return response
        response.success = True
        response.instruction = self._scenes.instruction
        response.stamp = from_ns(self.get_clock().now().nanoseconds)
        return response

    def _lay(self, blocks: dict[str, np.ndarray]) -> None:
        """
        Put these blocks on the table, all others on the floor.

        :raises RuntimeError: when Gazebo does not do so, with what it said.
        """
        timeout_s = self.config.service_timeout_s
        command = service_command(
            scene_request(blocks, self._scenes.yaws()), round(1000 * timeout_s)
        )
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=2 * timeout_s
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise RuntimeError(f'gz service: expected an answer, got none: {error}') from error
        if done.returncode or 'data: true' not in done.stdout:
            said = (done.stdout + done.stderr).strip()
            raise RuntimeError(f"gz service: expected 'data: true', got {said!r}")

    def _send(self, joints: np.ndarray) -> None:
        self._joints.publish(Float64MultiArray(data=joints.tolist()))


def main(args: list[str] | None = None) -> None:
    """Run the driver node."""
    run(GazeboDriverNode, args)


if __name__ == '__main__':
    main()
