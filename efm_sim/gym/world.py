"""A Gymnasium environment with pixels as a world. The inverse is `efm_sim.table.environment`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, KW_ONLY, replace
import math
import re
from typing import Any, SupportsFloat

from efm_core.config import expect
from efm_core.embodiment import Embodiment, load_embodiment, load_simulation
from efm_core.observation import MeasuredState
from efm_core.specs import ArraySpec, image_spec
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.proxy import EnvironmentProxy
import gymnasium
from gymnasium.spaces import Box
import numpy as np

# The embodiment's rules end an episode, and the checks below replace those of Gymnasium.
# Gymnasium before 1.0 does not know that -1 steps mean no limit.
MAKE_ARGUMENTS = {'max_episode_steps': 10**9, 'disable_env_checker': True}
RENDER = 'render'
TRIAL_STEPS = 5
LARGEST_INFO = 1000  # numbers in an array; larger ones are images, which demonstrators get too


@dataclass(frozen=True)
class TimeStep:
    """The result of a reset or a step of an environment; fields as in Gymnasium."""

    observation: Any
    info: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    reward: SupportsFloat = math.nan
    terminated: bool = False
    truncated: bool = False


class GymnasiumWorld:
    """
    One environment as an `efm_sim.world.PublishedWorld`.

    After the environment has terminated, `step` does nothing until the next reset. There is no
    camera calibration. Positions and joints are those that the embodiment's file names.
    """

    def __init__(self, config: EnvironmentConfig, embodiment: Embodiment):
        """
        Create the environment and check it with some steps, so that errors appear now.

        :param config: section ``gymnasium`` of the embodiment's file.
        :raises ValueError: when the environment does not fit the file or the embodiment, or makes
            another scene of the same seed.
        :raises RuntimeError: when the environment fails.
        """
        self._config = config
        self._views = views_of(config, embodiment)
        with self._named('make'):
            renders = any(view.place == RENDER for view in self._views)
            mode = {'render_mode': 'rgb_array'} if renders else {}
            arguments = {**MAKE_ARGUMENTS, **mode, **config.kwargs}
            self._environment = (
                EnvironmentProxy(config, arguments)
                if config.python
                else gymnasium.make(config.id, **arguments)
            )
        try:
            self._actions = ActionMap(config, embodiment, space=self._environment.action_space)
            self._check(np.array(embodiment.action.high))
        except BaseException:
            self.close()
            raise

    def reset(self, seed: int) -> None:
        """
        Make the scene of ``seed``.

        :raises ValueError: when there is no sentence at its place.
        :raises RuntimeError: when the environment fails.
        """
        with self._named('reset'):
            self._time_step = TimeStep(*self._environment.reset(seed=int(seed)))
        self._success = False
        if _exists(self._config.success, self._time_step):
            self._success = self._is_done()
        where = self._config.instruction_from
        instruction = look_up(where, self._time_step) if where else self._config.instruction
        if not isinstance(instruction, str) or not instruction:
            raise ValueError(f'{where}: expected a sentence, got {instruction!r}')
        self.instruction = instruction

    def step(self, action: np.ndarray) -> None:
        """
        Execute ``action`` for one control step; ``(A,)``, units of the embodiment.

        :raises RuntimeError: when the environment fails.
        """
        values = self._actions.to_environment(action, self._time_step)
        done = False
        for _ in range(self._config.repeat):
            if self._time_step.terminated or self._time_step.truncated:
                return
            with self._named('step'):
                observation, reward, terminated, truncated, info = self._environment.step(values)
            self._time_step = TimeStep(
                observation, info, reward=reward, terminated=terminated, truncated=truncated
            )
            done = done or self._is_done()
            self._success = done

    def render(self) -> np.ndarray:
        """Return the image of the first camera; raises as `images`."""
        return self._image(self._views[0])

    def images(self) -> tuple[np.ndarray, ...]:
        """
        Return the image of each camera, ``(H, W, 3)`` uint8 RGB.

        :raises ValueError: when there is none, or its size or type differs from the camera's.
        :raises RuntimeError: when the environment fails.
        """
        return tuple(self._image(view) for view in self._views)

    def _image(self, view: View) -> np.ndarray:
        if view.place == RENDER:
            with self._named(RENDER):
                environment = self._environment
                renders = environment.unwrapped if view.arguments else environment
                image: Any = renders.render(**view.arguments)
        else:
            image = look_up(view.place, self._time_step)
        if image is None or isinstance(image, (Mapping, tuple, list)):
            raise ValueError(f'{view.spec.name}: expected an image, got {_describe(image)}')
        return view.spec.check(np.array(image))

    def terminated(self) -> bool:
        """Return whether the environment has ended, by itself or by a time limit of its own."""
        return self._time_step.terminated or self._time_step.truncated

    def success(self) -> bool:
        """Return whether the task was done in the last control step: truth, for reports only."""
        return self._success

    @property
    def demonstrator(self) -> str:
        """The scripted demonstrator of the environment, ``module:class``; empty without one."""
        return self._config.demonstrator

    @property
    def information(self) -> Mapping[str, Any]:
        """The newest ``info`` of the environment."""
        return self._time_step.info

    def info(self) -> dict[str, Any]:
        """Return the newest ``info`` as JSON has it; see `as_json`."""
        return dict(as_json(self.information))

    def positions(self) -> dict[str, np.ndarray]:
        """
        Return the positions that the file names, ``(3,)`` float64 each, environment's units.

        :raises ValueError: when a position is missing, or is not one to three numbers.
        """
        return {name: self._position(place) for name, place in self._config.positions.items()}

    def _position(self, place: str | list[str]) -> np.ndarray:
        found: Any
        if isinstance(place, list):
            found = [self._number(each) for each in place]
        else:
            found = look_up(place, self._time_step)
        value = np.atleast_1d(np.asarray(found))
        if value.ndim != 1 or not 1 <= len(value) <= 3 or value.dtype.kind not in 'iuf':
            raise ValueError(f'{place}: expected one to three numbers, got {value!r}')
        return np.pad(value.astype(np.float64), (0, 3 - len(value)))

    def distance(self) -> float:
        """Return NaN: the distance to the goal is unknown."""
        return math.nan

    def state(self) -> MeasuredState:
        """
        Return the joints that the file names, environment's units.

        :raises ValueError: when a value is missing, or is not one number.
        """
        positions, velocities = (
            np.array([self._number(place) for place in places.values()], np.float64)
            for places in (self._config.joints, self._config.joint_velocities)
        )
        return MeasuredState(tuple(self._config.joints), positions, velocities=velocities)

    def _number(self, place: str) -> float:
        value = np.asarray(look_up(place, self._time_step))
        if value.size != 1 or value.dtype.kind not in 'iufb':
            raise ValueError(f'{place}: expected one number, got {value!r}')
        return float(value.reshape(()))

    def camera_matrix(self) -> np.ndarray:
        """Return zeros, ``(3, 3)``. In ROS they mean that the camera is not calibrated."""
        return np.zeros((3, 3))

    def close(self) -> None:
        """Close the environment."""
        with self._named('close'):
            self._environment.close()

    def _check(self, action: np.ndarray) -> None:
        """
        Read all that the file names, after a reset and after steps, and compare two resets.

        :param action: largest values, so that the robot moves and something may be left of it.
        :raises ValueError: when a value is missing, or the second scene differs from the first.
        """
        self.reset(0)
        first = self._contents()
        for _ in range(TRIAL_STEPS):
            self.step(action)
            self._contents()
        self.reset(0)
        again = self._contents()
        differs = [name for name in first if not _is_same(first[name], again[name])]
        wanted = 'the same scene from two resets with one seed'
        expect(not differs, f'{self._config.id}: reset(seed=0)', wanted, f'another {differs}')

    def _contents(self) -> dict[str, np.ndarray]:
        """Return all that robots, demonstrators and reports receive of this moment, by name."""
        state = self.state()
        images = zip(self._views, self.images(), strict=True)
        return {
            'instruction': np.array(self.instruction),
            **{f'image of {view.camera}': image for view, image in images},
            **{f'position of {name}': value for name, value in self.positions().items()},
            **{f'joint {name}': state.positions[i] for i, name in enumerate(state.joints)},
            'joint velocities': state.velocities,
        }

    def _is_done(self) -> bool:
        where = self._config.success
        value = look_up(self._config.success, self._time_step)
        try:
            return float(value) >= self._config.success_at
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'{where}: expected a boolean or a number for success, got {value!r}'
            ) from error

    @contextmanager
    def _named(self, call: str) -> Iterator[None]:
        """Name the environment and the call in every error of the environment's code."""
        try:
            yield
        except Exception as error:
            raise RuntimeError(
                f'{self._config.id}: {call} failed: {type(error).__name__}: {error}'
            ) from error


@dataclass(frozen=True)
class View:
    """
    Where the image of one camera is.

    :param place: `RENDER`, or a place in the newest result of the environment.
    :param spec: array spec of the image.
    :param arguments: of the environment's own ``render``; empty: that of the wrappers, without
        arguments.
    """

    camera: str
    place: str
    _: KW_ONLY
    spec: ArraySpec
    arguments: Mapping[str, Any] = field(default_factory=dict)


def views_of(config: EnvironmentConfig, embodiment: Embodiment) -> tuple[View, ...]:
    """
    Return where the image of each camera is, in the order of the embodiment.

    :raises ValueError: when there is not one place for each camera.
    """
    cameras = embodiment.cameras
    names = [camera.name for camera in cameras]
    pixels = config.pixels
    places = pixels if isinstance(pixels, dict) else {names[0]: pixels}
    wanted = f'a place for each of {", ".join(names)}'
    expect(sorted(places) == sorted(names), f'{config.id}: pixels', wanted, pixels)
    return tuple(
        _view(
            camera.name,
            places[camera.name],
            image_spec(f'{config.id}: {camera.name}', camera.height, camera.width),
        )
        for camera in cameras
    )


def _view(camera: str, place: Any, spec: ArraySpec) -> View:
    if isinstance(place, dict):
        fits = list(place) == [RENDER] and isinstance(place[RENDER], dict)
        expect(fits, f'pixels: {camera}', 'a place, or {render: {name: value}}', place)
        return View(camera, RENDER, spec=spec, arguments=place[RENDER])
    expect(isinstance(place, str), f'pixels: {camera}', 'the name of a place', repr(place))
    return View(camera, place, spec=replace(spec, name=f'{spec.name}: {place}'))


class ActionMap:
    """Converts the actions of an embodiment to those of an environment."""

    def __init__(self, config: EnvironmentConfig, embodiment: Embodiment, *, space: Any):
        """
        Compare the actions of both.

        :param space: action space of the environment.
        :raises ValueError: when they do not fit; the message has both.
        """
        self._config = config
        robot = embodiment.action
        expected = (
            f'{len(robot.names)} values ({", ".join(robot.names)}) of {robot.low} to {robot.high}'
        )
        fits = isinstance(space, Box) and space.shape == (len(robot.names),)
        if not fits:
            raise ValueError(f'{config.id}: action: expected a Box for {expected}, got {space}')
        self._space = space
        self._robot_low = np.array(robot.low)
        self._robot_high = np.array(robot.high)
        low = space.low.astype(np.float64)
        high = space.high.astype(np.float64)
        # An environment without a bound takes the robot's values as they are.
        same = all(
            np.allclose(np.where(np.isinf(bound), own, bound), own)
            for bound, own in ((low, self._robot_low), (high, self._robot_high))
        )
        if config.action == 'same' and not config.relative_to and not same:
            raise ValueError(
                f'{config.id}: action: expected {expected}, '
                f'got {low.tolist()} to {high.tolist()}; '
                'change the embodiment, or map finite bounds by `action: affine`'
            )
        if config.action == 'affine' and not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(
                f'{config.id}: action: expected finite bounds to map {expected} to, '
                f'got {low.tolist()} to {high.tolist()}; write `action: same`, which takes the '
                "robot's values where the environment has no bound"
            )

    def to_environment(self, action: np.ndarray, time_step: TimeStep) -> np.ndarray:
        """
        Return the action for the environment's ``step``, clipped to its bounds, ``(A,)``.

        :param action: ``(A,)``, units of the embodiment.
        :param time_step: newest result of the environment.
        :raises ValueError: when the position to which the action is added is missing.
        """
        low = self._space.low.astype(np.float64)
        high = self._space.high.astype(np.float64)
        values = np.asarray(action, np.float64)
        if self._config.action == 'affine':
            fraction = (values - self._robot_low) / (self._robot_high - self._robot_low)
            values = low + fraction * (high - low)
        if self._config.relative_to:
            values = values + np.asarray(look_up(self._config.relative_to, time_step), np.float64)
        return np.clip(values, low, high).astype(self._space.dtype)


def look_up(place: str, time_step: TimeStep) -> Any:
    """
    Return the value at a place such as ``observation.pixels``, ``info.coverage`` or ``reward``.

    A key may have dots itself, or be a number: ``info.a.b``, ``observation.0`` of a tuple or an
    array.

    :raises ValueError: when there is no value; the message has the names that exist.
    """
    root, *keys = place.split('.')
    if root not in ('observation', 'info', 'reward', 'terminated'):
        raise ValueError(
            f'{place}: expected a place that begins with observation, info, reward or terminated'
        )
    return _descend(place, keys, getattr(time_step, root))


def _descend(place: str, keys: list[str], found: Any) -> Any:
    """Return the value at some keys; one key may be a number, or have dots itself."""
    if not keys:
        return found
    for count in range(1, len(keys) + 1):
        word = '.'.join(keys[:count])
        for key in (word, int(word)) if re.fullmatch(r'-?\d+', word) else (word,):
            if isinstance(found, Mapping) and key in found:
                return _descend(place, keys[count:], found[key])
            if _is_sequence(found) and key in range(len(found)):
                return _descend(place, keys[count:], found[int(key)])
    raise ValueError(f'{place}: expected {keys[0]!r}, got {_describe(found)}')


def _describe(value: Any) -> str:
    """Return what a value is, with the keys that a place may add."""
    if isinstance(value, Mapping):
        return f'keys {", ".join(map(str, value)) or "none"}'
    if _is_sequence(value):
        return f'{type(value).__name__} of {len(value)}; write .0 to .{len(value) - 1} behind it'
    return type(value).__name__


def as_json(value: Any) -> Any:
    """
    Return a value as JSON has it; what JSON does not have is left out of mappings and lists.

    NumPy's numbers become numbers, arrays become lists. Arrays of more than `LARGEST_INFO` numbers
    are left out.
    """
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {str(key): as_json(item) for key, item in value.items() if _is_plain(item)}
    if isinstance(value, (tuple, list)):
        return [as_json(item) for item in value if _is_plain(item)]
    return value


def _is_plain(value: Any) -> bool:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.dtype.kind in 'iufb' and value.size <= LARGEST_INFO
    return value is None or isinstance(value, (bool, int, float, str, Mapping, tuple, list))


def _is_sequence(value: Any) -> bool:
    is_array = isinstance(value, np.ndarray) and value.ndim > 0
    return is_array or isinstance(value, (tuple, list))


def _is_same(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two arrays are equal; NaN, an unknown number, equals NaN."""
    return np.array_equal(first, second, equal_nan=first.dtype.kind == 'f')


def _exists(place: str, time_step: TimeStep) -> bool:
    """Return whether a place has a value; a reset may have fewer values than a step."""
    try:
        look_up(place, time_step)
    except ValueError:
        return False
    return True


def load_world(path: str) -> GymnasiumWorld:
    """Return the world of the embodiment in a YAML file; raises as `GymnasiumWorld`."""
    return GymnasiumWorld(load_simulation(path, EnvironmentConfig), load_embodiment(path))
