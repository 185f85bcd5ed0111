"""Files that must survive a crash, and files that ship with the suite."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import tempfile

PACKAGE = 'efm'


def write_whole(path: str | Path, data: bytes | str) -> Path:
    """
    Write a file whole or not at all; return its path.

    The data goes to a temporary file in the same folder. File and folder are synchronised to disk,
    so that after a crash the path holds either the old content or the new one.

    :param data: text is encoded as UTF-8.
    :raises OSError: when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f'.{path.name}.unfinished')
    with open(unfinished, 'wb') as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
    sync_folder(path.parent)
    return path


@contextmanager
def whole_directory(path: str | Path) -> Iterator[Path]:
    """
    Give a temporary folder that becomes ``path`` when the body ends without an error.

    On an error the temporary folder is removed and nothing appears at ``path``. Every file and the
    folder above are synchronised to disk before the folder appears.

    :raises FileExistsError: when there is something at ``path`` already.
    :raises OSError: when the disk is full or the folder cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f'directory: expected a new one, got {path}')
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f'.{path.name}-', dir=path.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp lets only the owner in
        move_whole(unfinished, path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def move_whole(source: Path, path: Path) -> None:
    """
    Move a finished folder to ``path``, so that after a crash it is whole at one of both places.

    Every file and folder is synchronised to disk before the move, the folders above after it.

    :param path: on the same file system; the folder above it exists.
    :raises FileExistsError: when something is at ``path`` already.
    :raises OSError: when the disk is full or a folder cannot be written.
    """
    if path.exists():
        raise FileExistsError(f'{path}: expected a new directory, got one that exists')
    for inner in source.rglob('*'):
        sync_folder(inner) if inner.is_dir() else _sync_file(inner)
    sync_folder(source)
    os.rename(source, path)
    for folder in {source.parent, path.parent}:
        sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Write a folder's entries to disk, so that a rename in it survives a loss of power."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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


def _sync_file(path: Path) -> None:
    with open(path, 'rb') as file:
        os.fsync(file.fileno())
