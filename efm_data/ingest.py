"""The inbox of a run, where finished bags appear; each is read once, and none is lost."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, KW_ONLY
from itertools import count
import os
from pathlib import Path
from typing import Any

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind
from efm_core.episode_rules import is_void
from efm_core.files import sync_folder, write_whole
from efm_data.episodes import find_bags, read_all

REASON = 'reason.txt'
LONGEST_NAME = 200  # characters of a bag's name in quarantine; a file system has 255


@dataclass
class IngestLog:
    """
    The bags that were read, and counts of their episodes; part of the trainer's state.

    :param settled: names of bags that are never read again.
    :param episodes: settled practice episodes, including the two counts below.
    :param stale: episodes of another policy version; the trainer does not learn from them.
    :param unusable: episodes that ended by a fault or were stopped without a label, or have no
        action.
    """

    settled: set[str] = field(default_factory=set)
    episodes: int = 0
    _: KW_ONLY
    stale: int = 0
    unusable: int = 0

    def to_plain(self) -> dict[str, Any]:
        """Return the log as values for JSON."""
        return {**asdict(self), 'settled': sorted(self.settled)}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> IngestLog:
        """Return the log of the values that ``to_plain`` returned."""
        return cls(**{**plain, 'settled': set(plain['settled'])})


class Inbox:
    """
    Reads the bags of one folder.

    A bag that cannot be read is moved to ``quarantine``, with the reason in a file beside it.
    """

    def __init__(self, folder: str | Path, quarantine: str | Path, *, embodiment: Embodiment):
        """Make both folders if they do not exist."""
        self._folder = Path(folder)
        self._quarantine = Path(quarantine)
        self._embodiment = embodiment
        for directory in (self._folder, self._quarantine):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def quarantined(self) -> int:
        """The number of bags in quarantine."""
        return len(find_bags(self._quarantine))

    def poll(self, known: AbstractSet[str]) -> dict[str, list[Episode]]:
        """
        Return bag name to episodes, of every finished bag whose name is not ``known``.

        :raises OSError: when the machine cannot read or move a bag now.
        """
        arrived = {}
        for bag in find_bags(self._folder):
            if bag.name not in known:
                episodes = self._read(bag)
                if episodes is not None:
                    arrived[bag.name] = episodes
        return arrived

    def _read(self, bag: Path) -> list[Episode] | None:
        try:
            return read_all(bag, self._embodiment)
        except FileNotFoundError:
            return None  # moved since the folder was listed
        except ValueError as error:
            self.set_aside(bag.name, str(error))
            return None

    def set_aside(self, name: str, reason: str) -> None:
        """
        Move a bag to quarantine; the reason is written first, so that each bag has one.

        :param name: of the bag in the inbox.
        :raises OSError: when the bag cannot be moved.
        """
        bag = self._folder / name
        numbers = (f'.{number}' if number else '' for number in count())
        short = Path(name).stem[:LONGEST_NAME] if bag.is_file() else name[:LONGEST_NAME]
        suffix = bag.suffix if bag.is_file() else ''
        places = (self._quarantine / f'{short}{number}{suffix}' for number in numbers)
        target = next(place for place in places if not os.path.lexists(place))
        write_whole(target.with_name(f'{target.name}.{REASON}'), reason + '\n')
        if os.path.lexists(bag):
            bag.rename(target)
        for folder in (self._folder, self._quarantine):
            sync_folder(folder)


def is_current(episode: Episode, version: int, max_staleness: int) -> bool:
    """Return whether the policy ``version`` may learn from ``episode``."""
    return 0 <= version - episode.policy_version <= max_staleness


def is_usable(episode: Episode) -> bool:
    """Return whether the trainer can learn from an episode: practice, an action, not void."""
    has_actions = episode.kind is Kind.PRACTICE and len(episode) > 0
    return has_actions and not is_void(episode.outcome, episode.termination)
