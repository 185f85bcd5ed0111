"""No common misspelling in any text; pyproject.toml lists the words that are meant."""

from __future__ import annotations

import subprocess
import sys

from sources import name, ROOT, tracked_files

TEXT = {
    *('.action', '.cff', '.cfg', '.md', '.msg', '.proto', '.py', '.rst', '.sh', '.srv', '.toml'),
    *('.txt', '.xml', '.yaml', '.yml', ''),
}


def test_no_word_is_misspelt():
    files = [name(path) for path in tracked_files() if path.is_file() and path.suffix in TEXT]
    done = subprocess.run(
        [sys.executable, '-m', 'codespell_lib', *files], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
