"""Run the node graph without ``launch``, through the process manager honcho."""

from __future__ import annotations

from collections import defaultdict, deque
import os
from pathlib import Path
import re
import shlex
import sys
import tempfile
from typing import Any, TextIO

from efm_bringup.graph import EXECUTABLES, node_environment, NodeSpec
from efm_core.config import config, parameter
from efm_core.stop_signals import hangup_as_termination
from filelock import BaseFileLock, FileLock, Timeout
from honcho import manager
from honcho.manager import Manager
import yaml

STOPPED = re.compile(r'(\S+) stopped \(rc=(-?\d+)\)')
LAST_LINES = 20
INTERRUPTED = (130, 143)  # exit codes after Ctrl-C, and after SIGTERM or SIGHUP


def to_command(node: NodeSpec, log_level: str = 'info') -> list[str]:
    """Return the command that runs one node."""
    command = [
        sys.executable,
        '-m',
        *(['efm_bringup.respawn', sys.executable, '-m'] if node.respawn else []),
        EXECUTABLES[node.executable],
        '--ros-args',
        '-r',
        f'__node:={node.name}',
        '--log-level',
        f'{node.name}:={log_level}',
    ]
    if node.namespace:
        command += ['-r', f'__ns:=/{node.namespace}']
    for source, target in node.remappings:
        command += ['-r', f'{source}:={target}']
    for key, value in node.parameters.items():
        command += ['-p', f'{key}:={to_yaml(value)}']
    return command


def to_yaml(value: Any) -> str:
    """Return a parameter's value as YAML in one line, for the option ``-p`` of a node."""
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return yaml.safe_dump(value, default_flow_style=True).splitlines()[0]


class Log:
    """
    Writes the output of each process to a file, and keeps its last lines in memory.

    honcho uses it as its printer.

    :ivar first_to_stop: name and exit code of the process that ended first.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._files: dict[str, TextIO] = {}
        self.last_lines: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=LAST_LINES))
        self.first_to_stop: tuple[str, int] | None = None
        self.width = 0

    def write(self, message: Any) -> None:
        """Write one message of honcho's."""
        line = (
            message.data.decode(errors='replace')
            if isinstance(message.data, bytes)
            else message.data
        )
        stopped = STOPPED.match(line) if message.name == 'system' else None
        if stopped and self.first_to_stop is None:
            self.first_to_stop = (stopped[1], int(stopped[2]))
        self.last_lines[message.name].append(line.rstrip('\n'))
        if message.name not in self._files:
            self._files[message.name] = open(  # noqa: SIM115, closed in close()
                self._folder / f'{message.name.replace("/", "-")}.log', 'a'
            )
        self._files[message.name].write(line)
        self._files[message.name].flush()

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def describe_failure(self) -> str:
        """Return name, exit code and last lines of the process that ended first."""
        name, code = self.first_to_stop or ('no process', 0)
        lines = '\n'.join(f'    {line}' for line in self.last_lines[name])
        return f'{name} ended with code {code}; its last lines:\n{lines}'


@config
class ProcessConfig:
    """Where DDS discovers the processes of a run."""

    domain_id: int = parameter(
        -1,
        'ROS_DOMAIN_ID; -1: one that no other run on this machine uses; with a real robot the '
        "shell's",
        '',
        -1,
        232,
    )
    discovery_range: str = parameter(
        'LOCALHOST',
        'ROS_AUTOMATIC_DISCOVERY_RANGE; LOCALHOST: this host only; SUBNET: each host on the '
        'network',
        choices=('LOCALHOST', 'SUBNET'),
    )
    stop_timeout_s: float = parameter(
        4.0, 'Time from SIGTERM to SIGKILL for the nodes at the end of a run', 's', 0.1, 600.0
    )


DEFAULT = ProcessConfig()


def reserve_domain() -> tuple[int, BaseFileLock]:
    """
    Return a ROS_DOMAIN_ID that no other run on this machine uses, and the lock that reserves it.

    :raises RuntimeError: when all of them are reserved.
    """
    for domain in range(1, 101):
        lock = FileLock(Path(tempfile.gettempdir()) / f'efm-domain-{domain}.lock')
        try:
            lock.acquire(timeout=0)
        except (Timeout, PermissionError):  # PermissionError: a run of another user
            continue
        return domain, lock
    raise RuntimeError('ROS_DOMAIN_ID: expected a free one from 1 to 100, got none')


def environment(domain: int, discovery_range: str) -> dict[str, str]:
    """Return the environment of the processes; each computes in one thread."""
    own = {
        'ROS_AUTOMATIC_DISCOVERY_RANGE': discovery_range,
        'ROS_DOMAIN_ID': str(domain),
        'PYTHONUNBUFFERED': '1',
        'RCUTILS_COLORIZED_OUTPUT': '0',
    }
    return {**os.environ, **node_environment(), **own}


def run_processes(
    commands: dict[str, list[str]], log_folder: Path, config: ProcessConfig = DEFAULT
) -> int:
    """
    Run processes until the first of them ends; then end the others, within 5 s by default.

    :param commands: name to command.
    :return: 0 when the first to end succeeded, 130 after Ctrl-C, 143 after SIGTERM or when the
        terminal is closed.
    :raises RuntimeError: when a process failed, with its name and its last lines.
    """
    domain = config.domain_id
    lock = None
    if domain < 0:
        domain, lock = reserve_domain()
    own_environment = environment(domain, config.discovery_range)
    manager.KILL_WAIT = config.stop_timeout_s
    log = Log(log_folder)
    try:
        processes = Manager(log)
        for name, command in commands.items():
            # exec: signals reach the node instead of a shell.
            processes.add_process(name, 'exec ' + shlex.join(command), env=own_environment)
        with hangup_as_termination():
            processes.loop()
    finally:
        log.close()
        if lock:
            lock.release()
    code = int(processes.returncode)
    if code in INTERRUPTED:
        return code
    if log.first_to_stop and log.first_to_stop[1]:
        raise RuntimeError(log.describe_failure())
    return 0


def run_nodes(
    nodes: list[NodeSpec],
    log_folder: Path,
    log_level: str = 'info',
    config: ProcessConfig = DEFAULT,
) -> int:
    """Run a node graph until its fleet is done; see `run_processes`."""
    commands = {node.full_name: to_command(node, log_level) for node in nodes}
    return run_processes(commands, log_folder, config)
