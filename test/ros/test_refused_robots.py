"""Nodes refuse a robot whose observations no topic carries."""

from __future__ import annotations

from dataclasses import replace

from efm_core.embodiment import Proprioception
from efm_data.recorder_node import RecorderNode
from efm_policy.node import PolicyNode
from efm_policy.remote_node import RemotePolicyNode
from efm_reward.node import RewardNode
from efm_sim.demonstrator_node import DemonstratorNode
from efm_supervisor.teleoperation_node import TeleoperationNode
from models import table_arm
import pytest
from rclpy.lifecycle import TransitionCallbackReturn

NODES = (
    PolicyNode,
    RemotePolicyNode,
    RewardNode,
    DemonstratorNode,
    TeleoperationNode,
    RecorderNode,
)
CAMERA = table_arm().cameras[0]
TWO_CAMERAS = (CAMERA, replace(CAMERA, name='hand', topic='hand', role='wrist'))
STATE = (Proprioception('joint_positions', ('joint1',)),)


@pytest.mark.parametrize('node_class', NODES, ids=lambda node_class: node_class.__name__)
@pytest.mark.parametrize(
    ('changes', 'got'),
    [
        ({'cameras': TWO_CAMERAS}, 'cameras table, hand; proprioception none'),
        ({'proprioception': STATE}, 'cameras table; proprioception joint_positions.joint1'),
    ],
    ids=['cameras', 'proprioception'],
)
def test_several_cameras_or_proprioception_are_refused_in_one_line(
    stage, yaml_of, capfd, tmp_path, node_class, changes, got
):
    own = {'episodes_dir': str(tmp_path / 'episodes')} if node_class is RecorderNode else {}
    node = stage.make(node_class, embodiment=yaml_of(table_arm(**changes)), **own)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    wanted = 'one camera and no proprioception, which are all that the ROS graph carries'
    output = capfd.readouterr().err
    assert f'not configured: table_arm: expected {wanted}, got {got}' in output
    assert 'Traceback' not in output
