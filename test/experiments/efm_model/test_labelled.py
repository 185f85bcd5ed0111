"""Pretraining of the grounding encoder on images with labelled points."""

from __future__ import annotations

from dataclasses import replace

from efm_core.embodiment import Camera
from efm_model.config import LabelledConfig
from efm_model.labelled import (
    LabelledImages,
    load_labelled,
    pretrain_on_labels,
    split_by_picture,
    summarise,
    to_image_coordinates,
)
from efm_model.network import new_model
from models import FakeTextEncoder, table_arm
import numpy as np
import pytest
from safetensors.torch import save_file
import torch

SENTENCES = ('push red to green', 'push green to red')
COLOURS = np.array([[250, 250, 250], [200, 30, 30], [30, 200, 30]], np.uint8)


def paint(count: int, seed: int = 0, sentences: int = 2) -> LabelledImages:
    """Return dark images with three squares; the sentence names one of two as the source."""
    rng = np.random.default_rng(seed)
    images = np.full((count, 64, 64, 3), 20, np.uint8)
    places = np.array([rng.permutation(9)[:3] for _ in range(count)])  # of a 3 x 3 grid
    corners = 20 * np.stack([places % 3, places // 3], -1) + rng.integers(0, 14, (count, 3, 2))
    for image, three in zip(images, corners, strict=True):
        for (x, y), colour in zip(three, COLOURS, strict=True):
            image[y : y + 8, x : x + 8] = colour
    sentence = rng.integers(sentences, size=count)
    order = np.where(sentence[:, None] == 0, [0, 1, 2], [0, 2, 1])
    points = np.take_along_axis(corners + 4, order[..., None], axis=1)
    return LabelledImages(
        images, (points / 32 - 1).astype(np.float32), sentences=SENTENCES, sentence=sentence
    )


def write(path, **changes):
    """Write a file of labelled images, with ``changes`` to its arrays; None leaves one out."""
    made = paint(20)
    arrays = {
        'images': made.images,
        'points': (made.points + 1) * 32,
        'sentences': np.array(SENTENCES),
        'sentence': made.sentence,
        **changes,
    }
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})
    return path


def test_the_encoder_learns_to_find_all_three_points_in_held_out_images():
    config = LabelledConfig(iterations=80, batch_size=8, validate_every=40)
    validations = []
    grounding, measured = pretrain_on_labels(
        paint(400, sentences=1),
        FakeTextEncoder(),
        config,
        lambda iteration, found: validations.append(iteration),
    )
    assert validations == [40, 80]
    assert not grounding.training
    assert all(measured[f'{name}_median'] < 3 for name in ('effector', 'source', 'target'))


@pytest.mark.parametrize('seed', range(5))
def test_a_picture_with_two_sentences_is_in_one_part_only(seed):
    made = paint(20)
    twice = made.subset(np.random.default_rng(seed).permutation(np.repeat(np.arange(20), 2)))
    config = LabelledConfig(validation_fraction=0.25, seed=seed)
    held_out, training = split_by_picture(twice, config)
    assert sorted([*held_out, *training]) == list(range(40))
    assert len(held_out) == 10  # a quarter of the pictures, each with both of its rows
    trained = {image.tobytes() for image in twice.images[training]}
    assert not any(image.tobytes() in trained for image in twice.images[held_out])


def test_the_split_follows_the_seed():
    parts = [split_by_picture(paint(40), LabelledConfig(seed=seed))[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(parts[0], parts[1])
    assert set(parts[0]) != set(parts[2])


def test_the_same_seed_gives_the_same_encoder():
    config = LabelledConfig(iterations=3, batch_size=4)
    torch.manual_seed(5)
    first, _ = pretrain_on_labels(paint(20), FakeTextEncoder(), config)
    after = torch.rand(1)
    second, _ = pretrain_on_labels(paint(20), FakeTextEncoder(), config)
    other, _ = pretrain_on_labels(paint(20), FakeTextEncoder(), replace(config, seed=1))
    torch.manual_seed(5)
    assert torch.rand(1) == after  # the global generator is unchanged
    assert torch.equal(first.image.first.weight, second.image.first.weight)
    assert not torch.equal(first.image.first.weight, other.image.first.weight)


def test_a_model_loads_the_encoder_and_keeps_it_frozen(tmp_path):
    grounding, _ = pretrain_on_labels(
        paint(20), FakeTextEncoder(), LabelledConfig(iterations=2, batch_size=4)
    )
    save_file(grounding.state_dict(), tmp_path / 'encoder.safetensors')
    model = new_model(table_arm(), weights=tmp_path / 'encoder.safetensors')
    assert torch.equal(model.grounding.image.keys.weight, grounding.image.keys.weight)
    assert torch.equal(model.grounding.text.learned, grounding.text.learned)
    assert not model.grounding.image.keys.weight.requires_grad


def test_images_and_points_of_a_file_are_converted_to_the_policys_input(tmp_path):
    made = paint(20)
    found = load_labelled(write(tmp_path / 'pictures.npz'), table_arm())
    np.testing.assert_array_equal(found.images, made.images)
    np.testing.assert_allclose(found.points, made.points, atol=1e-6)
    assert found.sentences == made.sentences
    np.testing.assert_array_equal(found.sentence, made.sentence)


def test_image_coordinates_are_relative_to_the_crop_of_the_camera():
    camera = Camera('top', 'image', height=100, width=200, crop=(50, 20, 80, 60))
    points = np.array([[50, 20], [90, 50], [130, 80]])
    np.testing.assert_allclose(to_image_coordinates(points, camera), [[-1, -1], [0, 0], [1, 1]])
    whole = replace(camera, crop=(0, 0, 0, 0))
    np.testing.assert_allclose(to_image_coordinates(np.array([150, 25]), whole), [0.5, -0.5])


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'sentence': None}, r'expected the arrays images, points, sentences, sentence, got'),
        ({'images': paint(19).images}, '20 images at least, got 19'),
        (
            {'points': np.zeros((20, 2, 2))},
            r'\(20, 3, 2\) finite numbers \[px\], got \(20, 2, 2\)',
        ),
        ({'points': np.full((20, 3, 2), np.nan)}, 'finite numbers'),
        ({'images': paint(20).images[np.arange(20) // 2]}, '20 different images, got 10'),
        ({'sentence': np.full(20, 2)}, '20 indices of the 2 sentences'),
        ({'images': np.zeros((20, 32, 64, 3), np.uint8)}, '64, 64'),
    ],
)
def test_a_file_with_wrong_arrays_is_refused_with_what_was_expected(tmp_path, changes, match):
    with pytest.raises(ValueError, match=match):
        load_labelled(write(tmp_path / 'pictures.npz', **changes), table_arm())


@pytest.mark.parametrize('name', ['', 'none.npz', '.'])
def test_a_missing_file_is_named(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"pictures: expected an \.npz file, got '"):
        load_labelled(name, table_arm())


def test_a_damaged_file_an_npy_file_and_a_pickled_file_are_refused(tmp_path):
    path = write(tmp_path / 'pictures.npz')
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r'expected a whole \.npz file'):
        load_labelled(path, table_arm())
    np.save(tmp_path / 'pictures.npy', np.zeros(3))
    with pytest.raises(ValueError, match=r'expected a whole \.npz file'):
        load_labelled(tmp_path / 'pictures.npy', table_arm())
    path = write(tmp_path / 'pictures.npz', sentences=np.array([{'a': 1}, None], object))
    with pytest.raises(ValueError, match='allow_pickle'):
        load_labelled(path, table_arm())


def test_errors_are_in_per_cent_of_the_image():
    found = summarise(np.array([[0.01, 0.02, 0.03]] * 5))
    assert (found['effector_median'], found['target_p95']) == (1.0, 3.0)
