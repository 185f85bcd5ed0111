"""Type: ros2 launch efm demonstrator.launch.py robot:=robot_0 run:=runs/lab."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return the scripted demonstrator of one robot."""
    return describe_node('demonstrator')
