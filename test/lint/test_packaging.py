"""What colcon, pip and people read about the package agrees with itself."""

from __future__ import annotations

import ast
import re
from xml.etree import ElementTree

from efm_bringup.graph import EXECUTABLES
import pytest
from sources import imports, name, python_files, ROOT

PACKAGES = {'efm': ROOT, 'efm_interfaces': ROOT / 'efm_interfaces'}
REQUIREMENTS = [
    'ros',
    'robot',
    'sim',
    'trainer',
    'vlm',
    'text',
    'ablation',
    'act',
    'pusht',
    'metaworld',
    'test',
    'docs',
    'colcon',
]
SETUP = (ROOT / 'setup.py').read_text()


def manifest(package: str) -> ElementTree.Element:
    """Return the root of a package's package.xml; a parse error names the line."""
    return ElementTree.parse(PACKAGES[package] / 'package.xml').getroot()


def test_one_version_everywhere():
    found = {
        'package.xml': manifest('efm').findtext('version'),
        'efm_interfaces/package.xml': manifest('efm_interfaces').findtext('version'),
        'setup.py': re.search(r"version='(.+)'", SETUP)[1],
    }
    for package, folder in PACKAGES.items():
        changelog = (folder / 'CHANGELOG.rst').read_text()
        newest = re.search(r'^(\d+\.\d+\.\d+) \(.*\)\n-+$', changelog, re.MULTILINE)
        found[f'{package}: CHANGELOG.rst'] = newest[1]
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize('package', PACKAGES)
def test_manifest_has_what_ros_asks_for(package):
    root = manifest(package)
    assert (root.tag, root.get('format'), root.findtext('name')) == ('package', '3', package)
    assert root.findtext('license') == 'Apache-2.0'
    assert root.find('maintainer').get('email')
    dependencies = [node.text for node in root if node.tag.endswith('depend')]
    assert len(dependencies) == len(set(dependencies))
    build_type = root.findtext('export/build_type')
    assert build_type == ('ament_python' if package == 'efm' else 'ament_cmake')


def test_manifest_names_every_ros_package_that_is_imported():
    known = {node.text for node in manifest('efm') if node.tag.endswith('depend')}
    pattern = re.compile(r'rclpy|std_srvs|builtin_interfaces|launch\w*|\w+_msgs|\w+_interfaces')
    imported = {
        target.split('.')[0]
        for path in python_files()
        if not name(path).startswith('test/')
        for target, _ in imports(path)
        if pattern.fullmatch(target.split('.')[0])
    }
    assert imported <= known


def test_every_executable_of_the_graph_is_installed():
    nodes = re.search(r'^NODES = (\{.*?^\})', SETUP, re.MULTILINE | re.DOTALL)[1]
    assert ast.literal_eval(nodes) == EXECUTABLES


@pytest.mark.parametrize('module', ['efm.cli', *EXECUTABLES.values()])
def test_every_executable_has_a_main(module):
    tree = ast.parse((ROOT / module.replace('.', '/')).with_suffix('.py').read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert 'main' in functions


def test_every_interface_file_is_built():
    folder = ROOT / 'efm_interfaces'
    files = {
        path.relative_to(folder).as_posix()
        for kind in ('msg', 'srv', 'action')
        for path in (folder / kind).glob(f'*.{kind}')
    }
    built = set(re.findall(r'"(\w+/\w+\.\w+)"', (folder / 'CMakeLists.txt').read_text()))
    assert built == files


def test_every_requirement_is_pinned():
    pinned = re.findall(r'^([\w-]+)==', read('constraints'), re.MULTILINE)
    wanted = [
        line
        for kind in REQUIREMENTS
        if kind != 'constraints'
        for line in read(kind).splitlines()
        if not line.startswith('#')
    ]
    assert sorted(wanted) == sorted(pinned)


def read(kind: str) -> str:
    """Return one of the requirement files."""
    return (ROOT / 'requirements' / f'{kind}.txt').read_text()
