"""Episodes, resets, the guard before the robot, the recorder and the fleet."""
