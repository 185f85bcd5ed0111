"""Parameters of a Gymnasium environment that serves as a world."""

from __future__ import annotations

from dataclasses import dataclass, field

from efm_core.config import check, parameter

DEMONSTRATOR_TEXT = "Who demonstrates, `module:class`; empty for the table's own"


@dataclass(frozen=True, kw_only=True)
class EnvironmentConfig:
    """
    A Gymnasium environment that plays a robot: the section `gymnasium` of an embodiment's file.

    A place is one of `render`, `reward`, `terminated`, `observation` and `info`, the last two with
    keys behind dots: `info.coverage`.

    :param kwargs: of ``gymnasium.make``.
    :param positions: names, each with the place of one to three numbers that are published as
        the positions of ``world_state``: what a demonstrator needs to see.
    """

    id: str = parameter('', '`module:name`: what is imported first, and what it has registered')
    kwargs: dict = field(default_factory=dict)
    pixels: str = parameter('render', 'Place of the picture')
    success: str = parameter('terminated', 'Place of the truth: yes or no, or a number')
    success_at: float = parameter(1.0, 'The task is done from this number on', '', -1e9, 1e9)
    instruction: str = parameter('', 'The sentence that says what is asked')
    instruction_from: str = parameter('', 'Instead, the place of the sentence after a reset')
    action: str = parameter(
        'same',
        "same: it has the robot's bounds; affine: they are mapped",
        choices=('same', 'affine'),
    )
    relative_to: str = parameter('', 'Place of the position that an action is added to; or none')
    repeat: int = parameter(1, 'Steps of the environment in one control step', 'steps', 1, 10000)
    positions: dict = field(default_factory=dict)
    demonstrator: str = parameter('', DEMONSTRATOR_TEXT)

    def __post_init__(self):
        """
        Check the values.

        :raises ValueError: when one is out of range, or what is asked is said twice or never.
        """
        check(self)
        if not self.id:
            raise ValueError('id: expected what gymnasium.make takes, got nothing')
        if bool(self.instruction) == bool(self.instruction_from):
            raise ValueError(
                'instruction: expected either a sentence or instruction_from, '
                f'got {self.instruction!r} and {self.instruction_from!r}'
            )
