"""Both ends of every topic agree."""

from __future__ import annotations

import dataclasses

from efm_core import ros_topics, topics
from efm_data.recorder_node import RecorderNode
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent
from efm_policy import node as policy_node
from efm_reward import node as reward_node
from efm_sim.demonstrator_node import DemonstratorNode
from efm_sim.node import WorldNode
from efm_supervisor.node import SupervisorNode
from models import FakeTextEncoder
import pytest
from rclpy.duration import Duration
from rclpy.qos import DurabilityPolicy, qos_check_compatible, QoSCompatibility, ReliabilityPolicy

TRANSIENT_LOCAL = DurabilityPolicy.TRANSIENT_LOCAL


@pytest.mark.parametrize('lockstep', [True, False])
@pytest.mark.parametrize('topic', topics.TABLE, ids=lambda topic: topic.name)
def test_publisher_and_subscription_of_a_topic_have_one_profile(stage, topic, lockstep):
    publisher = ros_topics.publisher(stage.peer, topic, lockstep)
    subscription = ros_topics.subscription(stage.peer, topic, print, lockstep)
    compatible, reason = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
    assert compatible != QoSCompatibility.ERROR, reason
    given = publisher.qos_profile
    wanted = subscription.qos_profile
    depth = 100 if topic.qos == topics.LATCHED else given.depth  # a reader may be busy
    assert (depth, given.reliability) == (wanted.depth, wanted.reliability)
    assert (wanted.durability == TRANSIENT_LOCAL) == (topic.qos == topics.LATCHED)
    is_kept = topic.qos in (topics.DURABLE, topics.LATCHED) or lockstep
    assert (given.durability == TRANSIENT_LOCAL) == is_kept
    assert publisher.msg_type is subscription.msg_type


@pytest.mark.parametrize('quality', [ros_topics.offered, ros_topics.requested])
def test_images_may_be_lost_in_real_time_only(quality):
    assert quality(topics.IMAGE, lockstep=True).reliability == ReliabilityPolicy.RELIABLE
    best_effort = quality(topics.IMAGE, lockstep=False)
    assert (best_effort.reliability, best_effort.depth) == (ReliabilityPolicy.BEST_EFFORT, 1)


def assert_only_the_recorder_requests_history(topic, nodes, name):
    """Fail if a node other than the recorder requests the history of a topic."""
    history = {
        type(node)
        for node in nodes
        for s in node.subscriptions
        if s.topic_name == name and s.qos_profile.durability == TRANSIENT_LOCAL
    }
    is_kept = all(
        p.qos_profile.durability == TRANSIENT_LOCAL
        for node in nodes
        for p in node.publishers
        if p.topic_name == name
    )
    assert is_kept or not history, topic.name
    assert topic.qos == topics.LATCHED or history <= {RecorderNode}, topic.name
    assert topic.qos != topics.DURABLE or history == {RecorderNode}, topic.name


@pytest.mark.parametrize('kind', ['image', 'image/compressed'])
def test_a_camera_subscription_has_the_type_of_the_camera(stage, embodiment, kind):
    camera = dataclasses.replace(embodiment.cameras[0], topic=kind)
    subscription = ros_topics.camera_subscription(stage.peer, camera, print)
    expected = 'CompressedImage' if 'compressed' in kind else 'Image'
    assert subscription.msg_type.__name__ == expected


@pytest.mark.parametrize('lockstep', [True, False])
def test_the_nodes_of_a_robot_connect_on_every_topic(
    stage, embodiment, yaml_of, shelf, tmp_path, monkeypatch, lockstep
):
    for module in (policy_node, reward_node):
        monkeypatch.setattr(module, 'TextEncoder', lambda directory: FakeTextEncoder())
    common = {'embodiment': yaml_of(embodiment), 'lockstep': lockstep}
    learned = {**common, 'release': shelf(1).uri, 'text_encoder': 'none'}
    nodes = [
        stage.start(WorldNode, body='tool', **common),
        stage.start(policy_node.PolicyNode, **learned),
        stage.start(reward_node.RewardNode, **learned),
        stage.start(DemonstratorNode, **common),
        stage.start(GuardNode, **common),
        stage.start(SupervisorNode, **common),
        stage.start(
            RecorderNode, episodes_dir=str(tmp_path), lockstep=lockstep, record_camera_images=True
        ),
    ]
    for topic in topics.TABLE:
        name = stage.peer.resolve_topic_name(topic.name)
        given = [p.qos_profile for n in nodes for p in n.publishers if p.topic_name == name]
        wanted = [s.qos_profile for n in nodes for s in n.subscriptions if s.topic_name == name]
        for ends in (given, wanted):
            profiles = {(profile.reliability, profile.depth) for profile in ends}
            assert len(profiles) <= 1 or topic is topics.ESTOP, topic.name  # any switch matches
        assert_only_the_recorder_requests_history(topic, nodes, name)
        assert given or wanted or topic is topics.TRAINER_STATUS, topic.name


def test_a_recorder_may_be_configured_without_history(stage, tmp_path):
    recorder = stage.start(
        RecorderNode, episodes_dir=str(tmp_path), lockstep=True, receive_history=False
    )
    history = {
        s.topic_name
        for s in recorder.subscriptions
        if s.topic_name.startswith(stage.namespace) and s.qos_profile.durability == TRANSIENT_LOCAL
    }
    latched = {row for row in topics.TABLE if row.qos == topics.LATCHED}
    subscribed = latched - {topics.POLICY_RELEASE, topics.TRAINER_STATUS}
    assert history == {stage.peer.resolve_topic_name(row.name) for row in subscribed}


def test_a_start_is_received_though_the_end_came_before_it_was_read(stage, make_event):
    publisher = ros_topics.publisher(stage.peer, topics.EPISODE_EVENT)
    received = []
    ros_topics.subscription(stage.peer, topics.EPISODE_EVENT, received.append)
    stage.spin_until(lambda: publisher.get_subscription_count() == 1, 'the subscription')
    for kind in (EpisodeEvent.START, EpisodeEvent.END):
        publisher.publish(make_event('short', 1, event=kind))
    publisher.wait_for_all_acked(Duration(seconds=10))
    stage.spin_until(lambda: len(received) == 2, 'both events')
    assert [event.event for event in received] == [EpisodeEvent.START, EpisodeEvent.END]
