"""A hand with a gripper, two cameras and a puck: a Gymnasium environment of NumPy alone."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
from gymnasium import spaces
import numpy as np
import yaml

NAME = 'lab/Hand-v0'
SIZE = 16  # [px], of the scene camera; the wrist camera has half of it
REACH = 0.15  # distance at which a closed gripper holds the puck
STEP = 0.1  # of the hand, for an action of 1
LIFTED = 0.5  # height of the puck at which the task is done

YAML: dict[str, Any] = {
    'name': 'hand',
    'gymnasium': {
        'id': f'hand:{NAME}',
        'pixels': {'scene': {'render': {'camera': 'scene'}}, 'wrist': 'observation.wrist'},
        'joints': {
            'hand_x': 'observation.hand.0',
            'hand_y': 'observation.hand.1',
            'hand_z': 'observation.hand.2',
            'gripper': 'info.opening',
        },
        'positions': {'puck': 'info.puck'},
        'success': 'info.lifted',
        'instruction': 'lift the puck',
        'demonstrator': 'hand:HandDemonstrator',
    },
    'cameras': [
        {'name': 'scene', 'topic': 'image', 'height': SIZE, 'width': SIZE},
        {
            'name': 'wrist',
            'topic': 'wrist/image',
            'height': SIZE // 2,
            'width': SIZE // 2,
            'role': 'wrist',
            'size': [SIZE // 2, SIZE // 2],
        },
    ],
    'observation_size': [SIZE, SIZE],
    'proprioception': [
        {'source': 'joint_positions', 'joints': ['hand_x', 'hand_y', 'hand_z', 'gripper']}
    ],
    'action': {
        'names': ['x', 'y', 'z', 'gripper'],
        'unit': 'fraction',
        'low': [-1, -1, -1, -1],
        'high': [1, 1, 1, 1],
        'bins': [5, 5, 5, 2],
    },
    'command': {'type': 'efm_interfaces/msg/Action', 'controller': 'simulated'},
    'control_rate_hz': 10.0,
    'task': {'max_steps': 30},
}


def one_camera() -> dict:
    """Return the embodiment's file with the scene camera alone, and without proprioception."""
    cameras = [camera for camera in YAML['cameras'] if camera['name'] == 'scene']
    pixels = {'scene': YAML['gymnasium']['pixels']['scene']}
    alone = {**YAML, 'cameras': cameras, 'gymnasium': {**YAML['gymnasium'], 'pixels': pixels}}
    return {key: value for key, value in alone.items() if key != 'proprioception'}


def write(path, plain=YAML, **gymnasium_section):
    """Write an embodiment's file; further keys replace those of its section `gymnasium`."""
    section = {**plain['gymnasium'], **gymnasium_section}
    path.write_text(yaml.safe_dump({**plain, 'gymnasium': section}, sort_keys=False))
    return path


class Hand(gymnasium.Env):
    """
    The hand moves by the action; a scene ends when it drops the puck.

    :param last_step: step after which each scene ends; 0: none.
    """

    metadata = {'render_modes': ['rgb_array'], 'render_fps': 10}  # noqa: RUF012

    def __init__(self, render_mode=None, *, forgets_its_seed=False, last_step=0):
        self.render_mode = render_mode
        self.action_space = spaces.Box(-1, 1, (4,), np.float32)
        self.observation_space = spaces.Dict(
            {
                'hand': spaces.Box(0, 1, (3,), np.float64),
                'wrist': spaces.Box(0, 255, (SIZE // 2, SIZE // 2, 3), np.uint8),
            }
        )
        self._forgets = forgets_its_seed
        self._last_step = last_step

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self._forgets else seed)
        self.hand = np.array([0.5, 0.5, 0.4])
        self.puck = np.array([*self.np_random.uniform(0.2, 0.8, 2), 0.0])
        self.opening = 1.0
        self.holds = False
        self.received = []
        return self._observe(), self._info()

    def step(self, action):
        self.received.append(np.array(action))
        self.hand = np.clip(self.hand + STEP * action[:3], 0, 1)
        held = self.holds
        self.opening = float(action[3] < 0)
        is_near = np.linalg.norm(self.hand - self.puck) < REACH
        self.holds = not self.opening and (held or bool(is_near))
        if self.holds:
            self.puck = self.hand.copy()
        is_over = len(self.received) == self._last_step or (held and not self.holds)
        return self._observe(), 0.0, is_over, False, self._info()

    def render(self, camera='scene'):
        """Draw hand and puck from above; their heights are colours."""
        image = np.zeros((SIZE, SIZE, 3), np.uint8)
        for channel, (x, y, z) in ((0, self.hand), (1, self.puck)):
            row, column = (np.clip(np.array([y, x]) * SIZE, 0, SIZE - 1)).astype(int)
            image[row, column, channel] = 100 + 150 * z
        return image

    def _observe(self):
        wrist = np.full((SIZE // 2, SIZE // 2, 3), int(100 * self.opening), np.uint8)
        wrist[0, 0] = np.clip(128 + 100 * (self.puck - self.hand), 0, 255)
        return {'hand': self.hand.copy(), 'wrist': wrist}

    def _info(self):
        lifted = bool(self.holds and self.puck[2] >= LIFTED)
        return {
            'puck': self.puck.copy(),
            'opening': self.opening,
            'height': self.hand[2],
            'lifted': lifted,
        }


class HandDemonstrator:
    """Moves to the puck, closes the gripper, lifts, in values between the policy's levels."""

    exact: ClassVar[bool] = True

    def begin(self, seed):
        self._speed = 0.9 - 0.01 * (seed % 7)

    def act(self, scene):
        assert scene.instruction == 'lift the puck'
        assert [image.shape[-1] for image in scene.images] == [3] * len(scene.images)
        hand = np.argwhere(scene.images[0][..., 0])[0][::-1] / SIZE  # it needs no truth for that
        puck = scene.positions['puck']
        holds = not scene.info['opening']
        across = np.append(puck[:2] - hand - 0.5 / SIZE, 0.0)
        if holds:
            wanted = np.array([0, 0, 1.0])
        elif np.abs(across).max() > 0.06:
            wanted = across / STEP
        else:
            wanted = np.array([0, 0, -1.0])
        closes = holds or bool(np.linalg.norm(across) < 0.1 and scene.info['height'] < 0.12)
        action = np.append(self._speed * np.clip(wanted, -1, 1), 1.0 if closes else -1.0)
        return action.astype(np.float32)


if NAME not in gymnasium.registry:
    gymnasium.register(NAME, entry_point='hand:Hand')
