"""
Seeded mutations of bytes, files and folders.

Each function takes a random generator, so that the number of a case repeats it. ``ROUNDS`` scales
the number of cases: 1 in ``make test``, more in ``make fuzz`` (environment variable EFM_FUZZ).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import signal
import struct

import numpy as np
from waiting import scaled

ROUNDS = int(os.environ.get('EFM_FUZZ', '1'))
SEED = 20261130
LIMIT_S = 20.0  # of one case; a hang is a fault
# Lengths, floats and signs at which parsers go wrong.
WORDS = (
    *(struct.pack('<I', n) for n in (0, 1, 2, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1)),
    *(struct.pack('<Q', n) for n in (0, 1, 2**31, 2**32, 2**40, 2**62, 2**63, 2**64 - 1)),
    *(struct.pack('<f', x) for x in (float('nan'), float('inf'), -1.0, 1e30, -0.0)),
    *(struct.pack('<d', x) for x in (float('nan'), float('-inf'), 1e300)),
    b'../../../x\0',
    b'\0' * 16,
    b'\xff' * 16,
    '把方块'.encode(),
)

Generator = np.random.Generator
Mutation = Callable[[Generator, bytes], bytes]


def generator(*case: int) -> Generator:
    """Return the random generator of one case."""
    return np.random.default_rng([SEED, *case])


@contextmanager
def in_time(what: str) -> Iterator[None]:
    """Fail when the body hangs, also in a system call."""

    def ring(*_: object) -> None:
        raise AssertionError(f'{what}: no end within {LIMIT_S} s')

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, scaled(LIMIT_S))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def flip_bits(rng: Generator, data: bytes) -> bytes:
    """Flip one to eight bits."""
    changed = bytearray(data)
    for _ in range(rng.integers(1, 9)):
        changed[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def put_bytes(rng: Generator, data: bytes) -> bytes:
    """Replace some bytes by random ones."""
    place = int(rng.integers(len(data)))
    size = int(rng.integers(1, 17))
    return (data[:place] + rng.bytes(size) + data[place + size :])[: len(data)]


def put_word(rng: Generator, data: bytes) -> bytes:
    """Replace bytes by a length, a number or a text at which parsers go wrong."""
    word = WORDS[rng.integers(len(WORDS))]
    place = int(rng.integers(len(data)))
    return (data[:place] + word + data[place + len(word) :])[: len(data)]


def truncate(rng: Generator, data: bytes) -> bytes:
    """Keep the beginning."""
    return data[: rng.integers(len(data))]


def extend(rng: Generator, data: bytes) -> bytes:
    """Append random bytes."""
    return data + rng.bytes(int(rng.integers(1, 200)))


def cut_out(rng: Generator, data: bytes) -> bytes:
    """Leave some bytes out."""
    start, end = sorted(rng.integers(0, len(data) + 1, 2))
    return data[:start] + data[min(end, start + 500) :]


def repeat(rng: Generator, data: bytes) -> bytes:
    """Repeat some bytes."""
    place = int(rng.integers(len(data)))
    return data[:place] + data[max(0, place - 200) : place] + data[place:]


BYTES: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    put_bytes,
    put_word,
    put_word,
    truncate,
    extend,
    cut_out,
    repeat,
)


def mutate(rng: Generator, data: bytes) -> bytes:
    """Return other bytes, by one mutation or several."""
    changed = data
    while changed == data:
        for _ in range(rng.choice([1, 1, 1, 3])):
            if changed:
                changed = BYTES[rng.integers(len(BYTES))](rng, changed)
    return changed


def pipe(path: Path) -> None:
    """Put a pipe that nobody writes."""
    os.mkfifo(path)


def link_to_nowhere(path: Path) -> None:
    """Put a link without a target."""
    path.symlink_to('nowhere')


def link_to_itself(path: Path) -> None:
    """Put a link that leads to itself."""
    path.symlink_to(path.name)


def device(path: Path) -> None:
    """Put a link to a file that never ends."""
    path.symlink_to('/dev/zero')


def folder(path: Path) -> None:
    """Put a folder."""
    path.mkdir()


def nothing(path: Path) -> None:
    """Put nothing."""


def empty(path: Path) -> None:
    """Put an empty file."""
    path.touch()


OBJECTS = (pipe, link_to_nowhere, link_to_itself, device, folder, nothing, empty)


def replace_object(rng: Generator, path: Path) -> None:
    """Replace a file or a folder by something else."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    OBJECTS[rng.integers(len(OBJECTS))](path)
