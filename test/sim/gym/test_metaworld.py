"""Meta-World: scenes, cameras, and the scripted policies as a demonstrator."""

from __future__ import annotations

from pathlib import Path

from efm_core.embodiment import load_embodiment
from efm_core.episode import Outcome
from efm_core.preprocessing import observe
from efm_sim.rollout import demonstrate
from efm_sim.scene import Scene
from efm_sim.worlds import make_world
import numpy as np
import pytest

pytest.importorskip('metaworld', reason='metaworld is not here; `make setup` installs it')

FOLDER = Path(__file__).resolve().parents[3] / 'config' / 'embodiments'
TEN = FOLDER / 'metaworld_mt10.yaml'
TASKS = sorted(set(FOLDER.glob('metaworld_*.yaml')) - {TEN})


@pytest.fixture(scope='module')
def world():
    made = make_world('metaworld_push')
    yield made
    made.close()


def test_four_tasks_differ_in_task_sentence_and_time_limit_only():
    assert len(TASKS) == 4
    robots = [load_embodiment(path) for path in TASKS]
    for robot in robots[1:]:
        assert robot.cameras == robots[0].cameras
        assert robot.proprioception == robots[0].proprioception
        assert robot.action == robots[0].action
        assert robot.steps_to_go == robots[0].steps_to_go


def test_an_observation_has_two_images_and_the_hand(world):
    robot = load_embodiment(FOLDER / 'metaworld_push.yaml')
    world.reset(1)
    first = observe(world.images(), robot, world.state())
    assert [image.shape for image in first.images] == [(96, 96, 3)] * 2
    assert first.proprioception.shape == (4,)
    for _ in range(4):
        world.step(np.float32([1, 0, -0.5, 1]))
    second = observe(world.images(), robot, world.state())
    moved = second.proprioception - first.proprioception
    assert moved[0] > 0.03  # [m]
    assert moved[2] < -0.01
    assert moved[3] < -0.1  # the gripper closes
    for before, after in zip(first.images, second.images, strict=True):
        assert (before != after).mean() > 0.01


def test_the_start_of_the_hand_and_the_goal_depend_on_the_seed(world):
    starts = []
    goals = []
    for seed in (1, 2, 3, 1):
        world.reset(seed)
        starts.append(world.state().positions[:3])
        goals.append(world.info()['state'][-3:])
    np.testing.assert_array_equal(starts[0], starts[3])
    assert goals[0] == goals[3] != goals[1]
    assert np.linalg.norm(starts[0] - starts[1]) > 0.005
    assert np.abs(np.ptp(starts, axis=0)).max() < 0.12  # 5 cm on each side
    assert np.abs(goals[0]).min() > 0  # what the scripted policies see has the goal


def test_a_hand_that_gets_no_action_stands_still_and_holds_its_gripper(world):
    world.reset(4)
    before = world.state().positions
    for _ in range(3):
        world.step(np.float32([0, 0, 0, -1]))
    np.testing.assert_allclose(world.state().positions, before, atol=0.01)


def noise_of(world, seed, **config):
    """Return what noise adds to 200 demonstrator actions of a still scene, ``(200, 3)``."""
    from efm_sim.gym.metaworld import MetaWorldConfig, MetaWorldDemonstrator

    world.reset(seed)
    scene = Scene({}, info=world.info())
    still = {'slowest': 1.0, 'noise': 0.0, 'burst_noise': 0.0}
    actions = []
    for found in ({**still, **config}, still):
        demonstrator = MetaWorldDemonstrator(MetaWorldConfig(**found))
        demonstrator.begin(seed)
        actions.append([demonstrator.act(scene)[:3] for _ in range(200)])
    return np.subtract(*actions)


def test_the_demonstrator_has_bursts_of_noise_that_last_two_to_four_decisions(world):
    moved = noise_of(world, 1, burst_noise=0.7, burst_probability=0.06)
    is_burst = np.abs(moved).max(axis=1) > 0
    edges = np.flatnonzero(np.diff(np.r_[0, is_burst, 0]))
    lengths = edges[1::2] - edges[::2]
    assert len(lengths) > 4
    assert lengths.min() >= 2  # one after the other makes a longer one
    assert np.median(lengths) <= 4
    assert 0.05 < is_burst.mean() < 0.4
    np.testing.assert_array_equal(
        moved, noise_of(world, 1, burst_noise=0.7, burst_probability=0.06)
    )


def test_the_actions_of_a_burst_are_marked(world):
    from efm_sim.gym.metaworld import MetaWorldConfig, MetaWorldDemonstrator

    demonstrator = MetaWorldDemonstrator(MetaWorldConfig(noise=0.0, burst_probability=0.1))
    twin = MetaWorldDemonstrator(MetaWorldConfig(noise=0.0, burst_probability=0.0))
    world.reset(1)
    scene = Scene({}, info=world.info())
    for one in (demonstrator, twin):
        one.begin(1)
    marks = []
    for _ in range(100):
        moved = not np.array_equal(demonstrator.act(scene), twin.act(scene))
        assert demonstrator.is_perturbed == moved
        assert not twin.is_perturbed
        marks.append(moved)
    assert 5 < sum(marks) < 95


def test_without_bursts_the_noise_is_that_of_each_decision(world):
    assert np.abs(noise_of(world, 2, burst_noise=0.7, burst_probability=0.0)).max() == 0
    spread = noise_of(world, 2, noise=0.05, burst_probability=0.0).std()
    assert 0.02 < spread < 0.06


def test_the_demonstrator_presses_the_button():
    world = make_world('metaworld_button_press_topdown')
    robot = load_embodiment(FOLDER / 'metaworld_button_press_topdown.yaml')
    episodes = demonstrate([world], range(3), robot, max_steps=60, demonstrator=world.demonstrator)
    assert [episode.outcome for episode in episodes].count(Outcome.SUCCESS) >= 2
    assert {episode.instruction for episode in episodes} == {'press the button down'}
    world.close()


@pytest.fixture(scope='module')
def ten():
    made = make_world('metaworld_mt10')
    yield made
    made.close()


def scene_of(world, seed):
    """Return a scene as a policy sees it, with the task and the sentence."""
    world.reset(seed)
    seen = (*world.images(), world.state().positions)
    return seen, world.info()['task'], world.instruction


def test_the_seed_selects_one_of_the_ten_tasks_and_its_scene(ten):
    import metaworld.env_dict

    found = [scene_of(ten, seed) for seed in range(20)]
    tasks = [task for _, task, _ in found]
    assert tasks[:10] == tasks[10:] == list(metaworld.env_dict.MT10_V3)
    assert len({sentence for _, _, sentence in found}) == 10
    assert found[4][2] == found[14][2] == 'open the drawer'
    for (one, *_), (other, *_) in zip(found[:10], found[10:], strict=True):
        assert any((a != b).any() for a, b in zip(one, other, strict=True))


def test_a_scene_does_not_depend_on_what_was_before_it(ten):
    for seed in range(10):
        first, task, _ = scene_of(ten, seed)
        for action in ([1, 0.5, -1, 1], [-1, -1, -0.5, -1], [0.5, 1, -1, 1]) * 8:
            ten.step(np.float32(action))
        scene_of(ten, seed + 5)
        again, *_ = scene_of(ten, seed)
        for before, after in zip(first, again, strict=True):
            np.testing.assert_array_equal(before, after, err_msg=task)


def test_worlds_of_one_process_share_renderers_and_see_their_own_scenes(ten):
    from efm_sim.gym.metaworld import MetaWorld, RENDERERS

    other = make_world('metaworld_mt10')
    for seed in range(10):
        expected, *_ = scene_of(ten, seed)
        scene_of(other, seed + 10)
        seen = (*ten.images(), ten.state().positions)
        for one, same in zip(expected, seen, strict=True):
            np.testing.assert_array_equal(one, same)
        again, *_ = scene_of(other, seed)
        for one, same in zip(expected, again, strict=True):
            np.testing.assert_array_equal(one, same)
    other.close()
    drawn = [task for task, size, _ in RENDERERS if size == 64]
    assert len(drawn) == len(set(drawn)) >= 10
    alone = MetaWorld('reach-v3')
    alone.reset(seed=0)
    alone.render(size=48)
    assert ('reach-v3', 48) in {key[:2] for key in RENDERERS}
    alone.close()
    assert ('reach-v3', 48) not in {key[:2] for key in RENDERERS}


def test_a_task_is_lent_to_one_user_at_a_time():
    from efm_sim.gym.metaworld import lend, take_back

    first = lend('reach-v3')
    assert lend('reach-v3') is not first
    take_back(first)
    take_back(first)
    assert lend('reach-v3') is first
    assert lend('reach-v3') is not first


@pytest.mark.parametrize('tasks', [{}, {'juggle-v3': 'juggle'}])
def test_tasks_that_do_not_exist_are_refused(tasks):
    from efm_sim.gym.metaworld import MetaWorldTasks

    with pytest.raises(ValueError, match='tasks'):
        MetaWorldTasks(tasks)


def test_the_demonstrator_shows_tasks_in_turn_with_their_sentences(ten):
    robot = load_embodiment(TEN)
    episodes = demonstrate([ten], range(4, 7), robot, demonstrator=ten.demonstrator)
    assert [episode.outcome for episode in episodes].count(Outcome.SUCCESS) >= 2
    assert [episode.instruction for episode in episodes] == [
        'open the drawer',
        'close the drawer',
        'press the button down',
    ]
