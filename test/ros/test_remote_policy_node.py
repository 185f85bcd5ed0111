"""Camera in, action out, the policy elsewhere; without answers the robot is held."""

from __future__ import annotations

import time

from efm_core import topics
from efm_core.messages import to_stamp, to_tokens
from efm_core.observation import Observation
from efm_core.ros_messages import from_image, from_ns, stamped
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent, Permit
from efm_policy.remote_node import RemotePolicyNode
from models import frames, SENTENCE
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from serving import policy, serving, write_certificate, write_tokens

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns]
IMAGES = frames(4)


class Scene:
    """A node whose policy is elsewhere, a camera and a supervisor."""

    def __init__(self, stage, make_event, **parameters):
        self.stage = stage
        self.make_event = make_event
        known = {'lockstep': True, 'robot': 'robot_0'}
        self.node = stage.start(RemotePolicyNode, **{**known, **parameters})
        lockstep = parameters.get('lockstep', True)
        self.camera = stage.speak(topics.IMAGE, lockstep)
        self.events = stage.speak(topics.EPISODE_EVENT)
        self.actions = stage.listen(topics.ACTION)
        self.diagnostics = stage.listen(topics.DIAGNOSTICS)

    def see(self, step):
        self.camera.publish(from_image(IMAGES[step], T0 + step * PERIOD))

    def begin(self, episode_id='first', stamp=T0, **fields):
        self.events.publish(self.make_event(episode_id, stamp, **fields))

    def facts(self):
        name = self.node.get_fully_qualified_name()
        statuses = [s for message in self.diagnostics for s in message.status if s.name == name]
        values = {value.key: value.value for value in statuses[-1].values} if statuses else {}
        return {**values, 'message': statuses[-1].message if statuses else ''}

    def wait_for(self, key, text):
        self.stage.spin_until(lambda: text in self.facts().get(key, ''), f'{key}: {text}')


@pytest.fixture
def scene(stage, make_event, embodiment, yaml_of):
    """Return a function that makes a scene with a server."""

    def make(where, **parameters):
        return Scene(stage, make_event, embodiment=yaml_of(embodiment), server=where, **parameters)

    return make


@pytest.fixture(scope='module')
def door():
    with serving() as (_, where):
        yield where


def test_the_node_publishes_the_actions_of_the_policy(scene, door):
    alone = policy()
    alone.begin(SENTENCE, 3)
    here = scene(door)
    here.begin(seed=3)
    for step, image in enumerate(IMAGES):
        here.see(step)
        action = here.stage.hear(here.actions, step + 1)[step]
        assert to_tokens(action).tolist() == alone.act(Observation.of(image)).tokens.tolist()
        assert (to_stamp(action), action.step) == (T0 + step * PERIOD, step)
        assert (action.policy_version, action.episode_id) == (7, 'first')
        assert action.embodiment_hash == here.node.embodiment.hash
    here.wait_for('server', 'connected')
    here.wait_for('message', 'ok')
    assert float(here.facts()['latency_p50_ms']) > 0


def test_over_tls_with_its_token(scene, tmp_path):
    certificate, key = write_certificate(tmp_path)
    tokens = write_tokens(tmp_path / 'tokens', 'robot_0')
    with serving(certificate=certificate, key=key, tokens=tokens) as (_, where):
        here = scene(where, server_ca=certificate, token=f'{tokens}/robot_0')
        here.begin()
        here.see(0)
        here.stage.hear(here.actions)


def test_with_another_token_no_episode_begins_and_the_fault_says_why(scene, tmp_path):
    certificate, key = write_certificate(tmp_path)
    tokens = write_tokens(tmp_path / 'tokens', 'robot_0', 'robot_1')
    with serving(certificate=certificate, key=key, tokens=tokens) as (_, where):
        here = scene(where, server_ca=certificate, token=f'{tokens}/robot_1')
        here.begin()
        here.see(0)
        here.wait_for('message', "the one that the server has for robot 'robot_0'")
        assert not here.actions


def test_an_episode_waits_for_the_server_to_come_up(scene):
    with serving() as (_, where):
        pass
    here = scene(where)
    here.begin()
    here.see(0)
    here.wait_for('message', 'server: UNAVAILABLE')
    assert here.facts()['server'] == 'not connected'
    with serving(port=int(where.rpartition(':')[2])):
        action = here.stage.hear(here.actions)[0]
        assert to_stamp(action) == T0
        here.wait_for('message', 'ok')


def test_an_image_after_the_end_gets_no_action(scene, door):
    here = scene(door)
    here.begin()
    here.see(0)
    here.stage.hear(here.actions)
    here.events.publish(here.make_event('first', T0, event=EpisodeEvent.END))
    here.see(1)
    here.begin('second', T0 + 2 * PERIOD)
    here.see(2)
    found = here.stage.hear(here.actions, 2)
    assert [action.episode_id for action in found] == ['first', 'second']


def test_a_repeated_image_gets_the_same_answer_again(scene, door):
    here = scene(door)
    here.begin()
    here.see(0)
    here.stage.hear(here.actions)
    here.see(0)
    first, second = here.stage.hear(here.actions, 2)
    assert first == second


def test_an_instruction_that_the_server_refuses_is_a_fault(scene, door):
    here = scene(door)
    here.begin(instruction='')
    here.see(0)
    here.wait_for('message', 'instruction: expected a sentence')
    assert not here.actions


def test_it_can_be_configured_again(scene, door):
    here = scene(door)
    for transition in ('deactivate', 'cleanup', 'configure', 'activate'):
        done = getattr(here.node, f'trigger_{transition}')()
        assert done == TransitionCallbackReturn.SUCCESS
    here.stage._connect(topics.EPISODE_EVENT)
    here.stage._connect(topics.IMAGE)
    here.stage._connect(topics.ACTION)
    here.begin()
    here.see(0)
    here.stage.hear(here.actions)


def test_a_server_beyond_this_host_without_tls_is_not_configured(
    stage, embodiment, yaml_of, capfd
):
    node = stage.make(RemotePolicyNode, embodiment=yaml_of(embodiment), server='gpu-box:50051')
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert 'connections to another host (gpu-box) need TLS' in capfd.readouterr().err


class Running:
    """A robot in real time: camera and permit at 20 Hz, until it is stopped."""

    def __init__(self, here, embodiment, *, yaml_of):
        self.here = here
        self.step = 0
        here.stage.start(GuardNode, embodiment=yaml_of(embodiment), lockstep=False)
        self.permits = here.stage.speak(topics.PERMIT)
        self.commands = here.stage.listen(topics.COMMAND)
        here.stage._connect(topics.ACTION)
        here.begin(stamp=self.now())
        here.stage.peer.create_timer(0.05, self.on_period)

    def now(self):
        return self.here.node.get_clock().now().nanoseconds

    def on_period(self):
        permit = stamped(Permit(episode_id='first'), self.now())
        permit.valid_until = from_ns(self.now() + 500_000_000)
        self.permits.publish(permit)
        self.here.camera.publish(from_image(IMAGES[self.step % 4], self.now()))
        self.step += 1

    def moves(self):
        """Return whether the last command moves the robot."""
        twist = self.commands[-1].twist.linear if self.commands else None
        return bool(twist) and (twist.x, twist.y) != (0.0, 0.0)

    def spin(self, seconds):
        end = time.monotonic() + seconds
        self.here.stage.spin_until(lambda: time.monotonic() > end)


def test_when_the_server_dies_in_mid_episode_the_robot_is_held_until_it_is_back(
    scene, embodiment, yaml_of
):
    with serving() as (_, where):
        running = Running(scene(where, lockstep=False), embodiment, yaml_of=yaml_of)
        here = running.here
        here.stage.spin_until(lambda: len(running.commands) > 5 and running.moves(), 'motion')
    here.stage.spin_until(lambda: not running.moves(), 'a stop')
    running.spin(embodiment.action_lifetime_s)  # what was under way has come
    commands = len(running.commands)
    images = running.step
    running.spin(1.0)
    assert running.step > images + 5  # the camera goes on, and the permit is renewed
    assert len(running.commands) == commands
    assert not running.moves()
    here.wait_for('message', 'server: UNAVAILABLE')
    here.wait_for('server', 'not connected')
    with serving(port=int(where.rpartition(':')[2])):
        here.stage.spin_until(lambda: len(running.commands) > commands and running.moves(), 'it')
        here.wait_for('message', 'ok')
        assert here.actions[-1].episode_id == 'first'


class Late:
    """A policy that thinks for longer than an action may live."""

    def __init__(self, seconds):
        self._policy = policy()
        self._seconds = seconds
        self.version = self._policy.version
        self.start = self._policy.start

    def act_batch(self, *batch):
        time.sleep(self._seconds)
        return self._policy.act_batch(*batch)


def test_late_answers_are_dropped_and_counted_and_the_robot_does_not_move(
    scene, embodiment, yaml_of
):
    with serving(Late(1.5 * embodiment.action_lifetime_s)) as (_, where):
        running = Running(scene(where, lockstep=False), embodiment, yaml_of=yaml_of)
        here = running.here
        here.stage.spin_until(lambda: here.facts().get('count: late answer', '0') > '1', 'late')
        assert not here.actions
        assert not any(message.twist.linear.x for message in running.commands)
