"""Chunks and many dimensions in the model; single actions are unchanged."""

from __future__ import annotations

from dataclasses import replace
import hashlib

from efm_core.embodiment import ActionSpace, Embodiment, load_embodiment
from efm_core.observation import Observation
from efm_core.tokeniser import ActionTokeniser
from efm_model.checkpoint import load_checkpoint, save_checkpoint
from efm_model.export import example_inputs, export_policy, parity
from efm_model.network import log_probability, new_model
from efm_model.runtime import Runtime
from efm_policy.policy import Policy
from models import (
    exported,
    FakeTextEncoder,
    observations,
    relabelled,
    ROOT,
    SENTENCE,
    signed_arm,
    table_arm,
)
import numpy as np
import pytest
import torch

# Recorded at seed 3 with the last version without chunks: digest of the names and shapes of the
# weights (recomputed when `tower.` became `grounding.`), sum of their absolute values, tokens and
# log-probability of three sampled actions, sum and absolute sum of the logits.
BEFORE = {
    'table_arm': (
        'f33382807779fd22',
        9035.012697888737,
        [[9, 10], [10, 10], [3, 7]],
        [-4.846071243286133, -4.550538063049316, -4.898075580596924],
        (0.010437905322760344, 8.914261411409825),
    ),
    'signed': (
        '3657a8a8a028f861',
        10930.83269774028,
        [[1, 10, 0, 7], [1, 10, 1, 0], [1, 7, 1, 7]],
        [-6.106771469116211, -6.086578845977783, -6.5364089012146],
        (4.888534372672439, 24.458893386647105),
    ),
}


def chunked(chunk: int = 3, **changes) -> Embodiment:
    """Return the table's robot with chunks."""
    return table_arm(action=replace(table_arm().action, chunk=chunk, **changes))


def small_aloha() -> Embodiment:
    """Return the paper's Aloha setting with images of 16 pixels."""
    robot = load_embodiment(ROOT / 'config' / 'embodiments' / 'aloha.yaml')
    camera = replace(robot.cameras[0], height=16, width=16, crop=(0, 0, 0, 0))
    return replace(robot, cameras=(camera,), observation_size=(16, 16))


@pytest.mark.parametrize('robot', [table_arm(), signed_arm()], ids=lambda robot: robot.name)
def test_without_chunks_weights_and_actions_are_those_of_earlier_versions(robot, tmp_path):
    model = new_model(robot, seed=3, pretrained='none', pieces=('push',))
    names = [f'{name} {tuple(value.shape)}' for name, value in model.state_dict().items()]
    digest = hashlib.sha256('\n'.join(names).encode()).hexdigest()[:16]
    size = sum(p.detach().double().abs().sum().item() for p in model.parameters())
    path = export_policy(model, tmp_path / 'policy.onnx', robot, 7)
    policy = Policy.load(path, FakeTextEncoder(), robot)
    policy.begin(SENTENCE, 5)
    actions = [policy.act(seen) for seen in observations(3)]
    logits = Runtime(path, 'policy', embodiment=robot).run(**example_inputs(model, 'policy', 4))[
        'logits'
    ]
    logits = logits[logits > -1e8].astype(np.float64)
    expected = BEFORE[robot.name]
    assert digest == expected[0]
    assert size == pytest.approx(expected[1], rel=1e-9)
    assert [action.tokens.tolist() for action in actions] == expected[2]
    assert [action.log_probability for action in actions] == pytest.approx(expected[3], abs=1e-5)
    assert (logits.sum(), np.abs(logits).sum()) == pytest.approx(expected[4], abs=1e-4)
    assert [action.values.shape for action in actions] == [(2,)] * 3


def test_the_tokens_of_a_chunk_are_the_tokens_of_its_steps_in_order():
    space = ActionSpace(('x', 'y'), 'm', low=(-1.0, 0.0), high=(1.0, 1.0), bins=(3, 5), chunk=2)
    tokeniser = ActionTokeniser(space)
    assert tokeniser.vocabulary == (3, 5, 3, 5)
    values = np.float32([[[-1, 0.26], [0, 1]], [[1, 0.5], [1, 0]]])
    tokens = tokeniser.encode(values)
    assert tokens.tolist() == [[0, 1, 1, 4], [2, 2, 2, 0]]
    np.testing.assert_allclose(
        tokeniser.decode(tokens), [[[-1, 0.25], [0, 1]], [[1, 0.5], [1, 0]]]
    )
    assert ActionTokeniser(space.single_step).encode(values[0]).tolist() == [[0, 1], [1, 4]]


def test_chunks_work_with_the_sign_magnitude_tokeniser():
    space = ActionSpace(
        ('x',), 'm', low=(-0.1,), high=(0.4,), tokeniser='sign_magnitude', bins=5, chunk=3
    )
    values = np.float32([[-0.05], [0.2], [0.4]])
    assert ActionTokeniser(space).encode(values).tolist() == [0, 1, 1, 1, 1, 2]
    np.testing.assert_allclose(ActionTokeniser(space).decode([0, 1, 1, 1, 1, 2]), values)


@pytest.mark.parametrize('shape', [(2,), (2, 2), (3, 3), (4, 2, 2)])
def test_a_chunk_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r'actions: expected shape \(..., 3, 2\), got'):
        ActionTokeniser(chunked().action).encode(np.zeros(shape))


def test_tokens_of_another_number_are_refused():
    with pytest.raises(ValueError, match='tokens: expected 6, got shape'):
        ActionTokeniser(chunked().action).decode(np.zeros((4, 2), int))


def test_a_sampled_chunk_has_the_log_probability_of_teacher_forcing():
    model = new_model(chunked(), seed=1, pretrained='none')
    features = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    gumbel = -torch.rand(5, 6, 11, generator=torch.Generator().manual_seed(1)).log().log1p()
    with torch.no_grad():
        tokens, log_probs, logits = model.sample(features, gumbel)
        again = model.policy_logits(features, tokens)
    torch.testing.assert_close(again, logits)
    torch.testing.assert_close(log_probability(again, tokens), log_probs)


def test_each_token_of_a_chunk_depends_only_on_the_tokens_before_it():
    model = new_model(chunked(), seed=1, pretrained='none')
    features = torch.randn(1, 50, generator=torch.Generator().manual_seed(0))
    tokens = torch.zeros(1, 6, dtype=torch.int64)
    with torch.no_grad():
        before = model.policy_logits(features, tokens)[0]
        for place in range(6):
            other = tokens.clone()
            other[0, place] = 4
            changed = (model.policy_logits(features, other)[0] != before).any(dim=1)
            assert changed.tolist() == [k > place for k in range(6)]


def test_chunk_steps_share_weights_but_have_different_logits():
    short, long = (new_model(chunked(n), seed=0, pretrained='none').policy for n in (2, 40))
    count = [sum(p.numel() for p in head.parameters()) for head in (short, long)]
    assert count[1] - count[0] == 38 * 128  # the embeddings of the steps' indices
    state = torch.ones(1, 128)
    assert not torch.equal(long.logits(state, 0), long.logits(state, 2))


def test_the_exported_aloha_policy_samples_its_70_tokens_as_torch_does(tmp_path):
    robot = small_aloha()
    model = new_model(robot, seed=0, pretrained='none')
    path = export_policy(model, tmp_path / 'policy.onnx', robot, 1)
    report = parity(model, path, robot, 'policy')
    assert report.passed, report
    policy = Policy.load(path, FakeTextEncoder(), robot)
    policy.begin('insert the peg', 1)
    action = policy.act(Observation.of(np.zeros((16, 16, 3), np.uint8)))
    assert (action.tokens.shape, action.values.shape) == ((70,), (5, 14))
    assert -2 * 70 * np.log(256) < action.log_probability < 0
    for step in action.values:
        robot.action.spec.check(step)
    assert len(np.unique(action.tokens)) > 20


def test_a_dimension_with_fewer_levels_never_samples_a_token_beyond_them(tmp_path):
    robot = chunked(2, bins=(3, 11))
    model = new_model(robot, seed=0, pretrained='none')
    path = export_policy(model, tmp_path / 'policy.onnx', robot, 1)
    assert parity(model, path, robot, 'policy').passed
    policy = Policy.load(path, FakeTextEncoder(), robot)
    policy.begin(SENTENCE, 0)
    tokens = np.array([policy.act(seen).tokens for seen in observations(40)])
    assert tokens.max(axis=0).tolist() == [2, 10, 2, 10]


@pytest.mark.parametrize('made_for', [table_arm(), chunked(4)])
def test_a_model_with_another_chunk_length_is_refused_with_the_reason(tmp_path, made_for):
    model = new_model(made_for, pretrained='none')
    expected = f'action.chunk: 3 here, {made_for.action.chunk} there'
    save_checkpoint(tmp_path / 'policy', model, made_for, 'policy', 1)
    with pytest.raises(ValueError, match=expected):
        load_checkpoint(tmp_path / 'policy', chunked())
    path = relabelled(exported('policy'), tmp_path / 'policy.onnx', made_for, 1)
    with pytest.raises(ValueError, match=expected):
        Policy.load(path, FakeTextEncoder(), chunked())


def test_a_checkpoint_restores_the_chunk_length(tmp_path):
    model = new_model(chunked(), seed=2, pretrained='none')
    save_checkpoint(tmp_path / 'policy', model, chunked(), 'policy', 1)
    again, _ = load_checkpoint(tmp_path / 'policy', chunked())
    assert again.config == model.config
    assert torch.equal(again.policy.chunk_steps.weight, model.policy.chunk_steps.weight)
