"""Inverse kinematics of the arm: from a tool position to joint positions."""

from __future__ import annotations

from efm_sim.table.scene import ARM_BASE, load_arm, TIP_HEIGHT
import mink
import numpy as np

HOME = (0.0, 0.3, 1.9, 0.0, 0.94, 0.0)  # elbow up, rod straight down [rad]
# Rotation of the tool in the arm's frame: half a turn about y, quaternion w, x, y, z.
DOWN = np.array([0.0, 0.0, 1.0, 0.0])


class ArmKinematics:
    """Differential inverse kinematics of the arm; each solution starts from the last one."""

    def __init__(self) -> None:
        """Load the arm without the blocks: a problem of six by six."""
        self._configuration = mink.Configuration(load_arm().compile())
        self._task = mink.FrameTask(
            'tool_tip', 'body', position_cost=1.0, orientation_cost=0.3, lm_damping=1e-6
        )
        self._limits = [mink.ConfigurationLimit(self._configuration.model)]

    def reset(self, tool: np.ndarray) -> np.ndarray:
        """
        Return the joint positions for a tool position, ``(6,)`` float64 [rad], from `HOME`.

        :param tool: x and y in the table plane, ``(2,)`` float64 [m].
        """
        self._configuration.update(np.array(HOME))
        return self.move(tool, iterations=20)

    def move(self, tool: np.ndarray, iterations: int) -> np.ndarray:
        """
        Return the joint positions that bring the tool to ``tool``, ``(6,)`` float64 [rad].

        :param tool: x and y in the table plane, ``(2,)`` float64 [m].
        :param iterations: at most; one is accurate enough in one control step.
        """
        self._task.set_target(mink.SE3(np.concatenate([DOWN, _to_arm_frame(tool)])))
        for _ in range(iterations):
            velocity = mink.solve_ik(
                self._configuration, [self._task], 1.0, 'daqp', damping=1e-9, limits=self._limits
            )
            self._configuration.integrate_inplace(velocity, 1.0)
            if np.abs(velocity).max() < 1e-5:
                break
        return self._configuration.q.copy()


def _to_arm_frame(tool: np.ndarray) -> np.ndarray:
    """Return the tip in the arm's frame, ``(3,)`` [m]; x points from the base to the table."""
    return np.array([ARM_BASE[1] - tool[1], tool[0] - ARM_BASE[0], TIP_HEIGHT - ARM_BASE[2]])
