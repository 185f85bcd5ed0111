"""
A person's labels of the attempts of a policy, in ``labels.jsonl`` of a run.

An attempt is an episode of a deployed policy, in practice or evaluation. Its label is the first
observation at which the goal holds, or "never". Labels come from the page of ``efm label``, or
from a person who ended the episode with the service ``label_episode``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, KW_ONLY
from datetime import datetime, timezone
import fcntl
import json
import logging
import os
from pathlib import Path

from efm_core.config import expect
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.episode_rules import is_void
from efm_core.files import inside, sync_folder
from efm_data.episodes import find_bags, read_all

LOG = logging.getLogger(__name__)
LABELS_FILE = 'labels.jsonl'
EPISODES = 'episodes'  # folder of a run, with one folder of bags for each stage
LONGEST_S = 86_400  # time that one label may take [s]
PAGE = 'page'
OPERATOR = 'label_episode'
Key = tuple[str, str]  # stage and episode_id


@dataclass(frozen=True)
class LabelledAttempt:
    """
    An episode of the policy with its label.

    :param success_at: index of the first observation at which the goal holds, 0 to ``T``; None:
        the goal never holds.
    """

    episode: Episode
    success_at: int | None


@dataclass(frozen=True)
class Label:
    """
    One label, or the withdrawal of one.

    An episode's identifier is unique within its stage only, so that both name the attempt.

    :param stage: folder of the bag in ``episodes/``, such as ``evaluation_before``.
    :param success_at: index of the first observation at which the goal holds; None: never.
    :param seconds: time that the person spent on it [s]; 0 if it was not measured.
    :param time: when it was given, UTC in ISO 8601; '' if unknown.
    :param by: where it comes from: ``page`` or ``label_episode``.
    :param withdrawn: the attempt has no label any more.
    """

    stage: str
    episode_id: str
    _: KW_ONLY
    success_at: int | None
    seconds: float = 0.0
    time: str = ''
    by: str = PAGE
    withdrawn: bool = False

    def __post_init__(self) -> None:
        """
        Check the values.

        :raises ValueError: for an index below 0, or a time that is no number of seconds.
        """
        at = self.success_at
        is_index = at is None or (type(at) is int and at >= 0)
        expect(is_index, 'success_at', 'an index from 0, or none', repr(at))
        is_time = type(self.seconds) in (int, float) and 0 <= self.seconds <= LONGEST_S
        expect(is_time, 'seconds', f'0 to {LONGEST_S}', repr(self.seconds))
        for name in ('stage', 'episode_id', 'time', 'by'):
            value = getattr(self, name)
            expect(isinstance(value, str), name, 'text', repr(value))
        expect(type(self.withdrawn) is bool, 'withdrawn', 'true or false', repr(self.withdrawn))

    @property
    def key(self) -> Key:
        """Stage and identifier of the attempt."""
        return self.stage, self.episode_id


def now() -> str:
    """Return the present time, UTC in ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec='seconds')


class LabelFile:
    """
    The labels of a run: JSON lines that are only appended to, by any number of processes.

    A crash or a full disk can cut the line that is being written, never an older one. A cut line
    is not a label.
    """

    def __init__(self, run: str | Path):
        """Keep the place; the file is made with the first label."""
        self.path = Path(run) / LABELS_FILE
        self._reported: set[int] = set()

    def append(self, label: Label) -> None:
        """
        Add a label; it is on the disk when this returns.

        :raises OSError: when the disk is full or the run cannot be written.
        """
        is_new = not self.path.exists()
        with open(self.path, 'ab+') as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
            file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
            is_cut = file.read(1) not in (b'', b'\n')
            file.write(b'\n' * is_cut + json.dumps(asdict(label)).encode() + b'\n')
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path.parent)

    def read(self) -> list[Label]:
        """
        Return all labels and withdrawals, oldest first; none without a file.

        :raises ValueError: when a whole line is no label, with its number.
        """
        if not self.path.is_file():
            return []
        lines = self.path.read_bytes().decode('utf-8', 'replace').split('\n')
        return list(filter(None, (self._parse(*line) for line in enumerate(lines, 1))))

    def _parse(self, number: int, text: str) -> Label | None:
        """Return the label of a line; None for an empty line, and for one that was cut."""
        try:
            plain = json.loads(text) if text else None
        except ValueError:
            if number not in self._reported:
                LOG.warning('%s:%d: left out: this line was cut', self.path, number)
            self._reported.add(number)
            return None
        if plain is None:
            return None
        try:
            return Label(**plain)
        except (TypeError, ValueError) as error:
            raise ValueError(f'{self.path}:{number}: expected a label, got: {error}') from error


def newest_labels(labels: Iterable[Label]) -> dict[Key, Label]:
    """Return the newest label or withdrawal of each attempt; the newest attempt comes last."""
    newest: dict[Key, Label] = {}
    for label in labels:
        newest.pop(label.key, None)
        newest[label.key] = label
    return newest


def is_attempt(episode: Episode) -> bool:
    """Return whether a policy acted in an episode, and no fault made it void."""
    is_of_policy = episode.kind is not Kind.DEMONSTRATION and episode.policy_version > 0
    is_valid = not is_void(episode.outcome, episode.termination)
    return is_of_policy and is_valid and len(episode) > 0


def operator_label(stage: str, episode: Episode) -> Label | None:
    """
    Return the label of a person who ended an attempt with ``label_episode``; None without one.

    Its last observation shows the success. Scripted demonstrators end their demonstrations with
    the same service; those are no attempts.
    """
    is_labelled = episode.termination is Termination.STOPPED
    if not is_labelled or not is_attempt(episode):
        return None
    at = len(episode) if episode.outcome is Outcome.SUCCESS else None
    return Label(stage, episode.episode_id, success_at=at, by=OPERATOR)


@dataclass(frozen=True)
class LabelSummary:
    """
    What the labels of a run contain.

    :param labelled: attempts with a label.
    :param successes: of these, attempts whose goal holds at some observation.
    :param by_operator: of these, attempts that a person ended with ``label_episode``.
    :param seconds: time that people spent at the page, on withdrawn labels too [s].
    """

    labelled: int
    successes: int
    _: KW_ONLY
    by_operator: int
    seconds: float

    def __str__(self) -> str:
        """Return one line, such as ``40 labels: 19 success, 21 never; 5.3 minutes``."""
        never = self.labelled - self.successes
        by_operator = f' ({self.by_operator} by {OPERATOR})' if self.by_operator else ''
        return (
            f'{self.labelled} labels{by_operator}: {self.successes} success, {never} never; '
            f'{self.seconds / 60:.1f} minutes'
        )


def summarise_labels(labels: Sequence[Label], by_operator: Iterable[Label] = ()) -> LabelSummary:
    """
    Return the counts of all labels.

    :param labels: all lines of ``LabelFile``.
    :param by_operator: of ``operator_label``; a line of the file replaces them.
    """
    current = {**{label.key: label for label in by_operator}, **newest_labels(labels)}
    kept = [label for label in current.values() if not label.withdrawn]
    return LabelSummary(
        len(kept),
        sum(label.success_at is not None for label in kept),
        by_operator=sum(label.by == OPERATOR for label in kept),
        seconds=sum(label.seconds for label in labels),
    )


def attempt_stages(run: str | Path) -> list[str]:
    """
    Return the folders of ``episodes/`` that may hold attempts, sorted.

    :raises FileNotFoundError: when the run has no episodes.
    """
    folder = Path(run) / EPISODES
    if not folder.is_dir():
        raise FileNotFoundError(f'run: expected the folder {folder}, got none')
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    return [name for name in names if name[0] != '.' and name != Kind.DEMONSTRATION.value]


def read_stage(
    run: str | Path, stage: str, embodiment: Embodiment, unusable: list[str]
) -> Iterator[tuple[Path, Episode]]:
    """
    Yield every episode of a stage with its bag, attempts and others, by the name of the bag.

    :param unusable: gets the reason for each bag that cannot be used.
    :raises FileNotFoundError: when there is no such stage.
    """
    for bag in find_bags(inside(Path(run) / EPISODES, stage)):
        try:
            episodes = read_all(bag, embodiment)
        except ValueError as error:
            unusable.append(str(error))
            continue
        yield from ((bag, episode) for episode in episodes)


def read_labelled_attempts(
    run: str | Path, embodiment: Embodiment, stages: Iterable[str] | None = None
) -> list[LabelledAttempt]:
    """
    Return all labelled attempts of a run, sorted by stage and index.

    A label in ``labels.jsonl`` replaces that of ``label_episode``, and its withdrawal removes it.

    :param run: directory of the run.
    :param embodiment: of the run.
    :param stages: folders in ``episodes/`` to read; None: all but demonstrations.
    :raises FileNotFoundError: when there is no such run or stage.
    :raises ValueError: when the run is of another embodiment, or a label names no attempt or no
        observation of it.
    """
    check_run(run, embodiment)
    chosen = attempt_stages(run) if stages is None else sorted(set(stages))
    newest = newest_labels(LabelFile(run).read())
    unusable: list[str] = []
    found = []
    for stage in chosen:
        of_stage = []
        for _, episode in read_stage(run, stage, embodiment, unusable):
            label = newest.pop((stage, episode.episode_id), operator_label(stage, episode))
            if label is not None and not label.withdrawn:
                of_stage.append(label_attempt(label, episode))
        found += sorted(of_stage, key=lambda attempt: attempt.episode.index)
    is_missing = (label for label in newest.values() if stages is None or label.stage in chosen)
    _check_all_found(run, [label for label in is_missing if not label.withdrawn], unusable)
    return found


def label_attempt(label: Label, episode: Episode) -> LabelledAttempt:
    """
    Return an episode with its label.

    :raises ValueError: when the label does not fit the episode.
    """
    where = f'label of episode {label.episode_id} of {label.stage}'
    expect(
        is_attempt(episode),
        where,
        'an attempt of a policy that no fault ended',
        f'a {episode.kind.value} of policy {episode.policy_version}, {len(episode)} actions, '
        f'that ended by {episode.termination.value}; withdraw the label',
    )
    fits = label.success_at is None or label.success_at <= len(episode)
    wanted = f'success_at of 0 to {len(episode)}, the last observation'
    expect(fits, where, wanted, f'{label.success_at}; label it again')
    return LabelledAttempt(episode, label.success_at)


def check_run(run: str | Path, embodiment: Embodiment) -> None:
    """
    Refuse a run of another embodiment.

    :raises FileNotFoundError: when there is no such run.
    :raises ValueError: when the run is of another embodiment.
    """
    if not Path(run).is_dir():
        raise FileNotFoundError(f'run: expected a directory, got {run}')
    path = Path(run) / 'embodiment.yaml'
    if path.is_file():
        embodiment.check_same(load_embodiment(path).hash, str(path))


def _check_all_found(run: str | Path, missing: list[Label], unusable: list[str]) -> None:
    """Refuse labels whose episode was not read; warn of bags that could not be used."""
    if missing:
        first = missing[0]
        reason = f'; a bag that cannot be used: {unusable[0]}' if unusable else ''
        found = f'{len(missing)} without a bag, the first {first.episode_id} of {first.stage}'
        raise ValueError(
            f'{Path(run) / LABELS_FILE}: expected the bag of every labelled episode, got {found}'
            f'{reason}. Bring the bag back, or withdraw the label: efm label --run {run} '
            f'--episodes-subdir {first.stage} --withdraw {first.episode_id}'
        )
    for reason in unusable:
        LOG.warning('left out: %s', reason)
