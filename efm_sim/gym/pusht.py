"""
A scripted teacher for gym-pusht: the one push that helps most, looked up, made, looked up again.

The board's friction stops everything at once, so what a push does to the T depends only on where
and how it is pushed, as the T sees it. That is tried out once for every side of the T, in the
environment's own physics. Lengths in the environment's pixels, y down, angles in radians.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, KW_ONLY

from efm_core.config import config, parameter
from gym_pusht.envs.pusht import PushTEnv
import numpy as np
import pymunk

PUSHER = 15.0  # radius
CORNERS = np.array(
    [[-60, 0], [60, 0], [60, 30], [15, 30], [15, 120], [-15, 120], [-15, 30], [-60, 30]], float
)
MIDDLE = np.array([0.0, 45.0])  # what the T turns about
AROUND = 97.0  # a circle about it that is clear of the T
# of the pushes that are tried out
SPACING = 13.0
TILTS = (-0.5, 0.0, 0.5)
STRIDE = 5.0
LONGEST = 120.0
SPEED = 50.0
STANDOFF = 10.0  # where a push begins, before it touches
BORDER = 8.0
BOARD = 512.0
DETOUR = 80.0  # what going around the T costs


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
    haste: float = parameter(
        0.06, 'Smallest gain of a push: approach of the corners per pixel of path', '', 0, 1
    )


@dataclass(frozen=True)
class Pushes:
    """
    Every push that was tried out, as the T sees it.

    :param starts: where the pusher touches, ``(P, 2)``.
    :param headings: ``(P, 2)``, unit vectors.
    :param lengths: ``(L,)``.
    :param moved: the T's x, y and angle after each, ``(P, L, 3)``.
    """

    starts: np.ndarray
    headings: np.ndarray
    _: KW_ONLY
    lengths: np.ndarray
    moved: np.ndarray


class PushTDemonstrator:
    """Push the T to its outline, seeing it as it truly is."""

    def __init__(self, config: PushTConfig | None = None):
        """Try out the pushes, which takes a tenth of a second; call ``begin`` next."""
        self.config = config or PushTConfig()
        self._pushes = try_out()
        self._space = pymunk.Space()
        self._tee, _ = PushTEnv.add_tee(self._space, (0, 0), 0)

    def begin(self, seed: int) -> None:
        """Start an episode: its noise follows from the seed."""
        self._rng = np.random.default_rng([seed, 2])
        self._last: int | None = None

    def act(self, positions: Mapping[str, np.ndarray]) -> np.ndarray:
        """
        Return the next displacement, ``(2,)`` float32.

        :param positions: ``pusher``: x and y; ``tee`` and ``goal``: x, y and angle.
        """
        pusher, tee, goal = (
            np.asarray(positions[name], np.float64) for name in ('pusher', 'tee', 'goal')
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
        """Return where to go: along the push, or to where it begins."""
        start, heading, length = self._choose(pusher, tee, goal)
        along = (pusher - start) @ heading
        sideways = pusher - start - along * heading
        if np.linalg.norm(sideways) < SPACING / 2.5 and -1.4 * STANDOFF < along < BORDER:
            return heading * min(self.config.max_action, 12 + 2 * length) - sideways
        aim = start - STANDOFF * heading
        if self._is_free(pusher, aim):
            return 1.5 * (aim - pusher)
        return self.config.max_action * pass_around(pusher, aim, tee)

    def _choose(self, pusher: np.ndarray, tee: np.ndarray, goal: np.ndarray) -> tuple:
        """Return start, heading and length of the push after which the T lies best."""
        turn = rotation(tee[2])
        pushes = self._pushes
        starts = tee[:2] + pushes.starts @ turn.T
        headings = pushes.headings @ turn.T
        aims = starts - STANDOFF * headings
        after = np.concatenate(
            [tee[:2] + pushes.moved[..., :2] @ turn.T, tee[2] + pushes.moved[..., 2:]], axis=-1
        )
        way = np.linalg.norm(aims - pusher, axis=1)
        way += DETOUR * np.array([not self._is_free(pusher, aim) for aim in aims])
        cost = away(after, goal) + self.config.haste * (way[:, None] + pushes.lengths)
        cost[((aims < BORDER) | (aims > BOARD - BORDER)).any(axis=1)] += BOARD
        if self._last is not None:
            cost[self._last] -= 1.5  # rather go on than change one's mind
        self._last, best = np.unravel_index(cost.argmin(), cost.shape)
        return starts[self._last], headings[self._last], pushes.lengths[best]

    def _is_free(self, start: np.ndarray, end: np.ndarray) -> bool:
        """Return whether the pusher can go straight."""
        hit = self._space.segment_query_first(
            tuple(start), tuple(end), PUSHER - 1, pymunk.ShapeFilter()
        )
        return hit is None


def pass_around(pusher: np.ndarray, aim: np.ndarray, tee: np.ndarray) -> np.ndarray:
    """Return the direction on a circle about the T that leads to ``aim``, ``(2,)``."""
    middle = tee[:2] + rotation(tee[2]) @ MIDDLE
    offset = pusher - middle
    distance = max(np.linalg.norm(offset), 1e-9)
    tangent = np.array([-offset[1], offset[0]]) / distance
    tangent = tangent if tangent @ (aim - middle) >= 0 else -tangent
    return tangent + (AROUND - distance) / 25 * offset / distance


def away(tee: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Return the mean distance of the corners from where they belong, ``(...)``."""
    return np.linalg.norm(corners(tee) - corners(goal), axis=-1).mean(axis=-1)


def corners(tee: np.ndarray) -> np.ndarray:
    """Return the corners, ``(..., 8, 2)``, of poses ``(..., 3)``: x, y, angle."""
    return tee[..., None, :2] + CORNERS @ np.swapaxes(rotation(tee[..., 2]), -1, -2)


def rotation(angle: np.ndarray) -> np.ndarray:
    """Return the matrices that turn by ``angle``, ``(..., 2, 2)``."""
    c = np.cos(angle)
    s = np.sin(angle)
    return np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)


def try_out() -> Pushes:
    """Push a T at rest from every side and note how it moves."""
    space = pymunk.Space()
    space.damping = 0.0
    pusher = PushTEnv.add_circle(space, (0, 0), PUSHER)
    tee, _ = PushTEnv.add_tee(space, (0, 0), 0)
    found = []
    for point, inward in sides():
        start = point - (PUSHER + 1.5) * inward
        for heading in (rotation(tilt) @ inward for tilt in TILTS):
            lay(space, tee, (0.0, 0.0))
            lay(space, pusher, start)
            near = space.point_query(tuple(start), PUSHER - 0.5, pymunk.ShapeFilter())
            if all(hit.shape.body is pusher for hit in near):
                found.append((start, heading, push(space, pusher, tee, SPEED * heading)))
    starts, headings, moved = (np.array(part) for part in zip(*found, strict=True))
    return Pushes(starts, headings, lengths=STRIDE * (1 + np.arange(moved.shape[1])), moved=moved)


def sides() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return points along the T's outline, each with the direction that leads inside."""
    found = []
    for begin, end in zip(CORNERS, np.roll(CORNERS, -1, axis=0), strict=True):
        length = np.linalg.norm(end - begin)
        along = (end - begin) / length
        count = max(2, int(length // SPACING))
        shares = (np.arange(count) + 0.5) / count
        found += [(begin + s * length * along, np.array([-along[1], along[0]])) for s in shares]
    return found


def lay(space: pymunk.Space, body: pymunk.Body, place: np.ndarray) -> None:
    """Put a body somewhere, at rest and upright."""
    body.angle = 0.0
    body.position = tuple(place)
    body.velocity = (0.0, 0.0)
    body.angular_velocity = 0.0
    space.reindex_shapes_for_body(body)


def push(
    space: pymunk.Space, pusher: pymunk.Body, tee: pymunk.Body, velocity: np.ndarray
) -> np.ndarray:
    """Return the T's x, y and angle after each stride of a push, ``(L, 3)``."""
    rows = []
    dt = 0.01
    for _ in range(round(LONGEST / STRIDE)):
        for _ in range(round(STRIDE / SPEED / dt)):
            pusher.velocity = tuple(velocity)
            space.step(dt)
        rows.append((*tee.position, tee.angle))
    return np.array(rows)
