"""Test doubles for the trainer: a text encoder without weights, a run after stage 1."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
import functools
from pathlib import Path
import shutil
import tempfile
from typing import Any
import zlib

from bags import make_episode, write_bag
from efm_core.embodiment import Embodiment, load_embodiment
from efm_core.episode import Episode, Kind
from efm_model.checkpoint import save_checkpoint
from efm_model.export import ParityReport
from efm_model.network import new_model
from efm_model.protocol import Model
from efm_trainer import trainer
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
TABLE_ARM = ROOT / 'config' / 'embodiments' / 'table_arm.yaml'


@functools.cache
def small_embodiment() -> Embodiment:
    """Return the table with small images and a sign-magnitude tokeniser as in the paper."""
    embodiment = load_embodiment(TABLE_ARM)
    camera = replace(embodiment.cameras[0], height=16, width=16, crop=(0, 0, 0, 0))
    rules = replace(embodiment.episode, success_threshold=2.0, success_dwell=2)
    return replace(embodiment, cameras=(camera,), observation_size=(16, 16), episode=rules)


class FakeTextEncoder:
    """Each word has one random state, independent of the other words."""

    def encode(self, sentence: str) -> np.ndarray:
        return np.stack([self._state(word) for word in self.pieces(sentence)])

    def pieces(self, sentence: str) -> list[str]:
        return sentence.split()

    def check_language(self, language: str) -> None:
        pass

    def _state(self, word: str) -> np.ndarray:
        generator = np.random.default_rng(zlib.crc32(word.encode()))
        return generator.normal(0, 0.5, 384).astype(np.float32)


def make_run(directory: Path, embodiment: Embodiment) -> Path:
    """Return a run directory with untrained checkpoints of stage 1."""
    shutil.copytree(_untrained(embodiment), directory / 'sft')
    return directory


@functools.cache
def _untrained(embodiment: Embodiment) -> Path:
    """Return a directory with such checkpoints, made once in a test run."""
    directory = Path(tempfile.mkdtemp())
    for kind, seed in (('policy', 0), ('reward', 1)):
        model = new_model(embodiment, seed, pretrained='none')
        save_checkpoint(directory / kind, model, embodiment, kind, 1)
    return directory


def demonstrations(embodiment: Embodiment, count: int) -> list[Episode]:
    return [make_episode(embodiment, i, 3 + i, kind=Kind.DEMONSTRATION) for i in range(count)]


def add_bags(run: Path, embodiment: Embodiment, indices: range, **fields: Any) -> list[Path]:
    """Write practice episodes into the inbox of a run, in the order of ``indices``."""
    inbox = run / 'episodes' / 'practice'
    inbox.mkdir(parents=True, exist_ok=True)
    return [write_bag(make_episode(embodiment, i, **fields), inbox / f'{i:06d}') for i in indices]


@contextmanager
def without_export() -> Iterator[None]:
    """Replace a trainer's export to ONNX, which takes most of its time; other tests cover it."""

    def export(model: Model, path: Path, embodiment: Embodiment, version: int) -> None:
        path.write_text(str(version))

    def prove(model: Model, path: Path, embodiment: Embodiment, kind: str) -> ParityReport:
        return ParityReport(kind, 0.0, same_tokens=True, samples=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, 'export_policy', export)
        patch.setattr(trainer, 'export_reward', export)
        patch.setattr(trainer, 'parity', prove)
        yield
