"""
Pictures of gym-pusht in which it is known where everything is, for an encoder of its own.

Half of the T's are anywhere, half lie nearly right; half of the pushers are near the T. That is
where a policy looks most often, and where it must look well. No episode is played. Write a file
for `efm pretrain` with ``python -m efm_sim.gym.pusht_pictures pictures.npz``; 20,000 take 17 MB.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from efm_core.embodiment import load_embodiment, load_simulation
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.pusht import MIDDLE, rotation
from gym_pusht.envs.pusht import PushTEnv
import numpy as np

BOARD = 512.0  # the environment's pixels
MARKS = np.array([[0.0, 105.0], [0.0, 15.0]])  # on the T: the end of its stem, its bar's middle
# places; spread of places and of turns
ANYWHERE = (80.0, 420.0)
NEARLY = 40.0
TURNED = 0.4
BESIDE = 70.0
RIM = 10.0
EMBODIMENT = Path(__file__).resolve().parents[2] / 'config' / 'embodiments' / 'pusht.yaml'


def draw_pictures(count: int, seed: int, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """
    Return pictures, ``(N, H, W, 3)`` uint8 RGB, and points, ``(N, 3, 2)`` float32.

    :param size: height and width of a picture [px].
    :returns: the points are those of the pusher, the end of the T's stem and the middle of its
        bar, in the image plane: x to the right and y down, each from -1 to 1.
    """
    environment = PushTEnv('pixels', observation_height=size[0], observation_width=size[1])
    environment.reset(seed=seed)
    rng = np.random.default_rng(seed)
    images = []
    points = []
    for _ in range(count):
        pusher, tee = draw_scene(rng, environment.goal_pose)
        lay_out(environment, pusher, tee)
        images.append(environment.get_obs())
        points.append(np.vstack([pusher, tee[:2] + MARKS @ rotation(tee[2]).T]))
    environment.close()
    return np.array(images), (np.array(points) / BOARD * 2 - 1).astype(np.float32)


def draw_scene(rng: np.random.Generator, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where the pusher is, ``(2,)``, and how the T lies, ``(3,)``: x, y, angle."""
    if rng.random() < 0.5:
        tee = np.array([*rng.uniform(*ANYWHERE, 2), rng.uniform(-np.pi, np.pi)])
    else:
        tee = goal + np.array([*rng.normal(0, NEARLY, 2), rng.normal(0, TURNED)])
    if rng.random() < 0.5:
        return rng.uniform(RIM, BOARD - RIM, 2), tee
    middle = tee[:2] + rotation(tee[2]) @ MIDDLE
    return np.clip(middle + rng.normal(0, BESIDE, 2), RIM, BOARD - RIM), tee


def lay_out(environment: PushTEnv, pusher: np.ndarray, tee: np.ndarray) -> None:
    """Put both where they shall be; without a step of physics, which would part them."""
    environment.agent.position = tuple(pusher)
    environment.block.angle = float(tee[2])
    environment.block.position = tuple(tee[:2])
    for body in (environment.agent, environment.block):
        environment.space.reindex_shapes_for_body(body)  # the picture is drawn from the shapes


def main(words: list[str] | None = None) -> None:
    """Draw pictures and write them with their labels, as `efm pretrain` reads them."""
    parser = argparse.ArgumentParser(description='Labelled pictures of gym-pusht.')
    parser.add_argument('output', type=Path, help='the .npz file to write')
    parser.add_argument('--count', type=int, default=20000, help='pictures')
    parser.add_argument('--seed', type=int, default=0, help='of the scenes')
    parser.add_argument('--embodiment', type=Path, default=EMBODIMENT, help='says their size')
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
