"""
Meta-World as Gymnasium environments with cameras, and its scripted policies as a demonstrator.

``efm/MetaWorld-v0`` is one task of the package ``metaworld``: a hand with a gripper above a table.
``efm/MetaWorldTasks-v0`` is several tasks as one robot; the seed of a scene selects the task. An
action has x, y, z, each -1 to 1 for up to 1 cm in each of the environment's own steps, and the
effort of the gripper, -1 open to 1 closed.
"""

from __future__ import annotations

from collections.abc import Mapping
import math
import threading
from typing import Any, ClassVar, NamedTuple
import warnings
from weakref import WeakValueDictionary

from efm_core.config import config, expect, parameter
from efm_sim.graphics import make_renderer, mujoco
from efm_sim.scene import Scene
import gymnasium
from gymnasium import spaces
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import ENV_POLICY_MAP
from metaworld.sawyer_xyz_env import SawyerXYZEnv
import numpy as np

SCENE_CAMERA = 'scene'
WELD_SIZE = 11  # numbers of a weld constraint
NO_LIMIT = 10**9  # steps; the embodiment's rules end an episode
# What a camera must not see of the robot: it hides nothing, and costs time.
HIDDEN = ('base', 'controller_box', 'pedestal_feet', 'pedestal', 'torso', 'head', 'screen')
BURST_DECISIONS = (2, 4)
HIDDEN_GROUP = 5  # of geoms; MuJoCo draws groups 0 to 2
# By task, size and thread. A graphics context takes 70 MB, and serves all environments of a task.
RENDERERS: WeakValueDictionary[tuple[str, int, int], mujoco.Renderer] = WeakValueDictionary()


class Viewpoint(NamedTuple):
    """A camera: its place, the point in the middle of its image [m], its vertical angle [deg]."""

    place: tuple[float, float, float]
    target: tuple[float, float, float]
    fovy: float


# The built-in cameras show an object in two of 64 pixels.
VIEWPOINT = Viewpoint((0.75, 0.075, 0.7), (0.0, 0.66, 0.1), 38.0)


class MetaWorld(gymnasium.Env):
    """
    One task; it never terminates.

    The observation is x, y, z of the hand [m] and the opening of the gripper, 0 to 1. ``info`` has
    ``success``, ``task`` and ``state``: what the scripted policies see, goal included.
    """

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 27}  # noqa: RUF012

    def __init__(
        self,
        task: str,
        render_mode: str | None = None,
        *,
        steps: int = 3,
        start_spread: float = 0.05,
    ) -> None:
        """
        Create the task.

        :param task: name in the package, such as ``push-v3``.
        :param steps: the environment's own steps of one action, 12.5 ms each.
        :param start_spread: largest distance of the hand's start from its usual one, per axis [m].
        :raises ValueError: when there is no such task.
        """
        expect(task in ALL_V3_ENVIRONMENTS, 'task', ', '.join(ALL_V3_ENVIRONMENTS), repr(task))
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.name = task
        self._steps = steps
        self._spread = start_spread
        self._task = make_task(ALL_V3_ENVIRONMENTS[task])
        self._usual_start = np.array(self._task.hand_init_pos, np.float64)
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        hide(self._task.model)
        self._task.model.vis.global_.fovy = VIEWPOINT.fovy

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Make the scene of ``seed``: object, goal and start of the hand."""
        super().reset(seed=seed)
        scene = seed if seed is not None else int(self.np_random.integers(2**31))
        usual = self._usual_start
        low = np.maximum(usual - self._spread, self._task.mocap_low)
        high = np.minimum(usual + self._spread, self._task.mocap_high)
        start = np.random.default_rng([scene, 3]).uniform(low, np.maximum(low, high))
        self._task.hand_init_pos = start
        self._task.seed(scene)
        state, _ = self._task.reset()
        return state[:4].copy(), self._info(state)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Execute an action, ``(4,)``; reward and success are those after the last step."""
        for _ in range(self._steps - 1):  # without the reward, which takes most of the time
            self._task.set_xyz_action(action[:3])
            self._task.do_simulation([action[3], -action[3]], n_frames=self._task.frame_skip)
        state, reward, _, _, info = self._task.step(action)
        found = {**self._info(state), 'success': bool(info['success'])}
        return state[:4].copy(), float(reward), False, False, found

    def render(self, camera: str = SCENE_CAMERA, size: int = 96) -> np.ndarray:
        """
        Return an image, ``(size, size, 3)`` uint8 RGB.

        :param camera: ``scene``, or a camera of the task such as ``gripperPOV``, at the wrist.
        """
        task = self._task
        for site in task._target_site_config:  # the simulation moves the marks of the goal
            task._set_pos_site(*site)
        renderer = self._renderer(size)
        renderer.update_scene(task.data, free_camera() if camera == SCENE_CAMERA else camera)
        return renderer.render()

    def close(self) -> None:
        """Give back the renderers; the last environment of a task frees the graphics memory."""
        self._renderers = {}
        self._task.close()

    def _renderer(self, size: int) -> mujoco.Renderer:
        """Return the renderer of this task, which all its environments in a thread share."""
        thread = threading.get_ident()
        if (size, thread) not in self._renderers:
            key = (self.name, size, thread)
            found = RENDERERS.get(key) or make_renderer(self._task.model, size, size)
            self._renderers[size, thread] = RENDERERS[key] = found
        return self._renderers[size, thread]

    def _info(self, state: np.ndarray) -> dict[str, Any]:
        return {'task': self.name, 'state': state.copy()}


class MetaWorldTasks(gymnasium.Env):
    """
    Several tasks of one robot, each with its sentence; it never terminates.

    The scene of a seed is that of task ``seed % n`` of ``n`` with the seed ``seed // n``.
    Observation and ``info`` are those of `MetaWorld`; ``info`` has the ``instruction`` too.
    """

    metadata = MetaWorld.metadata

    def __init__(self, tasks: Mapping[str, str], render_mode: str | None = None) -> None:
        """
        Create the first task.

        :param tasks: names in the package, such as ``push-v3``, each with its sentence.
        :raises ValueError: without a task, and when there is no such task.
        """
        expect(bool(tasks), 'tasks', 'at least one, such as {push-v3: push the puck}', tasks)
        known = [name for name in tasks if name in ALL_V3_ENVIRONMENTS]
        expect(known == list(tasks), 'tasks', ', '.join(ALL_V3_ENVIRONMENTS), list(tasks))
        self.render_mode = render_mode
        self._sentences = dict(tasks)
        self._names = list(tasks)
        self._present = lend(self._names[0])
        self.action_space = self._present.action_space
        self.observation_space = self._present.observation_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Make the scene of ``seed``: task, object, goal and start of the hand."""
        super().reset(seed=seed)
        number = seed if seed is not None else int(self.np_random.integers(2**31))
        scene, task = divmod(number, len(self._names))
        if self._names[task] != self._present.name:
            take_back(self._present)
            self._present = lend(self._names[task])
        observation, info = self._present.reset(seed=scene)
        return observation, self._with_sentence(info)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Execute an action, ``(4,)``; as `MetaWorld.step`."""
        observation, reward, _, _, info = self._present.step(action)
        return observation, reward, False, False, self._with_sentence(info)

    def render(self, camera: str = SCENE_CAMERA, size: int = 96) -> np.ndarray:
        """Return an image, ``(size, size, 3)`` uint8 RGB; as `MetaWorld.render`."""
        return self._present.render(camera, size)

    def close(self) -> None:
        """Give back the present task; the process keeps it for the next environment."""
        take_back(self._present)

    def _with_sentence(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, 'instruction': self._sentences[info['task']]}


FREE: dict[str, list[MetaWorld]] = {}  # tasks that no environment uses now, by name


def lend(task: str) -> MetaWorld:
    """
    Return an environment of a task that has no other user now.

    A task takes 20 MB. Ten worlds of ten tasks need a hundred of them at most, but hardly more
    than twenty at the same time. So the process keeps those that are free, and lends them.
    """
    free = FREE.setdefault(task, [])
    return free.pop() if free else MetaWorld(task)


def take_back(environment: MetaWorld) -> None:
    """Keep an environment for the next user of its task; again has no effect."""
    if environment not in FREE[environment.name]:
        FREE[environment.name].append(environment)


def make_task(task_class: type[SawyerXYZEnv]) -> SawyerXYZEnv:
    """Return a task of the package, ready for seeds, with the goal in its state."""

    class Task(task_class):
        """The task, on the MuJoCo that is here."""

        def reset_mocap_welds(self) -> None:
            """
            Weld the hand to its target, as the package does.

            The package assigns all numbers of a row of ``eq_data``. These are 11 in MuJoCo 3.3,
            which it asks for, but more in MuJoCo 4.
            """
            is_weld = self.model.eq_type == mujoco.mjtEq.mjEQ_WELD
            self.model.eq_data[is_weld, :WELD_SIZE] = (0, 0, 0, 0, 0, 0, -1, 0, 0, 0, 5)

    task = Task()
    task._partially_observable = False
    del task.sawyer_observation_space  # the cached one clips the goal to zero
    task._freeze_rand_vec = False
    task.seeded_rand_vec = True
    task._set_task_called = True
    task.max_path_length = NO_LIMIT
    return task


def hide(model: mujoco.MjModel) -> None:
    """Draw neither the base of the robot nor its head."""
    bodies = [model.body(name).id for name in HIDDEN]
    model.geom_group[np.isin(model.geom_bodyid, bodies)] = HIDDEN_GROUP


def free_camera() -> mujoco.MjvCamera:
    """Return the scene camera."""
    camera = mujoco.MjvCamera()
    ahead = np.subtract(VIEWPOINT.target, VIEWPOINT.place)
    camera.lookat = VIEWPOINT.target
    camera.distance = float(np.linalg.norm(ahead))
    camera.azimuth = math.degrees(math.atan2(ahead[1], ahead[0]))
    camera.elevation = math.degrees(math.asin(ahead[2] / camera.distance))
    return camera


@config
class MetaWorldConfig:
    """Speed and noise of the scripted demonstrator."""

    slowest: float = parameter(0.6, 'Lowest speed of an episode, as a fraction', '', 0.1, 1)
    noise: float = parameter(
        0.08,
        'Standard deviation of the noise on x, y and z, as a fraction of full speed',
        '',
        0,
        2,
    )
    burst_noise: float = parameter(
        0.7, 'Standard deviation of the noise in a burst, as a fraction of full speed', '', 0, 2
    )
    burst_probability: float = parameter(
        0.06, 'Probability that a burst begins at a decision', '', 0, 1
    )


class MetaWorldDemonstrator:
    """
    Acts as the package's scripted policy of the task, with bursts of noise.

    A burst lasts two to four decisions. What follows it shows how to recover, by actions that are
    almost free of noise. The actions of a burst are marked, so that no policy imitates them.

    :ivar is_perturbed: whether the newest action is of a burst.
    """

    exact: ClassVar[bool] = True

    def __init__(self, config: MetaWorldConfig | None = None):
        """Call ``begin`` before ``act``."""
        self.config = config or MetaWorldConfig()

    def begin(self, seed: int) -> None:
        """Start an episode. Its speed and its noise depend on ``seed`` only."""
        self._rng = np.random.default_rng([seed, 2])
        self._speed = self._rng.uniform(self.config.slowest, 1.0)
        self._burst = 0
        self.is_perturbed = False
        self._policies: dict[str, Any] = {}

    def act(self, scene: Scene) -> np.ndarray:
        """Return x, y, z and the gripper's effort, ``(4,)`` float32; see `MetaWorld`."""
        wanted = self._wanted(scene.info)
        moved = self._speed * wanted[:3] + self._rng.normal(0, self._next_deviation(), 3)
        return np.clip([*moved, wanted[3]], -1, 1).astype(np.float32)

    def _next_deviation(self) -> float:
        """Return the standard deviation of this decision's noise."""
        if not self._burst and self._rng.random() < self.config.burst_probability:
            self._burst = int(self._rng.integers(*BURST_DECISIONS, endpoint=True))
        self.is_perturbed = self._burst > 0
        if not self.is_perturbed:
            return self.config.noise
        self._burst -= 1
        return self.config.burst_noise

    def _wanted(self, info: Mapping[str, Any]) -> np.ndarray:
        """Return the action of the scripted policy, ``(4,)``."""
        task = info['task']
        if task not in self._policies:
            self._policies[task] = ENV_POLICY_MAP[task]()
        with warnings.catch_warnings():  # each policy warns of the values that are clipped here
            warnings.simplefilter('ignore')
            action = self._policies[task].get_action(np.array(info['state']))
        return np.clip(action, -1, 1)


gymnasium.register(id='efm/MetaWorld-v0', entry_point='efm_sim.gym.metaworld:MetaWorld')
gymnasium.register(id='efm/MetaWorldTasks-v0', entry_point='efm_sim.gym.metaworld:MetaWorldTasks')
