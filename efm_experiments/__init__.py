"""The science: experiments that can be repeated with one command, without ROS."""
