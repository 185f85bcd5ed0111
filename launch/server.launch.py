"""Type: ros2 launch efm server.launch.py run:=runs/lab."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return the policy server of all robots."""
    return describe_node('server')
