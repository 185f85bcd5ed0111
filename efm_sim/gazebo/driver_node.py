"""The driver node of the arm in Gazebo Harmonic: tool velocities in, joint positions out."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from efm_core.embodiment import load_embodiment
from efm_core.ros_lifecycle import run
from efm_core.ros_world import ResetError, WorldServerNode
from efm_sim.gazebo.config import DriverConfig
from efm_sim.gazebo.harmonic import scene_request, service_command
from efm_sim.table.arm import ArmKinematics
from efm_sim.table.config import TableConfig
from efm_sim.table.scene import TOOL_LIMIT
from efm_sim.table.world import Table
import numpy as np
from std_msgs.msg import Float64MultiArray

JOINT_COMMANDS = 'forward_position_controller/commands'  # topic of ros2_control


class GazeboDriverNode(WorldServerNode):
    """
    Moves the arm in Gazebo Harmonic, as the world node moves the arm in MuJoCo.

    Serves ``reset_world``; subscribes ``command``; publishes joint positions for the forward
    position controller of ros2_control. Scenes, tasks and instructions are those of the table in
    MuJoCo. A command moves the tool for one control period.
    """

    config_type = DriverConfig

    def __init__(self, **kwargs: Any):
        """Wait for configure."""
        super().__init__('gazebo_driver', **kwargs)

    def build(self) -> None:
        """Load table and kinematics; create the publisher, the service and the subscription."""
        embodiment = load_embodiment(self.config.embodiment)
        self._table = Table(TableConfig(task=self.config.task))
        self._kinematics = ArmKinematics()
        self._tool = np.zeros(2)
        self._has_scene = False
        self._joints = self.create_publisher(Float64MultiArray, JOINT_COMMANDS, 10)
        self.serve_world(embodiment)

    @property
    def accepts_commands(self) -> bool:
        """Whether the node is active and a scene has been made."""
        return self.is_active and self._has_scene

    def on_command(self, values: np.ndarray, stamp: int) -> None:
        """Move the tool by a displacement, inside the workspace."""
        started = time.monotonic()
        self._tool = np.clip(self._tool + values, -TOOL_LIMIT, TOOL_LIMIT)
        self._publish(self._kinematics.move(self._tool, iterations=1))
        self.diagnostics.count_processed(started)

    def reset_world(self, seed: int) -> tuple[str, int]:
        """Clear the table, move the arm to its start, place the blocks; commands wait."""
        self._table.reset(seed)
        self._place({})
        self._tool = self._table.tool_position()[:2]
        self._has_scene = True
        self._publish(self._kinematics.reset(self._tool))
        time.sleep(self.config.settle_s)
        self._place(self._table.block_positions())
        return self._table.instruction, self.get_clock().now().nanoseconds

    def _place(self, blocks: dict[str, np.ndarray]) -> None:
        """
        Place these blocks on the table and all others on the floor.

        :raises ResetError: when Gazebo does not place them, with its output.
        """
        timeout_s = self.config.service_timeout_s
        request = scene_request(blocks, self._table.block_yaws())
        command = service_command(request, round(1000 * timeout_s))
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, check=False, timeout=2 * timeout_s
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ResetError(f'gz service: expected a reply, got none: {error}') from error
        if done.returncode or 'data: true' not in done.stdout:
            output = (done.stdout + done.stderr).strip()
            raise ResetError(f"gz service: expected 'data: true', got {output!r}")

    def _publish(self, joints: np.ndarray) -> None:
        self._joints.publish(Float64MultiArray(data=joints.tolist()))


def main(args: list[str] | None = None) -> None:
    """Run the driver node."""
    run(GazeboDriverNode, args)


if __name__ == '__main__':
    main()
