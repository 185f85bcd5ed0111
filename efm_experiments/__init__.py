"""Published experiments, each repeated with one command and without ROS."""
