"""Every node can be cleaned up and configured again."""

from __future__ import annotations

import subprocess
import sys

from efm_core.embodiment_files import save_embodiment
from efm_core.ros_lifecycle import ENTITIES
from efm_data.recorder_node import RecorderNode
from efm_guard.node import GuardNode
from efm_supervisor.node import SupervisorNode
from models import table_arm
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from sources import ROOT
from waiting import scaled

SUCCESS = TransitionCallbackReturn.SUCCESS
HANGS = """
import threading
from efm_core import ros_lifecycle
from efm_guard.config import GuardConfig

class Hanging(ros_lifecycle.ManagedNode):
    config_type = GuardConfig
    is_done = True

    def __init__(self):
        super().__init__('hanging')

    def hold(self):
        print('held', flush=True)

    def destroy_node(self):
        threading.Event().wait()

ros_lifecycle.CLOSING_S = 0.2
ros_lifecycle.run(Hanging)
"""


def count(node) -> dict[str, int]:
    """Return how many publishers, subscriptions and so on a node has."""
    return {kind: len(list(getattr(node, kind + 's'))) for kind in ENTITIES}


@pytest.fixture(params=[GuardNode, SupervisorNode, RecorderNode])
def node(request, stage, tmp_path):
    """Return a node that is not configured yet."""
    parameters = {'episodes_dir': str(tmp_path / 'episodes')}
    if request.param is not RecorderNode:
        parameters = {'embodiment': str(save_embodiment(table_arm(), tmp_path / 'robot.yaml'))}
    return stage.make(request.param, **parameters)


def test_cleanup_leaves_the_entities_from_before_configure(node):
    before = count(node)
    assert node.trigger_configure() == SUCCESS
    assert count(node) != before
    assert node.trigger_cleanup() == SUCCESS
    assert count(node) == before


def test_a_node_can_be_configured_twice(node):
    assert node.trigger_configure() == SUCCESS
    once = count(node)
    assert node.trigger_cleanup() == SUCCESS
    assert node.trigger_configure() == SUCCESS
    assert count(node) == once


def test_a_configure_that_fails_leaves_no_entities(stage):
    node = stage.make(GuardNode, embodiment='/nowhere.yaml')
    before = count(node)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert count(node) == before


def test_a_node_whose_topics_never_close_ends_after_it_held():
    done = subprocess.run(
        [sys.executable, '-c', HANGS], cwd=ROOT, capture_output=True, text=True, timeout=scaled(60)
    )
    assert done.stdout == 'held\n'
    assert 'in destroy_node' in done.stderr
    assert done.returncode == 1
