"""Where Gazebo Classic is, which ``tools/set_up_gazebo.sh`` brings here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import subprocess

from efm_core.files import share

SCRIPT = 'tools/set_up_gazebo.sh'
UNAVAILABLE = 77  # exit code of the script where Gazebo cannot be had


@dataclass(frozen=True)
class Root:
    """A system in a folder; ``plugin_folder``: where in it our plugin is."""

    path: Path
    plugin_folder: str


def find_root() -> Root:
    """
    Return where Gazebo is.

    :raises FileNotFoundError: when it was not set up, saying how.
    """
    done = subprocess.run(
        [str(find_script()), '--where'], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise FileNotFoundError(done.stderr.strip())
    path, plugin_folder = done.stdout.split()
    return Root(Path(path), plugin_folder)


def find_script() -> Path:
    """
    Return where the script is: in the source tree, or where it was installed.

    :raises FileNotFoundError: when it is in none of these places.
    """
    return share(SCRIPT)
