"""Type: ros2 launch efm fake_driver.launch.py robot:=robot_0 run:=runs/lab."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return an arm that is not there."""
    return describe_node('fake_driver')
