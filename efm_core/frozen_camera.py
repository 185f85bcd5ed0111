"""A camera that sends one image again and again, with new stamps."""

from __future__ import annotations

import zlib


class FrozenCamera:
    """
    Counts images in a row that do not differ in any byte.

    The noise of a sensor makes every image of a real camera another one, also of a still scene.
    A driver that lost its camera, a covered lens and a broken decoder repeat themselves.

    :param limit: so many identical images in a row are a fault; 0: never.
    :ivar identical: number of images in a row that equal the newest one, with it.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._digest = -1
        self._stamp = 0
        self.identical = 0

    def add(self, stamp: int, data: bytes) -> None:
        """
        Compare an image with the one before; the same stamp [ns] again is no new image.

        :param data: of the message, as it came: pixels, or a compressed image.
        """
        if not self._limit or stamp == self._stamp:
            return
        digest = zlib.crc32(data)
        self.identical = self.identical + 1 if digest == self._digest else 1
        self._digest = digest
        self._stamp = stamp

    @property
    def warning(self) -> str:
        """What is suspicious: half of the limit is reached; else empty."""
        if not self._limit or self.identical < max(2, self._limit // 2):
            return ''
        return f'camera: expected a new image each time, got the same {self.identical} times'

    @property
    def fault(self) -> str:
        """Why no image may be acted on; empty if the camera works."""
        if not self._limit or self.identical < self._limit:
            return ''
        return (
            f'{self.warning}; it is frozen or covered: restart its driver, look at the lens, or '
            'raise max_identical_images of the camera in the embodiment'
        )
