from efm_model.grounding import cell_centres
from efm_model.localisation import cell_weights
import torch


def test_the_weighted_mean_of_the_cell_centres_is_the_point():
    points = torch.tensor([[0.0, 0.0], [0.31, -0.77], [-0.9, 0.9]])
    weights = cell_weights(points, 16, 12)
    torch.testing.assert_close(weights.sum(dim=-1), torch.ones(3))
    torch.testing.assert_close(weights @ cell_centres(16, 12), points)
