"""What is worth keeping between runs: demonstrations and what stage 1 made of them."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from efm_experiments.experiment import digest


def cache() -> Path:
    """Return where demonstrations and checkpoints are kept between runs (EFM_CACHE)."""
    return Path(os.environ.get('EFM_CACHE', '~/.cache/efm')).expanduser()


@functools.cache
def fingerprint(*folders: str) -> str:
    """Return a hash of the sources and weights in folders of the suite: what a cache goes by."""
    root = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for folder in folders:
        for path in sorted((root / folder).rglob('*')):
            if path.suffix in ('.py', '.safetensors') and 'node' not in path.stem:
                found.update(path.read_bytes())
    return found.hexdigest()[:8]


def name_of(*parts: object) -> str:
    """Return a short name of configs and numbers, for a file."""
    return '-'.join(str(part) if isinstance(part, (int, str)) else digest(part) for part in parts)
