"""What an experiment consists of: cells, each run with several seeds, and a summary of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, KW_ONLY
import hashlib
import json
from typing import Any

from matplotlib.figure import Figure

# Folders that a policy's results depend on.
SOURCES = (
    'efm_core',
    'efm_data',
    'efm_evaluation',
    'efm_experiments',
    'efm_model',
    'efm_policy',
    'efm_reward',
    'efm_sim',
    'efm_trainer',
)


@dataclass(frozen=True)
class ResultTable:
    """
    A table of the results page.

    :param caption: its title.
    :param header: column titles.
    :param rows: one list of cells for each row; ``str`` formats each cell.
    """

    caption: str
    header: tuple[str, ...]
    _: KW_ONLY
    rows: list[list[Any]]


@dataclass(frozen=True)
class Record:
    """
    One finished cell with one seed.

    :param values: numbers and lists of numbers, by name.
    :param seconds: wall-clock time [s]; ``cpu_seconds`` is the process's own processor time [s].
    :param digest: hash of the cell's configuration; a record with another digest is stale.
    :param sources: hash of the code and weights that the values depend on; empty in records that
        are older than this field.
    """

    cell: str
    seed: int
    _: KW_ONLY
    digest: str
    config: dict[str, Any]
    values: dict[str, Any]
    seconds: float
    cpu_seconds: float
    date: str
    commit: str
    machine: str
    sources: str = ''


@dataclass(frozen=True)
class Results:
    """All records of one experiment."""

    records: tuple[Record, ...]

    @property
    def cells(self) -> list[str]:
        """The names of the cells in the order of their first records."""
        return list(dict.fromkeys(record.cell for record in self.records))

    def of(self, cell: str) -> list[Record]:
        """Return the records of one cell, sorted by seed."""
        found = [record for record in self.records if record.cell == cell]
        return sorted(found, key=lambda record: record.seed)

    def values(self, cell: str, name: str) -> list[Any]:
        """Return the value ``name`` of each seed of a cell."""
        return [record.values[name] for record in self.of(cell)]


@dataclass(frozen=True)
class Experiment:
    """
    A research question with the runs that answer it.

    :param about: text of the results page: what was run, and how it differs from the paper.
    :param config: frozen dataclass; ``smoke`` is a small version that runs in seconds.
    :param cells: returns the named variants of a configuration.
    :param run_cell: pure function of a variant and a seed; returns numbers and lists.
    :param summarise: returns the tables; ``plot`` returns the figures by name.
    :param seeds: seeds per cell.
    :param sources: folders whose code and weights the values depend on; a change there makes
        finished cells stale.
    """

    name: str
    title: str
    _: KW_ONLY
    about: str
    config: Any
    smoke: Any
    cells: Callable[[Any], dict[str, Any]]
    run_cell: Callable[[Any, int], dict[str, Any]]
    summarise: Callable[[Results], list[ResultTable]]
    plot: Callable[[Results], dict[str, Figure]]
    seeds: int = 5
    sources: tuple[str, ...] = SOURCES

    def variants(self, smoke: bool) -> dict[str, Any]:
        """Return the configuration of each cell, by name."""
        return self.cells(self.smoke if smoke else self.config)


def digest(config: Any) -> str:
    """Return a 12-digit hexadecimal SHA-256 of a configuration dataclass."""
    plain = {'type': type(config).__qualname__, **asdict(config)}
    canonical = json.dumps(plain, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
