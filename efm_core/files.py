"""Files that must survive a crash, and files that ship with the suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
import errno
import fcntl
import hashlib
import os
from pathlib import Path
import re
import shutil
import tempfile

PACKAGE = 'efm'
# Temporary folders and some writers (safetensors) let only the owner in; a robot may run as
# another user than the trainer.
FILE_MODE = 0o644
FOLDER_MODE = 0o755
PLAIN_NAME = re.compile(r'[A-Za-z0-9_][A-Za-z0-9_.:+-]*')
LONGEST_NAME = 128  # characters
DISK_FULL = 'disk full'  # begins the text of an error that only free space cures
LOCK_FILE = '.lock'


@dataclass(frozen=True)
class FileContent:
    """
    A file that was read once, so that the bytes that were checked are the bytes that are used.

    :param path: where it was read, for messages.
    """

    path: Path
    data: bytes = field(repr=False)

    @classmethod
    def read(cls, path: str | Path) -> FileContent:
        """
        Read a file.

        :raises OSError: when it does not exist or cannot be read.
        """
        return cls(Path(path), Path(path).read_bytes())

    @property
    def sha256(self) -> str:
        """The SHA-256 in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def write_whole(path: str | Path, data: bytes | str) -> Path:
    """
    Write a file whole or not at all; return its path.

    Arguments and errors as ``whole_file``.

    :param data: text is encoded as UTF-8.
    """
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data.encode() if isinstance(data, str) else data)
    return Path(path)


def describe(error: Exception) -> str:
    """Return the text of an error; one for want of space begins with ``DISK_FULL``."""
    is_full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f'{DISK_FULL}: {error}' if is_full else str(error)


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """
    Give a temporary path; the file that the body writes there becomes ``path``.

    The temporary file has the same name in a hidden folder beside ``path``. File and folder are
    synchronised to disk, so that after a crash ``path`` holds either the old content or the new
    one. When the body raises, ``path`` stays as it was.

    :param path: its folder is made if it does not exist.
    :raises FileNotFoundError: when the body writes no file.
    :raises OSError: when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    with _temporary_folder(path) as folder:
        unfinished = folder / path.name
        yield unfinished
        _settle_file(unfinished)
        os.replace(unfinished, path)
        sync_folder(path.parent)


@contextmanager
def whole_directory(path: str | Path) -> Iterator[Path]:
    """
    Give a temporary folder that becomes ``path`` when the body ends without an error.

    When the body raises, the temporary folder is removed and nothing appears at ``path``. Every
    file and folder is synchronised to disk before the folder appears.

    :param path: the folder above it is made if it does not exist.
    :raises FileExistsError: when something is at ``path``, at the start or when the body ends.
    :raises OSError: when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    _refuse_existing(path)
    with _temporary_folder(path) as unfinished:
        yield unfinished
        move_whole(unfinished, path)


def move_whole(source: Path, path: Path) -> None:
    """
    Move a finished folder to ``path``, so that after a crash it is whole at one of both places.

    Every file and folder is synchronised to disk before the move, the folders above after it.

    :param path: on the same file system; the folder above it exists.
    :raises FileExistsError: when something is at ``path`` already.
    :raises OSError: when the disk is full or a folder cannot be written.
    """
    _refuse_existing(path)
    for inner in source.rglob('*'):
        _settle_folder(inner) if inner.is_dir() else _settle_file(inner)
    _settle_folder(source)
    os.rename(source, path)
    for folder in {source.parent, path.parent}:
        sync_folder(folder)


class FolderLock:
    """
    The exclusive lock of a folder, which the operating system releases when the process ends.

    The lock is on the folder itself. A lock file could be deleted while it is locked, and a second
    process would then lock a new one. Only where folders cannot be locked, as on NFS, a hidden
    file in the folder is locked instead.
    """

    def __init__(self, path: str | Path):
        """
        Lock a folder that exists.

        :raises BlockingIOError: when another process, or another lock of this one, has it.
        :raises OSError: when there is no such folder, or its file system has no locks.
        """
        self._handle = _lock(path, os.O_RDONLY | os.O_DIRECTORY)
        if self._handle is None:
            self._handle = _lock(Path(path) / LOCK_FILE, os.O_RDWR | os.O_CREAT)
        if self._handle is None:
            raise OSError(f'{path}: expected a file system with locks, got none')

    def release(self) -> None:
        """Release the lock; again has no effect."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def sync_folder(path: str | Path) -> None:
    """
    Write a folder's entries to disk, so that a rename in it survives a loss of power.

    :raises OSError: when the folder cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def inside(folder: str | Path, *names: str) -> Path:
    """
    Return a path below ``folder``, of names that came in a message.

    A name begins with a letter, a digit or ``_``, and has letters, digits and ``_.:+-`` only. So
    the path cannot leave the folder, and is not hidden.

    :raises ValueError: for any other name, or one of more than ``LONGEST_NAME`` characters.
    """
    for name in names:
        if not PLAIN_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
            raise ValueError(
                f'{folder}: expected a name of at most {LONGEST_NAME} letters, digits and _.:+-, '
                f'got {name[:LONGEST_NAME]!r}'
            )
    return Path(folder, *names)


def share(name: str) -> Path:
    """
    Return a file or folder that ships with the suite.

    It is in the source tree, or where ``colcon build`` or ``pip install`` put it.

    :param name: path within the source tree, such as ``urdf/arm.urdf``.
    :raises FileNotFoundError: when it is in none of these places.
    """
    here = Path(__file__).resolve()
    places = [here.parents[1] / name, *(up / 'share' / PACKAGE / name for up in here.parents)]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise FileNotFoundError(
            f'{name}: expected it in the source tree or in share/{PACKAGE}, got neither'
        )
    return found


def _lock(path: str | Path, flags: int) -> int | None:
    """
    Return the descriptor of a file or folder, locked; None when it cannot be locked.

    :raises BlockingIOError: when another process has locked it.
    """
    handle = os.open(path, flags, FILE_MODE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise
        return None
    return handle


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """Give a hidden folder beside ``path``, of this call alone; remove it at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f'.{path.name}-', dir=path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _refuse_existing(path: Path) -> None:
    if path.exists():
        raise FileExistsError(f'{path}: expected a new directory, got one that exists')


def _settle_file(path: Path) -> None:
    """Let every user read a file and write it to disk."""
    path.chmod(FILE_MODE)
    with open(path, 'rb') as file:
        os.fsync(file.fileno())


def _settle_folder(path: Path) -> None:
    """Let every user read a folder and write its entries to disk."""
    path.chmod(FOLDER_MODE)
    sync_folder(path)
