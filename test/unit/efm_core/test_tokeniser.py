from efm_core.embodiment import ActionSpace
from efm_core.tokeniser import ActionTokeniser
from models import signed_arm, table_arm
import numpy as np
import pytest

UNIFORM = ActionTokeniser(table_arm().action)
SIGNED = ActionTokeniser(signed_arm().action)


@pytest.mark.parametrize(
    ('action', 'tokens'),
    [
        ((-0.025, 0.025), (0, 10)),
        ((0.0, 0.005), (5, 6)),
        ((0.0024, -0.0026), (5, 4)),
        ((-1.0, 1.0), (0, 10)),
    ],
)
def test_uniform_takes_the_nearest_of_eleven_levels(action, tokens):
    assert UNIFORM.encode(np.array(action, np.float32)).tolist() == list(tokens)


@pytest.mark.parametrize(
    ('action', 'tokens'),
    [((0.03, -0.1), (1, 3, 0, 10)), ((0.0, 0.1), (1, 0, 1, 10)), ((-0.004, -9.0), (0, 0, 0, 10))],
)
def test_sign_magnitude_has_two_tokens_per_dimension(action, tokens):
    assert SIGNED.encode(np.array(action, np.float32)).tolist() == list(tokens)


def test_sign_magnitude_scales_each_side_by_its_own_bound():
    tokeniser = ActionTokeniser(
        ActionSpace(('x',), 'm', low=(-0.1,), high=(0.4,), tokeniser='sign_magnitude', bins=5)
    )
    assert tokeniser.encode(np.array([[-0.05], [0.2]])).tolist() == [[0, 1], [1, 1]]
    np.testing.assert_allclose(
        tokeniser.decode(np.array([[0, 1], [1, 2]])), [[-0.05], [0.4]], rtol=1e-6
    )


def test_vocabulary_is_the_number_of_tokens_at_each_position():
    assert UNIFORM.vocabulary == (11, 11)
    assert SIGNED.vocabulary == (2, 11, 2, 11)


@pytest.mark.parametrize(('tokeniser', 'half_a_bin'), [(UNIFORM, 0.0025), (SIGNED, 0.005)])
def test_decoding_returns_the_action_within_half_a_bin(tokeniser, half_a_bin):
    limit = 10 * half_a_bin
    actions = np.random.default_rng(0).uniform(-limit, limit, (4, 50, 2)).astype(np.float32)
    decoded = tokeniser.decode(tokeniser.encode(actions))
    assert decoded.dtype == np.float32
    assert np.abs(decoded - actions).max() <= half_a_bin * 1.0001


def test_decoded_actions_fit_the_action_spec():
    for tokens in ([0, 0], [10, 10]):
        table_arm().action.spec.check(UNIFORM.decode(np.array(tokens)))


@pytest.mark.parametrize('tokens', [[11, 0], [-1, 0]])
def test_a_token_outside_the_vocabulary_is_refused(tokens):
    with pytest.raises(ValueError, match='tokens: expected below'):
        UNIFORM.decode(np.array(tokens))


def test_sign_magnitude_needs_zero_inside_the_bounds():
    with pytest.raises(ValueError, match='low < 0 < high'):
        ActionTokeniser(
            ActionSpace(('x',), 'm', low=(0.0,), high=(1.0,), tokeniser='sign_magnitude', bins=5)
        )


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_an_action_that_is_not_finite_has_no_token(value):
    with pytest.raises(ValueError, match='expected finite numbers'):
        UNIFORM.encode(np.array([0.0, value], np.float32))


def test_an_action_is_clipped_beyond_the_rounding_of_its_bounds():
    actions = np.array([[0.025, -0.025], [0.0250001, 0.0], [0.0, -0.0251]], np.float32)
    assert UNIFORM.is_clipped(actions).tolist() == [False, False, True]
