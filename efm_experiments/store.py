"""Finished cells on disk, one JSON file each."""

from __future__ import annotations

from dataclasses import asdict
import json
from pathlib import Path
import re

from efm_core.files import write_whole
from efm_experiments.experiment import Record


class Store:
    """The records of one experiment, in ``directory``/cells."""

    def __init__(self, directory: Path):
        self._cells = Path(directory) / 'cells'

    def path(self, cell: str, seed: int) -> Path:
        """Return the file of a cell and seed."""
        return self._cells / f'{re.sub(r"[^A-Za-z0-9._-]+", "_", cell)}-{seed}.json'

    def find(self, cell: str, seed: int, digest: str, sources: str) -> Record | None:
        """Return a finished record, or None if it is missing or stale."""
        path = self.path(cell, seed)
        if not path.is_file():
            return None
        record = Record(**json.loads(path.read_text()))
        same = (record.cell, record.digest, record.sources) == (cell, digest, sources)
        return record if same else None

    def save(self, record: Record) -> None:
        """
        Write a record.

        :raises ValueError: when a value is not finite, which JSON cannot represent.
        """
        text = json.dumps(asdict(record), indent=1, allow_nan=False)
        write_whole(self.path(record.cell, record.seed), text)
