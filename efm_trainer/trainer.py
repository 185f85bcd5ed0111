"""
Stage 2 as it runs: bags in, releases out; without ROS.

A run directory holds::

    episodes/practice/   the spool: finished bags, one folder each
    sft/                 checkpoints ``policy`` and ``reward`` of stage 1
    trainer/             state.safetensors, metrics.jsonl, lock
    releases/000001/     what robots load; 1 is stage 1's policy
    quarantine/          bags that cannot be used, with the reasons
"""

from __future__ import annotations

from dataclasses import asdict
import json
from pathlib import Path
import time

from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Termination
from efm_core.files import write_whole
from efm_data.ingest import Inbox, IngestLog, is_current, is_usable
from efm_model.checkpoint import load_checkpoint, WEIGHTS
from efm_model.export import export_policy, export_reward, parity
from efm_model.protocol import Model
from efm_model.text import TextEncoder
from efm_release.publish import find_release, publish
from efm_release.release import hash_file, Release
from efm_trainer.config import PracticeConfig
from efm_trainer.reinforce import Reinforce
from efm_trainer.state import read_facts, restore, write_state
from filelock import FileLock, Timeout
import numpy as np

STAGE = 'active'


class Trainer:
    """
    Learns whenever enough episodes have arrived, and publishes what it learned.

    May be killed at any moment: a new one on the same run directory goes on where the last state
    was written, learns from nothing twice and loses nothing.

    :ivar version: of the newest policy.
    :ivar release: the newest release.
    """

    def __init__(
        self,
        run_dir: str | Path,
        embodiment: Embodiment,
        *,
        encoder: TextEncoder,
        config: PracticeConfig | None = None,
    ):
        """
        Go on where an earlier trainer stopped, else start from the checkpoints in ``sft``.

        :raises RuntimeError: when another trainer is at work here.
        :raises FileNotFoundError: when there are no checkpoints.
        :raises ValueError: when checkpoints or state belong to another robot or another stage 1.
        """
        self._run = Path(run_dir)
        self._directory = self._run / 'trainer'
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self._directory / 'lock')
        try:
            self._open(embodiment, encoder, config or PracticeConfig())
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let another trainer work here."""
        self._lock.release()

    def step(self) -> Release | None:
        """
        Read what has arrived; if it is enough, learn from it and publish.

        :return: the new release, if there is one.
        :raises OSError: when the disk is full; what was there before is intact, and calling again
            goes on where it failed.
        """
        self.ingest()
        if self.is_ready:
            self._learn()
        return self._persist()

    def ingest(self) -> None:
        """Read the bags that have arrived and say what becomes of them."""
        known = self._ledger.settled | self._pending.keys()
        for name, episodes in self._spool.poll(known).items():
            kept = [episode for episode in episodes if self._keep(episode)]
            if kept:
                self._pending[name] = kept
            else:
                self._ledger.settled.add(name)

    @property
    def is_ready(self) -> bool:
        """Whether there is enough to learn from."""
        if self._config.update == 'episodes':
            return len(self._waiting) >= self._config.episodes_per_update
        samples = sum(len(episode) for episode in self._waiting)
        return samples >= self._config.updates * self._config.batch_size

    @property
    def status(self) -> dict[str, int]:
        """Counts, as ``TrainerStatus.msg`` names them; ``pending`` episodes wait for an update."""
        ledger = self._ledger
        quarantined = self._spool.quarantined
        pending = len(self._waiting)
        return {
            'version': self.version,
            'updates': self.version - 1,
            'episodes': ledger.episodes + pending + quarantined,
            'stale': ledger.stale,
            'unusable': ledger.unusable,
            'quarantined': quarantined,
            'pending': pending,
        }

    @property
    def _waiting(self) -> list[Episode]:
        return [episode for episodes in self._pending.values() for episode in episodes]

    def _open(self, embodiment: Embodiment, encoder: TextEncoder, config: PracticeConfig) -> None:
        self._embodiment = embodiment
        self._config = config
        checkpoints = self._run / 'sft'
        policy, _ = load_checkpoint(checkpoints / 'policy', embodiment)
        _check_exportable(policy, checkpoints)
        self._reward_model, _ = load_checkpoint(checkpoints / 'reward', embodiment)
        self._origin = {
            'embodiment_hash': embodiment.hash,
            **{kind: hash_file(checkpoints / kind / WEIGHTS) for kind in ('policy', 'reward')},
        }
        scale = embodiment.steps_to_go
        self._learner = Reinforce(
            policy, self._reward_model, encoder=encoder, scale=scale, config=config
        )
        self._spool = Inbox(
            self._run / 'episodes' / 'practice', self._run / 'quarantine', embodiment=embodiment
        )
        self._pending: dict[str, list[Episode]] = {}
        self._ledger = IngestLog()
        self.version = 1
        self.release = None
        if self._state.is_file():
            self._resume()
        self._persist()

    @property
    def _state(self) -> Path:
        return self._directory / 'state.safetensors'

    def _resume(self) -> None:
        """Take up the state on disk, and its release if that was still published."""
        facts = read_facts(self._state)
        if facts['origin'] != self._origin:
            raise ValueError(
                f'{self._state}: expected a run that began with {self._origin}, '
                f'got one that began with {facts["origin"]}; take a new run directory'
            )
        restore(self._state, self._learner)
        self.version = facts['version']
        self._ledger = IngestLog.from_plain(facts['ledger'])
        self.release = find_release(self._run / 'releases', self.version)
        _forget_metrics_after(self._metrics, self.version)

    @property
    def _metrics(self) -> Path:
        return self._directory / 'metrics.jsonl'

    def _keep(self, episode: Episode) -> bool:
        """Return whether to learn from an episode; count it as settled if not."""
        if not is_usable(episode):
            self._ledger.unusable += 1
        elif not is_current(episode, self.version, self._config.max_staleness):
            self._ledger.stale += 1
        else:
            return True
        self._ledger.episodes += 1
        return False

    def _learn(self) -> None:
        """Make the next version from all that waits, and settle it."""
        began = time.perf_counter()
        episodes = self._waiting
        figures = self._learner.update(episodes)
        self._ledger.settled |= self._pending.keys()
        self._ledger.episodes += len(episodes)
        self._pending.clear()
        self.version += 1
        figures = {
            'version': self.version,
            'episodes': len(episodes),
            'episodes_total': self._ledger.episodes,
            'stale_total': self._ledger.stale,
            **_summary(episodes),
            **figures,
            'seconds': time.perf_counter() - began,
        }
        with open(self._metrics, 'a') as file:
            file.write(json.dumps(figures) + '\n')

    def _persist(self) -> Release | None:
        """
        Write the state, then publish, if there is a new version.

        In this order a crash between the two leaves a state whose release is published by the next
        trainer; in the other a release would be made again, from the same episodes, differently.
        """
        if self.release and self.release.version == self.version:
            return None
        facts = {
            'version': self.version,
            'ledger': self._ledger.to_plain(),
            'origin': self._origin,
            'config': asdict(self._config),
        }
        write_state(self._state, self._learner, facts)
        self.release = self._publish()
        return self.release

    def _publish(self) -> Release:
        """Export the newest policy, prove the export, publish."""
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
        releases = self._run / 'releases'
        parent = self.version - 1
        return publish(releases, self.version, policy, reward, STAGE, embodiment, reports, parent)


def _check_exportable(policy: Model, checkpoints: Path) -> None:
    """
    Refuse a model of which there can be no release.

    :raises ValueError: for a vision-language model.
    """
    if policy.family != 'compact':
        raise ValueError(
            f'{checkpoints}: expected a compact model, whose releases are ONNX files, got one of '
            f'the family {policy.family!r}; it practises in one process, see docs/vlm.md'
        )


def _lock(path: Path) -> FileLock:
    """
    Return the lock of a run, taken; a process that dies gives it back.

    :raises RuntimeError: when somebody else has it.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise RuntimeError(
            f'trainer: expected to be the only one in {path.parent}, got another at work'
        ) from error
    return lock


def _summary(episodes: list[Episode]) -> dict[str, float]:
    """Return what the robots themselves said of the episodes of one update."""
    detected = [e.termination is Termination.SUCCESS_DETECTED for e in episodes]
    return {
        'detected_successes': int(np.sum(detected)),
        'mean_steps': float(np.mean([len(episode) for episode in episodes])),
        'last_index': max(episode.index for episode in episodes),
    }


def _forget_metrics_after(path: Path, version: int) -> None:
    """Drop lines of versions that were never written to the state, and of a torn write."""
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
