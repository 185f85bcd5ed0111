import fcntl
import os
from pathlib import Path
import signal
import subprocess
import sys

from efm_core import files
from efm_core.files import (
    FileContent,
    FolderLock,
    inside,
    LOCK_FILE,
    share,
    whole_directory,
    whole_file,
    write_whole,
)
import pytest
from sources import ROOT

CRASH = """
import os, signal
from efm_core.files import whole_directory, write_whole
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
{code}
"""


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """Return the names of files and folders in the order in which they are synchronised."""
    names: list[str] = []
    fsync = os.fsync

    def note(handle: int) -> None:
        names.append(Path(os.readlink(f'/proc/self/fd/{handle}')).name)
        fsync(handle)

    monkeypatch.setattr(os, 'fsync', note)
    return names


def run_until_killed(code: str, folder: Path) -> int:
    """Return the exit code of a process that is killed where it would synchronise to disk."""
    done = subprocess.run(
        [sys.executable, '-c', CRASH.format(code=code)],
        cwd=folder,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    return done.returncode


def fill(folder: Path, *names: str, number: float = 1.0) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text('whole')
    assert 1 / number


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith('.'))


def test_a_file_holds_the_bytes_or_the_text_as_utf_8(tmp_path):
    assert write_whole(tmp_path / 'a' / 'text', 'größer\n') == tmp_path / 'a' / 'text'
    assert (tmp_path / 'a' / 'text').read_bytes() == b'gr\xc3\xb6\xc3\x9fer\n'
    write_whole(tmp_path / 'a' / 'text', b'\x00')
    assert (tmp_path / 'a' / 'text').read_bytes() == b'\x00'
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['text']


def test_a_file_is_synchronised_before_its_folder(tmp_path, synced):
    write_whole(tmp_path / 'kept', 'new')
    assert synced == ['kept', tmp_path.name]


def test_a_process_that_is_killed_while_it_writes_leaves_the_old_file(tmp_path):
    write_whole(tmp_path / 'kept', 'old')
    assert run_until_killed("write_whole('kept', 'new')", tmp_path) == -signal.SIGKILL
    assert (tmp_path / 'kept').read_text() == 'old'
    assert visible(tmp_path) == ['kept']


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(tmp_path):
    write_whole(tmp_path / 'kept', 'old')
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / 'kept') as unfinished:
        unfinished.write_text(f'ne{1 / 0}')
    assert (tmp_path / 'kept').read_text() == 'old'
    assert [path.name for path in tmp_path.iterdir()] == ['kept']


def test_a_disk_that_is_full_leaves_the_old_file(tmp_path, monkeypatch):
    write_whole(tmp_path / 'kept', 'old')

    def full(handle: int) -> None:
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        write_whole(tmp_path / 'kept', 'new')
    assert (tmp_path / 'kept').read_text() == 'old'


def test_a_file_that_its_writer_kept_private_can_be_read_by_the_robots_user(tmp_path):
    with whole_file(tmp_path / 'weights') as unfinished:
        unfinished.touch(mode=0o600)
    assert (tmp_path / 'weights').stat().st_mode & 0o777 == 0o644


def test_a_body_that_writes_no_file_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / 'none'):
        pass


def test_a_directory_appears_with_all_its_files_or_not_at_all(tmp_path, synced):
    with whole_directory(tmp_path / 'a' / 'model') as unfinished:
        (unfinished / 'inner').mkdir()
        (unfinished / 'inner' / 'weights').write_bytes(b'1')
        assert visible(tmp_path / 'a') == []
    assert (tmp_path / 'a' / 'model' / 'inner' / 'weights').read_bytes() == b'1'
    assert [path.name for path in (tmp_path / 'a').iterdir()] == ['model']
    assert (tmp_path / 'a' / 'model').stat().st_mode & 0o777 == 0o755
    assert sorted(synced[:2]) == ['inner', 'weights']
    assert synced[2].startswith('.model-')
    assert synced[3:] == ['a']


def test_an_error_leaves_no_directory(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_directory(tmp_path / 'model') as unfinished:
        fill(unfinished, 'weights', number=0)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_killed_leaves_no_directory(tmp_path):
    code = "with whole_directory('model') as folder: (folder / 'weights').touch()"
    assert run_until_killed(code, tmp_path) == -signal.SIGKILL
    assert visible(tmp_path) == []


def test_a_directory_that_is_there_is_never_replaced(tmp_path):
    (tmp_path / 'model').mkdir()
    with pytest.raises(FileExistsError), whole_directory(tmp_path / 'model'):
        pytest.fail('the body must not run')


@pytest.mark.parametrize('names', [(), ('weights',)], ids=('empty', 'full'))
def test_a_directory_of_a_process_that_was_faster_stays(tmp_path, names):
    with pytest.raises(FileExistsError), whole_directory(tmp_path / 'model'):
        fill(tmp_path / 'model', *names)
    assert visible(tmp_path / 'model') == [*names]


def test_what_ships_is_found_in_the_source_tree():
    assert share('config/embodiments/table_arm.yaml') == (
        ROOT / 'config' / 'embodiments' / 'table_arm.yaml'
    )


def test_what_ships_is_found_where_it_was_installed(tmp_path, monkeypatch):
    module = tmp_path / 'lib' / 'python3' / 'site-packages' / 'efm_core' / 'files.py'
    installed = tmp_path / 'share' / 'efm' / 'urdf' / 'arm.urdf'
    write_whole(installed, '<robot/>')
    monkeypatch.setattr(files, '__file__', str(module))
    assert share('urdf/arm.urdf') == installed


def test_what_is_nowhere_is_named():
    with pytest.raises(FileNotFoundError, match=r'urdf/none\.urdf: expected it in the source'):
        share('urdf/none.urdf')


def test_a_file_that_was_read_is_not_read_again(tmp_path):
    path = write_whole(tmp_path / 'weights', 'abc')
    file = FileContent.read(path)
    path.write_text('other')
    assert file.data == b'abc'
    # of `printf abc | sha256sum`
    assert file.sha256 == 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'
    assert 'abc' not in repr(file)


def test_a_folder_is_locked_once_until_it_is_released(tmp_path):
    lock = FolderLock(tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(BlockingIOError):
        FolderLock(tmp_path)
    lock.release()
    lock.release()
    FolderLock(tmp_path).release()


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    code = (
        'import os, signal, sys; from efm_core.files import FolderLock; '
        'lock = FolderLock(sys.argv[1]); os.kill(os.getpid(), signal.SIGKILL)'
    )
    done = subprocess.run([sys.executable, '-c', code, str(tmp_path)], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    FolderLock(tmp_path).release()


def test_where_folders_have_no_locks_a_file_in_it_is_locked(tmp_path, monkeypatch):
    flock = fcntl.flock

    def only_files(handle, operation):
        if Path(f'/proc/self/fd/{handle}').resolve().is_dir():
            raise OSError(9, 'Bad file descriptor')  # as NFS
        flock(handle, operation)

    monkeypatch.setattr(fcntl, 'flock', only_files)
    lock = FolderLock(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [LOCK_FILE]
    with pytest.raises(BlockingIOError):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_without_any_locks_the_error_names_the_folder(tmp_path, monkeypatch):
    def no_locks(handle, operation):
        raise OSError(95, 'Operation not supported')

    monkeypatch.setattr(fcntl, 'flock', no_locks)
    with pytest.raises(OSError, match=f'{tmp_path}: expected a file system with locks'):
        FolderLock(tmp_path)


@pytest.mark.parametrize('name', ['practice-000001', 'a', '2026-11-30T12:00:00+01', '_x', 'a.b'])
def test_a_plain_name_is_inside(tmp_path, name):
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    'name',
    ['', '.', '..', '../x', '/etc/x', 'a/b', 'a/../../b', '.hidden', 'a b', 'a\0', 'ä', 'a' * 129],
)
def test_a_name_that_could_leave_its_folder_or_hide_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match='expected a name of at most 128 letters, digits'):
        inside(tmp_path, name)
