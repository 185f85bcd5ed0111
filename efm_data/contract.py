"""What each value of an episode must be, checked where the episode is read."""

from __future__ import annotations

from efm_core.config import expect
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind
from efm_core.instruction import check_instruction
from efm_core.tokeniser import ActionTokeniser, ROUNDING
import numpy as np


def check_episode(episode: Episode, embodiment: Embodiment) -> None:
    """
    Refuse an episode with a value that the embodiment does not allow; nothing is clipped.

    A demonstrator may leave its tokens out, and its actions may exceed their range: stage 1
    counts those (``efm_trainer.imitation.clipped_fraction``).

    :raises ValueError: with the field, the step and the value.
    """
    check_instruction(episode.instruction, embodiment.instruction_language)
    for name in ('policy_version', 'reward_version', 'index'):
        value = getattr(episode, name)
        expect(value >= 0, name, '0 or more', value)
    _check_steps('log_probability', episode.log_probs <= ROUNDING, episode.log_probs, '0 or less')
    d = episode.steps_to_go
    known = np.isnan(d) | ((d >= 0) & np.isfinite(d))
    _check_steps('steps_to_go', known, d, '0 or more, finite')
    if len(episode):
        _check_actions(episode, embodiment)
        _check_tokens(episode, embodiment)


def _check_actions(episode: Episode, embodiment: Embodiment) -> None:
    """Check shape and values of the actions."""
    space = embodiment.action
    size = len(space.names)
    actions = episode.actions
    expect(actions.shape[-1] == size, 'action.values', f'{size} values', actions.shape[-1])
    each_step = tuple(range(1, actions.ndim))
    finite = np.isfinite(actions).all(axis=each_step)
    _check_steps('action.values', finite, actions, 'finite numbers')
    if episode.kind is not Kind.DEMONSTRATION:
        inside = ~ActionTokeniser(space).is_clipped(actions)
        wanted = f'values in {list(space.low)} to {list(space.high)} {space.unit}'
        _check_steps('action.values', inside, actions, wanted)


def _check_tokens(episode: Episode, embodiment: Embodiment) -> None:
    """Check number and values of the tokens."""
    space = embodiment.action
    tokens = episode.tokens
    is_demonstration = episode.kind is Kind.DEMONSTRATION
    single = is_demonstration and episode.actions.ndim == 2
    vocabulary = np.array(ActionTokeniser(space.single_step if single else space).vocabulary)
    count = tokens.shape[1]
    if is_demonstration and not count:
        return  # stage 1 makes the tokens from the actions
    expect(count == len(vocabulary), 'action.tokens', f'{len(vocabulary)} tokens', count)
    known = np.asarray(((tokens >= 0) & (tokens < vocabulary)).all(axis=1))
    wanted = f'0 or more and below {vocabulary.tolist()}'
    _check_steps('action.tokens', known, tokens, wanted)
    if not is_demonstration:
        meant = ActionTokeniser(space).decode(tokens)
        slack = ROUNDING * np.ptp([space.low, space.high], axis=0)
        same = (abs(episode.actions - meant) <= slack).reshape(len(episode), -1).all(axis=1)
        _check_steps('action.values', same, episode.actions, 'the values of its tokens')


def _check_steps(name: str, is_right: np.ndarray, values: np.ndarray, wanted: str) -> None:
    """Refuse the first step whose value is wrong."""
    if not is_right.all():
        step = int(np.argmin(is_right))
        expect(False, f'step {step}: {name}', wanted, values[step].tolist())
