"""
Labelled pictures of gym-pusht, for the pretraining of an encoder.

Half of the T's lie at random places, half close to the goal. Half of the pushers are close to the
T. Such scenes are the most frequent in episodes. ``python -m efm_sim.gym.pusht_pictures
pictures.npz`` writes a file for `efm pretrain`; 20,000 pictures take 17 MB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from efm_core.embodiment import load_embodiment, load_simulation
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.pusht import CENTRE, rotation
from gym_pusht.envs.pusht import PushTEnv
import numpy as np

BOARD = 512.0  # the environment's pixels
MARKS = np.array([[0.0, 105.0], [0.0, 15.0]])  # on the T: end of the stem, centre of the bar
ANYWHERE = (80.0, 420.0)  # range of x and y of a T at a random place
POSITION_SPREAD = 40.0  # standard deviation of a T close to the goal
ANGLE_SPREAD = 0.4  # the same, of its angle [rad]
PUSHER_SPREAD = 70.0  # standard deviation of a pusher close to the T
MARGIN = 10.0  # smallest distance of the pusher from the edge of the board
EMBODIMENT = Path(__file__).resolve().parents[2] / 'config' / 'embodiments' / 'pusht.yaml'


def draw_pictures(count: int, seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """
    Return pictures, ``(N, H, W, 3)`` uint8 RGB, and points, ``(N, 3, 2)`` float32.

    The points are the pusher, the end of the T's stem and the centre of its bar. Their image
    coordinates are x to the right and y down, from -1 to 1.

    :param size: height and width of a picture [px].
    """
    environment = PushTEnv('pixels', observation_height=size[0], observation_width=size[1])
    environment.reset(seed=seed)
    rng = np.random.default_rng(seed)
    images = []
    points = []
    for _ in range(count):
        pusher, tee = draw_scene(rng, environment.goal_pose)
        set_scene(environment, pusher, tee)
        images.append(environment.get_obs())
        points.append(np.vstack([pusher, tee[:2] + MARKS @ rotation(tee[2]).T]))
    environment.close()
    return np.array(images), (np.array(points) / BOARD * 2 - 1).astype(np.float32)


def draw_scene(rng: np.random.Generator, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a random pusher, ``(2,)``, and a random T, ``(3,)``: x, y, angle."""
    if rng.random() < 0.5:
        tee = np.array([*rng.uniform(*ANYWHERE, 2), rng.uniform(-np.pi, np.pi)])
    else:
        tee = goal + np.array([*rng.normal(0, POSITION_SPREAD, 2), rng.normal(0, ANGLE_SPREAD)])
    if rng.random() < 0.5:
        return rng.uniform(MARGIN, BOARD - MARGIN, 2), tee
    centre = tee[:2] + rotation(tee[2]) @ CENTRE
    return np.clip(centre + rng.normal(0, PUSHER_SPREAD, 2), MARGIN, BOARD - MARGIN), tee


def set_scene(environment: PushTEnv, pusher: np.ndarray, tee: np.ndarray) -> None:
    """Place both without a step of physics, which would separate them when they overlap."""
    environment.agent.position = tuple(pusher)
    environment.block.angle = float(tee[2])
    environment.block.position = tuple(tee[:2])
    for body in (environment.agent, environment.block):
        environment.space.reindex_shapes_for_body(body)  # rendering uses the shapes


def main(words: list[str] | None = None) -> None:
    """Write labelled pictures to a file that `efm pretrain` reads."""
    parser = argparse.ArgumentParser(description='Write labelled pictures for efm pretrain.')
    parser.add_argument('output', type=Path, help='path of the .npz file to write')
    parser.add_argument('--count', type=int, default=20000, help='number of pictures (20000)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the scenes (0)')
    parser.add_argument(
        '--embodiment',
        type=Path,
        default=EMBODIMENT,
        help='embodiment file: image size and instruction (pusht.yaml)',
    )
    options = parser.parse_args(words)
    camera = load_embodiment(options.embodiment).cameras[0]
    sentence = load_simulation(options.embodiment, EnvironmentConfig).instruction
    images, points = draw_pictures(options.count, options.seed, (camera.height, camera.width))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        options.output,
        images=images,
        points=((points + 1) / 2 * [camera.width, camera.height]).astype(np.float32),
        sentences=np.array([sentence]),
        sentence=np.zeros(options.count, np.int64),
    )
    print(f'{options.count} pictures: {options.output}')


if __name__ == '__main__':
    main()
