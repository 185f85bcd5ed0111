"""The documentation site builds without a warning, and its index links every page."""

from __future__ import annotations

from pathlib import Path
import re
import runpy
import subprocess
import sys

import pytest
from sources import imports, name, python_files, ROOT

DOCS = ROOT / 'docs'
PAGES = sorted(
    path.relative_to(DOCS).with_suffix('').as_posix()
    for pattern in ('*.md', 'api/*.md')
    for path in DOCS.glob(pattern)
    if path.name != 'index.md'
)
TYPES_ONLY = {'_typeshed', 'typing_extensions'}  # no program imports them when it runs
# What requirements/robot.txt installs: the site may import it.
ROBOT = {'cv2', 'google', 'grpc', 'numpy', 'onnxruntime', 'rosbags', 'tokenizers', 'yaml'}
ROBOT |= {'backports', 'compression', 'lz4'}  # for rosbags


def top(module: str) -> str:
    """Return the top-level package of a module."""
    return module.split('.')[0]


@pytest.fixture(scope='module')
def site(tmp_path_factory) -> Path:
    """Return the folder of a fresh build, in which every warning is an error."""
    folder = tmp_path_factory.mktemp('site')
    options = ['--fail-on-warning', '--keep-going', '--quiet', '--builder', 'html']
    done = subprocess.run(
        [sys.executable, '-m', 'sphinx', *options, str(DOCS), str(folder)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize('page', PAGES)
def test_site_has_every_page(site, page):
    assert (site / page).with_suffix('.html').is_file()


def test_index_links_every_page():
    index = (DOCS / 'index.md').read_text()
    trees = re.findall(r'```\{toctree\}\n(.*?)```', index, re.DOTALL)
    lines = '\n'.join(trees).splitlines()
    assert sorted(line for line in lines if line and not line.startswith(':')) == PAGES


def test_site_describes_every_parameter(site):
    page = (site / 'api' / 'efm_guard.html').read_text()
    described = re.search('<strong>check_rate_hz</strong>(.+?)</p>', page)[1]
    assert '[Hz] (default 20.0, 1.0 to 200.0)' in described


def test_site_downloads_repository_files(site):
    text = '\n'.join(path.read_text() for path in DOCS.glob('*.md'))
    targets = {ROOT / target for target in re.findall(r'\]\(\.\./([\w./-]+)[#)]', text)}
    linked = {target.name for target in targets if target.is_file()}
    downloads = {path.name for path in (site / '_downloads').rglob('*')}
    assert linked
    assert linked <= downloads


@pytest.mark.parametrize(
    'room', sorted(path.parent.name for path in ROOT.glob('efm*/__init__.py'))
)
def test_every_room_has_its_page(room):
    assert f'{{modules}} {room}\n' in (DOCS / 'api' / f'{room}.md').read_text()


def test_pages_import_neither_ros_nor_a_learning_library():
    mocked = set(runpy.run_path(str(DOCS / 'conf.py'))['autodoc_mock_imports'])
    ours = {path.parent.name for path in ROOT.glob('efm*/__init__.py')}
    wrong = {
        f'{name(path)}: {module}'
        for path in python_files()
        if top(name(path).replace('/', '.')) in ours
        for module, _ in imports(path, only_on_import=True)
        if top(module) not in {*sys.stdlib_module_names, *ours, *ROBOT, *TYPES_ONLY, *mocked}
    }
    assert not wrong, 'add these to autodoc_mock_imports in docs/conf.py'
