"""The directory of a run, and the embodiment that everything in it belongs to."""

from __future__ import annotations

import logging
from pathlib import Path

from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import find_embodiment
from efm_core.files import write_whole

LOG = logging.getLogger(__name__)


def open_run(run: str, embodiment: str) -> Path:
    """
    Create the run's directory with a copy of the embodiment; return the path of the copy.

    A run keeps its first embodiment, so that only its first command must name one. What is not
    part of the contract, such as the section `gymnasium`, is taken from the file that was named
    last.

    :raises ValueError: when another embodiment is named than the run was created with.
    """
    copy = Path(run).absolute() / 'embodiment.yaml'
    if not copy.is_file():
        source = find_embodiment(embodiment)
        load_embodiment(source)
        write_whole(copy, source.read_bytes())
    elif embodiment:
        source = find_embodiment(embodiment)
        load_embodiment(source).check_same(load_embodiment(copy).hash, str(copy))
        if source.read_bytes() != copy.read_bytes():
            LOG.warning('%s: takes the changes of %s; the contract is the same', copy, source)
            write_whole(copy, source.read_bytes())
    return copy
