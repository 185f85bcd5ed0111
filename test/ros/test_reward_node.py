"""Camera in, steps-to-go and success out."""

from __future__ import annotations

from dataclasses import replace

from efm_core import topics
from efm_core.messages import to_probabilities, to_stamp
from efm_core.observation import Observation
from efm_core.ros_messages import from_image
from efm_interfaces.msg import EpisodeEvent
from efm_reward import node as reward_node
from efm_reward.model import RewardModel
from efm_reward.node import RewardNode
from models import FakeTextEncoder, frames, SENTENCE, table_arm
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns]
IMAGES = frames(4)
RULES = table_arm().episode
# The weights are random: for one robot every observation is a success, for the other none.
EASY = replace(table_arm(), episode=replace(RULES, success_threshold=61.0, success_dwell=2))


class Scene:
    """A reward node with a camera and a supervisor for it to listen to."""

    def __init__(self, stage, make_event, *, robot, **parameters):
        self.stage = stage
        self.make_event = make_event
        self.robot = robot
        self.node = stage.start(RewardNode, lockstep=True, text_encoder='none', **parameters)
        self.camera = stage.speak(topics.IMAGE)
        self.events = stage.speak(topics.EPISODE_EVENT)
        self.predictions = stage.listen(topics.STEPS_TO_GO)

    def run_episode(self, episode_id, first=0, **fields):
        """Return the prediction of every image; the episode begins with step ``first``."""
        del self.predictions[:]
        fields = {'embodiment_hash': self.robot.hash, **fields}
        self.events.publish(self.make_event(episode_id, T0 + first * PERIOD, **fields))
        for step, image in enumerate(IMAGES):
            self.camera.publish(from_image(image, T0 + (first + step) * PERIOD))
            self.stage.hear(self.predictions, step + 1)
        self.events.publish(self.make_event(episode_id, event=EpisodeEvent.END))
        return list(self.predictions)


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch):
    monkeypatch.setattr(reward_node, 'TextEncoder', lambda directory: FakeTextEncoder())


@pytest.fixture
def scene_for(stage, make_event, shelf, yaml_of):
    return lambda robot: Scene(
        stage, make_event, robot=robot, embodiment=yaml_of(robot), release=shelf(7, robot).uri
    )


def test_the_node_publishes_the_predictions_of_the_reward_model(scene_for, shelf):
    scene = scene_for(table_arm())
    alone = RewardModel.load(f'{shelf(7).uri}/reward.onnx', FakeTextEncoder(), table_arm())
    alone.begin(SENTENCE)
    for step, message in enumerate(scene.run_episode('first')):
        expected = alone.predict(Observation.of(IMAGES[step]))
        np.testing.assert_array_equal(to_probabilities(message), expected.probabilities)
        assert message.steps_to_go == np.float32(expected.steps_to_go)
        assert (message.episode_id, message.step, message.reward_version) == ('first', step, 7)
        assert message.embodiment_hash == table_arm().hash
        assert to_stamp(message) == T0 + step * PERIOD
        assert not message.success


def test_steps_to_go_is_the_mean_of_the_distribution(scene_for):
    for message in scene_for(table_arm()).run_episode('first'):
        assert message.steps_to_go == pytest.approx(
            sum(bin_ * p for bin_, p in enumerate(message.probabilities)), rel=1e-5
        )


def test_success_needs_two_observations_in_every_episode(scene_for):
    scene = scene_for(EASY)
    seen = [message.success for message in scene.run_episode('first')]
    assert seen == [False, True, True, True]
    again = [message.success for message in scene.run_episode('second', first=10)]
    assert again == [False, True, True, True]


def test_a_bad_image_gets_no_prediction(scene_for):
    scene = scene_for(table_arm())
    scene.run_episode('first')
    del scene.predictions[:]
    scene.events.publish(scene.make_event('second', T0 + 10 * PERIOD))
    scene.camera.publish(from_image(IMAGES[0], T0 + 10 * PERIOD))
    scene.stage.hear(scene.predictions)
    scene.camera.publish(from_image(np.zeros((8, 8, 3), np.uint8), T0 + 11 * PERIOD))
    scene.camera.publish(from_image(IMAGES[0], T0 + 12 * PERIOD))
    assert to_stamp(scene.stage.hear(scene.predictions, 2)[1]) == T0 + 12 * PERIOD


def test_a_deactivated_node_publishes_nothing(scene_for):
    scene = scene_for(table_arm())
    scene.run_episode('first')
    assert scene.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    del scene.predictions[:]
    heard = [scene.stage.listen(topics.EPISODE_EVENT), scene.stage.listen(topics.IMAGE)]
    scene.events.publish(scene.make_event('second', T0 + 10 * PERIOD))
    scene.camera.publish(from_image(IMAGES[0], T0 + 10 * PERIOD))
    second = T0 + 10 * PERIOD
    scene.stage.spin_until(
        lambda: all(messages and to_stamp(messages[-1]) == second for messages in heard),
        'the messages while it is inactive',
    )
    assert scene.node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    assert [s.episode_id for s in scene.run_episode('third', first=20)] == ['third'] * 4


def test_without_its_release_the_node_is_not_configured(stage, yaml_of, tmp_path, capfd):
    node = stage.make(
        RewardNode, embodiment=yaml_of(table_arm()), release=str(tmp_path), text_encoder='none'
    )
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    output = capfd.readouterr().err
    assert 'not configured: release: expected' in output
    assert 'Traceback' not in output


def test_a_provider_that_is_not_available_is_refused(stage, shelf, yaml_of, capfd):
    robot = table_arm()
    node = stage.make(
        RewardNode,
        embodiment=yaml_of(robot),
        release=shelf(7, robot).uri,
        text_encoder='none',
        provider='cuda',
    )
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert 'has, cpu; got cuda' in ''.join(capfd.readouterr())
