"""The last node before the robot: which commands may pass, and the command that stops it."""
