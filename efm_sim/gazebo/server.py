"""A process of Gazebo Classic in namespaces of its own, and its command connection."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import socket
import subprocess
import tempfile

from efm_sim.gazebo.installation import find_installation, GazeboInstallation
import numpy as np

# Own namespaces for processes, mounts and network: servers do not disturb each other, Gazebo's
# transport stays inside, and all processes end with the first one.
UNSHARE = ('unshare', '--mount', '--pid', '--net', '--fork', '--kill-child')
OUTSIDE = """
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmpfs "$0/tmp" &&
mount --bind "$1" "$0/mnt" && exec chroot "$0" /usr/bin/env -i \
    PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C DISPLAY=:1 LP_NUM_THREADS=1 \
    GAZEBO_PLUGIN_PATH="$2" GAZEBO_MODEL_DATABASE_URI= \
    GAZEBO_MASTER_URI=http://127.0.0.1:11345 GAZEBO_IP=127.0.0.1 IGN_IP=127.0.0.1 \
    EFM_GAZEBO_SOCKET="$3" /bin/bash -c "$4"
"""
INSIDE = """
ip link set lo up || exit 1
Xvfb :1 -screen 0 64x64x24 -nolisten tcp &
until [ -S /tmp/.X11-unix/X1 ]; do kill -0 $! || exit 1; sleep 0.05; done
cd /mnt
exec gzserver --verbose world.sdf
"""
LAST_LINES = 15  # of the log, in error messages
CLOSE_TIMEOUT_S = 5.0


class GazeboServer:
    """
    One gzserver with its world. Simulated time stands still between two commands.

    The comment at the top of the world plugin, ``worlds/plugin/table.cc``, lists the commands.

    :ivar version: version of Gazebo.
    :ivar step_s: physics step [s].
    """

    def __init__(
        self, world: str, timeout_s: float, *, installation: GazeboInstallation | None = None
    ):
        """
        Start gzserver and wait until its scene is complete.

        :param world: text of the world file.
        :param timeout_s: longest wait for the start and for each reply [s].
        :param installation: None: the one that `find_installation` returns.
        :raises FileNotFoundError: when Gazebo is not set up.
        :raises RuntimeError: when gzserver or its plugin does not start, with the end of its log.
        """
        installation = installation or find_installation()
        self._folder = tempfile.TemporaryDirectory(prefix='efm-gazebo-')
        folder = Path(self._folder.name)
        (folder / 'world.sdf').write_text(world)
        self._log = folder / 'gzserver.log'
        self._socket, server_socket = socket.socketpair()
        self._socket.settimeout(timeout_s)
        self._replies = self._socket.makefile('rb')
        descriptor = server_socket.fileno()
        arguments = (installation.path, folder, installation.plugin_folder, descriptor, INSIDE)
        with open(self._log, 'w') as log, server_socket:
            self._process = subprocess.Popen(
                [*UNSHARE, '--', '/bin/bash', '-c', OUTSIDE, *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[descriptor],
                start_new_session=True,
            )
        try:
            self.version, step = self.request('hello').split()
        except BaseException:
            self.close()
            raise
        self.step_s = float(step)

    def request(self, command: str) -> str:
        """
        Send one command to the plugin and return its reply.

        :raises ValueError: when the plugin rejects the command.
        :raises RuntimeError: when the server has ended, with the end of its log.
        """
        return self.request_all([command])[0]

    def request_all(self, commands: Iterable[str]) -> list[str]:
        """Send several commands at once and return their replies; raises as `request`."""
        commands = list(commands)
        self._write(''.join(f'{command}\n' for command in commands))
        return [self._read_reply(command) for command in commands]

    def frame(self, camera: str) -> np.ndarray:
        """Return the present image of a camera, ``(H, W, 3)`` uint8 RGB; raises as `request`."""
        width, height, count = map(int, self.request(f'frame {camera}').split())
        pixels = np.frombuffer(self._replies.read(count), np.uint8)
        return pixels.reshape(height, width, 3)

    def close(self) -> None:
        """End the server and all processes in its namespaces."""
        self._replies.close()
        self._socket.close()  # then the plugin ends the server
        try:
            self._process.wait(CLOSE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # unshare also kills its child, and so the namespace
            self._process.wait(CLOSE_TIMEOUT_S)
        self._folder.cleanup()

    def _write(self, text: str) -> None:
        try:
            self._socket.sendall(text.encode())
        except OSError as error:
            raise RuntimeError(self._error()) from error

    def _read_reply(self, command: str) -> str:
        try:
            line = self._replies.readline().decode()
        except OSError as error:
            raise RuntimeError(self._error()) from error
        if not line:
            raise RuntimeError(self._error())
        kind, _, text = line.rstrip('\n').partition(' ')
        if kind != 'ok':
            raise ValueError(f'gazebo: {command.split()[0]}: {text}')
        return text

    def _error(self) -> str:
        """Return the error message for a server that has ended."""
        lines = self._log.read_text(errors='replace').splitlines()[-LAST_LINES:]
        end = '\n'.join(f'    {line}' for line in lines)
        return f'gzserver: expected a reply from its plugin, got none; end of its log:\n{end}'
