"""Type: ros2 launch efm gazebo_driver.launch.py robot:=robot_0."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return one robot's driver in Gazebo Harmonic."""
    return describe_node('gazebo_driver')
