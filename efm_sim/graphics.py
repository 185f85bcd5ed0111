"""Off-screen rendering with MuJoCo, and one error that names missing graphics libraries."""

from __future__ import annotations

import os

os.environ.setdefault('MUJOCO_GL', 'egl')  # works without a display and without a GPU
os.environ.setdefault('LP_NUM_THREADS', '1')  # else Mesa's software renderer uses all cores

MISSING = (
    'graphics: expected headless OpenGL, got {error}; on Debian or Ubuntu: '
    'apt install libegl1 libgl1-mesa-dri libopengl0'
)

try:
    import mujoco
except (ImportError, AttributeError, OSError) as error:  # PyOpenGL raises any of these
    raise ImportError(MISSING.format(error=error)) from error


def make_renderer(
    model: mujoco.MjModel, height: int, width: int, pretty: bool = False
) -> mujoco.Renderer:
    """
    Return a renderer of pictures, ``(height, width, 3)`` uint8 RGB.

    :param pretty: with shadows and smooth edges; takes ten times as long.
    :raises RuntimeError: when OpenGL does not start; the message names the Debian packages.
    """
    quality = model.vis.quality
    quality.shadowsize = 4096 if pretty else 0
    quality.offsamples = 4 if pretty else 0
    quality.numslices = 48 if pretty else 12
    quality.numstacks = 24 if pretty else 6
    model.vis.global_.offwidth = width
    model.vis.global_.offheight = height
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # each OpenGL platform raises its own exception types
        raise RuntimeError(MISSING.format(error=error)) from error
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = pretty
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = pretty
    return renderer
