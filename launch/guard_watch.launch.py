"""Type: ros2 launch efm guard_watch.launch.py robot:=robot_0 embodiment:=my_arm.yaml."""

from efm_bringup.launching import describe_node


def generate_launch_description():
    """Return the process that stops one robot when its guard is killed or frozen."""
    return describe_node('guard_watch')
