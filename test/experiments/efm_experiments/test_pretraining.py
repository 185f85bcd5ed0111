from dataclasses import replace
import math

from efm_experiments.table.pretraining import (
    draw_batch,
    draw_task,
    EncodedSentences,
    LabelledScenes,
    measure_grounding,
    pretrain,
    PretrainingConfig,
)
from efm_sim.table.language import Task, tasks, TYPES
from models import FakeTextEncoder
import numpy as np
import pytest
import torch


@pytest.fixture(scope='module')
def scenes():
    rng = np.random.default_rng(0)
    types = np.array([[0, 1, 2, 4, 5, 6], [1, 2, 3, 5, 6, 7]] * 2)
    points = rng.uniform(-0.9, 0.9, (4, 16, 2)).astype(np.float32)
    return LabelledScenes(
        rng.integers(0, 256, (4, 64, 64, 3), np.uint8),
        types,
        points=points,
        scale=np.array([4.5, 3.7]),
    )


@pytest.fixture(scope='module')
def sentences():
    generator = torch.Generator().manual_seed(0)
    rows = {task: np.array([2 * k, 2 * k + 1]) for k, task in enumerate(tasks('both', 'train'))}
    states = torch.randn(2 * len(rows), 5, 384, generator=generator).half()
    return EncodedSentences(states, torch.ones(len(states), 5), rows=rows)


def test_a_task_names_only_what_is_in_the_scene():
    names = ['tool', 'red_cube', 'blue_cylinder', 'centre']
    rng = np.random.default_rng(0)
    drawn = {draw_task(names, set(tasks('both', 'train')), rng) for _ in range(200)}
    assert {task.source for task in drawn} == {'red_cube', 'blue_cylinder'}
    assert draw_task(names, {Task('green_cube', 'left')}, rng) is None


def test_each_sentence_of_a_batch_has_points_of_its_own_scene(scenes, sentences):
    batch = draw_batch(scenes, sentences, 8, np.random.default_rng(0))
    assert batch['points'].shape == (8, 6, 2)
    assert batch['text'].shape == (16, 5, 384)
    known = {tuple(point) for point in scenes.points.reshape(-1, 2).tolist()}
    assert all(tuple(point) in known for point in batch['points'].reshape(-1, 2).tolist())
    torch.testing.assert_close(batch['points'][:, 0], batch['objects'][:, 0])


def test_pretraining_reduces_the_loss_and_is_reproducible(scenes, sentences):
    config = PretrainingConfig(iterations=30, batch_size=4)
    curves = [[], []]
    groundings = [
        pretrain(scenes, sentences, config, lambda _, value, curve=curve: curve.append(value))
        for curve in curves
    ]
    assert np.mean(curves[0][-5:]) < 0.9 * np.mean(curves[0][:5])
    assert curves[0] == curves[1]
    for one, other in zip(
        *(grounding.state_dict().values() for grounding in groundings), strict=True
    ):
        assert torch.equal(one, other)


def test_grounding_counts_every_scene_that_has_a_task(scenes, sentences):
    grounding = pretrain(scenes, sentences, PretrainingConfig(iterations=1, batch_size=4))
    found = measure_grounding(grounding, scenes, FakeTextEncoder(), 'train')
    assert found['sentences'] == 4
    assert 0 <= found['right_source'] <= 1


def test_the_gap_is_measured_in_the_table_plane(scenes):
    points = scenes.points.copy()
    points[0, 1] = (0.0, 0.0)
    points[0, 2] = (0.45, 0.0)
    scenes, names = replace(scenes, points=points), scenes.names(0)
    assert scenes.gap_mm(0, Task(names[1], names[2])) == pytest.approx(100)
    missing = next(name for name in TYPES if name not in names)
    assert scenes.gap_mm(0, Task(missing, names[2])) == math.inf


def test_the_measurement_can_be_limited_to_near_targets(scenes, sentences):
    grounding = pretrain(scenes, sentences, PretrainingConfig(iterations=1, batch_size=4))
    points = np.tile(np.linspace(-0.9, 0.9, 16, dtype=np.float32)[None, :, None], (4, 1, 2))
    points[1:3, 2] = points[1:3, 1]
    found = measure_grounding(
        grounding, replace(scenes, points=points), FakeTextEncoder(), 'train', within_mm=10
    )
    assert found['sentences'] == 2
