"""Gymnasium environments as worlds."""

from __future__ import annotations

from dataclasses import replace

from efm_core.action import PolicyAction
from efm_core.embodiment import ActionSpace, Camera, Embodiment, load_embodiment, load_simulation
from efm_core.episode import Kind, Outcome
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.world import GymnasiumWorld, load_world, look_up, TimeStep
from efm_sim.rollout import Runner
from efm_sim.table.config import TableConfig
from efm_sim.table.world import Table
import gymnasium
from gymnasium import spaces
import numpy as np
import pytest

SENTENCE = 'go to the right'
NAME = 'efm_test/Line-v0'
SIZE = 16


class Line(gymnasium.Env):
    """A dot on a line, 0 to 4; it ends beyond 3."""

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 10}  # noqa: RUF012
    action_space = spaces.Box(np.array([-1, -2], np.float32), np.array([1, 2], np.float32))

    def __init__(
        self,
        render_mode=None,
        as_dict=False,
        *,
        action_space=None,
        breaks_at=-1,
        without_image=False,
    ):
        self.render_mode = render_mode
        self._as_dict = as_dict
        self._breaks_at = breaks_at
        self._blind = without_image
        self.action_space = action_space or self.action_space
        image = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.observation_space = spaces.Dict({'pixels': image}) if as_dict else image
        self.closed = False
        self.received = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = float(self.np_random.uniform(0, 1))
        self.received.clear()
        return self._observe(), {'place': [self.place, 0.0], 'asked': SENTENCE}

    def step(self, action):
        if len(self.received) == self._breaks_at:
            raise ZeroDivisionError('motor failure')
        self.received.append(np.array(action))
        self.place = float(np.clip(self.place + action[0], 0, 4))
        info = {'place': [self.place, 0.0], 'share': self.place / 4, 'word': 'far'}
        return self._observe(), self.place, self.place > 3, False, info

    def render(self):
        return None if self._blind else self._draw()

    def close(self):
        self.closed = True

    def _draw(self):
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        image[:, int(self.place * 3)] = 255
        return image

    def _observe(self):
        return {'pixels': self._draw()} if self._as_dict else self._draw()


@pytest.fixture(autouse=True)
def registered():
    gymnasium.register(NAME, entry_point=Line, max_episode_steps=2)
    yield
    del gymnasium.registry[NAME]


ROBOT = Embodiment(
    name='dot',
    cameras=(Camera('eye', 'image', height=SIZE, width=SIZE),),
    observation_size=(SIZE, SIZE),
    action=ActionSpace(('x', 'y'), 'm', low=(-1.0, -2.0), high=(1.0, 2.0)),
)


def line(robot=ROBOT, **fields) -> GymnasiumWorld:
    known = {'id': NAME, 'instruction': SENTENCE}
    return GymnasiumWorld(EnvironmentConfig(**{**known, **fields}), robot)


def with_action(low, high) -> Embodiment:
    names = tuple('abc'[: len(low)])
    return replace(ROBOT, action=ActionSpace(names, 'm', low=tuple(low), high=tuple(high)))


def walk(world, *steps):
    return [(world.step(np.array([step, 0.0])), world.success())[1] for step in steps]


def received(world):
    """Return the actions that reached the environment since the last reset."""
    return np.array(world._environment.unwrapped.received)


@pytest.mark.parametrize(
    ('pixels', 'as_dict'),
    [('render', False), ('observation', False), ('observation.pixels', True)],
)
def test_the_image_comes_from_its_place(pixels, as_dict):
    world = line(pixels=pixels, kwargs={'as_dict': as_dict})
    world.reset(0)
    before = world.render()
    walk(world, 1.0)
    assert before.shape == (SIZE, SIZE, 3)
    assert int(world.render().argmax(axis=1)[0, 0]) - int(before.argmax(axis=1)[0, 0]) == 3
    assert before.argmax(axis=1)[0, 0] < 3  # the first image has not changed


def test_equal_seeds_give_equal_scenes():
    world = line()
    places = []
    for seed in (1, 2, 1):
        world.reset(seed)
        places.append(world.information['place'][0])
    assert places[0] == places[2] != places[1]


def test_positions_are_those_in_the_file():
    assert line().positions() == {}
    world = line(positions={'walker': 'info.place', 'worth': 'reward'})
    world.reset(4)
    walk(world, 1.0)
    found = world.positions()
    assert list(found) == ['walker', 'worth']
    np.testing.assert_array_equal(found['walker'], [*world.information['place'], 0])
    np.testing.assert_array_equal(found['worth'], [world._time_step.reward, 0, 0])


def test_a_position_may_be_numbers_of_several_places():
    world = line(positions={'walker': ['reward', 'info.place.0']})
    world.reset(4)
    walk(world, 1.0)
    expected = [world._time_step.reward, world.information['place'][0], 0]
    np.testing.assert_array_equal(world.positions()['walker'], expected)


@pytest.mark.parametrize(
    ('place', 'match'),
    [
        ('info.nowhere', 'nowhere'),
        ('observation', 'expected one to three numbers'),
        (['info.place.0', 'info.nowhere'], 'nowhere'),
        (['info.place.0', 'info.place'], 'info.place: expected one number'),
        (['info.place.0'] * 4, 'expected one to three numbers'),
        ([], 'expected one to three numbers'),
    ],
)
def test_a_missing_position_is_an_error_at_construction(place, match):
    with pytest.raises(ValueError, match=match):
        line(pixels='observation', positions={'walker': place})


@pytest.mark.parametrize(
    ('fields', 'expected'),
    [
        ({'success': 'terminated'}, [False, False, False, True]),
        ({'success': 'reward', 'success_at': 1.9}, [False, True, True, True]),
        ({'success': 'info.share', 'success_at': 0.7}, [False, False, True, True]),
    ],
)
def test_success_comes_from_its_place(fields, expected):
    world = line(**fields)
    world.reset(4)
    assert not world.success()
    assert 0.9 < world.information['place'][0] < 1
    assert walk(world, 0, 1, 1, 1) == expected


def test_a_time_limit_is_ignored_and_a_terminated_environment_stays_still():
    world = line()
    world.reset(0)
    assert walk(world, *[0.0] * 5, 1, 1, 1, 0, -1)[-3:] == [True] * 3
    assert len(received(world)) == 8
    world.reset(0)
    assert not world.success()


def test_repeat_makes_several_steps_and_none_after_termination():
    world = line(repeat=2)
    world.reset(0)
    walk(world, 1.0)
    assert len(received(world)) == 2
    assert walk(world, 1.0, 0.0) == [True, True]
    assert len(received(world)) <= 4


def test_affine_maps_the_bounds_of_the_actions():
    world = line(with_action((0, 0), (10, 10)), action='affine')
    world.reset(0)
    world.step(np.array([5.0, 7.5]))
    world.step(np.array([20.0, 0.0]))
    np.testing.assert_allclose(received(world), [[0, 1], [1, -2]])
    assert received(world).dtype == np.float32


def test_relative_to_adds_an_action_to_a_position():
    world = line(with_action((-9, -9), (9, 9)), relative_to='info.place')
    world.reset(0)
    start = world.information['place'][0]
    world.step(np.array([-0.25, 0.5]))
    np.testing.assert_allclose(received(world), [[start - 0.25, 0.5]], rtol=1e-6)


def test_the_instruction_can_come_from_the_environment():
    world = line(instruction='', instruction_from='info.asked')
    assert world.instruction == SENTENCE


@pytest.mark.parametrize(
    ('fields', 'words'),
    [
        ({'success': 'info.score'}, ["'score'", 'place, share, word']),
        ({'success': 'info.word'}, ['info.word', "'far'"]),
        ({'success': 'luck'}, ['luck', 'observation, info, reward or terminated']),
        ({'pixels': 'observation.pixels'}, ["'pixels'", 'ndarray']),
        ({'pixels': 'info.share'}, ["expected 'share', got keys place, asked"]),
        ({'pixels': 'reward'}, ['reward', 'uint8', 'float64']),
        ({'instruction': '', 'instruction_from': 'info.place'}, ['info.place', 'a sentence']),
        ({'relative_to': 'info.home'}, ["'home'", 'place']),
    ],
)
def test_a_missing_or_wrong_value_is_an_error_at_construction(fields, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the words are tested below
        line(**fields)
    assert all(word in str(error.value) for word in words), error.value


def test_an_environment_without_an_image_is_refused():
    with pytest.raises(ValueError, match='render: expected an image, got None'):
        line(kwargs={'without_image': True})


def test_an_error_about_the_image_size_has_both_sizes():
    robot = replace(ROBOT, cameras=(Camera('eye', 'image', height=20, width=20),))
    with pytest.raises(ValueError, match=r'\(20, 20, 3\), got \(16, 16, 3\)'):
        line(robot)


@pytest.mark.parametrize(
    ('low', 'high', 'words'),
    [
        ((-1, -1), (1, 1), ['(-1, -1) to (1, 1)', '[-1.0, -2.0] to [1.0, 2.0]', 'affine']),
        ((-1,), (1,), ['1 values (a)', 'Box([-1. -2.], [1. 2.], (2,), float32)']),
        ((-1, -2, -1), (1, 2, 1), ['3 values (a, b, c)', '(2,)']),
    ],
)
def test_an_error_about_different_actions_has_both(low, high, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011, the words are tested below
        line(with_action(low, high))
    assert all(word in str(error.value) for word in words), error.value


@pytest.mark.parametrize(
    ('space', 'action', 'words'),
    [
        (spaces.Discrete(3), 'same', 'expected a Box .* got Discrete'),
        (spaces.Box(-np.inf, np.inf, (2,)), 'affine', 'finite bounds'),
    ],
)
def test_actions_that_cannot_be_mapped_are_refused(space, action, words):
    with pytest.raises(ValueError, match=words):
        line(action=action, kwargs={'action_space': space})


class Worn(Line):
    """A line whose dot starts where the last scene has left it."""

    def reset(self, *, seed=None, options=None):
        left = getattr(self, 'place', 1.0)
        _, info = super().reset(seed=seed)
        self.place = left
        return self._observe(), info


def test_a_scene_that_depends_on_the_one_before_is_refused():
    gymnasium.register('efm_test/Worn-v0', entry_point=Worn)
    try:
        with pytest.raises(ValueError, match=r'the same scene .* got another .*image of eye'):
            line(id='efm_test/Worn-v0')
    finally:
        del gymnasium.registry['efm_test/Worn-v0']


def test_an_error_in_the_environment_names_it():
    with pytest.raises(
        RuntimeError, match='Line-v0: step failed: ZeroDivisionError: motor failure'
    ):
        line(kwargs={'breaks_at': 0})
    with pytest.raises(
        RuntimeError, match=r"no_such:thing: make failed: ModuleNotFoundError: .*'no"
    ):
        line(id='no_such:thing')
    with pytest.raises(RuntimeError, match=r'make failed: .*colour'):
        line(kwargs={'colour': 'red'})


def test_the_environment_is_closed_by_close_and_after_an_error():
    world = line()
    world.close()
    assert world._environment.unwrapped.closed
    made = []
    gymnasium.register(
        'efm_test/Kept-v0', entry_point=lambda **words: made.append(Line(**words)) or made[-1]
    )
    try:
        with pytest.raises(ValueError, match='luck'):
            line(id='efm_test/Kept-v0', success='luck')
    finally:
        del gymnasium.registry['efm_test/Kept-v0']
    assert made[0].closed


def test_the_file_needs_a_section_with_an_id_and_one_source_of_the_sentence(tmp_path):
    with pytest.raises(ValueError, match='either a sentence or instruction_from'):
        EnvironmentConfig(id=NAME)
    with pytest.raises(ValueError, match='id: expected'):
        EnvironmentConfig(instruction=SENTENCE)
    path = tmp_path / 'robot.yaml'
    robot = 'name: dot\ncameras: [{name: eye, topic: image, height: 16, width: 16}]\n'
    robot += 'observation_size: [16, 16]\n'
    robot += 'action: {names: [x, y], unit: m, low: [-1, -2], high: [1, 2]}\n'
    path.write_text(robot)
    with pytest.raises(ValueError, match='a section `gymnasium`, got none'):
        load_world(path)
    contract = load_embodiment(path).hash
    path.write_text(f'{robot}gymnasium: {{id: "{NAME}", instruction: {SENTENCE}}}\n')
    assert load_simulation(path, EnvironmentConfig).instruction == SENTENCE
    assert load_world(path).instruction == SENTENCE
    assert load_embodiment(path).hash == contract
    path.write_text(f'{robot}gymnasium: {{id: "{NAME}", instrution: {SENTENCE}}}\n')
    with pytest.raises(ValueError, match="did you mean 'instruction'"):
        load_world(path)


def test_the_table_behind_gymnasium_equals_the_table(embodiment):
    config = EnvironmentConfig(
        id='efm_sim:efm/Table-v0',
        kwargs={'body': 'tool'},
        pixels='observation.image',
        success='info.success',
        instruction_from='observation.instruction',
    )
    world = GymnasiumWorld(config, embodiment)
    table = Table(TableConfig(body='tool'))
    world.reset(3)
    table.reset(3)
    for _ in range(3):
        for one in (world, table):
            one.step(np.float32([0.02, -0.01]))
    np.testing.assert_array_equal(world.render(), table.render())
    assert world.instruction == table.instruction
    world.close()


class GoRight:
    """An actor that always moves right."""

    version = 0

    def start(self, episode):
        assert episode.world.instruction == SENTENCE

    def act(self, episodes):
        return [PolicyAction(np.array([10, 5]), np.float32([1, 0])) for _ in episodes]


def test_a_rollout_runs_in_a_gymnasium_world():
    runner = Runner(
        ROBOT,
        GoRight(),
        reward_model=None,
        kind=Kind.EVALUATION,
        max_steps=9,
        on_episode=lambda episode: None,
    )
    episodes = runner.run([line(), line()], range(3), 0)
    assert [episode.outcome for episode in episodes] == [Outcome.SUCCESS] * 3
    assert {len(episode) for episode in episodes} <= {3, 4}


def test_an_environment_without_bounds_takes_the_robots_values_as_they_are():
    endless = np.full(2, np.inf, np.float32)
    world = line(kwargs={'action_space': spaces.Box(-endless, endless)})
    world.reset(0)
    world.step(np.array([0.5, -2.0]))
    np.testing.assert_array_equal(received(world), [[0.5, -2.0]])


def test_bounds_that_are_infinite_cannot_be_mapped_and_the_error_says_what_can_be_written():
    endless = np.full(2, np.inf, np.float32)
    with pytest.raises(ValueError, match=r'expected finite .* write `action: same`'):
        line(kwargs={'action_space': spaces.Box(-endless, endless)}, action='affine')


STEP = TimeStep(
    ({'camera.left': 1, 7: 2, 'a': {'b': 3}, 'a.b': 4}, 'second'),
    {'task/success': True, 'x.y': {'z.w': 5}, '0': 6},
)


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        ('observation.0.camera.left', 1),
        ('observation.0.7', 2),
        ('observation.0.a.b', 3),
        ('observation.1', 'second'),
        ('info.task/success', True),
        ('info.x.y.z.w', 5),
        ('info.0', 6),
    ],
)
def test_a_key_may_have_dots_or_be_a_number(place, value):
    assert look_up(place, STEP) == value


@pytest.mark.parametrize(
    ('place', 'said'),
    [
        ('observation.2', r"expected '2', got tuple of 2; write .0 to .1 behind it"),
        ('observation.0.b', r"expected 'b', got keys camera.left, 7, a, a.b"),
        ('observation.1.x', r"expected 'x', got str"),
    ],
)
def test_a_place_without_a_value_is_one_line_with_what_there_is(place, said):
    with pytest.raises(ValueError, match=said):
        look_up(place, STEP)


def test_an_image_in_a_tuple_is_named_by_its_number(monkeypatch):
    observe = Line._observe
    monkeypatch.setattr(Line, '_observe', lambda self: (observe(self), np.zeros(3)))
    assert line(pixels='observation.0').render().shape == (SIZE, SIZE, 3)
    with pytest.raises(ValueError, match=r'an image, got tuple of 2; write .0 to .1'):
        line(pixels='observation')
