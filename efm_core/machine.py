"""What a machine may lack: a home folder that can be written, a locale in UTF-8."""

from __future__ import annotations

import locale
import os
from pathlib import Path
import sys
import tempfile


def cache_folder() -> Path:
    """
    Return the folder of files that can be made again; it need not exist.

    It is ``efm`` in ``XDG_CACHE_HOME``, else in ``~/.cache``, else in the temporary folder.
    """
    base = os.environ.get('XDG_CACHE_HOME', '')
    if os.path.isabs(base):  # the specification ignores relative ones
        return Path(base, 'efm')
    try:
        return Path.home() / '.cache' / 'efm'
    except RuntimeError:  # no HOME, and no entry of the user
        return Path(tempfile.gettempdir(), f'efm-{os.getuid()}')


def ensure_log_folder() -> None:
    """
    Name a folder for the logs of ROS where its own, ``~/.ros/log``, cannot be written.

    Without one no node starts. ``ROS_LOG_DIR`` and ``ROS_HOME`` stay as they are.
    """
    if os.environ.get('ROS_LOG_DIR') or os.environ.get('ROS_HOME'):
        return
    home = os.environ.get('HOME')
    if not home or not _can_write(Path(home, '.ros', 'log')):
        own = cache_folder() / 'ros_log'
        os.environ['ROS_LOG_DIR'] = str(own) if _can_write(own) else tempfile.mkdtemp()


def use_utf8() -> None:
    """
    Start this process again in Python's UTF-8 mode where the locale has another encoding.

    Files and names of the suite are in UTF-8. Child processes inherit the mode.
    """
    name = locale.getpreferredencoding(False).lower().replace('-', '')
    if name == 'utf8' or os.environ.get('PYTHONUTF8') == '1':
        return
    os.environ['PYTHONUTF8'] = '1'
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _can_write(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
