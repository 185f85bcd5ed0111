"""Both stages at the simulated table in one process, without ROS."""
