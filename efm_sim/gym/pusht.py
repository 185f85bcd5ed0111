"""
The scripted demonstrator of gym-pusht: repeat the one push that helps most.

Friction stops all motion at once. So the effect of a push depends only on its start and direction
relative to the T. `simulate_pushes` computes it once for pushes from all sides, with the physics
of the environment. Lengths are in pixels of the environment, y points down, angles are in radians.
"""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY

from efm_core.config import config, parameter
from efm_sim.scene import Scene
from gym_pusht.envs.pusht import PushTEnv
import numpy as np
import pymunk

PUSHER_RADIUS = 15.0
CORNERS = np.array(
    [[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], float
)
CENTRE = np.array([0.0, 45.0])  # centre of rotation of the T
DETOUR_RADIUS = 97.0  # circle around the centre of the T on which the pusher touches nothing
BOARD = 512.0  # side of the board
BORDER = 8.0  # width of the border of the board
# The simulated pushes.
SPACING = 13.0  # between start points
TILTS = (-0.5, 0.0, 0.5)  # angles between the push and the inward normal
STRIDE = 5.0  # between two lengths of a push
LONGEST = 120.0  # length of a push
SPEED = 50.0  # per second
# The choice of a push.
STANDOFF = 10.0  # distance from the T at which a push begins
DETOUR_COST = 80.0  # cost of a way around the T, as additional path length
REPEAT_BONUS = 1.5  # advantage of the present push over others
TOUCHING = 1.5  # distance from the start of a simulated push to the T


@config
class PushTConfig:
    """Noise and speed of the scripted demonstrator."""

    noise: float = parameter(
        0.2,
        'Standard deviation of the noise on each action, as a fraction of max_action',
        '',
        0,
        2,
    )
    max_action: float = parameter(60.0, 'Largest displacement per axis', 'px', 1, 512)
    path_cost: float = parameter(
        0.06, 'Smallest gain of a push: approach of the corners per pixel of path', '', 0, 1
    )


@dataclass(frozen=True)
class SimulatedPushes:
    """
    ``P`` pushes in ``L`` lengths and their effects, in the frame of the T.

    :param starts: position of the pusher when it touches the T, ``(P, 2)``.
    :param headings: unit vectors, ``(P, 2)``.
    :param lengths: ``(L,)``.
    :param moved: x, y and angle of the T after each length of each push, ``(P, L, 3)``.
    """

    starts: np.ndarray
    headings: np.ndarray
    _: KW_ONLY
    lengths: np.ndarray
    moved: np.ndarray


class PushTDemonstrator:
    """Pushes the T to its outline with the true positions of pusher and T."""

    def __init__(self, config: PushTConfig | None = None):
        """Simulate the pushes, which takes a tenth of a second. Call ``begin`` before ``act``."""
        self.config = config or PushTConfig()
        self._pushes = simulate_pushes()
        self._space = pymunk.Space()
        self._tee, _ = PushTEnv.add_tee(self._space, (0, 0), 0)

    def begin(self, seed: int) -> None:
        """Start an episode. Its noise depends on ``seed`` only."""
        self._rng = np.random.default_rng([seed, 2])
        self._last: int | None = None

    def act(self, scene: Scene) -> np.ndarray:
        """
        Return the next displacement of the pusher, ``(2,)`` float32.

        :param scene: with the positions ``pusher``: x and y; ``tee`` and ``goal``: x, y and angle.
        """
        pusher, tee, goal = (
            np.asarray(scene.positions[name], np.float64) for name in ('pusher', 'tee', 'goal')
        )
        pusher = pusher[:2]
        self._tee.angle = float(tee[2])
        self._tee.position = tuple(tee[:2])
        self._space.reindex_shapes_for_body(self._tee)
        step = self._step(pusher, tee, goal)
        limit = self.config.max_action
        step = step * min(1.0, limit / np.abs(step).max(initial=1e-9))
        noise = self._rng.normal(0, self.config.noise * limit, 2)
        return np.clip(step + noise, -limit, limit).astype(np.float32)

    def _step(self, pusher: np.ndarray, tee: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Return the displacement along the best push, or to its beginning, ``(2,)``."""
        start, heading, length = self._choose(pusher, tee, goal)
        along = (pusher - start) @ heading
        sideways = pusher - start - along * heading
        if np.linalg.norm(sideways) < SPACING / 2.5 and -1.4 * STANDOFF < along < BORDER:
            return heading * min(self.config.max_action, 12 + 2 * length) - sideways
        aim = start - STANDOFF * heading
        if self._is_free(pusher, aim):
            return 1.5 * (aim - pusher)
        return self.config.max_action * pass_around(pusher, aim, tee)

    def _choose(
        self, pusher: np.ndarray, tee: np.ndarray, goal: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, float]:
        """Return start, heading and length of the push with the lowest cost."""
        turn = rotation(tee[2])
        pushes = self._pushes
        starts = tee[:2] + pushes.starts @ turn.T
        headings = pushes.headings @ turn.T
        aims = starts - STANDOFF * headings
        after = np.concatenate(
            [tee[:2] + pushes.moved[..., :2] @ turn.T, tee[2] + pushes.moved[..., 2:]], axis=-1
        )
        path = np.linalg.norm(aims - pusher, axis=1)
        path += DETOUR_COST * np.array([not self._is_free(pusher, aim) for aim in aims])
        cost = corner_error(after, goal)
        cost = cost + self.config.path_cost * (path[:, None] + pushes.lengths)
        cost[((aims < BORDER) | (aims > BOARD - BORDER)).any(axis=1)] += BOARD
        if self._last is not None:
            cost[self._last] -= REPEAT_BONUS
        best, length = np.unravel_index(cost.argmin(), cost.shape)
        self._last = int(best)
        return starts[best], headings[best], float(pushes.lengths[length])

    def _is_free(self, start: np.ndarray, end: np.ndarray) -> bool:
        """Return whether the pusher can move on a straight line without touching the T."""
        hit = self._space.segment_query_first(
            tuple(start), tuple(end), PUSHER_RADIUS - 1, pymunk.ShapeFilter()
        )
        return hit is None


def pass_around(pusher: np.ndarray, aim: np.ndarray, tee: np.ndarray) -> np.ndarray:
    """Return the direction to ``aim`` on a circle around the T, ``(2,)``."""
    centre = tee[:2] + rotation(tee[2]) @ CENTRE
    offset = pusher - centre
    distance = max(float(np.linalg.norm(offset)), 1e-9)
    tangent = np.array([-offset[1], offset[0]]) / distance
    tangent = tangent if tangent @ (aim - centre) >= 0 else -tangent
    return tangent + (DETOUR_RADIUS - distance) / 25 * offset / distance


def corner_error(tee: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return the mean distance of the corners from those of the goal, ``(...)``."""
    return np.linalg.norm(corners(tee) - corners(goal), axis=-1).mean(axis=-1)


def corners(tee: np.ndarray) -> np.ndarray:
    """Return the corners, ``(..., 8, 2)``, of poses ``(..., 3)``: x, y, angle."""
    return tee[..., None, :2] + CORNERS @ np.swapaxes(rotation(tee[..., 2]), -1, -2)


def rotation(angle: np.ndarray | float) -> np.ndarray:
    """Return the rotation matrices of angles ``(...)``, ``(..., 2, 2)``."""
    c = np.cos(angle)
    s = np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def simulate_pushes() -> SimulatedPushes:
    """Push a T at rest from all sides; return the pushes and the motion of the T."""
    space = pymunk.Space()
    space.damping = 0.0
    pusher = PushTEnv.add_circle(space, (0, 0), PUSHER_RADIUS)
    tee, _ = PushTEnv.add_tee(space, (0, 0), 0)
    found = []
    for point, inward in outline_points():
        start = point - (PUSHER_RADIUS + TOUCHING) * inward
        for heading in (rotation(tilt) @ inward for tilt in TILTS):
            place_at_rest(space, tee, np.zeros(2))
            place_at_rest(space, pusher, start)
            near = space.point_query(tuple(start), PUSHER_RADIUS - 0.5, pymunk.ShapeFilter())
            if all(hit.shape and hit.shape.body is pusher for hit in near):
                found.append((start, heading, push(space, pusher, tee, SPEED * heading)))
    starts, headings, moved = (np.array(part) for part in zip(*found, strict=True))
    lengths = STRIDE * (1 + np.arange(moved.shape[1]))
    return SimulatedPushes(starts, headings, lengths=lengths, moved=moved)


def outline_points() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return points on the outline of the T, each with its inward normal, ``(2,)`` each."""
    found = []
    for begin, end in zip(CORNERS, np.roll(CORNERS, -1, axis=0), strict=True):
        length = np.linalg.norm(end - begin)
        along = (end - begin) / length
        inward = np.array([-along[1], along[0]])
        count = max(2, int(length // SPACING))
        fractions = (np.arange(count) + 0.5) / count
        found += [(begin + fraction * length * along, inward) for fraction in fractions]
    return found


def place_at_rest(space: pymunk.Space, body: pymunk.Body, position: np.ndarray) -> None:
    """Place a body at ``position``, ``(2,)``, upright and without velocity."""
    body.angle = 0.0
    body.position = tuple(position)
    body.velocity = (0.0, 0.0)
    body.angular_velocity = 0.0
    space.reindex_shapes_for_body(body)


def push(
    space: pymunk.Space, pusher: pymunk.Body, tee: pymunk.Body, velocity: np.ndarray
) -> np.ndarray:
    """Return x, y and angle of the T after each stride of a push, ``(L, 3)``."""
    poses = []
    dt = 0.01
    for _ in range(round(LONGEST / STRIDE)):
        for _ in range(round(STRIDE / SPEED / dt)):
            pusher.velocity = tuple(velocity)
            space.step(dt)
        poses.append((*tee.position, tee.angle))
    return np.array(poses)
