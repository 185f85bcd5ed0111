"""Type: ros2 launch efm practice.launch.py fleet:=3 world:=mujoco run:=runs/lab."""

from efm_bringup.launching import describe_graph


def generate_launch_description():
    """Return the node graph of `practice`."""
    return describe_graph('practice')
