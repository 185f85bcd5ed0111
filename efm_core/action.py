"""The action of one decision, as policies, demonstrators and teleoperation make it."""

from __future__ import annotations

from dataclasses import dataclass, KW_ONLY

import numpy as np

PERTURBATION = 'perturbation'  # field `source` of Action.msg


@dataclass(frozen=True)
class PolicyAction:
    """
    One decision: a single action, or a chunk of ``H`` control steps.

    :param tokens: ``(K,)`` int64, of all chunk steps.
    :param values: ``(A,)`` float32, units of the embodiment; of a chunk ``(H, A)``.
    :param log_probability: log p(tokens | o, g) at temperature 1, whatever the temperature of
        sampling was; 0 for a demonstrator.
    :param is_perturbation: a demonstrator's deliberate mistake. What follows it shows how to
        recover; behaviour cloning does not imitate the mistake itself.
    """

    tokens: np.ndarray
    values: np.ndarray
    _: KW_ONLY
    log_probability: float = 0.0
    is_perturbation: bool = False
