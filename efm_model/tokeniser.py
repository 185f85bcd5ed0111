"""Actions as tokens and back, in numpy only: the same code serves the robot and the trainer."""

from __future__ import annotations

from efm_core.embodiment import ActionSpace
import numpy as np


class ActionTokeniser:
    """
    Turn continuous actions into ``K`` discrete tokens and back.

    ``uniform`` has one token a dimension: ``bins`` levels evenly from low to high.
    ``sign_magnitude`` has two, as the paper's LanguageTable: a sign (0 is negative, 1 is not) and
    one of ``(bins + 1) / 2`` magnitudes, of which the last is the bound on that side. Letters:
    ``A`` action size, ``K`` tokens.
    """

    def __init__(self, space: ActionSpace):
        """
        Prepare for one action space.

        :raises ValueError: when ``sign_magnitude`` is asked for a dimension that does not contain
            zero inside.
        """
        self._low = np.array(space.low, np.float32)
        self._high = np.array(space.high, np.float32)
        self._has_sign = space.tokeniser == 'sign_magnitude'
        self._top = (space.bins - 1) // 2 if self._has_sign else space.bins - 1
        if self._has_sign and not ((self._low < 0) & (self._high > 0)).all():
            raise ValueError(
                'action: expected low < 0 < high for sign_magnitude, '
                f'got {space.low} and {space.high}'
            )
        one_dimension = (2, self._top + 1) if self._has_sign else (space.bins,)
        self.vocabulary: tuple[int, ...] = one_dimension * len(space.names)

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """Return the nearest tokens, ``(..., K)`` int64, of ``actions``, ``(..., A)``."""
        clipped = np.clip(np.asarray(actions, np.float32), self._low, self._high)
        if not self._has_sign:
            return np.rint((clipped - self._low) / (self._high - self._low) * self._top).astype(
                np.int64
            )
        sign = clipped >= 0
        magnitude = np.rint(clipped / np.where(sign, self._high, self._low) * self._top)
        return (
            np.stack([sign, magnitude], axis=-1).astype(np.int64).reshape(*clipped.shape[:-1], -1)
        )

    def decode(self, tokens: np.ndarray) -> np.ndarray:
        """
        Return the actions, ``(..., A)`` float32, that ``tokens``, ``(..., K)`` int, stand for.

        :raises ValueError: when a token is outside its vocabulary.
        """
        tokens = np.asarray(tokens)
        if (tokens < 0).any() or (tokens >= np.array(self.vocabulary)).any():
            raise ValueError(f'tokens: expected below {self.vocabulary}, got {tokens.tolist()}')
        if not self._has_sign:
            return (self._low + (self._high - self._low) * (tokens / self._top)).astype(np.float32)
        sign, magnitude = tokens[..., 0::2], tokens[..., 1::2]
        return (np.where(sign == 1, self._high, self._low) * (magnitude / self._top)).astype(
            np.float32
        )
