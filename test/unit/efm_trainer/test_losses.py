import math

from efm_trainer.losses import (
    action_loss,
    clipped,
    clipped_loss,
    entropy,
    instruction_loss,
    linear_baseline,
    NO_PIECE,
    reinforce_loss,
    smooth_targets,
    steps_to_go_loss,
)
import pytest
import torch

EVEN = torch.zeros(2, 2, 4)  # two samples, two tokens, four values each
TOKENS = torch.tensor([[0, 3], [1, 2]])


def test_action_loss_sums_over_tokens():
    assert action_loss(EVEN, TOKENS).item() == pytest.approx(2 * math.log(4))


def test_reinforce_weights_each_log_probability_with_its_return():
    loss = reinforce_loss(EVEN, TOKENS, torch.tensor([3.0, -1.0]), 0.1)
    assert loss.item() == pytest.approx(0.1 * (3 - 1) * 2 * math.log(4) / 2)


def test_reinforce_makes_tokens_with_positive_returns_more_probable_and_others_less():
    logits = EVEN.clone().requires_grad_()
    reinforce_loss(logits, TOKENS, torch.tensor([1.0, -1.0]), 1.0).backward()
    assert logits.grad[0, 0, 0] < 0 < logits.grad[1, 0, 1]


@pytest.mark.parametrize(
    ('ratio', 'advantage', 'worth', 'slope'),
    [
        (1.1, 2.0, 2.2, 2.0),
        (1.5, 2.0, 2.4, 0.0),  # more probable, positive return: no gradient
        (1.5, -2.0, -3.0, -2.0),  # more probable, negative return: gradient
        (0.5, 2.0, 1.0, 2.0),
        (0.5, -2.0, -1.6, 0.0),
    ],
)
def test_the_clip_limits_only_weights_beyond_the_range(ratio, advantage, worth, slope):
    ratio = torch.tensor([ratio], requires_grad=True)
    found = clipped(ratio, torch.tensor([advantage]), 0.2)
    found.sum().backward()
    assert found.item() == pytest.approx(worth)
    assert ratio.grad.item() == pytest.approx(slope)


def test_at_unchanged_probabilities_the_clipped_gradient_is_that_of_reinforce():
    plain, clipped = (EVEN.clone().requires_grad_() for _ in range(2))
    returns = torch.tensor([3.0, -1.0])
    before = torch.full((2,), 2 * math.log(1 / 4))
    reinforce_loss(plain, TOKENS, returns, 0.1).backward()
    clipped_loss(clipped, TOKENS, returns, before, 0.2, 0.1).backward()
    torch.testing.assert_close(plain.grad, clipped.grad)


def test_a_sample_beyond_the_clip_range_has_a_gradient_only_towards_the_range():
    logits = EVEN.clone().requires_grad_()
    before = torch.full((2,), 2 * math.log(1 / 4))
    before = before + torch.tensor([math.log(0.5), math.log(2)])  # now 2x and 0.5x as likely
    clipped_loss(logits, TOKENS, torch.tensor([1.0, -1.0]), before, 0.2, 1.0).backward()
    assert torch.all(logits.grad == 0)
    clipped_loss(logits, TOKENS, torch.tensor([-1.0, 1.0]), before, 0.2, 1.0).backward()
    assert logits.grad[0, 0, 0] > 0 > logits.grad[1, 0, 1]


def test_the_linear_baseline_removes_what_steps_to_go_predict_of_the_return():
    d = torch.tensor([1.0, 4.0, 9.0, 16.0])
    torch.testing.assert_close(linear_baseline(2 * d - 3, d), 2 * d - 3)
    noise = torch.tensor([1.0, -1.0, -1.0, 1.0])
    left = 2 * d + noise - linear_baseline(2 * d + noise, d)
    assert left.mean().abs() < 1e-5
    assert (left @ d).abs() < 1e-3


def test_at_equal_steps_to_go_the_linear_baseline_is_the_mean():
    assert linear_baseline(torch.tensor([1.0, 3.0]), torch.full((2,), 5.0)).tolist() == [2.0, 2.0]
    assert torch.isnan(
        linear_baseline(torch.tensor([1.0, torch.nan]), torch.tensor([1.0, 2.0]))
    ).all()


def test_smoothing_is_a_distribution_around_the_true_bin():
    targets = smooth_targets(torch.tensor([2, 0]), 5, 1.0)
    torch.testing.assert_close(targets.sum(dim=1), torch.ones(2))
    assert targets.argmax(dim=1).tolist() == [2, 0]
    assert targets[0, 1] == pytest.approx(targets[0, 3].item())
    assert (targets[0, 1] / targets[0, 2]).item() == pytest.approx(math.exp(-0.5))
    assert smooth_targets(torch.tensor([2]), 3, 0).tolist() == [[0, 0, 1]]


def test_steps_to_go_loss_of_an_even_distribution_is_the_log_of_the_bins():
    loss = steps_to_go_loss(torch.zeros(1, 8), torch.tensor([3]), 1.0)
    assert loss.item() == pytest.approx(math.log(8))


def test_padding_does_not_contribute_to_the_instruction_loss():
    logits = torch.zeros(1, 3, 5)
    logits[0, 1] = torch.tensor([9.0, 0, 0, 0, 0])
    loss = instruction_loss(logits, torch.tensor([[4, NO_PIECE, NO_PIECE]]))
    assert loss.item() == pytest.approx(math.log(5))


def test_entropy_of_even_logits_is_the_log_of_all_actions():
    assert entropy(EVEN).item() == pytest.approx(math.log(16))
