"""The policy server as a node: it follows the releases that the trainer publishes."""

from __future__ import annotations

from pathlib import Path

from efm_core import topics
from efm_interfaces.msg import PolicyRelease
from efm_policy.server_node import ServerNode
from efm_policy.serving import loading
from models import FakeTextEncoder, observations
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from serving import BlockingClient


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch):
    monkeypatch.setattr(loading, 'TextEncoder', lambda directory: FakeTextEncoder())


@pytest.fixture
def make(stage, embodiment, yaml_of, shelf):
    def start(**parameters):
        known = {'embodiment': yaml_of(embodiment), 'text_encoder': 'none', 'port': 0}
        return stage.start(ServerNode, **{**known, **parameters})

    return start


@pytest.fixture
def robot(request):
    """Return a function that connects a robot to a server node."""

    def connect(node):
        client = BlockingClient(f'127.0.0.1:{node.port}')
        request.addfinalizer(client.close)
        return client

    return connect


def announce(to, release, **fields):
    known = {name: getattr(release, name) for name in ('version', 'stage', 'uri', 'sha256')}
    known['embodiment_hash'] = release.embodiment_hash
    to.speak(topics.POLICY_RELEASE).publish(PolicyRelease(**{**known, **fields}))


def test_the_server_answers_with_the_given_release(make, robot, shelf):
    client = robot(make(release=shelf(7).uri))
    assert client.begin().policy_version == 7
    assert client.act(observations(1)[0]).policy_version == 7


def test_a_new_release_acts_in_the_next_episode(make, robot, shelf, stage):
    node = make(release=shelf(7).uri)
    client = robot(node)
    client.begin('first')
    announce(stage, shelf(8))
    stage.spin_until(lambda: node._server.sessions.version == 8, 'release 8')
    assert client.act(observations(1)[0]).policy_version == 7
    assert client.begin('second').policy_version == 8


def test_without_a_release_the_server_waits_for_one(make, robot, shelf, stage):
    node = make(release_store=str(Path(shelf(9).uri).parent))
    client = robot(node)
    assert client.begin().code == 'NOT_FOUND'
    announce(stage, shelf(8), stage='candidate')
    announce(stage, shelf(9))
    stage.spin_until(lambda: node._server.sessions.version, 'a release')
    assert client.begin().policy_version == 9


@pytest.mark.parametrize(
    ('version', 'fields', 'reason'),
    [
        (8, {'sha256': '0' * 64}, 'expected SHA-256 0000'),
        (8, {'sha256': ''}, 'expected its SHA-256, got none'),
        (8, {'uri': '/nowhere'}, 'in the release store, got /nowhere'),
        (6, {}, 'expected one after 7, got 6'),
    ],
)
def test_a_bad_release_is_refused_and_the_deployed_one_stays(
    make, robot, shelf, stage, version, fields, reason
):
    node = make(release=shelf(7).uri)
    diagnostics = stage.listen(topics.DIAGNOSTICS)
    announce(stage, shelf(version), **fields)

    def faults():
        return [status.message for message in diagnostics for status in message.status]

    refused = f'release {version} refused'
    stage.spin_until(
        lambda: any(refused in fault and reason in fault for fault in faults()), 'a fault'
    )
    assert robot(node).begin().policy_version == 7


def test_requests_are_refused_unless_the_node_is_active(make, robot, shelf):
    node = make(release=shelf(7).uri)
    client = robot(node)
    client.begin()
    assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert client.act(observations(1)[0]).code == 'UNAVAILABLE'
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert client.act(observations(1)[0]).policy_version == 7


def test_the_diagnostics_count_the_answers(make, robot, shelf, stage):
    node = make(release=shelf(7).uri)
    diagnostics = stage.listen(topics.DIAGNOSTICS)
    client = robot(node)
    client.begin()
    client.act(observations(1)[0])

    def values():
        found = [status for message in diagnostics for status in message.status]
        return {value.key: value.value for value in found[-1].values} if found else {}

    stage.spin_until(lambda: values().get('count: answered') == '1', 'a count')
    assert (values()['robots'], values()['policy_version']) == ('1', '7')


def test_a_public_address_without_tls_is_refused_at_configure(stage, embodiment, yaml_of, capfd):
    node = stage.make(
        ServerNode,
        embodiment=yaml_of(embodiment),
        text_encoder='none',
        release_store='releases',
        address='0.0.0.0',
    )
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert 'expected certificate, key and tokens' in capfd.readouterr().err
