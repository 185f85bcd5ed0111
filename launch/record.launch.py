"""Type: ros2 launch efm record.launch.py demonstrator:=scripted run:=runs/lab."""

from efm_bringup.launching import describe_graph


def generate_launch_description():
    """Return the node graph of `record`."""
    return describe_graph('record')
