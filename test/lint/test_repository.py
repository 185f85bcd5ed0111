"""What must not be in the repository, and what its papers promise."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from sources import make_targets, name, python_files, ROOT, tracked_files

PICKLE = re.compile(
    r'^\s*(import|from) (pickle|cPickle|dill|cloudpickle|joblib|shelve)\b'
    r'|torch\.(load|save)\(|allow_pickle=True|\.read_pickle\(',
    re.MULTILINE,
)
MACHINE = re.compile(r'(?<![\w.:/-])/(work|root|home|Users|mnt)/\w')
TEXT = {'.py', '.md', '.rst', '.txt', '.toml', '.cfg', '.yaml', '.yml', '.xml', '.sh', '.html', ''}
MAX_BYTES = 1_000_000
PAPERS = sorted([*ROOT.glob('*.md'), *(ROOT / 'docs').glob('*.md')])


def test_nothing_is_pickled():
    wrong = [
        f'{name(path)}: {found[0].strip()}'
        for path in python_files()
        if path.name != 'test_repository.py'
        for found in PICKLE.finditer(path.read_text())
    ]
    assert not wrong


def test_no_file_names_a_place_on_somebodys_machine():
    wrong = [
        f'{name(path)}: {found[0]}'
        for path in tracked_files()
        if path.is_file() and path.suffix in TEXT and path.name != 'test_repository.py'
        for found in MACHINE.finditer(path.read_text())
    ]
    assert not wrong


def test_no_large_file_is_tracked():
    sizes = {name(path): path.stat().st_size for path in tracked_files() if path.is_file()}
    assert not {path: size for path, size in sizes.items() if size > MAX_BYTES}


def code(text: str) -> str:
    """Return what a paper shows as code: blocks and words between backticks."""
    return '\n'.join(re.findall(r'```\w*\n.*?```|`[^`\n]+`', text, re.DOTALL))


@pytest.mark.parametrize('paper', PAPERS, ids=name)
def test_papers_name_make_targets_that_exist(paper):
    named = set(re.findall(r'(?:^|[`\s;])make ([a-z][a-z-]+)', code(paper.read_text())))
    assert named <= make_targets()


@pytest.mark.parametrize('paper', PAPERS, ids=name)
def test_papers_name_files_that_exist(paper):
    folders = r'docs|test|launch|config|requirements|benchmarks|urdf|efm|efm_\w+'
    pattern = rf'(?<![\w/.~])((?:{folders})/[\w./*-]*[\w*])'
    named = set(re.findall(pattern, code(paper.read_text())))
    interfaces = re.compile(r'efm_interfaces/(msg|srv|action)/\w+')
    named = {path for path in named if not interfaces.fullmatch(path)}
    assert not [path for path in named if not any(ROOT.glob(path))]


def test_papers_name_commands_that_exist():
    words = {
        word
        for paper in PAPERS
        for word in re.findall(r'(?:^|[`/\s])efm ([a-z]+)', code(paper.read_text()), re.M)
    }
    # `ros2 launch efm practice.launch.py` names a file, which another test looks for.
    words -= {
        path.name.split('.')[0] for path in (ROOT / 'launch').glob('*.launch.py')
    } - subcommands()
    assert words <= subcommands()


def subcommands() -> set[str]:
    """Return the words that `efm` knows, by its own help."""
    done = subprocess.run(
        [sys.executable, '-m', 'efm.cli', '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return set(re.findall(r'[a-z]+', done.stdout))
