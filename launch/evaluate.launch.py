"""Type: ros2 launch efm evaluate.launch.py fleet:=2 run:=runs/lab."""

from efm_bringup.launching import describe_graph


def generate_launch_description():
    """Return the node graph of `evaluate`."""
    return describe_graph('evaluate')
