"""The directory of a run, and the embodiment that everything in it belongs to."""

from __future__ import annotations

from pathlib import Path

from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import find_embodiment
from efm_core.files import write_whole


def open_run(run: str, embodiment: str) -> Path:
    """
    Create the run's directory with a copy of the embodiment; return the path of the copy.

    A run keeps its first embodiment, so that only its first command must name one.

    :raises ValueError: when another embodiment is named than the run was created with.
    """
    copy = Path(run).absolute() / 'embodiment.yaml'
    if not copy.is_file():
        source = find_embodiment(embodiment)
        load_embodiment(source)
        write_whole(copy, source.read_bytes())
    elif embodiment:
        load_embodiment(find_embodiment(embodiment)).check_same(
            load_embodiment(copy).hash, str(copy)
        )
    return copy
