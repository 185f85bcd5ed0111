"""The results file of the fleet: one JSON line per episode."""

from __future__ import annotations

import json
from pathlib import Path
import time
from typing import Any

from efm_core.episode_rules import is_void
from efm_supervisor.config import FleetConfig


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
        return 1 + max((line['index'] for line in self._lines()), default=-1)

    def finished(self, config: FleetConfig) -> set[int]:
        """
        Return which of the requested episodes, by index, an interrupted run has finished.

        A void episode is not finished.

        :raises ValueError: when the file has episodes of another release or of other scenes.
        """
        lines = [
            line for line in self._lines() if not is_void(line['outcome'], line['termination'])
        ]
        for line in lines:
            self._check_same(line, config)
        return {line['index'] for line in lines if line['index'] < config.episodes}

    def _check_same(self, line: dict[str, Any], config: FleetConfig) -> None:
        seed = line.get('seed', config.seed + line['index']) - line['index']
        version = line['policy_version'] if config.policy_version else 0
        if (seed, version) != (config.seed, config.policy_version):
            raise ValueError(
                f'episodes_subdir: expected a new one, because {self._path} has episodes of '
                f'release {line["policy_version"]} and seed {seed}, got release '
                f'{config.policy_version} and seed {config.seed}'
            )

    def _lines(self) -> list[dict[str, Any]]:
        """Return the lines, without one that a crash has cut."""
        if self._path is None or not self._path.is_file():
            return []
        parsed = map(_parse, self._path.read_text('utf-8').splitlines())
        return [line for line in parsed if line is not None]

    def append(self, robot: str, index: int, outcome: dict[str, Any], recording: str) -> None:
        """
        Append one episode.

        :param outcome: fields of ``EpisodeOutcome.msg``; ``seed`` of the episode; ``reached``:
            whether the goal was true at some observation, by the simulator; None where that is
            unknown.
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


def _parse(text: str) -> dict[str, Any] | None:
    """Return a line; None if a crash has cut it."""
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if 'index' in line else None
