"""A robot with two cameras, a gripper and proprioception; toy episodes and a toy world for it."""

from __future__ import annotations

from dataclasses import replace

from bags import make_episode
from efm_core.command import Command, Limits
from efm_core.embodiment import ActionSpace, Camera, Embodiment, Proprioception, StepsToGoRange
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.episode_rules import EpisodeRules
from efm_core.observation import MeasuredState, Observation
from efm_core.preprocessing import observe
from efm_core.tokeniser import ActionTokeniser
import numpy as np

SIZE = 24  # of the images [px]
JOINTS = ('x', 'y', 'gripper')
SENTENCE = 'grasp the red block'
REACH = 0.12  # largest distance of a grasp


def gripper_arm(**changes) -> Embodiment:
    """Return the robot, with ``changes``."""
    cameras = tuple(
        Camera(role, f'{role}/image', height=SIZE, width=SIZE, role=role)
        for role in ('scene', 'wrist')
    )
    robot = Embodiment(
        'gripper_arm',
        cameras,
        observation_size=(SIZE, SIZE),
        action=ActionSpace(
            JOINTS, 'rad', low=(-0.15, -0.15, -1.0), high=(0.15, 0.15, 1.0), bins=11
        ),
        command=Command(
            type='std_msgs/msg/Float64MultiArray',
            controller='forward_position_controller',
            topic='/forward_position_controller/commands',
            axes=JOINTS,
            joints=JOINTS,
            limits=Limits((-2,) * 3, (2,) * 3, max_velocity=(9,) * 3, max_following_error=9),
        ),
        proprioception=(Proprioception('joint_positions', JOINTS),),
        steps_to_go=StepsToGoRange(20, 21),
        episode=EpisodeRules(max_steps=20, success_threshold=1.0, success_dwell=1),
    )
    return replace(robot, **changes)


class GraspWorld:
    """A hand on a plane, seen from above and from the hand; closing it on the block is success."""

    instruction = SENTENCE

    def reset(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.hand, self.block = rng.uniform(-0.8, 0.8, (2, 2))
        self.gripper = -1.0

    def step(self, action: np.ndarray) -> None:
        self.hand = np.clip(self.hand + action[:2], -1, 1)
        self.gripper = float(action[2])

    def images(self) -> tuple[np.ndarray, ...]:
        scene = np.full((SIZE, SIZE, 3), 40, np.uint8)
        wrist = np.full((SIZE, SIZE, 3), 40, np.uint8)
        _draw(scene, self.block, (220, 30, 30))
        _draw(scene, self.hand, (30, 220, 30))
        _draw(wrist, 2 * (self.block - self.hand), (220, 30, 30))
        return scene, wrist

    def state(self) -> MeasuredState:
        return MeasuredState(JOINTS, np.array([*self.hand, self.gripper]))

    def terminated(self) -> bool:
        return False

    def success(self) -> bool:
        return self.gripper > 0 and bool(np.linalg.norm(self.block - self.hand) < REACH)


def demonstrate_grasp(robot: Embodiment, index: int) -> Episode:
    """Return a demonstration: move to the block, then close the gripper."""
    world = GraspWorld()
    world.reset(1000 + index)
    seen = [observe(world.images(), robot, world.state())]
    actions = []
    while not world.success():
        away = world.block - world.hand
        close = 1.0 if np.linalg.norm(away) < REACH / 2 else -1.0
        actions.append(np.array([*np.clip(away, -0.15, 0.15), close], np.float32))
        world.step(actions[-1])
        seen.append(observe(world.images(), robot, world.state()))
    return to_episode(robot, index, Observation.stack(seen), np.array(actions))


def to_episode(
    robot: Embodiment, index: int, observations: Observation, actions: np.ndarray
) -> Episode:
    """Return a demonstration that succeeded."""
    steps = len(actions)
    return Episode(
        f'demonstration-{index}',
        index,
        kind=Kind.DEMONSTRATION,
        instruction=SENTENCE,
        seed=index,
        observations=observations,
        stamps=np.arange(1, steps + 2, dtype=np.int64) * robot.period_ns,
        tokens=ActionTokeniser(robot.action.single_step).encode(actions),
        actions=actions,
        log_probs=np.full(steps, -1, np.float32),
        steps_to_go=np.full(steps + 1, np.nan, np.float32),
        outcome=Outcome.SUCCESS,
        termination=Termination.SUCCESS_DETECTED,
        policy_version=0,
        reward_version=0,
        embodiment_hash=robot.hash,
    )


def noise_episode(robot: Embodiment, index: int = 0, steps: int = 4, **fields) -> Episode:
    """Return an episode of random images, states and actions."""
    rng = np.random.default_rng(index)
    images = tuple(
        rng.integers(0, 256, (steps + 1, *size, 3), np.uint8) for size in robot.image_sizes
    )
    states = rng.normal(3, 2, (steps + 1, len(robot.proprioception_names))).astype(np.float32)
    episode = make_episode(robot, index, steps, observations=Observation(images, states))
    return replace(episode, instruction=SENTENCE, **fields)


def _draw(image: np.ndarray, place: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Draw a square at a place, each coordinate from -1 to 1; outside of the image nothing."""
    row, column = ((place + 1) / 2 * SIZE).astype(int)
    image[max(row - 1, 0) : max(row + 2, 0), max(column - 1, 0) : max(column + 2, 0)] = colour
