"""
Pretraining of the grounding encoder for a new world, on images with labelled points.

The shipped encoder knows the simulated table only. For another world, label three points in some
thousand images: the effector, the source and the target of the instruction. The labels may come
from a simulator, from markers or from a person. Training is that of
``efm_experiments/table/pretraining.py`` without the table's grammar of sentences. Policy and
reward model then learn from demonstrations as usual.

Letters: ``N`` images, ``S`` sentences, ``B`` batch, ``C`` cells of the feature map. Points are in
image coordinates from -1 to 1, as in ``grounding.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, KW_ONLY
import hashlib
from pathlib import Path
import zipfile
import zlib

from efm_core.config import expect
from efm_core.embodiment import Camera, Embodiment
from efm_core.preprocessing import preprocess
from efm_model.config import LabelledConfig
from efm_model.grounding import GroundingEncoder, QUERIES, SOURCE
from efm_model.localisation import cell_weights, localisation_loss
from efm_model.runtime import pad
from efm_model.text import InstructionEncoder
import numpy as np
import torch
from torch import nn
from torch.nn import functional

POINTS = ('effector', 'source', 'target')  # in the order of the encoder's queries
ARRAYS = ('images', 'points', 'sentences', 'sentence')  # of a file of labelled images
VALIDATION_BATCH = 256  # images
MIN_IMAGES = 20


@dataclass(frozen=True)
class LabelledImages:
    """
    Images with an instruction and three labelled points each.

    :param images: as the policy receives them, ``(N, H, W, 3)`` uint8 RGB.
    :param points: effector, source and target in image coordinates, ``(N, 3, 2)`` float32.
    :param sentences: the different instructions, ``S`` of them.
    :param sentence: index of each image's instruction in ``sentences``, ``(N,)`` int64.
    """

    images: np.ndarray
    points: np.ndarray
    _: KW_ONLY
    sentences: tuple[str, ...]
    sentence: np.ndarray

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def pictures(self) -> np.ndarray:
        """Number of each image, ``(N,)`` int64; equal for the same picture with two sentences."""
        numbers: dict[bytes, int] = {}
        digests = (hashlib.sha256(image.tobytes()).digest() for image in self.images)
        return np.array([numbers.setdefault(digest, len(numbers)) for digest in digests])

    def subset(self, indices: np.ndarray) -> LabelledImages:
        """Return the images at ``indices``, ``(B,)`` int64."""
        return LabelledImages(
            self.images[indices],
            self.points[indices],
            sentences=self.sentences,
            sentence=self.sentence[indices],
        )


def load_labelled(path: str | Path, embodiment: Embodiment) -> LabelledImages:
    """
    Return the labelled images of an ``.npz`` file, cropped and resized for the policy.

    The file holds four arrays:

    - ``images``: from the first camera, ``(N, H, W, 3)`` uint8 RGB;
    - ``points``: effector, source and target, ``(N, 3, 2)``, x to the right and y down [px];
    - ``sentences``: the different instructions, ``(S,)`` strings;
    - ``sentence``: index of each image's instruction in ``sentences``, ``(N,)`` integers.

    :raises FileNotFoundError: when the file does not exist.
    :raises ValueError: when an array is missing, has another shape or does not fit the camera.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'pictures: expected an .npz file, got {str(path)!r}')
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            missing = [name for name in ARRAYS if name not in file.files]
            expect(
                not missing,
                str(path),
                f'the arrays {", ".join(ARRAYS)}',
                ', '.join(file.files),
            )
            images, points, sentences, sentence = (file[name] for name in ARRAYS)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f'pictures: expected a whole .npz file, got {path}: {error}') from error
    count = len(images)
    expect(count >= MIN_IMAGES, f'{path}: images', f'{MIN_IMAGES} images at least', count)
    has_points = points.shape == (count, QUERIES, 2) and bool(np.isfinite(points).all())
    expect(has_points, f'{path}: points', f'({count}, 3, 2) finite numbers [px]', points.shape)
    is_known = np.isin(sentence, range(len(sentences)))
    expect(
        sentence.shape == (count,) and bool(is_known.all()),
        f'{path}: sentence',
        f'{count} indices of the {len(sentences)} sentences',
        sentence,
    )
    camera = embodiment.cameras[0]
    labelled = LabelledImages(
        np.stack([preprocess(image, camera, embodiment.image_sizes[0]) for image in images]),
        to_image_coordinates(points, camera),
        sentences=tuple(map(str, sentences)),
        sentence=sentence.astype(np.int64),
    )
    different = len(set(labelled.pictures))
    expect(different >= MIN_IMAGES, f'{path}: images', f'{MIN_IMAGES} different images', different)
    return labelled


def crop_of(camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """Return the upper left corner and the size of a camera's crop, each ``(2,)`` as x, y [px]."""
    left, top, width, height = camera.crop
    size = (width, height) if width else (camera.width, camera.height)
    return np.array([left, top]), np.array(size)


def to_image_coordinates(points: np.ndarray, camera: Camera) -> np.ndarray:
    """
    Return pixel coordinates as coordinates from -1 to 1 over the camera's crop.

    :param points: x and y in the camera's image, ``(..., 2)`` [px].
    :return: ``(..., 2)`` float32.
    """
    corner, size = crop_of(camera)
    return ((np.asarray(points) - corner) / size * 2 - 1).astype(np.float32)


class LocalisationObjective:
    """Loss and error of a grounding encoder on labelled images, with encoded instructions."""

    def __init__(self, labelled: LabelledImages, text_encoder: InstructionEncoder):
        """Encode each instruction once."""
        states, mask = pad([text_encoder.encode(sentence) for sentence in labelled.sentences])
        self._text = torch.from_numpy(states)
        self._mask = torch.from_numpy(mask)
        self.images = torch.from_numpy(labelled.images)
        self.points = torch.from_numpy(labelled.points)
        self._sentence = torch.from_numpy(labelled.sentence)

    def heat(
        self, grounding: GroundingEncoder, indices: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Return the encoder's outputs for the images at ``indices``.

        :return: logits of the heat maps, ``(B, 3, C)``, and of the occupancy, ``(B, C)``.
        """
        keys, occupancy = grounding.image(self.images[indices])
        sentence = self._sentence[indices]
        queries = grounding.text(self._text[sentence], self._mask[sentence])
        return grounding.heat(queries, keys), occupancy

    def loss(self, grounding: GroundingEncoder, indices: torch.Tensor) -> torch.Tensor:
        """Return the localisation loss plus the occupancy loss of the images at ``indices``."""
        heat, occupancy = self.heat(grounding, indices)
        points = self.points[indices]
        image = grounding.image
        occupied = cell_weights(points[:, SOURCE:], image.rows, image.columns).sum(dim=1)
        occupancy_loss = functional.binary_cross_entropy_with_logits(
            occupancy, occupied.clamp(max=1)
        )
        return localisation_loss(grounding, heat, points) + occupancy_loss

    @torch.no_grad()
    def errors(self, grounding: GroundingEncoder) -> np.ndarray:
        """
        Return the distance between predicted and labelled points, ``(N, 3)`` float32.

        The unit is the width of the image for x and its height for y.
        """
        grounding.eval()
        parts = torch.arange(len(self.images)).split(VALIDATION_BATCH)
        predicted = torch.cat(
            [grounding.points(self.heat(grounding, indices)[0]) for indices in parts]
        )
        grounding.train()
        return (predicted - self.points).norm(dim=-1).numpy() / 2


def pretrain_on_labels(
    labelled: LabelledImages,
    text_encoder: InstructionEncoder,
    config: LabelledConfig,
    report: Callable[[int, dict[str, float]], None] = lambda iteration, errors: None,
) -> tuple[GroundingEncoder, dict[str, float]]:
    """
    Return a grounding encoder trained on labelled images, and its errors on held-out images.

    :param report: called after each validation with the iteration and the errors.
    :return: the encoder in evaluation mode; errors as from ``summarise``.
    :raises ValueError: when the loss is not finite.
    """
    held_out, training = _split(labelled, text_encoder, config)
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
            indices = torch.randint(len(training.images), (config.batch_size,))
            loss = training.loss(grounding, indices)
            if not torch.isfinite(loss):
                raise ValueError(f'loss: expected a finite number, got {loss.item()}')
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(grounding.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            if iteration % config.validate_every == 0 or iteration == config.iterations:
                errors = summarise(held_out.errors(grounding))
                report(iteration, errors)
    return grounding.eval(), errors


def _split(
    labelled: LabelledImages, text_encoder: InstructionEncoder, config: LabelledConfig
) -> tuple[LocalisationObjective, LocalisationObjective]:
    """Return the objectives on held-out images and on those for training."""
    held_out, training = (labelled.subset(part) for part in split_by_picture(labelled, config))
    return (
        LocalisationObjective(held_out, text_encoder),
        LocalisationObjective(training, text_encoder),
    )


def split_by_picture(
    labelled: LabelledImages, config: LabelledConfig
) -> tuple[np.ndarray, np.ndarray]:
    """
    Return the indices of the images that are held out, and of those for training.

    A picture with several sentences is in one part only. Else the held-out errors would be those
    of pictures that were trained on.
    """
    pictures = labelled.pictures
    order = np.random.default_rng([config.seed, 1]).permutation(pictures.max() + 1)
    count = max(1, round(config.validation_fraction * len(order)))
    rank = np.argsort(order)[pictures]  # place of each image's picture in that order
    by_rank = np.argsort(rank, kind='stable')
    return by_rank[: (rank < count).sum()], by_rank[(rank < count).sum() :]


def summarise(errors: np.ndarray) -> dict[str, float]:
    """
    Return median and 95 % quantile of the error of each point, in per cent of the image.

    :param errors: as from ``LocalisationObjective.errors``, ``(N, 3)``.
    :return: keys such as ``effector_median`` and ``target_p95``.
    """
    return {
        f'{name}_{statistic}': round(100 * float(np.quantile(errors[:, column], quantile)), 3)
        for column, name in enumerate(POINTS)
        for statistic, quantile in (('median', 0.5), ('p95', 0.95))
    }
