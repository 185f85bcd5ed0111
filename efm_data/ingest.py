"""The folder that finished bags appear in: each is read exactly once, and none is ever lost."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, KW_ONLY
from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Termination
from efm_data.episodes import find_bags, read_all

REASON = 'reason.txt'


@dataclass
class IngestLog:
    """
    What became of every bag; part of the trainer's state.

    :param settled: names of bags that never need to be read again.
    :param episodes: practice episodes settled, those below included.
    :param stale: acted by another policy version, not learned from.
    :param unusable: not finished by a fault, or without any action; not learned from.
    """

    settled: set[str] = field(default_factory=set)
    episodes: int = 0
    _: KW_ONLY
    stale: int = 0
    unusable: int = 0

    def to_plain(self) -> dict:
        """Return the ledger as JSON holds it."""
        return {**asdict(self), 'settled': sorted(self.settled)}

    @classmethod
    def from_plain(cls, plain: dict) -> IngestLog:
        """Return the ledger that ``to_plain`` described."""
        return cls(**{**plain, 'settled': set(plain['settled'])})


class Inbox:
    """
    Reads the bags of one folder.

    A bag that cannot be used is moved to ``quarantine``, with the reason beside it.
    """

    def __init__(self, folder: str | Path, quarantine: str | Path, *, embodiment: Embodiment):
        """Make both folders if they are not there."""
        self._folder = Path(folder)
        self._quarantine = Path(quarantine)
        self._embodiment = embodiment
        for directory in (self._folder, self._quarantine):
            directory.mkdir(parents=True, exist_ok=True)

    @property
    def quarantined(self) -> int:
        """The number of bags set aside."""
        return len(find_bags(self._quarantine))

    def poll(self, known: AbstractSet[str]) -> dict[str, list[Episode]]:
        """Return the episodes of every finished bag whose name is not ``known``, by that name."""
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
        except ValueError as error:
            self._set_aside(bag, str(error))
            return None

    def _set_aside(self, bag: Path, reason: str) -> None:
        """Move a bag away; the reason goes first, so that there is none without one."""
        target = self._quarantine / bag.name
        count = 1
        while target.exists():
            target, count = self._quarantine / f'{bag.name}.{count}', count + 1
        target.with_name(f'{target.name}.{REASON}').write_text(reason + '\n')
        bag.rename(target)


def is_current(episode: Episode, version: int, max_staleness: int) -> bool:
    """Return whether the policy ``version`` may learn from ``episode``."""
    return 0 <= version - episode.policy_version <= max_staleness


def is_usable(episode: Episode) -> bool:
    """Return whether there is something to learn: practice, an action, and no fault."""
    practised = episode.kind is Kind.PRACTICE and len(episode) > 0
    return practised and episode.termination is not Termination.FAULT
