"""The installation of Gazebo Classic that ``tools/set_up_gazebo.sh`` makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import subprocess

from efm_core.files import share

SCRIPT = 'tools/set_up_gazebo.sh'


@dataclass(frozen=True)
class GazeboInstallation:
    """
    A folder with a complete system in which Gazebo Classic is installed.

    :param path: root of the system.
    :param plugin_folder: folder of our world plugin, as an absolute path inside the system.
    """

    path: Path
    plugin_folder: str


def find_installation() -> GazeboInstallation:
    """
    Return the installation of Gazebo Classic.

    :raises FileNotFoundError: when Gazebo is not set up; the message names the command that sets
        it up. Also when the script is missing.
    """
    script = str(share(SCRIPT))
    done = subprocess.run([script, '--where'], capture_output=True, text=True, check=False)
    if done.returncode:
        raise FileNotFoundError(done.stderr.strip())
    path, plugin_folder = done.stdout.split()
    return GazeboInstallation(Path(path), plugin_folder)
