"""
The program of an environment in another Python interpreter, and the messages to and from it.

`efm_sim.gym.proxy` runs this file by its path, so it may import only the standard library, NumPy
and Gymnasium, of whatever releases the other interpreter has.

A message is one value: `HEADER`, JSON, then the bytes of all arrays in the order of the JSON.
Numbers, text, booleans and None are themselves in the JSON. Everything else is a mapping of one
key, which names its kind. No value is code, and nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from typing import Any

import numpy as np

HEADER = struct.Struct('>IQ')  # bytes of JSON, bytes of arrays
ARRAY_KINDS = 'biufcUS'  # of numpy.dtype: all that bytes describe
# After the end of the other process, foreign code has this time to close [s].
GRACE_S = 2.0


def send(connection: socket.socket, value: Any) -> None:
    """
    Send one value.

    :raises TypeError: when it is not of numbers, text, arrays, mappings, lists and tuples.
    """
    arrays: list[bytes] = []
    text = json.dumps(encode(value, arrays)).encode()
    body = b''.join(arrays)
    connection.sendall(HEADER.pack(len(text), len(body)) + text + body)


def receive(connection: socket.socket) -> Any:
    """
    Return the next value.

    :raises EOFError: when the other process has ended.
    """
    text_size, body_size = HEADER.unpack(_read(connection, HEADER.size))
    plain = json.loads(_read(connection, text_size).decode())
    body = _read(connection, body_size)
    return decode(plain, body, [0])


def _read(connection: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    while len(view):
        count = connection.recv_into(view)
        if not count:
            raise EOFError
        view = view[count:]
    return data


def encode(value: Any, arrays: list[bytes]) -> Any:
    """
    Return a value as JSON has it, and append the bytes of its arrays to ``arrays``.

    A mapping loses the entries that cannot be sent, such as objects in ``info``.

    :raises TypeError: when the value itself cannot be sent.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in ARRAY_KINDS:
        arrays.append(value.tobytes())
        kind = 'array' if isinstance(value, np.ndarray) else 'scalar'
        return {kind: [value.dtype.str, list(value.shape)]}
    if isinstance(value, (list, tuple)):
        kind = 'list' if isinstance(value, list) else 'tuple'
        return {kind: [encode(item, arrays) for item in value]}
    if isinstance(value, Mapping):
        return {'mapping': list(_entries(value, arrays))}
    raise TypeError(f'expected numbers, text, arrays, mappings or lists, got {type(value)}')


def _entries(mapping: Mapping[Any, Any], arrays: list[bytes]) -> Iterator[list[Any]]:
    for key, value in mapping.items():
        known = len(arrays)
        try:
            yield [encode(key, arrays), encode(value, arrays)]
        except TypeError:
            del arrays[known:]


def decode(plain: Any, body: bytearray, position: list[int]) -> Any:
    """
    Return the value that `encode` was given; arrays are new and may be written.

    :param body: bytes of all arrays.
    :param position: list of one number: how many of these bytes are read; it is updated.
    """
    if not isinstance(plain, dict):
        return plain
    ((kind, content),) = plain.items()
    if kind == 'mapping':
        return {
            decode(key, body, position): decode(value, body, position) for key, value in content
        }
    if kind in ('list', 'tuple'):
        items = [decode(item, body, position) for item in content]
        return items if kind == 'list' else tuple(items)
    name, shape = content
    array: np.ndarray = np.ndarray(shape, np.dtype(name), body, position[0]).copy()
    position[0] += array.nbytes
    return array if kind == 'array' else array[()]


def describe_space(space: Any) -> dict[str, Any]:
    """Return a space of Gymnasium as a value that can be sent: bounds, spaces by name, or text."""
    if hasattr(space, 'low') and hasattr(space, 'high'):
        return {'low': space.low, 'high': space.high}
    if hasattr(space, 'items'):
        return {'spaces': {key: describe_space(item) for key, item in space.items()}}
    return {'text': str(space)}


class Calls:
    """What the other process may call. Each method has the arguments of a message."""

    def __init__(self) -> None:
        """Call ``make`` first."""
        self._environment: Any = None

    def make(self, name: str, arguments: dict[str, Any], folder: str) -> dict[str, Any]:
        """
        Make the environment and return its spaces and metadata.

        :param folder: where modules are searched first; empty: nowhere else.
        """
        if folder:
            sys.path.insert(0, folder)
        import gymnasium  # an error here reaches the other process

        self._environment = gymnasium.make(name, **arguments)
        return {
            'action_space': describe_space(self._environment.action_space),
            'observation_space': describe_space(self._environment.observation_space),
            'metadata': dict(self._environment.metadata),
            'render_mode': self._environment.render_mode,
        }

    def reset(self, seed: int | None, options: dict[str, Any] | None) -> Any:
        """Return observation and info."""
        return self._environment.reset(seed=seed, options=options)

    def step(self, action: Any) -> Any:
        """Return observation, reward, terminated, truncated and info."""
        return self._environment.step(action)

    def render(self, arguments: dict[str, Any]) -> Any:
        """Return what the environment renders; only its own method takes arguments."""
        environment = self._environment.unwrapped if arguments else self._environment
        return environment.render(**arguments)

    def close(self) -> None:
        """Close the environment, if there is one."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None


def answer(connection: socket.socket, calls: Calls) -> str:
    """Execute one call, send its result or its error, and return its name."""
    call, arguments = receive(connection)
    try:
        send(connection, {'result': getattr(calls, call)(*arguments)})
    except Exception as error:
        traceback.print_exc()
        send(connection, {'error': [type(error).__name__, str(error)]})
    return call


def exit_with(connection: socket.socket) -> None:
    """End this process soon after the other one, even if foreign code never returns."""
    ended = select.poll()
    ended.register(connection, 0)  # 0: wait for the end only
    ended.poll()
    time.sleep(GRACE_S)
    os._exit(1)


def main() -> None:
    """Answer the calls on the socket of the number in the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other process ends this one
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.set_inheritable(False)
    threading.Thread(target=exit_with, args=(connection,), daemon=True).start()
    calls = Calls()
    try:
        while answer(connection, calls) != 'close':
            pass
    except (EOFError, OSError):
        calls.close()


if __name__ == '__main__':
    main()
