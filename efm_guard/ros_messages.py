"""Conversions between messages and the guard's own types."""

from __future__ import annotations

from efm_core.messages import to_ns, to_period, to_stamp, to_values
from efm_core.ros_messages import from_action
from efm_guard.chunk_executor import ActionRequest
from efm_guard.guard import MotionPermit
from efm_interfaces.msg import Action, Permit
import numpy as np

NO_TOKENS = np.zeros(0, np.int64)


def to_request(message: Action) -> ActionRequest:
    """
    Return the action, or the chunk, of a message.

    :raises ValueError: when the chunk steps have different lengths.
    """
    return ActionRequest(
        message.episode_id,
        to_stamp(message),
        deadline=to_ns(message.deadline),
        embodiment_hash=message.embodiment_hash,
        values=to_values(message),
        period=to_period(message),
    )


def to_permit(message: Permit) -> MotionPermit:
    """Return the permit of a message."""
    valid_until = to_ns(message.valid_until)
    return MotionPermit(message.episode_id, to_stamp(message), valid_until=valid_until)


def from_executed(request: ActionRequest) -> Action:
    """Return the message that names an action, or a chunk step, that became a command."""
    return from_action(
        NO_TOKENS,
        request.values,
        0.0,
        request.stamp,
        episode_id=request.episode_id,
        embodiment_hash=request.embodiment_hash,
    )
