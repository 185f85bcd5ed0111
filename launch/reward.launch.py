"""Type: ros2 launch efm reward.launch.py robot:=robot_0 run:=runs/lab."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return one robot's reward model."""
    return describe_node('reward')
