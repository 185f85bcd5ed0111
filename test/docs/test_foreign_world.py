"""The files of docs/foreign-world.md fit each other, with a stand-in for the package they wrap."""

from __future__ import annotations

from pathlib import Path
import re
import sys

from efm_core.episode import Outcome
import pytest
from sources import ROOT

STAND_IN = """
import gymnasium
import numpy as np

class Plain:
    pass

class Lift(gymnasium.Env):
    metadata = {'render_modes': ['rgb_array']}
    action_space = gymnasium.spaces.Box(-1, 1, (4,))
    observation_space = gymnasium.spaces.Box(-1000, 1000, (28,), np.float64)

    def __init__(self, render_mode, visualization_width, visualization_height):
        self.render_mode = render_mode
        self.size = (visualization_height, visualization_width, 3)
        self.model = self
        self.data = Plain()
        self.data.gripper = 0.0  # which no reset of its own changes
        self._mujoco = Plain()
        self._mujoco.mj_resetData = lambda model, data: setattr(data, 'gripper', 0.0)
        self.visualization_renderer = Plain()
        self.visualization_renderer.model = Plain()
        self.visualization_renderer.model.cam_fovy = np.full(1, 50.0)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.hand = np.array([-0.36, 0.0, -0.04])
        self.cube = np.array([*self.np_random.uniform(-0.15, -0.1, 2), -0.07])
        return self.state(), {}

    def step(self, action):
        self.hand = self.hand + 0.004 * action[:3]
        self.data.gripper = np.clip(self.data.gripper + 0.05 * action[3], 0, 0.5)
        if self.data.gripper > 0.3 and np.linalg.norm(self.hand - self.cube) < 0.03:
            self.cube = self.cube + 0.004 * action[:3]
        return self.state(), 0.0, False, False, {'is_success': False}

    def state(self):
        state = np.zeros(28)
        state[:3], state[6:9], state[27] = self.hand, self.cube, self.data.gripper
        return state

    def render(self):
        assert self.visualization_renderer.model.cam_fovy == 30
        return np.full(self.size, int(100 * self.data.gripper), np.uint8)
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Return a folder with the files of the page, an interpreter and a stand-in for gym_xarm."""
    page = (ROOT / 'docs/foreign-world.md').read_text()
    yaml_file, python_file, trial = re.findall(r'```(?:yaml|python)\n(.*?)```', page, re.DOTALL)
    (tmp_path / 'xarm_lift.yaml').write_text(yaml_file)
    (tmp_path / 'xarm_lift.py').write_text(python_file)
    (tmp_path / 'trial.py').write_text(trial)
    (tmp_path / 'gym_xarm').mkdir()
    (tmp_path / 'gym_xarm' / 'tasks.py').write_text(STAND_IN)
    python = tmp_path / 'venv' / 'bin' / 'python'
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv('LAB', str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_demonstrator_of_the_page_lifts_in_its_world(lab: Path):
    found: dict = {}
    exec((lab / 'trial.py').read_text(), found)
    found['world'].close()
    outcomes = [episode.outcome for episode in found['episodes']]
    assert len(outcomes) == 20
    assert outcomes.count(Outcome.SUCCESS) >= 15
    assert 'gym_xarm' not in sys.modules
