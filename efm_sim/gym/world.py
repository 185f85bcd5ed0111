"""Any Gymnasium environment with pixels as a world: the reverse of ``environment.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, KW_ONLY
import math
from typing import Any

from efm_core.embodiment import Embodiment, load_embodiment, load_simulation
from efm_core.specs import image_spec
from efm_sim.gym.config import EnvironmentConfig
import gymnasium
from gymnasium.spaces import Box
import numpy as np

# The robot's own rules end an episode, and the checks of this file are stricter than Gymnasium's.
MAKE = {'max_episode_steps': -1, 'disable_env_checker': True}
RENDER = 'render'


@dataclass(frozen=True)
class Moment:
    """What an environment says after a reset or a step; fields as Gymnasium has them."""

    observation: Any
    info: Mapping[str, Any] = field(default_factory=dict)
    _: KW_ONLY
    reward: float = math.nan
    terminated: bool = False
    truncated: bool = False


class GymnasiumWorld:
    """
    One environment behind the interface of ``efm_sim.table.world.Table``.

    An environment that has ended stands still until the next reset. Where things are in metres
    nobody knows: there are no joints, no calibration, and no positions but those that the file
    names.
    """

    joint_names: tuple[str, ...] = ()

    def __init__(self, config: EnvironmentConfig, embodiment: Embodiment):
        """
        Make the environment and try it out for one step: what is missing is missing now.

        :raises ValueError: when it is not what the file or the embodiment says.
        :raises RuntimeError: when the environment itself fails.
        """
        self._config = config
        camera = embodiment.cameras[0]
        self._picture = image_spec(f'{config.id}: {config.pixels}', camera.height, camera.width)
        with self._named('make'):
            mode = {'render_mode': 'rgb_array'} if config.pixels == RENDER else {}
            self._environment = gymnasium.make(config.id, **{**MAKE, **mode, **config.kwargs})
        try:
            self._actions = ActionMap(config, embodiment, space=self._environment.action_space)
            self.reset(0)
            self.step(np.mean([embodiment.action.low, embodiment.action.high], axis=0))
            self.render()
            self.positions()
            self.reset(0)
            self.positions()
        except BaseException:
            self.close()
            raise

    def reset(self, seed: int) -> None:
        """
        Bring the scene of ``seed``.

        :raises ValueError: when there is no sentence where the file says.
        """
        with self._named('reset'):
            self._moment = Moment(*self._environment.reset(seed=int(seed)))
        self._success = False
        if _has(self._config.success, self._moment):
            self._success = self._is_done()
        where = self._config.instruction_from
        self.instruction = look_up(where, self._moment) if where else self._config.instruction
        if not isinstance(self.instruction, str) or not self.instruction:
            raise ValueError(f'{where}: expected a sentence, got {self.instruction!r}')

    def step(self, action: np.ndarray) -> None:
        """Execute ``action``, ``(A,)`` in units of the embodiment, for one control step."""
        values = self._actions.to_environment(action, self._moment)
        done = False
        for _ in range(self._config.repeat):
            if self._moment.terminated or self._moment.truncated:
                return
            with self._named('step'):
                observation, reward, terminated, truncated, info = self._environment.step(values)
            self._moment = Moment(
                observation, info, reward=reward, terminated=terminated, truncated=truncated
            )
            done = done or self._is_done()
            self._success = done

    def render(self) -> np.ndarray:
        """
        Return the picture, ``(H, W, 3)`` uint8 RGB.

        :raises ValueError: when there is none, or not of the size and type of the camera.
        """
        if self._config.pixels == RENDER:
            with self._named(RENDER):
                picture = self._environment.render()
        else:
            picture = look_up(self._config.pixels, self._moment)
        if picture is None:
            raise ValueError(f'{self._picture.name}: expected a picture, got None')
        return self._picture.check(np.array(picture))

    def success(self) -> bool:
        """Return the truth: whether the task was done in the last control step."""
        return self._success

    @property
    def demonstrator(self) -> str:
        """The scripted demonstrator of the environment, ``module:class``; empty without one."""
        return self._config.demonstrator

    @property
    def information(self) -> Mapping[str, Any]:
        """What the environment tells beside the observation; for demonstrators."""
        return self._moment.info

    def positions(self) -> dict[str, np.ndarray]:
        """
        Return what the file names, ``(3,)`` each, in the environment's own units.

        :raises ValueError: when one is not there, or is not one to three numbers.
        """
        return {name: self._position(place) for name, place in self._config.positions.items()}

    def _position(self, place: str) -> np.ndarray:
        value = np.atleast_1d(np.asarray(look_up(place, self._moment)))
        if value.ndim != 1 or not 1 <= len(value) <= 3 or value.dtype.kind not in 'iuf':
            raise ValueError(f'{place}: expected one to three numbers, got {value!r}')
        return np.pad(value.astype(np.float64), (0, 3 - len(value)))

    def distance(self) -> float:
        """Return NaN: nobody knows how far the goal is."""
        return math.nan

    @property
    def joint_positions(self) -> np.ndarray:
        """No joints, ``(0,)``."""
        return np.zeros(0)

    def camera_matrix(self) -> np.ndarray:
        """Return zeros, ``(3, 3)``, which in ROS means not calibrated."""
        return np.zeros((3, 3))

    def close(self) -> None:
        """Let the environment free what it holds."""
        with self._named('close'):
            self._environment.close()

    def _is_done(self) -> bool:
        where = self._config.success
        value = look_up(self._config.success, self._moment)
        try:
            return float(value) >= self._config.success_at
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'{where}: expected yes, no or a number for success, got {value!r}'
            ) from error

    @contextmanager
    def _named(self, what: str) -> Iterator[None]:
        """Say whose fault it is: the environment may be anybody's code."""
        try:
            yield
        except Exception as error:
            raise RuntimeError(
                f'{self._config.id}: {what} failed: {type(error).__name__}: {error}'
            ) from error


class ActionMap:
    """From an embodiment's actions to those of an environment."""

    def __init__(self, config: EnvironmentConfig, embodiment: Embodiment, *, space: Any):
        """
        Compare both.

        :raises ValueError: when they do not fit, with both.
        """
        self._config = config
        robot = embodiment.action
        ours = (
            f'{len(robot.names)} values ({", ".join(robot.names)}) of {robot.low} to {robot.high}'
        )
        fits = isinstance(space, Box) and space.shape == (len(robot.names),)
        if not fits:
            raise ValueError(f'{config.id}: action: expected a Box for {ours}, got {space}')
        self._space = space
        self._robot_low = np.array(robot.low)
        self._robot_high = np.array(robot.high)
        low = space.low.astype(np.float64)
        high = space.high.astype(np.float64)
        same = np.allclose(low, self._robot_low) and np.allclose(high, self._robot_high)
        if config.action == 'same' and not config.relative_to and not same:
            raise ValueError(
                f'{config.id}: action: expected {ours}, got {low.tolist()} to {high.tolist()}; '
                'change the embodiment, or map the bounds by `action: affine`'
            )
        if config.action == 'affine' and not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(
                f'{config.id}: action: expected finite bounds to map {ours} to, '
                f'got {low.tolist()} to {high.tolist()}'
            )

    def to_environment(self, action: np.ndarray, moment: Moment) -> np.ndarray:
        """
        Return what the environment's ``step`` takes, inside its bounds.

        :param action: ``(A,)``, units of the embodiment.
        :raises ValueError: when the position that it is relative to is not there.
        """
        low = self._space.low.astype(np.float64)
        high = self._space.high.astype(np.float64)
        values = np.asarray(action, np.float64)
        if self._config.action == 'affine':
            share = (values - self._robot_low) / (self._robot_high - self._robot_low)
            values = low + share * (high - low)
        if self._config.relative_to:
            values = values + np.asarray(look_up(self._config.relative_to, moment), np.float64)
        return np.clip(values, low, high).astype(self._space.dtype)


def look_up(place: str, moment: Moment) -> Any:
    """
    Return what is at a place such as ``observation.pixels``, ``info.coverage`` or ``reward``.

    :raises ValueError: when there is nothing, with what there is.
    """
    root, *keys = place.split('.')
    if root not in ('observation', 'info', 'reward', 'terminated'):
        raise ValueError(
            f'{place}: expected a place that begins with observation, info, reward or terminated'
        )
    found = getattr(moment, root)
    for key in keys:
        if not isinstance(found, Mapping) or key not in found:
            there = (
                ', '.join(map(str, found)) if isinstance(found, Mapping) else type(found).__name__
            )
            raise ValueError(f'{place}: expected {key!r} there, got {there or "nothing"}')
        found = found[key]
    return found


def _has(place: str, moment: Moment) -> bool:
    """Return whether there is something; the word of a reset need not say all that a step does."""
    try:
        look_up(place, moment)
    except ValueError:
        return False
    return True


def load_world(path: str) -> GymnasiumWorld:
    """Return the world that plays the embodiment of a YAML file; raises as ``GymnasiumWorld``."""
    return GymnasiumWorld(load_simulation(path, EnvironmentConfig), load_embodiment(path))
