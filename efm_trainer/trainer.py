"""
Stage 2 as a process: it reads practice episodes, trains the policy and publishes releases.

This module has no ROS. A run directory holds::

    episodes/practice/   the inbox: finished bags, one folder each
    sft/                 checkpoints ``policy``, ``reward`` and perhaps ``second`` of stage 1
    trainer/             state.safetensors, metrics.jsonl; alarm.txt after an alarm
    releases/000001/     what robots load; version 1 is the policy of stage 1
    quarantine/          bags that cannot be used, with the reasons
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
import json
from pathlib import Path
import time

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Termination
from efm_core.files import FolderLock, write_whole
from efm_data.ingest import Inbox, IngestLog, is_current, is_usable
from efm_model.checkpoint import load_checkpoint, WEIGHTS
from efm_model.export import export_policy, export_reward, EXPORTABLE, parity
from efm_model.protocol import Model
from efm_model.text import InstructionEncoder
from efm_release.publish import find_release, publish
from efm_release.release import hash_file, Release
from efm_trainer.alarm import find_alarm
from efm_trainer.config import PracticeConfig
from efm_trainer.reinforce import is_enough, Reinforce
from efm_trainer.second_opinion import SecondOpinion
from efm_trainer.state import read_metadata, restore, write_state
import numpy as np

ALARM = 'alarm.txt'


class Trainer:
    """
    Updates the policy whenever enough episodes have arrived, and publishes a release of it.

    The process may be killed at any moment. A new trainer on the same run directory continues from
    the last state; it uses no episode twice and loses none.

    :ivar version: version of the newest policy.
    :ivar alarm: why practice should stop, of ``find_alarm``; '' if it need not.
    """

    def __init__(
        self,
        run_dir: str | Path,
        embodiment: Embodiment,
        *,
        text_encoder: InstructionEncoder,
        config: PracticeConfig | None = None,
    ):
        """
        Continue from the state in the run directory, or start from the checkpoints in ``sft``.

        :param run_dir: directory of the run.
        :param text_encoder: of the models.
        :raises RuntimeError: when another trainer has the lock of this run.
        :raises FileNotFoundError: when there are no checkpoints.
        :raises ValueError: when checkpoints or state are of another robot or another stage 1.
        """
        self._run = Path(run_dir)
        self._directory = self._run / 'trainer'
        self._directory.mkdir(parents=True, exist_ok=True)
        self._embodiment = embodiment
        self._config = config or PracticeConfig()
        self._pending: dict[str, list[Episode]] = {}  # by name of the bag
        self._log = IngestLog()
        self.version = 1
        self.alarm = ''
        self._release: Release | None = None
        self._lock = _lock(self._run)
        try:
            self._load(text_encoder)
            self._persist()
        except BaseException:
            self.close()
            raise

    @property
    def release(self) -> Release:
        """The newest release."""
        assert self._release is not None  # the constructor publishes one
        return self._release

    def close(self) -> None:
        """Release the lock of the run."""
        self._lock.release()

    def step(self) -> Release | None:
        """
        Read the bags that have arrived; if there are enough, train and publish.

        :return: the new release; None when there is none.
        :raises OSError: when the disk is full. The last state remains; call again to continue.
        """
        self.ingest()
        if self.is_ready:
            self._update()
        return self._persist()

    def ingest(self) -> None:
        """Read the bags that have arrived; keep usable episodes, count the others."""
        known = self._log.settled | self._pending.keys()
        for name, episodes in self._inbox.poll(known).items():
            kept = [episode for episode in episodes if self._accept(episode)]
            if not kept:
                self._log.settled.add(name)
            elif self._is_learnable(name, kept, self._learner.check):
                self._pending[name] = kept

    @property
    def is_ready(self) -> bool:
        """Whether there are enough episodes for an update."""
        return is_enough(self._episodes, self._config)

    @property
    def status(self) -> dict[str, int]:
        """Counts, named as in ``TrainerStatus.msg``; ``pending`` episodes wait for an update."""
        quarantined = self._inbox.quarantined
        pending = len(self._episodes)
        return {
            'version': self.version,
            'updates': self.version - 1,
            'episodes': self._log.episodes + pending + quarantined,
            'stale': self._log.stale,
            'unusable': self._log.unusable,
            'quarantined': quarantined,
            'pending': pending,
        }

    @property
    def _episodes(self) -> list[Episode]:
        """The episodes that wait for an update."""
        return [episode for episodes in self._pending.values() for episode in episodes]

    @property
    def _state(self) -> Path:
        return self._directory / 'state.safetensors'

    @property
    def _metrics(self) -> Path:
        return self._directory / 'metrics.jsonl'

    def _load(self, text_encoder: InstructionEncoder) -> None:
        """Load the checkpoints of stage 1 and the state of an earlier trainer, if there is one."""
        checkpoints = self._run / 'sft'
        policy, _ = load_checkpoint(checkpoints / 'policy', self._embodiment)
        _check_exportable(policy, checkpoints)
        self._reward_model, _ = load_checkpoint(checkpoints / 'reward', self._embodiment)
        self._origin = {
            'embodiment_hash': self._embodiment.hash,
            **{kind: hash_file(checkpoints / kind / WEIGHTS) for kind in ('policy', 'reward')},
        }
        self._learner = Reinforce(
            policy,
            self._reward_model,
            text_encoder=text_encoder,
            scale=self._embodiment.steps_to_go,
            config=self._config,
        )
        self._second = SecondOpinion.load(checkpoints, self._embodiment, text_encoder)
        self._inbox = Inbox(
            self._run / 'episodes' / 'practice',
            self._run / 'quarantine',
            embodiment=self._embodiment,
        )
        if self._state.is_file():
            self._resume()

    def _resume(self) -> None:
        """
        Load the state file, and find its release if that was published.

        :raises ValueError: when the state belongs to other checkpoints or another embodiment.
        """
        metadata = read_metadata(self._state)
        if metadata['origin'] != self._origin:
            raise ValueError(
                f'{self._state}: expected a run that began with {self._origin}, '
                f'got one that began with {metadata["origin"]}; take a new run directory'
            )
        restore(self._state, self._learner)
        self.version = metadata['version']
        self._log = IngestLog.from_plain(metadata['ingest_log'])
        self._release = find_release(self._run / 'releases', self.version)
        _drop_metrics_after(self._metrics, self.version)
        self._look_for_alarm()

    def _accept(self, episode: Episode) -> bool:
        """Return whether an update may use an episode; count it as settled if not."""
        if not is_usable(episode):
            self._log.unusable += 1
        elif not is_current(episode, self.version, self._config.max_staleness):
            self._log.stale += 1
        else:
            return True
        self._log.episodes += 1
        return False

    def _is_learnable(
        self, name: str, episodes: list[Episode], check: Callable[[list[Episode]], None]
    ) -> bool:
        """Return whether a check accepts the episodes of a bag; set the bag aside if not."""
        try:
            check(episodes)
        except OSError:
            raise
        except Exception as error:
            names = ', '.join(episode.episode_id for episode in episodes)
            self._inbox.set_aside(name, f'{name}: episode {names}: {error}')
            return False
        return True

    def _update(self) -> None:
        """Train the next version on all pending episodes, and settle them."""
        began = time.perf_counter()
        episodes = self._episodes
        try:
            statistics = self._learner.update(episodes)
        except OSError:
            raise
        except Exception:  # one episode may be to blame, in a way that no check foresaw
            restore(self._state, self._learner)
            if not self._set_culprits_aside():
                raise
            return
        self._log.settled |= self._pending.keys()
        self._log.episodes += len(episodes)
        self._pending.clear()
        self.version += 1
        line = {
            'version': self.version,
            'episodes': len(episodes),
            'episodes_total': self._log.episodes,
            'stale_total': self._log.stale,
            **summarise(episodes),
            **(self._second.examine(episodes) if self._second else {}),
            **statistics,
            'seconds': time.perf_counter() - began,
        }
        with open(self._metrics, 'a') as file:
            file.write(json.dumps(line) + '\n')
        self._look_for_alarm()

    def _look_for_alarm(self) -> None:
        """Find the alarm in the metrics; the file ``alarm.txt`` exists while there is one."""
        lines = self._metrics.read_text().splitlines() if self._metrics.is_file() else []
        self.alarm = find_alarm([json.loads(line) for line in lines])
        path = self._directory / ALARM
        if self.alarm:
            write_whole(path, self.alarm + '\n')
        else:
            path.unlink(missing_ok=True)

    def _set_culprits_aside(self) -> bool:
        """Set the bags aside from which alone the learner cannot learn; return whether any is."""
        probe = self._learner.probe
        culprits = [n for n, e in self._pending.items() if not self._is_learnable(n, e, probe)]
        for name in culprits:
            del self._pending[name]
        return bool(culprits)

    def _persist(self) -> Release | None:
        """
        Write the state and publish a release, if there is a new version.

        The state comes first. After a crash between the two, the next trainer publishes the
        release of the state. In the other order it would train the same version again, from the
        same episodes, with another result.
        """
        if self._release and self._release.version == self.version:
            return None
        metadata = {
            'version': self.version,
            'ingest_log': self._log.to_plain(),
            'origin': self._origin,
            'config': asdict(self._config),
        }
        write_state(self._state, self._learner, metadata)
        self._release = self._publish()
        return self._release

    def _publish(self) -> Release:
        """Export the newest policy, test the parity of the export, and publish a release."""
        model = self._learner.deployed
        embodiment = self._embodiment
        policy, reward = (self._directory / f'{kind}.onnx' for kind in ('policy', 'reward'))
        export_policy(model, policy, embodiment, self.version)
        if not reward.is_file():
            export_reward(self._reward_model, reward, embodiment, 1)
        reports = (
            parity(model, policy, embodiment, 'policy'),
            parity(self._reward_model, reward, embodiment, 'reward'),
        )
        return publish(
            self._run / 'releases',
            self.version,
            policy=policy,
            reward=reward,
            embodiment=embodiment,
            parity=reports,
            parent=self.version - 1,
        )


def _check_exportable(policy: Model, checkpoints: Path) -> None:
    """
    Check that a model can be exported, because a release holds ONNX files.

    :raises ValueError: for a family that cannot be exported.
    """
    if policy.family not in EXPORTABLE:
        raise ValueError(
            f'{checkpoints}: expected a model of the family {" or ".join(EXPORTABLE)}, whose '
            f'releases are ONNX files, got one of the family {policy.family!r}; it practises in '
            'one process, see docs/vlm.md'
        )


def _lock(run: Path) -> FolderLock:
    """
    Return the acquired lock of a run.

    :raises RuntimeError: when another trainer has the lock.
    :raises OSError: when the file system has no locks.
    """
    try:
        return FolderLock(run)
    except BlockingIOError as error:
        raise RuntimeError(
            f'trainer: expected to be the only one in {run}, got another at work; end it first'
        ) from error


def summarise(episodes: list[Episode]) -> dict[str, float]:
    """Return statistics of the episodes of one update, as the robots recorded them."""
    detected = [e.termination is Termination.SUCCESS_DETECTED for e in episodes]
    return {
        'detected_successes': int(np.sum(detected)),
        'mean_steps': float(np.mean([len(episode) for episode in episodes])),
        'last_index': max(episode.index for episode in episodes),
    }


def _drop_metrics_after(path: Path, version: int) -> None:
    """Remove the metrics of versions after ``version``, which no state holds, and torn lines."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines(keepends=True):
        try:
            if line.endswith('\n') and json.loads(line)['version'] <= version:
                kept.append(line)
        except (json.JSONDecodeError, KeyError):
            continue
    write_whole(path, ''.join(kept))
