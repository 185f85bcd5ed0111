"""A Gymnasium environment that runs in another Python interpreter, in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import socket
import subprocess
from typing import Any
import weakref

from efm_sim.gym import child
from efm_sim.gym.config import EnvironmentConfig
import gymnasium
from gymnasium import spaces
import numpy as np

STDERR = 2
# Of the other interpreter none of ours may be found; -I ignores them, but not in its own children.
REMOVED = ('PYTHONPATH', 'PYTHONHOME', 'PYTHONSTARTUP')


class ForeignError(RuntimeError):
    """
    An error in the other process.

    An error of the environment has a subclass with the name of its class there.
    """


class OtherSpace(gymnasium.Space):
    """A space that is neither a box nor a mapping of boxes; it has a text only."""

    def __init__(self, text: str):
        """Keep the text that describes the space."""
        super().__init__()
        self._text = text

    def __repr__(self) -> str:
        """Return what the other process shows of the space."""
        return self._text


class EnvironmentProxy(gymnasium.Env):
    """
    The environment of another interpreter; it behaves as one that is made here.

    Standard output of the environment goes to standard error. The process ends with `close`, with
    this object and with this process. An error that ends it or the wait for it is final.
    """

    def __init__(self, config: EnvironmentConfig, arguments: dict[str, Any]):
        """
        Start the other interpreter and make the environment there.

        :param config: its ``python`` names the interpreter.
        :param arguments: of ``gymnasium.make``.
        :raises FileNotFoundError: when there is no such interpreter.
        :raises ForeignError: when the environment fails, ends its process or does not answer.
        """
        self._python = expand(config.python)
        self._timeout_s = config.python_timeout_s
        if not os.access(self._python, os.X_OK):
            raise FileNotFoundError(
                f'python: expected the Python of a virtual environment, got {self._python}; '
                'make one there, with gymnasium and the packages of the environment'
            )
        ours, theirs = socket.socketpair()
        ours.settimeout(self._timeout_s)
        with theirs:
            self._process = subprocess.Popen(
                [self._python, '-Iu', str(Path(child.__file__)), str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=STDERR,
                pass_fds=[theirs.fileno()],
                env={key: value for key, value in os.environ.items() if key not in REMOVED},
            )
        self._connection = ours
        self._end = weakref.finalize(self, end, self._process, ours)
        try:
            made = self._call('make', config.id, arguments, expand(config.python_path))
        except BaseException:
            self._end()
            raise
        self.action_space = make_space(made['action_space'])
        self.observation_space = make_space(made['observation_space'])
        self.metadata = made['metadata']
        self.render_mode = made['render_mode']

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Return observation and info of a new scene; raises as the constructor."""
        return self._call('reset', seed, options)

    def step(self, action: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Return observation, reward, terminated, truncated, info; raises as the constructor."""
        return self._call('step', action)

    def render(self, **arguments: Any) -> Any:
        """
        Return what the environment renders; raises as the constructor.

        :param arguments: of the method of the environment itself, without its wrappers.
        """
        return self._call('render', arguments)

    def close(self) -> None:
        """Close the environment and end its process; raises as the constructor."""
        if self._end.alive:
            try:
                self._call('close')
                self._process.wait(self._timeout_s)
            except subprocess.TimeoutExpired:
                pass  # it is closed; the next line ends it
            finally:
                self._end()

    def _call(self, call: str, *arguments: Any) -> Any:
        """Return the result of a call in the other process."""
        if not self._end.alive:
            raise ForeignError(f'expected a process of {self._python}, but it has ended')
        try:
            child.send(self._connection, (call, arguments))
            answer = child.receive(self._connection)
        except TimeoutError:
            self._end()
            raise ForeignError(
                f'expected an answer within {self._timeout_s:g} s (python_timeout_s), got none; '
                f'the process of {self._python} was ended'
            ) from None
        except (EOFError, OSError):
            how = self._how_it_ended()
            self._end()
            raise ForeignError(
                f'expected an answer, got the end of the process ({how}); its error output says '
                f'why; {self._python} needs gymnasium and the packages of the environment'
            ) from None
        if 'error' in answer:
            name, text = answer['error']
            raise type(name, (ForeignError,), {})(text)
        return answer['result']

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(self._timeout_s)
        except subprocess.TimeoutExpired:
            return 'it has closed its connection'
        return f'signal {signal.Signals(-code).name}' if code < 0 else f'exit code {code}'


def end(process: subprocess.Popen, connection: socket.socket) -> None:
    """End the process of an environment."""
    connection.close()
    process.kill()
    process.wait()


def expand(path: str) -> str:
    """Return a path with ``~`` and environment variables replaced."""
    return os.path.expanduser(os.path.expandvars(path))


def make_space(description: dict[str, Any]) -> gymnasium.Space:
    """Return the space that `child.describe_space` has described."""
    if 'low' in description:
        low, high = (np.asarray(description[key]) for key in ('low', 'high'))
        return spaces.Box(low, high, dtype=low.dtype.type)
    if 'spaces' in description:
        named = description['spaces'].items()
        return spaces.Dict({name: make_space(space) for name, space in named})
    return OtherSpace(description['text'])
