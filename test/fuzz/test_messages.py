"""
Malformed and unlawful messages to every node: all nodes stay alive, and no wrong command passes.

The payloads are mutated from valid messages of an episode, on every topic that a node subscribes.
Some stay valid messages with other values. Whatever arrives, the guard sends finite commands
inside of the action's range only.
"""

from __future__ import annotations

from functools import partial

from efm_core import topics
from efm_core.episode import EpisodeEnding, EpisodeGoal, Outcome, Termination
from efm_core.messages import to_displacement
from efm_core.observation import MeasuredState
from efm_core.ros_messages import (
    from_action,
    from_image,
    from_joints,
    from_ns,
    from_observation,
    from_outcome,
    from_permit,
    from_recording,
    from_release,
    from_steps_to_go,
    from_world,
    stamped,
)
from efm_data.recorder_node import RecorderNode
from efm_guard.node import GuardNode
from efm_interfaces.msg import EpisodeEvent, TrainerStatus
from efm_policy import node as policy_node
from efm_policy.node import PolicyNode
from efm_reward import node as reward_node
from efm_reward.node import RewardNode
from efm_sim.demonstrator_node import DemonstratorNode
from efm_supervisor.node import SupervisorNode
from efm_supervisor.teleoperation_node import TeleoperationNode
from fuzz import mutations
from fuzz.mutations import generator, in_time, mutate
from geometry_msgs.msg import TwistStamped
from models import FakeTextEncoder, frames
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool, Header, String

CASES = 400  # of each way of time and round
BURST = 20  # messages between two looks at the nodes
SPINS = 150  # turns of the executor after a burst; each node receives a part of the messages
PERIOD = 100_000_000  # [ns]
ROUNDING = 1e-6  # [m], of float32
VALID = (topics.EPISODE_EVENT, topics.IMAGE, topics.PERMIT, topics.ACTION)


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch):
    for module in (policy_node, reward_node):
        monkeypatch.setattr(module, 'TextEncoder', lambda directory: FakeTextEncoder())


@pytest.fixture
def nodes_for(stage, shelf, yaml_of, embodiment, tmp_path):
    """Return a function that starts every node of a robot but its world."""

    def start(lockstep):
        path = yaml_of(embodiment)
        model = {'embodiment': path, 'lockstep': lockstep, 'text_encoder': 'none'}
        release = shelf(1, embodiment).uri
        begin = partial(stage.start, lockstep=lockstep)
        return [
            begin(GuardNode, embodiment=path),
            stage.start(PolicyNode, release=release, **model),
            stage.start(RewardNode, release=release, **model),
            begin(RecorderNode, embodiment=path, episodes_dir=str(tmp_path / 'bags')),
            begin(SupervisorNode, embodiment=path),
            begin(TeleoperationNode, embodiment=path),
            begin(DemonstratorNode, embodiment=path),
        ]

    return start


def make_messages(step: int, make_event, release) -> dict[topics.Topic, object]:
    """Return one valid message of every topic, of the observation ``step``."""
    stamp = (5 + step) * PERIOD
    about = {'episode_id': 'first', 'step': step}
    hashed = {'embodiment_hash': make_event().embodiment_hash, 'policy_version': 1}
    goal = EpisodeGoal('first', step)
    ending = EpisodeEnding(Outcome.SUCCESS, Termination.TIMEOUT, stamp=stamp, steps=step)
    event = EpisodeEvent.START if step % 5 == 0 else EpisodeEvent.END
    values = np.array([0.01, -0.02], np.float32)
    action = from_action(
        np.array([7, 1]), values, -1.0, stamp, deadline=from_ns(stamp + PERIOD), **about, **hashed
    )
    picture = frames(1)[0]
    return {
        topics.IMAGE: from_image(picture, stamp),
        topics.OBSERVATION: from_observation(picture, stamp),
        topics.JOINT_STATES: from_joints(MeasuredState(('a', 'b'), np.zeros(2)), stamp),
        topics.INSTRUCTION: String(data='push the red cube'),
        topics.ACTION: action,
        topics.COMMAND: stamped(TwistStamped(), stamp),
        topics.EXECUTED: action,
        topics.STEPS_TO_GO: from_steps_to_go(np.full(61, 1 / 61), 30.0, False, stamp, **about),
        topics.PERMIT: from_permit('first', stamp, lockstep=True),
        topics.EPISODE_EVENT: make_event('first', stamp, event=event),
        topics.OUTCOME: from_outcome(goal, ending),
        topics.POLICY_RELEASE: from_release(release),
        topics.ESTOP: Bool(data=False),
        topics.RECORDING: from_recording('first', stamp, success=True),
        topics.TRAINER_STATUS: TrainerStatus(version=1),
        topics.WORLD_STATE: from_world({'tool': np.zeros(3)}, False, 0.1, stamp),
        topics.TERMINATED: Header(stamp=from_ns(stamp)),
        topics.TELEOP_TWIST: stamped(TwistStamped(), stamp),
        topics.JOY: stamped(Joy(), stamp),
    }


@pytest.mark.parametrize('lockstep', [True, False], ids=['lockstep', 'real_time'])
def test_every_node_survives_malformed_messages_and_no_wrong_command_passes(
    stage, nodes_for, make_event, shelf, embodiment, lockstep, record_property
):
    nodes = nodes_for(lockstep)
    release = shelf(1, embodiment)
    voices = {
        topic: stage.speak(topic, lockstep) for topic in make_messages(0, make_event, release)
    }
    wrong: list[object] = []
    sent = 0

    def look(command):
        values = to_displacement(command, embodiment.control_rate_hz)
        if not (np.isfinite(values).all() and abs(values).max() <= 0.025 + ROUNDING):
            wrong.append(values)

    stage.listen(topics.COMMAND, look, lockstep)
    for burst in range(CASES * mutations.ROUNDS // BURST):
        with in_time(f'lockstep {lockstep}, burst {burst}'):
            rng = generator(20, int(lockstep), burst)
            messages = make_messages(burst, make_event, release)
            sent += send(rng, voices, messages)
            for _ in range(SPINS):
                stage._executor.spin_once(timeout_sec=0.001)
        assert all(node.is_active for node in nodes), burst
        assert not wrong, (burst, wrong)
    assert answers(stage, nodes)
    for node in nodes:
        assert node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    record_property(f'messages {"lockstep" if lockstep else "real time"}', sent)
    record_property('messages', sent)


def send(rng, voices, messages) -> int:
    """
    Publish a valid observation and its answers, then mutated messages; return their number.

    Commands are the guard's own output. An emergency stop ends all motion, so only one burst in
    eight may have one.
    """
    for topic in VALID:
        voices[topic].publish(messages[topic])
    spared = {topics.COMMAND} | ({topics.ESTOP} if rng.integers(8) else set())
    spoken = [topic for topic in messages if topic not in spared]
    for _ in range(BURST):
        topic = spoken[rng.integers(len(spoken))]
        data = serialize_message(messages[topic])
        # The first four bytes are the encoding; most mutations spare them.
        head = 0 if rng.integers(10) == 0 else 4
        payload = data[:head] + mutate(rng, data[head:])
        try:
            voices[topic].publish(payload)
        except RuntimeError:  # longer than any message of this type; the middleware sends none
            voices[topic].publish(payload[: len(data)])
    return BURST


def answers(stage, nodes) -> bool:
    """Return whether every node still publishes its diagnostics."""
    heard = stage.listen(topics.DIAGNOSTICS)
    names = {node.get_fully_qualified_name() for node in nodes}
    stage.spin_until(
        lambda: names <= {status.name for message in heard for status in message.status},
        'the diagnostics of every node',
    )
    return True
