"""The last node before the robot: which actions pass, and the command that stops the robot."""
