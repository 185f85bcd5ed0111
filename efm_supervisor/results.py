"""The fleet's own record: one JSON line per episode, which survives a crash."""

from __future__ import annotations

import json
from pathlib import Path
import time


class Results:
    """
    A file that only grows.

    :param path: the file; empty for none.
    """

    def __init__(self, path: str):
        self._path = Path(path) if path else None

    @property
    def next_index(self) -> int:
        """Number of the first episode that no earlier run has used."""
        if self._path is None or not self._path.is_file():
            return 0
        return 1 + max(map(_index, self._path.read_text().splitlines()), default=-1)

    def append(self, robot: str, index: int, outcome: dict, recording: str) -> None:
        """
        Add one episode.

        :param outcome: fields of ``EpisodeOutcome.msg``.
        :param recording: folder of the bag; '' if there is none.
        """
        if self._path is None:
            return
        # JSON knows no NaN, which stands for: nobody judged.
        plain = {key: None if value != value else value for key, value in outcome.items()}
        line = {'time': time.time(), 'robot': robot, 'index': index, **plain}
        with open(self._path, 'a') as file:
            file.write(self._mend() + json.dumps({**line, 'recording': recording}) + '\n')

    def _mend(self) -> str:
        """Return the end of line that a crash has kept from the last line, if so."""
        text = self._path.read_text()
        return '\n' if text and not text.endswith('\n') else ''


def _index(line: str) -> int:
    """Return the episode's number in one line; -1 of a line that a crash has cut."""
    try:
        return json.loads(line)['index']
    except (json.JSONDecodeError, KeyError):
        return -1
