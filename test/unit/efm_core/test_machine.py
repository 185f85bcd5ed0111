"""A home folder that cannot be written, no home at all, and a locale without UTF-8."""

import os
from pathlib import Path
import subprocess
import sys
import tempfile

from efm_core.machine import cache_folder, ensure_log_folder
from efm_model import text
import pytest

NOWHERE = '/proc/nowhere'  # no user can make this folder


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    for name in ('ROS_LOG_DIR', 'ROS_HOME', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)


def test_the_cache_is_where_the_user_wants_it(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', '/srv/user')
    assert cache_folder() == Path('/srv/user/.cache/efm')
    monkeypatch.setenv('XDG_CACHE_HOME', 'relative')
    assert cache_folder() == Path('/srv/user/.cache/efm')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert cache_folder() == tmp_path / 'efm'


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def fail():
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.setattr(Path, 'home', fail)
    assert cache_folder() == Path(tempfile.gettempdir(), f'efm-{os.getuid()}')


@pytest.mark.parametrize('home', [NOWHERE, ''])
def test_ros_logs_where_it_can_when_the_home_cannot_be_written(monkeypatch, tmp_path, home):
    monkeypatch.setenv('HOME', home)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    ensure_log_folder()
    assert os.environ.pop('ROS_LOG_DIR') == str(tmp_path / 'efm' / 'ros_log')
    monkeypatch.setenv('XDG_CACHE_HOME', NOWHERE)
    ensure_log_folder()
    assert Path(os.environ.pop('ROS_LOG_DIR')).is_dir()


def test_a_folder_that_was_named_for_the_logs_stays(monkeypatch, tmp_path):
    monkeypatch.setenv('HOME', NOWHERE)
    monkeypatch.setenv('ROS_LOG_DIR', str(tmp_path))
    ensure_log_folder()
    assert os.environ['ROS_LOG_DIR'] == str(tmp_path)
    monkeypatch.delenv('ROS_LOG_DIR')
    monkeypatch.setenv('HOME', str(tmp_path))
    ensure_log_folder()
    assert 'ROS_LOG_DIR' not in os.environ


def test_a_cache_that_cannot_be_written_is_one_line_with_what_to_set(monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', NOWHERE)
    with pytest.raises(OSError, match=r'expected to write /proc.*; set XDG_CACHE_HOME') as error:
        text.ensure_text_encoder()
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('mode', [{}, {'PYTHONUTF8': '0'}])
def test_a_process_in_another_encoding_starts_again_in_utf_8(tmp_path, mode):
    code = 'from efm_core.machine import use_utf8; use_utf8(); import sys; print(sys.argv[1])'
    environment = {**os.environ, 'LC_ALL': 'C', 'PYTHONCOERCECLOCALE': '0', **mode}
    if not mode:
        environment.pop('PYTHONUTF8', None)
    said = subprocess.run(
        [sys.executable, '-c', code, 'l\u00e4uft'],
        env=environment,
        stdout=subprocess.PIPE,
        check=True,
    )
    assert said.stdout.decode() == 'l\u00e4uft\n'
