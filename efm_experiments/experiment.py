"""What an experiment is: cells, each run with several seeds, and what is made of their numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, KW_ONLY
import hashlib
import json
from typing import Any

from matplotlib.figure import Figure

# What the figures of a policy depend on, beside the experiment's own numbers.
SOURCES = (
    'efm_core',
    'efm_data',
    'efm_evaluation',
    'efm_model',
    'efm_policy',
    'efm_reward',
    'efm_sim',
    'efm_trainer',
)


@dataclass(frozen=True)
class Table:
    """
    A table of a results page.

    :param rows: one list of cells for each row; every cell is shown as ``str`` says it.
    """

    caption: str
    head: tuple[str, ...]
    _: KW_ONLY
    rows: list[list[Any]]


@dataclass(frozen=True)
class Record:
    """
    One finished cell with one seed.

    :param values: numbers and lists of numbers, by name.
    :param seconds: wall-clock; ``cpu_seconds`` is what the process itself needed.
    :param digest: of the cell's config; another one means that these numbers answer another
        question.
    :param sources: fingerprint of what was measured; another one means that it is another model
        or world. Empty in what was stored before there was one.
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
        """The names of the cells, in the order in which they first appear."""
        return list(dict.fromkeys(record.cell for record in self.records))

    def of(self, cell: str) -> list[Record]:
        """Return the records of one cell, by seed."""
        found = [record for record in self.records if record.cell == cell]
        return sorted(found, key=lambda record: record.seed)

    def values(self, cell: str, name: str) -> list[Any]:
        """Return one value of every seed of a cell."""
        return [record.values[name] for record in self.of(cell)]


@dataclass(frozen=True)
class Experiment:
    """
    A question with its way to an answer.

    :param about: for the results page: what was done, and what deviates from the paper.
    :param config: frozen dataclass; ``smoke`` is the same in seconds, for tests.
    :param cells: named variants of a config.
    :param run_cell: pure function of a variant and a seed; returns plain numbers.
    :param summarise: tables from all results; ``plot`` figures by name.
    :param sources: folders whose code and weights the numbers depend on; after a change there,
        finished cells are run again.
    """

    name: str
    title: str
    _: KW_ONLY
    about: str
    config: Any
    smoke: Any
    cells: Callable[[Any], dict[str, Any]]
    run_cell: Callable[[Any, int], dict[str, Any]]
    summarise: Callable[[Results], list[Table]]
    plot: Callable[[Results], dict[str, Figure]]
    seeds: int = 5
    sources: tuple[str, ...] = SOURCES

    def variants(self, smoke: bool) -> dict[str, Any]:
        """Return the cells to run."""
        return self.cells(self.smoke if smoke else self.config)


def digest(config: Any) -> str:
    """Return a short SHA-256 of a config dataclass."""
    plain = {'type': type(config).__qualname__, **asdict(config)}
    canonical = json.dumps(plain, sort_keys=True, separators=(',', ':'))
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
