"""Actions as tokens and back, in numpy only, for the robot and the trainer."""

from __future__ import annotations

from efm_core.embodiment import ActionSpace
import numpy as np

ROUNDING = 1e-5  # of float32, as a fraction of a dimension's range


class ActionTokeniser:
    """
    Converts continuous actions to ``K`` discrete tokens and back.

    ``uniform`` has one token per dimension: ``bins`` levels evenly from low to high.
    ``sign_magnitude`` has two, as in the paper's LanguageTable: a sign (0: negative, 1: not) and
    one of ``(bins + 1) / 2`` magnitudes, of which the last is the bound on that side. The tokens
    of a chunk are those of its steps in order. Letters: ``A`` action size, ``H`` chunk steps,
    ``K`` tokens of an action or of a whole chunk.

    :ivar vocabulary: number of tokens at each of the ``K`` positions.
    """

    def __init__(self, space: ActionSpace):
        """
        Create the tokeniser of one action space.

        :raises ValueError: when zero is not strictly inside a dimension of ``sign_magnitude``.
        """
        self._low = np.array(space.low, np.float32)
        self._high = np.array(space.high, np.float32)
        self._has_sign = space.tokeniser == 'sign_magnitude'
        tops = [(bins - 1) // 2 if self._has_sign else bins - 1 for bins in space.levels]
        self._top = np.array(tops, np.float32)
        self._shape = (space.chunk, len(space.names)) if space.chunk > 1 else (len(space.names),)
        if self._has_sign and not ((self._low < 0) & (self._high > 0)).all():
            raise ValueError(
                'action: expected low < 0 < high for sign_magnitude, '
                f'got {space.low} and {space.high}'
            )
        sizes = [(2, top + 1) if self._has_sign else (top + 1,) for top in tops]
        self.vocabulary: tuple[int, ...] = sum(sizes, ()) * space.chunk

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """
        Return the nearest tokens, ``(..., K)`` int64, of ``actions``.

        A value outside of its range becomes the bound; ``is_clipped`` tells which are.

        :param actions: ``(..., A)``, units of the embodiment; chunks ``(..., H, A)``.
        :raises ValueError: when they have another shape, or one is not finite.
        """
        actions = np.asarray(actions, np.float32)
        if not np.isfinite(actions).all():
            raise ValueError(f'actions: expected finite numbers, got {actions.tolist()}')
        before = actions.ndim - len(self._shape)
        if actions.shape[max(before, 0) :] != self._shape:
            raise ValueError(
                f'actions: expected shape (..., {", ".join(map(str, self._shape))}), '
                f'got {actions.shape}'
            )
        clipped = np.clip(actions, self._low, self._high)
        if not self._has_sign:
            levels = np.rint((clipped - self._low) / (self._high - self._low) * self._top)
        else:
            sign = clipped >= 0
            magnitude = np.rint(clipped / np.where(sign, self._high, self._low) * self._top)
            levels = np.stack([sign, magnitude], axis=-1)
        shape = (*actions.shape[:before], len(self.vocabulary))
        tokens: np.ndarray = levels.astype(np.int64).reshape(shape)
        return tokens

    def is_clipped(self, actions: np.ndarray) -> np.ndarray:
        """
        Return which actions have a value outside of its range, beyond rounding, ``(...)`` bool.

        :param actions: as in ``encode``.
        """
        slack = ROUNDING * (self._high - self._low)
        beyond = (actions < self._low - slack) | (actions > self._high + slack)
        return np.asarray(beyond.any(axis=tuple(range(-len(self._shape), 0))))

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """
        Return the actions of ``tokens``, ``(..., A)`` float32; chunks ``(..., H, A)``.

        :param tokens: ``(..., K)`` int.
        :raises ValueError: when their number is wrong, or one is outside its vocabulary.
        """
        tokens = np.asarray(tokens)
        if tokens.shape[-1:] != (len(self.vocabulary),):
            raise ValueError(f'tokens: expected {len(self.vocabulary)}, got shape {tokens.shape}')
        if (tokens < 0).any() or (tokens >= np.array(self.vocabulary)).any():
            raise ValueError(f'tokens: expected below {self.vocabulary}, got {tokens.tolist()}')
        tokens = tokens.reshape(*tokens.shape[:-1], *self._shape[:-1], -1)
        if not self._has_sign:
            return (self._low + (self._high - self._low) * (tokens / self._top)).astype(np.float32)
        sign = tokens[..., 0::2]
        magnitude = tokens[..., 1::2]
        return (np.where(sign == 1, self._high, self._low) * (magnitude / self._top)).astype(
            np.float32
        )
