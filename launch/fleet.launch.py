"""Type: ros2 launch efm fleet.launch.py run:=runs/lab."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return who gives all robots their episodes."""
    return describe_node('fleet')
