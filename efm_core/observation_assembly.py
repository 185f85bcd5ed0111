"""Joins images of several cameras and measured state into one observation, live and from bags."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from contextlib import suppress
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.messages import to_image
from efm_core.observation import MeasuredState, Observation
from efm_core.preprocessing import compose, read_part

KEPT = 64  # messages of each part: half a second of joint_states at 100 Hz


class ObservationAssembler:
    """
    Makes an observation of an image of the first camera and the newest other parts.

    The observation has the stamp of that image. Of each other camera, and of each part of the
    proprioception, it takes the newest message that is not later, and at most
    ``observation_max_age_s`` older. A late message does not change an observation that was made.

    :ivar missing: why `assemble` returned None the last time; empty if it did not.
    """

    def __init__(self, embodiment: Embodiment, *, exact: bool = False, kept: int | None = KEPT):
        """
        Start without messages.

        :param exact: all parts must have the stamp of the image, as in lockstep.
        :param kept: number of messages to keep of each part; None for all.
        """
        self._embodiment = embodiment
        self._max_age_ns = 0 if exact else int(embodiment.observation_max_age_s * 1e9)
        others = (camera.name for camera in embodiment.cameras[1:])
        parts: tuple[Hashable, ...] = (*others, *embodiment.proprioception)
        self._kept: dict[Hashable, deque[tuple[int, Any]]] = {
            part: deque(maxlen=kept) for part in parts
        }
        self.missing = ''

    def add_image(self, camera: str, stamp: int, message: Any) -> None:
        """
        Add an image of another camera than the first.

        :param stamp: of the image [ns].
        :param message: ``Image`` or ``CompressedImage``; decoded only if an observation needs it.
        """
        self._kept[camera].append((stamp, message))

    def add_state(self, stamp: int, state: MeasuredState) -> None:
        """Add a measured state; a robot may publish its parts in several messages."""
        for part in self._embodiment.proprioception:
            with suppress(ValueError):  # a message of another part of the robot
                self._kept[part].append((stamp, read_part(state, part)))

    def assemble(self, stamp: int, message: Any) -> Observation | None:
        """
        Return the observation that an image begins; None while another part is missing.

        :param stamp: of the image of the first camera [ns].
        :param message: that image.
        :raises ValueError: when an image does not fit its camera.
        """
        robot = self._embodiment
        chosen: dict[Hashable, Any] = {}
        for part in self._kept:
            found = self._newest(part, stamp)
            if found is None:
                return None
            chosen[part] = found[1]
        self.missing = ''
        images = [to_image(message)]
        images += [to_image(chosen[camera.name]) for camera in robot.cameras[1:]]
        return compose(images, [chosen[part] for part in robot.proprioception], robot)

    def _newest(self, part: Hashable, stamp: int) -> tuple[int, Any] | None:
        """Return the newest message that may join the image with this stamp [ns]."""
        earlier = [pair for pair in self._kept[part] if pair[0] <= stamp]
        newest = max(earlier, key=lambda pair: pair[0], default=None)
        if newest is not None and stamp - newest[0] <= self._max_age_ns:
            return newest
        got = 'none' if newest is None else f'one {(stamp - newest[0]) / 1e9:.3f} s older'
        name = part if isinstance(part, str) else ', '.join(getattr(part, 'names', ()))
        self.missing = (
            f'{name}: expected one at most {self._max_age_ns / 1e9:g} s older than the image of '
            f'{self._embodiment.cameras[0].name}, got {got}'
        )
        return None
