from efm_trainer.augmentation import Augmentation
import torch

STATE = torch.randn(6, 2, 3)


def batch(frames):
    return {'observations': frames, 'observations_1': frames.clone(), 'proprioception': STATE}


def gradients(count=6, size=32):
    """Return frames whose red is the row and whose green is the column, 4 a pixel."""
    place = 4 * torch.arange(size, dtype=torch.uint8)
    rows, columns = torch.meshgrid(place, place, indexing='ij')
    frame = torch.stack([rows, columns, torch.full_like(rows, 100)], dim=-1)
    return frame.expand(count, 2, -1, -1, -1).contiguous()


def test_both_frames_of_a_sample_change_in_the_same_way_and_samples_differ():
    found = Augmentation(0)(batch(gradients()))['observations']
    assert torch.equal(found[:, 0], found[:, 1])
    assert not torch.equal(found[0], found[1])


def test_cameras_change_independently_and_other_inputs_do_not_change():
    found = Augmentation(0)(batch(gradients()))
    assert not torch.equal(found['observations'], found['observations_1'])
    assert torch.equal(found['proprioception'], STATE)


def test_a_shift_is_at_most_a_sixteenth_of_the_frame_and_the_margin_repeats_the_last_pixels():
    frames = gradients(400)
    shifted = Augmentation(0)._shifted(frames)
    moves = set()
    for sample in shifted[:, 0]:
        rows = sample[:, 0, 0].int() // 4
        middle = int(rows[16]) - 16
        moves.add(middle)
        expected = (torch.arange(32) + middle).clamp(0, 31)
        assert torch.equal(rows, expected.int())
    assert moves == {-2, -1, 0, 1, 2}


def test_a_recoloured_pixel_stays_within_a_tenth_of_brightness_and_a_tenth_of_colour():
    frames = torch.full((300, 2, 1, 1, 3), 200, dtype=torch.uint8)
    found = Augmentation(0)._recoloured(frames).float()
    assert found.min() >= 200 * 0.81 - 1
    assert found.max() <= 200 * 1.21 + 1
    assert found.max() - found.min() > 40
    assert (found[..., 0] != found[..., 1]).any()


def test_bright_pixels_stay_in_range():
    frames = torch.full((50, 2, 2, 2, 3), 255, dtype=torch.uint8)
    assert Augmentation(0)._recoloured(frames).min() >= 206  # 255 * 0.81; no overflow to 0


def test_the_seed_repeats_the_changes():
    one, same, other = (Augmentation(seed)(batch(gradients())) for seed in (1, 1, 2))
    assert torch.equal(one['observations'], same['observations'])
    assert not torch.equal(one['observations'], other['observations'])
