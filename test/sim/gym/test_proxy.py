"""Environments in another interpreter: this one again, isolated from all of its paths."""

from __future__ import annotations

import gc
import math
from pathlib import Path
import signal
import subprocess
import sys

from efm_sim.gym import child
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.proxy import EnvironmentProxy, ForeignError
from efm_sim.gym.world import load_world, MAKE_ARGUMENTS
from gymnasium import spaces
import hand
import numpy as np
import psutil
import pytest
from waiting import wait_for

TEST = str(Path(hand.__file__).parent)
ROOT = str(Path(hand.__file__).parents[1])
HERE = {'python': sys.executable, 'python_path': TEST}
NAME = 'odd:lab/Odd-v0'
ODD = """
import os, signal, sys, time
import gymnasium
from gymnasium import spaces
import numpy as np

class Odd(gymnasium.Env):
    metadata = {'render_modes': ['rgb_array']}
    observation_space = spaces.Dict({'a': spaces.Box(-1, 1, (2,)), 'b': spaces.Discrete(4)})

    def __init__(self, render_mode=None, space=None):
        self.render_mode = render_mode
        self.action_space = spaces.Discrete(3) if space else spaces.Box(
            np.array([-1, -np.inf], np.float32), np.array([1, 2], np.float32)
        )

    def reset(self, *, seed=None, options=None):
        print('printed')
        os.write(1, b'written')
        foreign = {'modules': sorted(sys.modules), 'path': sys.path, 'pid': os.getpid()}
        return {}, {'object': object(), 3: 'number', 'environment': dict(os.environ), **foreign}

    def step(self, action):
        what = int(action[0])
        if what == 0:
            raise KeyError('motor')
        if what == 1:
            os._exit(3)
        if what == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        open(os.environ['ODD_HANGS'], 'w').close()
        time.sleep(1000)

    def close(self):
        with open(os.environ['ODD_CLOSED'], 'w') as file:
            file.write('yes')

gymnasium.register('lab/Odd-v0', entry_point=Odd)
"""


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """Return a file that exists when an odd environment was closed."""
    (tmp_path / 'odd.py').write_text(ODD)
    monkeypatch.setenv('ODD_CLOSED', str(tmp_path / 'closed'))
    monkeypatch.setenv('ODD_HANGS', str(tmp_path / 'hangs'))
    return tmp_path / 'closed'


@pytest.fixture
def odd(closed):
    made = proxy(closed.parent)
    yield made
    made.close()


def proxy(folder, kwargs=None, **fields):
    known = {'id': NAME, 'instruction': 'go', 'python': sys.executable}
    config = EnvironmentConfig(**{**known, 'python_path': str(folder), **fields})
    return EnvironmentProxy(config, {**MAKE_ARGUMENTS, **(kwargs or {})})


def contents(world):
    """Return all that a world shows of this moment, as bytes where it has arrays."""
    state = world.state()
    return (
        [(image.dtype, image.tobytes()) for image in world.images()],
        (state.joints, state.positions.tobytes()),
        {name: value.tobytes() for name, value in world.positions().items()},
        world.info(),
        {key: type(value) for key, value in world.information.items()},
        world.success(),
        world.terminated(),
    )


def test_a_world_in_another_process_is_bit_for_bit_the_local_one(tmp_path):
    local = load_world(hand.write(tmp_path / 'local.yaml'))
    other = load_world(hand.write(tmp_path / 'other.yaml', **HERE))
    seen = set()
    for seed in (0, 7):
        random = np.random.default_rng(seed)
        for world in (local, other):
            world.reset(seed)
        assert contents(local) == contents(other)
        for _ in range(20):
            action = random.uniform(-1, 1, 4)
            for world in (local, other):
                world.step(action)
            assert contents(local) == contents(other)
            seen.add(contents(other)[0][0][1])
    other.close()
    assert len(seen) > 10  # the hand has moved


@pytest.mark.parametrize(
    'value',
    [
        [None, True, 3, 0.1, -0.0, math.inf, 'äö', (1, [2, ()])],
        {'a': {3: 'number', 'deep.key': np.arange(6, dtype='>i2').reshape(2, 3)}},
        (np.zeros((0, 3), np.uint8), np.float32(0.1), np.array(2 + 1j), np.bool_(True)),
        [np.array(['one', 'three']), np.array([math.nan, 1.0], np.float16)],
    ],
)
def test_a_value_arrives_as_it_was_sent(value):
    arrays: list = []
    plain = child.encode(value, arrays)
    arrived = child.decode(plain, bytearray(b''.join(arrays)), [0])
    assert repr(arrived) == repr(value)
    assert type(arrived) is type(value)


def test_a_mapping_loses_what_cannot_be_sent():
    arrays: list = []
    value = {'kept': np.ones(2), 'lost': [np.zeros(3), object()], 'kept too': np.full(2, 2.0)}
    plain = child.encode(value, arrays)
    arrived = child.decode(plain, bytearray(b''.join(arrays)), [0])
    assert {key: array.tolist() for key, array in arrived.items()} == {
        'kept': [1, 1],
        'kept too': [2, 2],
    }
    with pytest.raises(TypeError, match=r'expected numbers, text, .* got .*object'):
        child.encode([object()], arrays)


def test_spaces_have_their_bounds_or_at_least_their_text(closed, odd):
    bounds = {'low': np.float32([-1, -np.inf]), 'high': np.float32([1, 2])}
    assert odd.action_space == spaces.Box(**bounds)
    assert odd.observation_space['a'] == spaces.Box(-1, 1, (2,))
    assert repr(odd.observation_space['b']) == 'Discrete(4)'
    with proxy(closed.parent, {'space': 'other'}) as other:
        assert repr(other.action_space) == 'Discrete(3)'


def test_the_other_process_finds_nothing_of_ours(odd, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', ROOT)
    _, info = odd.reset()
    assert not [name for name in info['modules'] if name.split('.')[0].startswith('efm')]
    assert not {ROOT, str(Path(child.__file__).parent)} & set(info['path'])
    assert not set(info['environment']) & {'PYTHONPATH', 'PYTHONHOME'}
    assert 'object' not in info
    assert info[3] == 'number'


def test_prints_of_the_environment_go_to_standard_error(closed, capfd):
    with proxy(closed.parent) as odd:
        odd.reset()
    printed = capfd.readouterr()
    assert printed.out == ''
    assert 'printed' in printed.err
    assert 'written' in printed.err


def test_an_error_of_the_environment_reads_as_one_of_a_local_world(closed, tmp_path, capfd):
    odd = proxy(closed.parent)
    odd.reset()
    with pytest.raises(ForeignError, match=r"^'motor'$") as raised:
        odd.step(np.zeros(2))
    assert raised.type.__name__ == 'KeyError'
    assert "KeyError: 'motor'" in capfd.readouterr().err  # with its traceback
    assert odd.reset()[0] == {}  # the process goes on
    odd.close()
    for name in ('nowhere/Nothing-v0', 'nothing:lab/Nothing-v0'):
        said = []
        for section in ({}, HERE):
            path = hand.write(tmp_path / 'wrong.yaml', id=name, **section)
            with pytest.raises(RuntimeError, match='make failed') as raised:
                load_world(path)
            said.append(str(raised.value))
        assert said[0] == said[1]
    assert not psutil.Process().children()  # nothing is left of what failed


@pytest.mark.parametrize(('action', 'how'), [(1, 'exit code 3'), (2, 'signal SIGKILL')])
def test_the_end_of_the_process_is_an_error_that_says_how(odd, action, how):
    odd.reset()
    with pytest.raises(ForeignError, match=rf'got the end of the process \({how}\).* needs gymn'):
        odd.step(np.full(2, action))
    with pytest.raises(ForeignError, match='it has ended'):
        odd.reset()
    odd.close()


def test_an_environment_that_hangs_is_an_error_and_its_process_ends(closed):
    environment = proxy(closed.parent, python_timeout_s=5.0)
    pid = environment.reset()[1]['pid']
    environment._connection.settimeout(0.1)
    with pytest.raises(ForeignError, match=r'within 5 s \(python_timeout_s\), got none'):
        environment.step(np.full(2, 3))
    assert not psutil.pid_exists(pid)


def test_closing_closes_the_environment_and_ends_its_process(odd, closed):
    pid = odd.reset()[1]['pid']
    assert not closed.exists()
    odd.close()
    assert closed.read_text() == 'yes'
    assert not psutil.pid_exists(pid)


def test_a_forgotten_environment_ends_its_process(closed):
    environment = proxy(closed.parent)
    pid = environment.reset()[1]['pid']
    del environment
    gc.collect()
    assert not psutil.pid_exists(pid)


def is_gone(pid):
    """Return whether a process has ended, be it that nobody has asked for its exit code."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize('hangs', [False, True])
def test_the_process_ends_when_ours_is_killed(closed, hangs):
    program = f"""
import sys
sys.path[:0] = [{ROOT!r}]
from efm_sim.gym.config import EnvironmentConfig
from efm_sim.gym.proxy import EnvironmentProxy
environment = EnvironmentProxy(EnvironmentConfig(
    id={NAME!r}, instruction='go', python=sys.executable, python_path={str(closed.parent)!r}
), {MAKE_ARGUMENTS})
print(environment.reset()[1]['pid'], flush=True)
environment.step([3]) if {hangs} else sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, '-c', program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as ours:
        pid = int(ours.stdout.readline())
        assert not is_gone(pid)
        if hangs:
            wait_for((closed.parent / 'hangs').exists, 'a step that hangs')
        ours.send_signal(signal.SIGKILL)
    wait_for(lambda: is_gone(pid), 'the end of the environment')
    assert closed.exists() != hangs


def test_a_missing_interpreter_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv('LAB', str(tmp_path))
    with pytest.raises(RuntimeError, match=rf'expected the Python .* got {tmp_path}/bin/python;'):
        load_world(hand.write(tmp_path / 'wrong.yaml', python='$LAB/bin/python'))


def test_an_interpreter_without_packages_is_an_error_that_says_what_it_needs(tmp_path, capfd):
    bare = tmp_path / 'python'
    bare.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    bare.chmod(0o755)
    with pytest.raises(ForeignError, match=r'\(exit code 1\).* needs gymnasium'):
        proxy(tmp_path, python=str(bare))
    assert "No module named 'numpy'" in capfd.readouterr().err


def test_paths_may_have_the_home_folder_and_variables(closed, monkeypatch):
    monkeypatch.setenv('HOME', str(closed.parent))
    monkeypatch.setenv('LAB_PYTHON', sys.executable)
    with proxy('~', python='$LAB_PYTHON') as environment:
        assert environment.reset()[0] == {}


def test_a_folder_of_modules_needs_an_interpreter():
    with pytest.raises(ValueError, match='python_path: expected none without `python`, got lab'):
        EnvironmentConfig(id=NAME, instruction='go', python_path='lab')
