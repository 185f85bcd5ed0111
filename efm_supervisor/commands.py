"""The commands that the supervisor's state machine returns and its node executes."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY

from efm_core.episode import EpisodeEnding, EpisodeGoal


@dataclass(frozen=True)
class RequestReset:
    """Bring the scene to a start state. The reply must carry the same ``reset_id``."""

    goal: EpisodeGoal
    reset_id: int


@dataclass(frozen=True)
class AnnounceStart:
    """Publish START; the first observation of the episode has this stamp [ns]."""

    goal: EpisodeGoal
    stamp: int


@dataclass(frozen=True)
class GrantPermit:
    """Pass the action for this stamp [ns] in lockstep; renew the permit in real time."""

    episode_id: str
    stamp: int


@dataclass(frozen=True)
class AnnounceEnd:
    """Publish END and the outcome."""

    goal: EpisodeGoal
    ending: EpisodeEnding


@dataclass(frozen=True)
class ReportResult:
    """Return the result of ``run_episode``; ``recording`` is the folder of the bag, or ''."""

    goal: EpisodeGoal
    ending: EpisodeEnding
    _: KW_ONLY
    recording: str = ''


SupervisorCommand = RequestReset | AnnounceStart | GrantPermit | AnnounceEnd | ReportResult
