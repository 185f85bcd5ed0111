"""A Gymnasium world with two cameras, joints and a gripper, and its rollouts."""

from __future__ import annotations

import json
from types import SimpleNamespace

from efm_core.action import PolicyAction
from efm_core.embodiment import load_embodiment
from efm_core.episode import Kind, Outcome, Termination
from efm_core.preprocessing import observe
from efm_sim.gym.world import as_json, load_world
from efm_sim.rollout import demonstrate, Runner
from efm_sim.worlds import make_world
import hand
import numpy as np
import pytest

OPEN = np.array([0, 0, 0, -1], np.float32)
CLOSED = np.array([0, 0, 0, 1], np.float32)


@pytest.fixture
def path(tmp_path):
    return hand.write(tmp_path / 'hand.yaml')


@pytest.fixture
def world(path):
    made = load_world(path)
    yield made
    made.close()


def inner(world):
    return world._environment.unwrapped


def grasp(world):
    """Bring the hand to the puck and close the gripper."""
    inner(world).hand = inner(world).puck.copy()
    world.step(CLOSED)
    assert inner(world).holds


def test_each_camera_has_its_image_in_the_order_of_the_embodiment(world):
    world.reset(3)
    scene, wrist = world.images()
    np.testing.assert_array_equal(scene, inner(world).render())
    np.testing.assert_array_equal(wrist, inner(world)._observe()['wrist'])
    assert (scene.shape, wrist.shape) == ((16, 16, 3), (8, 8, 3))
    assert (wrist[4, 4] == 100).all()  # the gripper is open


def test_the_joints_are_the_named_places_and_become_proprioception(path, world):
    world.reset(3)
    world.step(np.float32([1, 0, -1, 1]))
    state = world.state()
    assert state.joints == ('hand_x', 'hand_y', 'hand_z', 'gripper')
    np.testing.assert_allclose(state.positions, [0.6, 0.5, 0.3, 0.0])
    assert not state.velocities.size
    seen = observe(world.images(), load_embodiment(path), state)
    np.testing.assert_array_equal(seen.proprioception, np.float32([0.6, 0.5, 0.3, 0.0]))


def test_velocities_have_places_too(tmp_path):
    places = dict.fromkeys(hand.YAML['gymnasium']['joints'], 'info.opening')
    world = load_world(hand.write(tmp_path / 'fast.yaml', joint_velocities=places))
    np.testing.assert_array_equal(world.state().velocities, [1, 1, 1, 1])


@pytest.mark.parametrize(
    ('section', 'said'),
    [
        ({'joints': {'arm': 'observation.hand'}}, 'observation.hand: expected one number'),
        ({'joints': {'arm': 'observation.hand.3'}}, "expected '3', got ndarray of 3"),
        ({'joint_velocities': {'other': 'info.opening'}}, 'joint_velocities: expected none, or'),
        ({'pixels': 'render'}, 'pixels: expected a place for each of scene, wrist, got render'),
        ({'pixels': {'scene': 'render'}}, 'a place for each of scene, wrist'),
        (
            {'pixels': {'scene': {'draw': {}}, 'wrist': 'observation.wrist'}},
            r'pixels: scene: expected a place, or \{render',
        ),
        ({'pixels': {'scene': 'render', 'wrist': 'render'}}, r'\(8, 8, 3\), got \(16, 16, 3\)'),
        ({'pixels': {'scene': 3, 'wrist': 'render'}}, 'scene: expected the name of a place'),
    ],
)
def test_what_does_not_fit_is_an_error_at_construction(tmp_path, section, said):
    with pytest.raises(ValueError, match=said):
        load_world(hand.write(tmp_path / 'wrong.yaml', **section))


def test_an_argument_that_render_does_not_take_is_an_error_that_names_the_environment(tmp_path):
    pixels = {'scene': {'render': {'colour': 'red'}}, 'wrist': 'observation.wrist'}
    with pytest.raises(RuntimeError, match='Hand-v0: render failed: TypeError'):
        load_world(hand.write(tmp_path / 'wrong.yaml', pixels=pixels))


def test_an_environment_that_makes_another_scene_of_the_same_seed_is_refused(tmp_path):
    kwargs = {'forgets_its_seed': True}
    with pytest.raises(ValueError, match=r'expected the same scene .*image of scene.*puck'):
        load_world(hand.write(tmp_path / 'random.yaml', kwargs=kwargs))


def test_the_info_is_what_json_has_of_it(world):
    world.reset(1)
    info = world.info()
    assert info == json.loads(json.dumps(info))
    assert info['puck'] == inner(world).puck.tolist()
    odd = {'a': np.float32(0.5), 'image': np.zeros((40, 40)), 'b': [object(), 1], 3: (True, None)}
    assert as_json(odd) == {'a': 0.5, 'b': [1], '3': [True, None]}


def test_a_scene_ends_when_the_environment_terminates(world):
    world.reset(2)
    grasp(world)
    assert not world.terminated()
    world.step(OPEN)
    assert world.terminated()
    world.reset(2)
    assert not world.terminated()


def test_the_demonstrator_lifts_the_puck_and_its_exact_values_are_the_actions(path):
    robot = load_embodiment(path)
    world = make_world(path)
    episodes = demonstrate([world], range(4), robot, max_steps=30, demonstrator=world.demonstrator)
    for episode in episodes:
        assert (episode.outcome, episode.true_success) == (Outcome.SUCCESS, True)
        assert episode.observations.proprioception.shape == (len(episode) + 1, 4)
        assert [image.shape[1:] for image in episode.observations.images] == [
            (16, 16, 3),
            (8, 8, 3),
        ]
    first = episodes[1]
    world.reset(1)
    for action, seen in zip(first.actions, first.observations.images[0][:-1], strict=True):
        np.testing.assert_array_equal(world.images()[0], seen)
        world.step(action)
    assert world.success()
    assert first.actions[0, 0] not in np.linspace(-1, 1, 5)  # the policy's levels


class Drops:
    """An actor that grasps the puck at once and opens the gripper on its fourth decision."""

    version = 0

    def start(self, episode):
        inner(episode.world).hand = inner(episode.world).puck.copy()

    def act(self, episodes):
        values = [OPEN if len(episode.actions) == 3 else CLOSED for episode in episodes]
        return [PolicyAction(np.zeros(4, np.int64), value) for value in values]


class Judge:
    """A reward model that predicts a fixed number of steps, and never detects by itself."""

    version = 1

    def __init__(self, steps_to_go):
        self._steps = steps_to_go

    def start(self, instruction):
        return None

    def predict_batch(self, episodes, observations):
        return [SimpleNamespace(steps_to_go=self._steps, success=False) for _ in episodes]


@pytest.mark.parametrize(
    ('steps_to_go', 'outcome'), [(2.0, Outcome.SUCCESS), (2.1, Outcome.FAILURE)]
)
def test_a_rollout_ends_when_the_scene_ends_and_its_last_prediction_decides(
    path, steps_to_go, outcome
):
    runner = Runner(
        load_embodiment(path),
        Drops(),
        reward_model=Judge(steps_to_go),
        kind=Kind.PRACTICE,
        max_steps=20,
        on_episode=lambda episode: None,
    )
    (episode,) = runner.run([load_world(path)], [5], 0)
    assert (episode.outcome, episode.termination) == (outcome, Termination.TERMINATED)
    assert len(episode) == 4
    assert not episode.true_success
