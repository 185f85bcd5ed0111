"""
Pretrains the encoder on referring expressions: where is the object that a sentence names.

The training data are rendered scenes with the positions that the simulator knows. They replace
web-scale vision-language pretraining on a much smaller scale. The result ships in
``efm_model/weights``; ``python -m efm_experiments.table.pretraining`` makes it again.

Letters: ``N`` scenes, ``S`` sentences, ``B`` batch, ``Q`` queries, ``C`` cells; points as in
``efm_model/grounding.py``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass, KW_ONLY
import json
import math
from pathlib import Path
import time
from typing import Any

from efm_core.config import add_arguments, config, from_arguments, parameter
from efm_model.grounding import EFFECTOR, GroundingEncoder, QUERY_SIZE, SOURCE, TARGET
from efm_model.localisation import cell_weights, localisation_loss
from efm_model.network import ENCODER_WEIGHTS, save_encoder
from efm_model.runtime import pad
from efm_model.text import ensure_text_encoder, TextEncoder
from efm_sim.table.arrangement import place_position
from efm_sim.table.config import TableConfig
from efm_sim.table.language import phrase, PLACES, SPLITS, Task, tasks, TYPES, types_in
from efm_sim.table.world import random_scene, Table
import numpy as np
import torch
from torch import nn
from torch.nn import functional

NATURE = (
    'In-domain data: scenes of the simulator of this suite with positions from the simulator, '
    'sentences of its own grammar, frozen all-MiniLM-L6-v2 token states. A stand-in for web-scale '
    'vision-language pretraining, not the same. The filler phrases were added after a first '
    'encoder had misread two templates of the split phrasing; that split is therefore a '
    'validation set. The splits synonym and pairs influenced no decision.'
)
# rows of LabelledScenes.points
TOOL = 0
FIRST_BLOCK = 1
FIRST_PLACE = 7
BLOCKS = 6
# Filler phrases around a request. They make the encoder robust to new phrasings and contain no
# words of the held-out splits.
FILLER_BEFORE = (
    'hey',
    'okay',
    'hello robot',
    'next',
    'for the next task',
    'i need you to',
    'we would like you to',
    'try to',
    'i wonder if you could',
    'be so good as to',
    'let us',
    'time to',
    'the task is to',
    'as soon as you can',
)
FILLER_AFTER = (
    'thanks',
    'for me',
    'right away',
    'if you can',
    'when you are ready',
    'as quickly as possible',
    'carefully',
    'and stop there',
    'would you',
    'thanks a lot',
)
SENTENCES_PER_SCENE = 2
NEAR_MM = 80.0  # largest distance of source and target at the end of a push [mm]


@config
class PretrainingConfig:
    """
    How the encoder learns to locate the objects that sentences name.

    :raises ValueError: when a value is out of range.
    """

    scenes: int = parameter(30000, 'Random scenes rendered for training', low=10, high=1000000)
    arm_share: float = parameter(
        0.7,
        'Fraction of the scenes that show the arm; the others show the tool',
        low=0.0,
        high=1.0,
    )
    pushes: float = parameter(
        0.5, 'Fraction of the scenes that show the end of a push', low=0.0, high=1.0
    )
    sentences: int = parameter(110, 'Sentences for each task', low=1, high=1000)
    plain: float = parameter(
        0.35, 'Probability of the plain name of a colour or shape', low=0.0, high=1.0
    )
    iterations: int = parameter(12000, 'Optimiser steps', low=1, high=1000000)
    batch_size: int = parameter(
        64, 'Scenes per optimiser step, with two sentences each', low=1, high=4096
    )
    learning_rate: float = parameter(
        3e-3, 'Peak learning rate of the one-cycle schedule', low=1e-6, high=0.1
    )
    weight_decay: float = parameter(1e-2, 'Weight decay of AdamW', low=0.0, high=1.0)
    test_scenes: int = parameter(
        1000, 'Fresh scenes for the measurement of each split', low=1, high=100000
    )
    seed: int = parameter(0, 'Seed of scenes, sentences and weights', low=0, high=2**31)


@dataclass(frozen=True)
class LabelledScenes:
    """
    Rendered scenes with their labels.

    :param images: ``(N, H, W, 3)`` uint8 RGB.
    :param types: index into ``TYPES`` of each of the six blocks, ``(N, 6)`` int64.
    :param points: image points of the tool, the six blocks and the nine places, ``(N, 16, 2)``
        float32.
    :param scale: image-plane units per metre, to the right and down, ``(2,)``.
    """

    images: np.ndarray
    types: np.ndarray
    _: KW_ONLY
    points: np.ndarray
    scale: np.ndarray

    def gap_mm(self, index: int, task: Task) -> float:
        """Return the distance of source and target [mm]; infinity if one is missing."""
        names = self.names(index)
        if not set(types_in(task)) <= set(names):
            return math.inf
        first, second = (self.points[index, names.index(n)] for n in (task.source, task.target))
        return 1000 * float(np.linalg.norm((first - second) / self.scale))

    def names(self, index: int) -> list[str]:
        """Return the name of each row of ``points`` in one scene."""
        return ['tool', *(TYPES[number] for number in self.types[index]), *PLACES]


@dataclass(frozen=True)
class EncodedSentences:
    """
    Token states of many sentences for each task.

    :param states: ``(S, L, 384)`` float16; ``mask`` is ``(S, L)``.
    :param rows: the sentences of each task.
    """

    states: torch.Tensor
    mask: torch.Tensor
    _: KW_ONLY
    rows: dict[Task, np.ndarray]


class ClassQueries(nn.Module):
    """
    One learned query for each block type and for the tool, without sentences.

    They speed up the training of the image encoder's keys.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.5 * torch.randn(len(TYPES) + 1, QUERY_SIZE))

    def forward(self, types: torch.Tensor) -> torch.Tensor:
        """Return the queries of the tool and of blocks of ``types``, ``(B, 7, D)``."""
        tool = self.queries[-1].expand(len(types), 1, -1)
        return torch.cat([tool, self.queries[types]], dim=1)


def render_scenes(count: int, seed: int, body: str = 'arm', pushes: float = 0.0) -> LabelledScenes:
    """
    Return ``count`` random scenes of the simulator.

    :param body: 'arm' or 'tool'.
    :param pushes: fraction of the scenes that show the end of a push.
    """
    table = Table(TableConfig(body=body))
    rng = np.random.default_rng(seed)
    places = np.array([place_position(place) for place in PLACES])
    images = []
    types = []
    points = []
    for _ in range(count):
        positions = random_scene(table, rng, pushes)
        names = [name for name in positions if name != 'tool']
        images.append(table.render())
        types.append([TYPES.index(name) for name in names])
        points.append(
            table.project(
                np.array([positions['tool'], *(positions[name] for name in names), *places])
            )
        )
    origin, corner = table.project(np.array([[0, 0, 0], [0.01, -0.01, 0]]))
    table.close()
    return LabelledScenes(
        np.array(images),
        np.array(types),
        points=np.array(points, np.float32),
        scale=(corner - origin) / 0.01,
    )


def concatenate(first: LabelledScenes, second: LabelledScenes) -> LabelledScenes:
    """Return all scenes of both sets."""
    both = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ('images', 'types', 'points')
    }
    return LabelledScenes(**both, scale=first.scale)


def encode_sentences(config: PretrainingConfig, encoder: TextEncoder) -> EncodedSentences:
    """Return ``config.sentences`` encoded sentences of the ``train`` split for each task."""
    rng = np.random.default_rng([config.seed, 1])
    rows = {}
    states: list[np.ndarray] = []
    for task in tasks('both', 'train'):
        rows[task] = np.arange(len(states), len(states) + config.sentences)
        states += [
            encoder.encode(add_filler(phrase(task, rng, 'train', config.plain), rng)).astype(
                np.float16
            )
            for _ in range(config.sentences)
        ]
    padded, mask = pad(states)
    return EncodedSentences(
        torch.from_numpy(padded.astype(np.float16)), torch.from_numpy(mask), rows=rows
    )


def add_filler(sentence: str, rng: np.random.Generator) -> str:
    """Return ``sentence`` with filler before and after it, each with probability 1/3."""
    before, after = (
        options[rng.integers(len(options))] if rng.random() < 1 / 3 else ''
        for options in (FILLER_BEFORE, FILLER_AFTER)
    )
    return f'{before} {sentence} {after}'.strip()


def draw_task(names: list[str], options: set[Task], rng: np.random.Generator) -> Task | None:
    """Return a random one of ``options`` for a scene with these ``names``, or None."""
    possible = [task for task in options if set(types_in(task)) <= set(names)]
    kinds = sorted({task.kind for task in possible})
    if not kinds:
        return None
    kind = kinds[rng.integers(len(kinds))]
    same = sorted(
        (task for task in possible if task.kind == kind),
        key=lambda task: (task.source, task.target),
    )
    return same[rng.integers(len(same))]


def loss(
    grounding: GroundingEncoder, classes: ClassQueries, batch: dict[str, torch.Tensor]
) -> torch.Tensor:
    """
    Return the sum of three losses.

    They locate the objects that sentences name, the objects of each class, and all blocks.
    """
    keys, occupancy = grounding.image(batch['images'])
    asked = (
        grounding.text(batch['text'], batch['mask'])
        .unflatten(0, (-1, SENTENCES_PER_SCENE))
        .flatten(1, 2)
    )
    blocks = (
        cell_weights(batch['objects'][:, 1:], grounding.image.rows, grounding.image.columns)
        .sum(dim=1)
        .clamp(max=1)
    )
    return (
        localisation_loss(grounding, grounding.heat(asked, keys), batch['points'])
        + localisation_loss(
            grounding, grounding.heat(classes(batch['types']), keys), batch['objects']
        )
        + 3 * functional.binary_cross_entropy_with_logits(occupancy, blocks)
    )


def draw_batch(
    scenes: LabelledScenes, sentences: EncodedSentences, size: int, rng: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Return random scenes with new sentences, as ``loss`` expects them."""
    chosen = rng.integers(len(scenes.images), size=size)
    rows = []
    points = []
    known = set(sentences.rows)
    for index in chosen:
        names = scenes.names(index)
        for _ in range(SENTENCES_PER_SCENE):
            task = _draw_known(names, known, rng)
            rows.append(sentences.rows[task][rng.integers(len(sentences.rows[task]))])
            points.append(
                scenes.points[index, [TOOL, names.index(task.source), names.index(task.target)]]
            )
    chosen_rows = torch.tensor(np.array(rows))
    return {
        'images': torch.from_numpy(scenes.images[chosen]),
        'types': torch.from_numpy(scenes.types[chosen]),
        'text': sentences.states[chosen_rows].float(),
        'mask': sentences.mask[chosen_rows],
        'points': torch.from_numpy(np.array(points)).reshape(size, -1, 2),
        'objects': torch.from_numpy(scenes.points[chosen, :FIRST_PLACE]),
    }


def pretrain(
    scenes: LabelledScenes,
    sentences: EncodedSentences,
    config: PretrainingConfig,
    report: Callable[[int, float], None] = lambda iteration, value: None,
) -> GroundingEncoder:
    """
    Return an encoder that is trained on ``scenes`` and ``sentences``.

    :param report: called with the number and the loss of each optimiser step.
    """
    torch.manual_seed(config.seed)
    rng = np.random.default_rng([config.seed, 2])
    grounding = GroundingEncoder(scenes.images.shape[1:3])
    classes = ClassQueries()
    parameters = [*grounding.parameters(), *classes.parameters()]
    optimiser = torch.optim.AdamW(
        parameters, config.learning_rate, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, config.learning_rate, config.iterations
    )
    for iteration in range(config.iterations):
        value = loss(grounding, classes, draw_batch(scenes, sentences, config.batch_size, rng))
        optimiser.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        report(iteration, value.item())
    return grounding.eval()


@torch.no_grad()
def measure_grounding(
    grounding: GroundingEncoder,
    scenes: LabelledScenes,
    encoder: TextEncoder,
    split: str,
    seed: int = 0,
    within_mm: float = math.inf,
) -> dict[str, float]:
    """
    Return how reliably and how precisely the encoder locates the objects of new sentences.

    A point counts as right when the named block is the nearest one. Places are compared with the
    nine places. Errors are medians in the table plane [mm].

    :param split: instruction split of the sentences.
    :param within_mm: use only tasks whose source is nearer to its target than this [mm].
    """
    rng = np.random.default_rng([seed, 3])
    options = set(tasks('both', split))
    found = []
    for index in range(len(scenes.images)):
        near = options
        if within_mm < math.inf:
            near = {task for task in options if scenes.gap_mm(index, task) < within_mm}
        task = draw_task(scenes.names(index), near, rng)
        if task is not None:
            found.append(
                _find(grounding, scenes, index, task, encoder.encode(phrase(task, rng, split)))
            )
    return _summarise(found)


def main(arguments: list[str] | None = None) -> None:
    """Render scenes, train, measure, and write the weights with their card."""
    parser = argparse.ArgumentParser(
        description='pretrain the encoder on scenes and sentences of the simulator'
    )
    add_arguments(parser, PretrainingConfig)
    parser.add_argument(
        '--output',
        type=Path,
        default=ENCODER_WEIGHTS,
        help='file to write (.safetensors; default: the shipped weights)',
    )
    parsed = parser.parse_args(arguments)
    config = from_arguments(PretrainingConfig, parsed)
    began = time.monotonic()
    encoder = TextEncoder(ensure_text_encoder())

    arms = round(config.scenes * config.arm_share)
    scenes = concatenate(
        render_scenes(arms, config.seed, 'arm', config.pushes),
        render_scenes(config.scenes - arms, config.seed + 1, 'tool', config.pushes),
    )
    sentences = encode_sentences(config, encoder)
    print(
        f'{config.scenes} scenes, {len(sentences.states)} sentences, '
        f'{time.monotonic() - began:.0f} s',
        flush=True,
    )
    grounding = pretrain(scenes, sentences, config, _print_every(100, began))
    measured = measure(grounding, config, encoder)
    save_encoder(
        grounding,
        parsed.output,
        {
            'nature': NATURE,
            'config': asdict(config),
            'seconds': round(time.monotonic() - began),
            'grounding': measured,
        },
    )
    print(json.dumps(measured, indent=1))


def measure(
    grounding: GroundingEncoder, config: PretrainingConfig, encoder: TextEncoder
) -> dict[str, dict[str, float]]:
    """Return the measurements in fresh scenes, by split, and at the end of pushes."""
    count = config.test_scenes
    seed = config.seed + 1000003
    fresh = render_scenes(count, seed)
    measured = {split: measure_grounding(grounding, fresh, encoder, split) for split in SPLITS}
    pushes = render_scenes(count, seed + 1, pushes=1.0)
    measured['pushes'] = measure_grounding(grounding, pushes, encoder, 'train', within_mm=NEAR_MM)
    return measured


def _draw_known(names: list[str], known: set[Task], rng: np.random.Generator) -> Task:
    """Return a random task of this scene that is in ``known``, by rejection sampling."""
    while True:
        source = FIRST_BLOCK + rng.integers(BLOCKS)
        first, count = (FIRST_BLOCK, BLOCKS) if rng.random() < 0.5 else (FIRST_PLACE, len(PLACES))
        target = first + rng.integers(count)
        if target != source and Task(names[source], names[target]) in known:
            return Task(names[source], names[target])


def _find(
    grounding: GroundingEncoder, scenes: LabelledScenes, index: int, task: Task, text: np.ndarray
) -> dict[str, Any]:
    """Return the errors of the encoder for one sentence in one scene."""
    keys, _ = grounding.image(torch.from_numpy(scenes.images[index : index + 1]))
    queries = grounding.text(torch.tensor(text[None]), torch.ones(1, len(text)))
    points = grounding.points(grounding.heat(queries, keys))[0].numpy()
    names = scenes.names(index)
    true = scenes.points[index, [TOOL, names.index(task.source), names.index(task.target)]]
    blocks = scenes.points[index, FIRST_BLOCK:FIRST_PLACE]
    places = scenes.points[index, FIRST_PLACE:]
    candidates = places if task.kind == 'block_to_place' else blocks
    return {
        'kind': task.kind,
        'error_mm': 1000 * np.linalg.norm((points - true) / scenes.scale, axis=1),
        'right': (
            _is_nearest(true[SOURCE], points[SOURCE], blocks),
            _is_nearest(true[TARGET], points[TARGET], candidates),
        ),
    }


def _is_nearest(true: np.ndarray, point: np.ndarray, candidates: np.ndarray) -> bool:
    """Return whether ``true`` is the candidate nearest to ``point``."""
    nearest = candidates[np.linalg.norm(candidates - point, axis=1).argmin()]
    return bool(np.allclose(nearest, true))


def _summarise(found: list[dict[str, Any]]) -> dict[str, float]:
    """Return shares and median errors over all sentences."""
    errors = np.array([one['error_mm'] for one in found])
    right = np.array([one['right'] for one in found])
    is_place = np.array([one['kind'] == 'block_to_place' for one in found])
    summary = {'sentences': len(found), 'right_source': right[:, 0].mean()}
    if (~is_place).any():
        summary['right_target_block'] = right[~is_place, 1].mean()
    if is_place.any():
        summary['right_target_place'] = right[is_place, 1].mean()
    for name, query in (('effector', EFFECTOR), ('source', SOURCE), ('target', TARGET)):
        summary[f'{name}_error_mm'] = float(np.median(errors[:, query]))
        summary[f'{name}_over_20_mm'] = (errors[:, query] > 20).mean()
    return {name: round(float(value), 4) for name, value in summary.items()}


def _print_every(period: int, began: float) -> Callable[[int, float], None]:
    """Return a function that prints the loss every ``period`` steps."""

    def report(iteration: int, value: float) -> None:
        if iteration % period == period - 1:
            print(
                f'iteration {iteration + 1}: loss {value:.3f}, {time.monotonic() - began:.0f} s',
                flush=True,
            )

    return report


if __name__ == '__main__':
    main()
