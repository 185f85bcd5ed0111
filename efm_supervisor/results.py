"""The results file of the fleet: one JSON line per episode."""

from __future__ import annotations

import json
from pathlib import Path
import time
from typing import Any


class ResultsFile:
    """
    A file of JSON lines that is only appended to. A crash can cut its last line only.

    :param path: the file; '' for none, then `append` does nothing.
    """

    def __init__(self, path: str):
        self._path = Path(path) if path else None

    @property
    def next_index(self) -> int:
        """The index of the first episode that no earlier run has used."""
        if self._path is None or not self._path.is_file():
            return 0
        return 1 + max(map(_index, self._path.read_text().splitlines()), default=-1)

    def append(self, robot: str, index: int, outcome: dict[str, Any], recording: str) -> None:
        """
        Append one episode.

        :param outcome: fields of ``EpisodeOutcome.msg``, and ``reached``: whether the goal was
            true at some observation, by the simulator; None where that is unknown.
        :param recording: folder of the bag; '' without one.
        """
        if self._path is None:
            return
        # JSON has no NaN. It stands for steps-to-go without a reward model.
        plain = {key: None if value != value else value for key, value in outcome.items()}
        line = {'time': time.time(), 'robot': robot, 'index': index, **plain}
        with open(self._path, 'a+') as file:
            file.seek(0)
            text = file.read()
            is_cut = bool(text) and not text.endswith('\n')
            file.write('\n' * is_cut + json.dumps({**line, 'recording': recording}) + '\n')


def _index(line: str) -> int:
    """Return the index of the episode in a line; -1 if a crash has cut the line."""
    try:
        return int(json.loads(line)['index'])
    except (json.JSONDecodeError, KeyError):
        return -1
