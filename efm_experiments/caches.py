"""Files that runs share: demonstrations, checkpoints of stage 1 and their evaluations."""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from efm_core.machine import cache_folder
from efm_experiments.experiment import digest


def cache() -> Path:
    """Return the folder of the files that runs share (environment variable EFM_CACHE)."""
    named = os.environ.get('EFM_CACHE')
    return Path(named).expanduser() if named else cache_folder()


@functools.cache
def fingerprint(*places: str) -> str:
    """Return an 8-digit hash of source files and weights: files of the suite, whole folders."""
    root = Path(__file__).resolve().parents[1]
    found = hashlib.sha256()
    for place in (root / place for place in places):
        for path in sorted(place.rglob('*')) if place.is_dir() else [place]:
            if path.suffix in ('.py', '.safetensors') and 'node' not in path.stem:
                found.update(path.read_bytes())
    return found.hexdigest()[:8]


def name_of(*parts: object) -> str:
    """Return a short file name of configurations, numbers and words."""
    return '-'.join(str(part) if isinstance(part, (int, str)) else digest(part) for part in parts)
