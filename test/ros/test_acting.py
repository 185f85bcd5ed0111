"""What every node that acts puts into its actions."""

from __future__ import annotations

from dataclasses import dataclass, replace

from arms import make_arm
from efm_core import topics
from efm_core.action import PolicyAction
from efm_core.embodiment import load_embodiment
from efm_core.messages import to_image, to_ns, to_period, to_stamp, to_tokens, to_values
from efm_core.observation import Observation
from efm_core.ros_acting import ActingNode
from efm_core.ros_messages import from_image
from models import frames, table_arm
import numpy as np
import pytest

T0 = 500_000_000  # [ns]
PERIOD = 100_000_000  # [ns]
LIFETIME = 300_000_000  # [ns], of the table's embodiment
PICTURES = frames(2)


@dataclass(frozen=True, kw_only=True)
class ActorConfig:
    """Parameters of the node under test: ``last`` actions of ``steps`` control steps each."""

    embodiment: str = ''
    lockstep: bool = False
    steps: int = 1
    offers: bool = True
    is_perturbation: bool = False
    last: int = 1


class Actor(ActingNode):
    """Acts on the first images, and takes the one after them for the last of the episode."""

    config_type = ActorConfig
    source = 'demonstrator'

    def __init__(self, **kwargs):
        super().__init__('actor', **kwargs)

    def build(self):
        config = self.config
        self.connect(load_embodiment(config.embodiment), lockstep=config.lockstep)
        if config.offers:
            self.offer_actions()
        shape = (config.steps, 2) if config.steps > 1 else (2,)
        self.action = PolicyAction(
            np.arange(2 * config.steps),
            np.zeros(shape, np.float32),
            is_perturbation=config.is_perturbation,
        )

    def on_observation(self, stamp, observation):
        if self.matcher.step >= self.config.last:
            self.publish_last_observation(observation, stamp)
        else:
            self.publish_action(self.action, observation, stamp, policy_version=4)
        return True


@pytest.fixture
def act(stage, make_event, yaml_of, embodiment):
    """Return a function that runs an episode of two images; it returns actions, observations."""

    def run(robot=embodiment, **parameters):
        stage.start(Actor, embodiment=yaml_of(robot), **parameters)
        camera = stage.speak(topics.IMAGE)
        events = stage.speak(topics.EPISODE_EVENT)
        actions = stage.listen(topics.ACTION)
        observations = stage.listen(topics.OBSERVATION)
        events.publish(make_event('first', T0, embodiment_hash=robot.hash))
        for step, picture in enumerate(PICTURES):
            camera.publish(from_image(picture, T0 + step * robot.action.chunk * PERIOD))
            stage.hear(observations, step + 1)
        return stage.hear(actions), observations

    return run


def test_an_action_names_episode_step_source_version_and_embodiment(act, embodiment):
    (action,), observations = act(lockstep=True)
    assert (action.episode_id, action.step, action.source) == ('first', 0, 'demonstrator')
    assert (action.policy_version, action.embodiment_hash) == (4, embodiment.hash)
    assert (to_tokens(action).tolist(), to_values(action).tolist()) == ([0, 1], [0, 0])
    assert action.log_probability == 0
    assert [to_stamp(message) for message in (action, *observations)] == [T0, T0, T0 + PERIOD]
    for message, picture in zip(observations, PICTURES, strict=True):
        np.testing.assert_array_equal(to_image(message), picture)


def test_the_source_says_that_an_action_is_a_deliberate_mistake(act):
    (action,), _ = act(lockstep=True, is_perturbation=True)
    assert action.source == 'perturbation'


@pytest.mark.parametrize(('lockstep', 'deadline'), [(True, 0), (False, T0 + LIFETIME)])
def test_an_action_has_a_deadline_unless_the_world_waits_for_it(act, lockstep, deadline):
    (action,), _ = act(lockstep=lockstep)
    assert to_ns(action.deadline) == deadline


def test_a_chunk_names_its_period(act, embodiment):
    chunked = replace(embodiment, action=replace(embodiment.action, chunk=3))
    (action,), _ = act(chunked, lockstep=True, steps=3)
    assert to_values(action).shape == (3, 2)
    assert to_period(action) == PERIOD


def test_a_single_action_has_no_period(act):
    (action,), _ = act(lockstep=True)
    assert to_ns(action.period) == 0


def test_an_action_before_the_offer_is_an_error(stage, yaml_of, embodiment):
    node = stage.start(Actor, embodiment=yaml_of(embodiment), offers=False)
    assert not node.offers_actions
    with pytest.raises(RuntimeError, match='expected offer_actions'):
        node.publish_action(node.action, Observation.of(PICTURES[0]), T0)


def run_camera(stage, make_event, robot, *, path, images):
    """Return node and actions after images at 30 Hz in real time."""
    node = stage.start(Actor, embodiment=path, lockstep=False, last=1000)
    camera = stage.speak(topics.IMAGE, lockstep=False)
    events = stage.speak(topics.EPISODE_EVENT)
    actions = stage.listen(topics.ACTION)
    events.publish(make_event('first', T0, embodiment_hash=robot.hash))
    stage.spin_until(lambda: node.matcher.event, 'the episode')
    for number, image in enumerate(images):
        stamp = T0 + round(number * 1e9 / 30)
        camera.publish(from_image(image, stamp))
        stage.spin_until(lambda stamp=stamp: node.newest == stamp, 'the image')
    stage.spin_until(lambda: len(actions) == node.matcher.step, 'the actions')
    return node, actions


@pytest.fixture
def seen(monkeypatch):
    """Let the node note the stamp of the newest image."""
    take = Actor._on_image

    def note(node, message):
        take(node, message)
        node.newest = to_stamp(message)

    monkeypatch.setattr(Actor, '_on_image', note)
    monkeypatch.setattr(Actor, 'newest', 0, raising=False)


def test_a_camera_at_30_hz_gives_ten_decisions_a_second(
    stage, make_event, yaml_of, embodiment, seen
):
    images = [PICTURES[number % 2] for number in range(31)]
    path = yaml_of(embodiment)
    _, actions = run_camera(stage, make_event, embodiment, path=path, images=images)
    stamps = np.array([to_stamp(action) for action in actions])
    assert len(actions) in (10, 11)
    assert np.diff(stamps)[1:] == pytest.approx(PERIOD, abs=2)


def test_a_frozen_camera_ends_the_actions_of_the_episode_and_is_named(
    stage, make_event, yaml_of, seen
):
    robot = make_arm('forward_position_controller')
    camera = replace(table_arm().cameras[0], max_identical_images=6)
    robot = replace(robot, cameras=(camera,))
    images = [*PICTURES, *[PICTURES[0]] * 20]
    node, actions = run_camera(stage, make_event, robot, path=yaml_of(robot), images=images)
    assert len(actions) == 3  # the images 0, 2 and 5; the sixth identical one is image 7
    assert 'expected a new image each time, got the same' in node.diagnostics.fault
    assert 'restart its driver' in node.diagnostics.fault
    node.on_event(make_event('second', T0 + 10 * PERIOD, embodiment_hash=robot.hash))
    assert node.matcher.event is None
    assert 'restart its driver' in node.diagnostics.fault


def test_the_still_scene_of_a_simulation_is_no_frozen_camera(
    stage, make_event, yaml_of, embodiment, seen
):
    images = [PICTURES[0]] * 31
    path = yaml_of(embodiment)
    node, actions = run_camera(stage, make_event, embodiment, path=path, images=images)
    assert len(actions) in (10, 11)
    assert node.diagnostics.fault == ''
