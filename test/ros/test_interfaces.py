"""Message packages that are built here, where no ROS 2 is installed, are those of ROS 2."""

from __future__ import annotations

from control_msgs.action import GripperCommand, ParallelGripperCommand
from rosbags.typesys import get_typestore, Stores
from tf2_msgs.msg import TFMessage


def test_tf_is_of_ros_2s_own_type(stage):
    """The hash that discovery tells the others is of names and types of all fields."""
    stage.peer.create_publisher(TFMessage, 'transforms', 1)
    name = stage.peer.resolve_topic_name('transforms')
    stage.spin_until(lambda: stage.peer.get_publishers_info_by_topic(name), 'the publisher')
    told = stage.peer.get_publishers_info_by_topic(name)[0].topic_type_hash
    own = get_typestore(Stores.ROS2_JAZZY).hash_rihs01('tf2_msgs/msg/TFMessage')
    assert bytes(told.value).hex() == own.removeprefix('RIHS01_')


def test_goals_of_both_grippers_have_the_fields_of_control_msgs():
    assert set(GripperCommand.Goal().command.get_fields_and_field_types()) == {
        'position',
        'max_effort',
    }
    fields = ParallelGripperCommand.Goal.get_fields_and_field_types()
    assert fields == {'command': 'sensor_msgs/JointState'}
