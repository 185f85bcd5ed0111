"""The node graph of a run: parameters, launch descriptions, processes and the robot check."""
