"""The directory of a run, and the contract that all in it was made under."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from efm_core.config import check, parameter
from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import find_embodiment
from efm_core.files import write_whole


@dataclass(frozen=True)
class RunConfig:
    """Which run, and for which robot."""

    run: str = parameter('runs/run', 'Directory of the run: bags, checkpoints, releases, report')
    embodiment: str = parameter('', "YAML file of the embodiment; empty for the suite's table_arm")

    def __post_init__(self):
        """Refuse a value out of range."""
        check(self)


def open_run(run: str, embodiment: str) -> Path:
    """
    Make the run's directory and put the embodiment into it; return the copy.

    A run that has one keeps it, so that only its first command must name it.

    :raises ValueError: when another embodiment is named than the run was made for.
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
