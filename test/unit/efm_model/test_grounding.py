from efm_model.grounding import (
    cell_centres,
    EFFECTOR,
    GroundingEncoder,
    KEY_SIZE,
    QUERY_SIZE,
    sample_around,
)
import numpy as np
import pytest
import torch


@pytest.fixture
def grounding():
    torch.manual_seed(0)
    return GroundingEncoder((64, 64)).eval()


def heat_map(**logits):
    heat = torch.zeros(1, 1, 16, 16)
    for place, value in logits.items():
        row, column = map(int, place[1:].split('_'))
        heat[0, 0, row, column] = value
    return heat.flatten(2)


def test_cell_centres_run_to_the_right_and_then_down():
    assert cell_centres(2, 4).tolist() == [
        [-0.75, -0.5],
        [-0.25, -0.5],
        [0.25, -0.5],
        [0.75, -0.5],
        [-0.75, 0.5],
        [-0.25, 0.5],
        [0.25, 0.5],
        [0.75, 0.5],
    ]


def test_a_sharp_peak_gives_the_centre_of_its_cell(grounding):
    point = grounding.points(heat_map(c3_12=50.0))[0, 0]
    torch.testing.assert_close(point, torch.tensor([2 * 12.5 / 16 - 1, 2 * 3.5 / 16 - 1]))


def test_a_second_peak_far_away_does_not_move_the_point(grounding):
    point = grounding.points(heat_map(c3_12=50.0, c12_2=49.9))[0, 0]
    torch.testing.assert_close(point, torch.tensor([0.5625, -0.5625]))


def test_two_equal_neighbouring_cells_give_the_point_between_them(grounding):
    point = grounding.points(heat_map(c3_12=50.0, c3_13=50.0))[0, 0]
    torch.testing.assert_close(point, torch.tensor([0.625, -0.5625]))


def test_a_peak_in_the_corner_gives_a_point_inside_the_image(grounding):
    point = grounding.points(heat_map(c0_0=50.0))[0, 0]
    torch.testing.assert_close(point, torch.tensor([-0.9375, -0.9375]))


def test_a_query_can_name_a_place_independent_of_the_image(grounding):
    query = torch.zeros(1, 1, QUERY_SIZE)
    query[0, 0, KEY_SIZE:] = torch.tensor([0.3, -0.5, 15.0])
    point = grounding.points(grounding.heat(query, torch.randn(1, KEY_SIZE, 256)))[0, 0]
    torch.testing.assert_close(point, torch.tensor([0.3, -0.5]), rtol=0, atol=0.01)


def test_a_query_without_coordinates_finds_the_matching_key(grounding):
    keys = torch.randn(1, KEY_SIZE, 256)
    query = torch.zeros(1, 1, QUERY_SIZE)
    query[0, 0, :KEY_SIZE] = 20 * keys[0, :, 83]
    query[0, 0, -1] = -20
    point = grounding.points(grounding.heat(query, keys))[0, 0]
    torch.testing.assert_close(point, grounding.image.cells[83], rtol=0, atol=1e-3)


def test_samples_around_a_point_equal_torch_grid_sample():
    values = torch.rand(3, 16 * 12)
    point = torch.tensor([[0.1, -0.3], [0.95, 0.9], [-1.0, 0.0]])
    steps = torch.arange(-2, 3, dtype=torch.float32)
    grid = (
        torch.stack(torch.meshgrid(steps * 2 / 12, steps * 2 / 16, indexing='xy'), dim=-1)
        + point[:, None, None]
    )
    expected = torch.nn.functional.grid_sample(
        values.unflatten(1, (1, 16, 12)), grid, align_corners=False
    )
    torch.testing.assert_close(sample_around(values, point, 16, 12), expected.flatten(1))


def test_padding_does_not_change_the_queries(grounding):
    text = torch.rand(1, 6, 384)
    padded = torch.cat([text, torch.rand(1, 3, 384)], dim=1)
    mask = torch.tensor([[1.0] * 6 + [0.0] * 3])
    torch.testing.assert_close(
        grounding.text(text, torch.ones(1, 6)), grounding.text(padded, mask)
    )


def test_the_queries_do_not_depend_on_the_order_of_the_token_states(grounding):
    text = torch.rand(1, 6, 384)
    torch.testing.assert_close(
        grounding.text(text, torch.ones(1, 6)), grounding.text(text.flip(1), torch.ones(1, 6))
    )


def test_the_grounding_encoder_has_less_than_100_000_weights(grounding):
    assert sum(parameter.numel() for parameter in grounding.parameters()) < 100_000


def test_a_point_moves_with_the_gradient_of_its_heat_map(grounding):
    heat = torch.zeros(1, 3, 256, requires_grad=True)
    grounding.points(heat)[0, EFFECTOR].sum().backward()
    assert np.count_nonzero(heat.grad[0, EFFECTOR]) > 1
