"""
Pretrain the encoder for another world: from pictures in which somebody has pointed.

The encoder that ships knows one table. For a world of one's own somebody says in some thousand
pictures where the three things are that the encoder looks for: a simulator that knows, a marker, a
person who clicks. What it learns is what ``efm_experiments/table/pretraining.py`` teaches, without
that world's grammar. The heads then learn from demonstrations as always.

Letters: ``N`` pictures, ``S`` sentences; points as in ``grounding.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY
from pathlib import Path
import zipfile
import zlib

from efm_core.config import expect
from efm_core.embodiment import Camera, Embodiment
from efm_core.observation import observe
from efm_model.config import LabelledConfig
from efm_model.grounding import GroundingEncoder, QUERIES, SOURCE
from efm_model.localisation import cell_weights, localisation_loss
from efm_model.runtime import pad
from efm_model.text import TextEncoder
import numpy as np
import torch
from torch import nn
from torch.nn import functional

THINGS = ('effector', 'source', 'target')  # in the order of the encoder's queries
NEED = ('images', 'points', 'sentences', 'sentence')  # arrays of a file
CHUNK = 256
LEAST = 20  # pictures


@dataclass(frozen=True)
class Labelled:
    """
    Pictures, what is asked of each, and where it is.

    :param images: as the policy sees them, ``(N, H, W, 3)`` uint8 RGB.
    :param points: of effector, source and target, ``(N, 3, 2)`` float32 in the image plane.
    :param sentences: the different instructions; ``sentence`` is the row of each picture's,
        ``(N,)`` int64.
    """

    images: np.ndarray
    points: np.ndarray
    _: KW_ONLY
    sentences: tuple[str, ...]
    sentence: np.ndarray

    def __len__(self) -> int:
        """Return ``N``."""
        return len(self.images)

    def part(self, rows: np.ndarray) -> Labelled:
        """Return the pictures ``rows``."""
        return Labelled(
            self.images[rows],
            self.points[rows],
            sentences=self.sentences,
            sentence=self.sentence[rows],
        )


def load_labelled(path: str | Path, embodiment: Embodiment) -> Labelled:
    """
    Return the labelled pictures of an ``.npz`` file, cropped and resized for the policy.

    Its arrays: ``images`` ``(N, H, W, 3)`` uint8 RGB, as the first camera sends them; ``points``
    ``(N, 3, 2)``, x to the right and y down [px] of effector, source and target; ``sentences``
    ``(S,)`` and ``sentence`` ``(N,)``, which of them belongs to each picture.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: when it is not like this, or not of this camera.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'pictures: expected an .npz file, got {str(path)!r}')
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            missing = [name for name in NEED if name not in file.files]
            expect(not missing, str(path), f'the arrays {", ".join(NEED)}', ', '.join(file.files))
            images, points, sentences, sentence = (file[name] for name in NEED)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f'pictures: expected a whole .npz file, got {path}: {error}') from error
    count = len(images)
    camera = embodiment.cameras[0]
    expect(count >= LEAST, f'{path}: images', f'{LEAST} pictures at least', count)
    fits = points.shape == (count, QUERIES, 2) and np.isfinite(points).all()
    expect(fits, f'{path}: points', f'({count}, 3, 2) finite numbers [px]', points.shape)
    known = sentence.shape == (count,) and np.isin(sentence, range(len(sentences))).all()
    expect(known, f'{path}: sentence', f'{count} rows of the {len(sentences)} sentences', sentence)
    seen = np.stack([observe(image, embodiment) for image in images])
    return Labelled(
        seen,
        to_plane(points, camera),
        sentences=tuple(map(str, sentences)),
        sentence=sentence.astype(np.int64),
    )


def view(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return corner and size of what the policy sees of a picture, as x, y [px]."""
    left, top, width, height = camera.crop
    size = (width, height) if width else (camera.width, camera.height)
    return np.array([left, top]), np.array(size)


def to_plane(points: np.ndarray, camera: Camera) -> np.ndarray:
    """Return points of a camera's picture ``(..., 2)`` [px] in the image plane, float32."""
    corner, size = view(camera)
    return ((np.asarray(points) - corner) / size * 2 - 1).astype(np.float32)


class Lessons:
    """Labelled pictures as an encoder takes them; each sentence is read once."""

    def __init__(self, labelled: Labelled, encoder: TextEncoder):
        states, mask = pad([encoder.encode(sentence) for sentence in labelled.sentences])
        self._text = torch.from_numpy(states)
        self._mask = torch.from_numpy(mask)
        self.images, self.points = map(torch.from_numpy, (labelled.images, labelled.points))
        self._sentence = torch.from_numpy(labelled.sentence)

    def heat(
        self, grounding: GroundingEncoder, rows: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return heat maps, ``(B, 3, C)``, and occupancy logits, ``(B, C)``, of ``rows``."""
        keys, occupancy = grounding.image(self.images[rows])
        sentence = self._sentence[rows]
        return grounding.heat(
            grounding.text(self._text[sentence], self._mask[sentence]), keys
        ), occupancy

    def loss(self, grounding: GroundingEncoder, rows: torch.Tensor) -> torch.Tensor:
        """Return how badly the three are found, and where source and target are."""
        heat, occupancy = self.heat(grounding, rows)
        points = self.points[rows]
        image = grounding.image
        things = cell_weights(points[:, SOURCE:], image.rows, image.columns).sum(dim=1)
        where = functional.binary_cross_entropy_with_logits(occupancy, things.clamp(max=1))
        return localisation_loss(grounding, heat, points) + where

    @torch.no_grad()
    def errors(self, grounding: GroundingEncoder) -> np.ndarray:
        """Return how far off each point is, ``(N, 3)``, in pictures' widths and heights."""
        grounding.eval()
        parts = torch.arange(len(self.images)).split(CHUNK)
        found = torch.cat([grounding.points(self.heat(grounding, rows)[0]) for rows in parts])
        grounding.train()
        return (found - self.points).norm(dim=-1).numpy() / 2


def learn_to_point(
    labelled: Labelled,
    encoder: TextEncoder,
    config: LabelledConfig,
    report: Callable[[int, dict], None] = lambda iteration, measured: None,
) -> tuple[GroundingEncoder, dict[str, float]]:
    """
    Return an encoder trained on ``labelled``, and its errors on held-out pictures.

    :param report: hears of every validation.
    :raises ValueError: when the loss is not finite.
    """
    order = np.random.default_rng([config.seed, 1]).permutation(len(labelled))
    count = max(1, round(config.validation_fraction * len(labelled)))
    held_out, lessons = (
        Lessons(labelled.part(rows), encoder) for rows in (order[:count], order[count:])
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        grounding = GroundingEncoder(labelled.images.shape[1:3])
        optimiser = torch.optim.AdamW(
            grounding.parameters(), config.learning_rate, weight_decay=config.weight_decay
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, config.learning_rate, config.iterations
        )
        for iteration in range(1, config.iterations + 1):
            rows = torch.randint(len(lessons.images), (config.batch_size,))
            value = lessons.loss(grounding, rows)
            if not torch.isfinite(value):
                raise ValueError(f'loss: expected a finite number, got {value.item()}')
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(grounding.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if iteration % config.validate_every == 0 or iteration == config.iterations:
                measured = summarise(held_out.errors(grounding))
                report(iteration, measured)
    return grounding.eval(), measured


def summarise(errors: np.ndarray) -> dict[str, float]:
    """Return median and 95 % quantile of each thing's errors ``(N, 3)``; per cent of a picture."""
    return {
        f'{name}_{word}': round(100 * float(np.quantile(errors[:, column], share)), 3)
        for column, name in enumerate(THINGS)
        for word, share in (('median', 0.5), ('p95', 0.95))
    }
