"""Type: ros2 launch efm teleoperation.launch.py robot:=robot_0 run:=runs/lab."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return a person's way to one robot."""
    return describe_node('teleoperation')
