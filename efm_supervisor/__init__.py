"""The supervisor of a robot, the fleet that assigns its episodes, and teleoperation."""
