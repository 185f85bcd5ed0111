"""Off-screen pictures by MuJoCo; on a machine without its graphics libraries, one clear error."""

from __future__ import annotations

import os

os.environ.setdefault('MUJOCO_GL', 'egl')  # works without a display and without a GPU
os.environ.setdefault('LP_NUM_THREADS', '1')  # Mesa's software renderer would take every core

MISSING = (
    'graphics: expected headless OpenGL, got {error}; on Debian or Ubuntu: '
    'apt install libegl1 libgl1-mesa-dri libopengl0'
)

try:
    import mujoco
except (
    ImportError,
    AttributeError,
    OSError,
) as error:  # PyOpenGL says a missing library in any of these ways
    raise ImportError(MISSING.format(error=error)) from error


def make_renderer(
    model: mujoco.MjModel, height: int, width: int, pretty: bool = False
) -> mujoco.Renderer:
    """
    Return a renderer; ``pretty`` has shadows and smooth edges and is ten times slower.

    :raises RuntimeError: when OpenGL does not start, naming the Debian packages.
    """
    quality = model.vis.quality
    quality.shadowsize, quality.offsamples = (4096, 4) if pretty else (0, 0)
    quality.numslices, quality.numstacks = (48, 24) if pretty else (12, 6)
    model.vis.global_.offwidth = width
    model.vis.global_.offheight = height
    try:
        renderer = mujoco.Renderer(model, height, width)
    except Exception as error:  # each OpenGL platform has its own exception types
        raise RuntimeError(MISSING.format(error=error)) from error
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = pretty
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SKYBOX] = pretty
    return renderer
