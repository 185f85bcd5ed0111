"""Robot and world files in the parser of Gazebo."""

from __future__ import annotations

import subprocess
import sys
from xml.etree import ElementTree

from efm_sim.table.scene import ARM_JOINTS
import pytest
from sources import ROOT

INSIDE = 'mount --bind "$1" "$0/srv" && shift && exec chroot "$0" /usr/bin/env HOME=/srv "$@"'


def gz(installation, folder, *words):
    """Run the command `gz` of an installation, with ``folder`` mounted as /srv."""
    return subprocess.run(
        [
            'unshare',
            '--mount',
            '--',
            'bash',
            '-c',
            INSIDE,
            installation.path,
            folder,
            'gz',
            *words,
        ],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize('name', ['table.classic.sdf', 'table.harmonic.sdf'])
def test_the_world_files_are_valid(installation, tmp_path, name):
    (tmp_path / name).write_text((ROOT / 'worlds' / name).read_text())
    done = gz(installation, tmp_path, 'sdf', '-k', f'/srv/{name}')
    assert 'Check complete' in done.stdout, done.stderr
    assert 'Error' not in done.stdout + done.stderr


def test_an_invalid_world_file_is_an_error(installation, tmp_path):
    (tmp_path / 'bad.sdf').write_text('<sdf version="1.7"><world name="x"><model/></world></sdf>')
    done = gz(installation, tmp_path, 'sdf', '-k', '/srv/bad.sdf')
    assert 'Error' in done.stdout + done.stderr


@pytest.mark.parametrize('hardware', ['classic', 'gz'])
def test_the_robot_has_its_joints_its_tool_and_its_camera(installation, tmp_path, hardware):
    xacro = [sys.executable, '-c', 'import xacro; xacro.main()', ROOT / 'urdf' / 'arm.urdf.xacro']
    text = subprocess.run([*xacro, f'hardware:={hardware}'], capture_output=True, text=True).stdout
    (tmp_path / 'arm.urdf').write_text(text)
    done = gz(installation, tmp_path, 'sdf', '-p', '/srv/arm.urdf')
    model = ElementTree.fromstring(done.stdout).find('model')
    driven = [j.get('name') for j in model.findall('joint') if j.get('type') == 'revolute']
    assert tuple(driven) == ARM_JOINTS
    assert model.find("link[@name='camera_link']/sensor").get('type') == 'camera'
    [hull] = model.iter('collision')  # the tool's tip, and nothing else
    assert hull.findtext('geometry/sphere/radius') == '0.01'
