"""A person labels some attempts of one stage: which ones, in which order, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, KW_ONLY
import math
from pathlib import Path
import threading
from typing import Any

from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode
from efm_core.episode_rules import first_detection
from efm_core.images import encode_png
from efm_data.episodes import read_all
from efm_data.labels import (
    attempt_stages,
    check_run,
    EPISODES,
    is_attempt,
    Key,
    Label,
    label_attempt,
    LabelFile,
    newest_labels,
    now,
    operator_label,
    PAGE,
    read_stage,
)
import numpy as np

FRAME_PERIODS_S = (1 / 30, 0.1)  # shortest and longest time that the film shows a frame [s]


class NotCurrent(ValueError):  # noqa: N818, names the state of an attempt
    """An attempt that is not the next one to label."""


@dataclass(frozen=True)
class Candidate:
    """
    An attempt that may be labelled.

    :param bag: where to read it.
    :param fired: whether the success detector fires in it.
    """

    bag: Path
    key: Key
    _: KW_ONLY
    fired: bool


def choose_attempts(fired: Sequence[bool], count: int, seed: int) -> list[int]:
    """
    Return the indices of the attempts to label, in the order in which a person sees them.

    Half are attempts in which the detector fires, half are others, each drawn at random. A group
    that is too small leaves its places to the other. The order is random, so that it does not
    reveal the group. A larger ``count`` with the same seed keeps all attempts of a smaller one.

    :param fired: of each attempt, whether the success detector fires in it.
    :param count: attempts to choose; all if there are fewer.
    """
    random = np.random.default_rng(seed)
    mixed = random.permutation(len(fired)).tolist()
    firing = [index for index in mixed if fired[index]]
    silent = [index for index in mixed if not fired[index]]
    half = max((count + 1) // 2, count - len(silent))
    chosen = firing[:half]
    chosen += silent[: count - len(chosen)]
    return [chosen[place] for place in random.permutation(len(chosen))]


class LabellingSession:
    """
    The attempts of one stage that a person labels; threads may share it.

    The labels are read from their file each time, so that those of another process count.

    :ivar by_operator: labels of ``label_episode`` in the stage.
    :ivar unusable: why bags of the stage cannot be used.
    """

    def __init__(
        self,
        run: str | Path,
        stage: str,
        *,
        embodiment: Embodiment,
        count: int = 40,
        seed: int = 0,
    ):
        """
        Read all bags of the stage and choose the attempts.

        :param stage: folder of the bags in ``episodes/``.
        :param count: attempts to label.
        :param seed: of the random choice.
        :raises FileNotFoundError: when there is no such run or stage.
        :raises ValueError: when the run is of another embodiment, or the stage has no attempts.
        """
        check_run(run, embodiment)
        check_stage(run, stage)
        self._embodiment = embodiment
        self._file = LabelFile(run)
        self._stage = stage
        self._lock = threading.RLock()
        self._read: tuple[int, Episode] | None = None
        self.by_operator: list[Label] = []
        self.unusable: list[str] = []
        candidates = self._find_candidates(run)
        if not candidates:
            reason = f'; a bag that cannot be used: {self.unusable[0]}' if self.unusable else ''
            raise ValueError(
                f'{Path(run) / EPISODES / stage}: expected attempts of a policy without a label '
                f'of label_episode, got none{reason}; record some with `efm evaluate`'
            )
        chosen = choose_attempts([one.fired for one in candidates], count, seed)
        self._chosen = [candidates[index] for index in chosen]

    def _find_candidates(self, run: str | Path) -> list[Candidate]:
        """Return the attempts of the stage that no person has labelled while they ran."""
        rules = self._embodiment.episode
        found = []
        for bag, episode in read_stage(run, self._stage, self._embodiment, self.unusable):
            label = operator_label(self._stage, episode)
            if label is not None:
                self.by_operator.append(label)
            elif is_attempt(episode):
                fired = first_detection(episode.steps_to_go, rules) is not None
                found.append(Candidate(bag, (self._stage, episode.episode_id), fired=fired))
        return found

    @property
    def count(self) -> int:
        """The number of attempts to label."""
        return len(self._chosen)

    def state(self) -> dict[str, Any]:
        """
        Return what the page shows next: the progress, and the next attempt if there is one.

        ``steps_to_go`` has null where there is no prediction. Simulator truth is not included.
        """
        with self._lock:
            labels = self._file.read()
            position = self._next(labels)
            attempt = None if position is None else self._describe(position)
            seconds = sum(label.seconds for label in labels if label.stage == self._stage)
        done = len(self._labelled(labels))
        return {'done': done, 'count': self.count, 'seconds': seconds, 'attempt': attempt}

    def label(self, episode_id: str, success_at: int | None, seconds: float) -> None:
        """
        Label the next attempt.

        :param episode_id: of the attempt that the person saw.
        :param success_at: index of the first observation at which the goal holds; None: never.
        :param seconds: time that the person spent on it [s].
        :raises NotCurrent: when another attempt comes next, as after a label in another window.
        :raises ValueError: for an index beyond the episode.
        :raises OSError: when the label cannot be written.
        """
        with self._lock:
            position = self._next(self._file.read())
            key = None if position is None else self._chosen[position].key
            if position is None or key != (self._stage, episode_id):
                raise NotCurrent(f'label: expected the attempt {key}, got {episode_id!r}')
            label = self._new_label(episode_id, success_at, seconds)
            label_attempt(label, self._episode(position))
            self._file.append(label)

    def undo(self, seconds: float) -> None:
        """
        Withdraw the newest label that the page gave; without one nothing happens.

        :param seconds: time that the person spent since then [s].
        :raises OSError: when the withdrawal cannot be written.
        """
        with self._lock:
            labelled = self._labelled(self._file.read())
            if labelled:
                _, episode_id = labelled[-1].key
                self._file.append(self._new_label(episode_id, None, seconds, withdrawn=True))

    def frame(self, position: int, camera: int, index: int) -> bytes:
        """
        Return one image of an attempt as PNG.

        :param position: of the attempt, as ``state`` names it.
        :param camera: index of the camera in the embodiment.
        :param index: of the observation.
        :raises IndexError: when there is no such image.
        """
        with self._lock:
            images = self._episode(position).observations.images
        return encode_png(images[camera][index])

    def _new_label(
        self, episode_id: str, at: int | None, seconds: float, *, withdrawn: bool = False
    ) -> Label:
        return Label(
            self._stage,
            episode_id,
            success_at=at,
            seconds=seconds,
            time=now(),
            by=PAGE,
            withdrawn=withdrawn,
        )

    def _labelled(self, labels: list[Label]) -> list[Label]:
        """Return the labels of the chosen attempts, the newest last."""
        keys = {one.key for one in self._chosen}
        newest = newest_labels(labels).values()
        return [label for label in newest if label.key in keys and not label.withdrawn]

    def _next(self, labels: list[Label]) -> int | None:
        """Return the position of the first chosen attempt without a label."""
        done = {label.key for label in self._labelled(labels)}
        return next((p for p, one in enumerate(self._chosen) if one.key not in done), None)

    def _episode(self, position: int) -> Episode:
        """Return the attempt at a position; the newest one stays in memory."""
        if self._read is None or self._read[0] != position:
            one = self._chosen[position]
            episodes = read_all(one.bag, self._embodiment)
            (episode,) = (e for e in episodes if e.episode_id == one.key[1])
            self._read = (position, episode)
        return self._read[1]

    def _describe(self, position: int) -> dict[str, Any]:
        episode = self._episode(position)
        period_s = np.ptp(episode.stamps) / 1e9 / len(episode)
        d = [float(value) if math.isfinite(value) else None for value in episode.steps_to_go]
        return {
            'position': position,
            'episode_id': episode.episode_id,
            'instruction': episode.instruction,
            'frames': len(episode) + 1,
            'period_s': float(np.clip(period_s, *FRAME_PERIODS_S)),
            'cameras': [camera.name for camera in self._embodiment.cameras],
            'steps_to_go': d,
        }


def withdraw_label(run: str | Path, stage: str, episode_id: str) -> None:
    """
    Withdraw the label of an attempt.

    :raises ValueError: when the file of labels has none for it.
    """
    file = LabelFile(run)
    label = newest_labels(file.read()).get((stage, episode_id))
    expect(
        label is not None and not label.withdrawn,
        'withdraw',
        f'an episode of {stage} with a label in {file.path}',
        repr(episode_id),
    )
    file.append(Label(stage, episode_id, success_at=None, time=now(), withdrawn=True))


def check_stage(run: str | Path, stage: str) -> None:
    """
    Refuse a stage that the run does not have.

    :raises ValueError: with the stages that it has.
    """
    stages = attempt_stages(run)
    expect(
        stage in stages,
        'episodes_subdir',
        f'one of {", ".join(stages) or "no stages"} in {Path(run) / EPISODES}',
        repr(stage),
    )
