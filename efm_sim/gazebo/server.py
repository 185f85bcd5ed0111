"""Gazebo Classic in namespaces of its own: started, spoken with, ended."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
import socket
import subprocess
import tempfile

from efm_sim.gazebo.root import find_root, Root
import numpy as np

# Processes, mounts and network of its own: two servers never meet, nothing of Gazebo's own
# transport leaves the namespace, and the end of the first process is the end of all.
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
LAST_LINES = 15
ENDING_S = 5.0


class Server:
    """
    One gzserver with its world, which stands still between two commands.

    The commands are those of the world plugin, ``worlds/plugin/table.cc``.
    """

    def __init__(self, world: str, timeout_s: float, *, root: Root | None = None):
        """
        Start gzserver and wait until its scene is there.

        :param world: the world file's text.
        :raises FileNotFoundError: when Gazebo is not set up here.
        :raises RuntimeError: when gzserver or the plugin does not start, with its last lines.
        """
        root = root or find_root()
        self._folder = tempfile.TemporaryDirectory(prefix='efm-gazebo-')
        folder = Path(self._folder.name)
        (folder / 'world.sdf').write_text(world)
        self._log = folder / 'gzserver.log'
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(timeout_s)
        self._heard = self._socket.makefile('rb')
        places = (str(root.path), str(folder), root.plugin_folder, str(theirs.fileno()), INSIDE)
        with open(self._log, 'w') as log, theirs:
            self._process = subprocess.Popen(
                [*UNSHARE, '--', '/bin/bash', '-c', OUTSIDE, *places],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        try:
            self.version, step = self.ask('hello').split()
        except BaseException:
            self.close()
            raise
        self.step_s = float(step)

    def ask(self, command: str) -> str:
        """
        Return what the plugin answers to one command.

        :raises ValueError: when it refuses the command.
        :raises RuntimeError: when the server is gone, with its last lines.
        """
        return self.ask_all([command])[0]

    def ask_all(self, commands: Iterable[str]) -> list[str]:
        """Return what the plugin answers to several commands, sent at once; as ``ask``."""
        commands = list(commands)
        self._write(''.join(f'{command}\n' for command in commands))
        return [self._answer(command) for command in commands]

    def frame(self, camera: str) -> np.ndarray:
        """Return what a camera sees now, (H, W, 3) uint8 RGB."""
        width, height, count = map(int, self.ask(f'frame {camera}').split())
        pixels = np.frombuffer(self._heard.read(count), np.uint8)
        return pixels.reshape(height, width, 3)

    def close(self) -> None:
        """End the server and everything in its namespaces."""
        self._heard.close()
        self._socket.close()  # the plugin ends the server when nobody is there any more
        try:
            self._process.wait(ENDING_S)
        except subprocess.TimeoutExpired:
            self._process.kill()  # unshare takes its child, and so the namespace, along
            self._process.wait(ENDING_S)
        self._folder.cleanup()

    def _write(self, text: str) -> None:
        try:
            self._socket.sendall(text.encode())
        except OSError as error:
            raise RuntimeError(self._epitaph()) from error

    def _answer(self, command: str) -> str:
        try:
            line = self._heard.readline().decode()
        except OSError as error:
            raise RuntimeError(self._epitaph()) from error
        if not line:
            raise RuntimeError(self._epitaph())
        kind, _, text = line.rstrip('\n').partition(' ')
        if kind != 'ok':
            raise ValueError(f'gazebo: {command.split()[0]}: {text}')
        return text

    def _epitaph(self) -> str:
        lines = self._log.read_text(errors='replace').splitlines()[-LAST_LINES:]
        said = '\n'.join(f'    {line}' for line in lines)
        return f'gzserver: expected an answer from its plugin, got none; its last lines:\n{said}'
