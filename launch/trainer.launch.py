"""Type: ros2 launch efm trainer.launch.py run:=runs/lab."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return the trainer of all robots."""
    return describe_node('trainer')
