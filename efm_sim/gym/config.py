"""Parameters of a Gymnasium environment that serves as a world."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from efm_core.config import config, expect, parameter


@config
class EnvironmentConfig:
    """
    A Gymnasium environment that simulates a robot: the section `gymnasium` of an embodiment.

    A place is one of `render`, `reward`, `terminated`, `observation` and `info`; the last two may
    be followed by keys, separated by dots: `info.coverage`.

    :param pixels: place of the image; of several cameras a mapping from the camera's name to its
        place. In the mapping, `{render: {camera: wrist}}` calls the environment's own ``render``
        with these arguments.
    :param joints: names of joints, each with the place of its position, one number. They are
        published in ``joint_states``, and serve as proprioception.
    :param joint_velocities: the same names, each with the place of its velocity; none: unknown.

    :param kwargs: further arguments of ``gymnasium.make``.
    :param positions: names, each with the place of one to three numbers, or with a list of one to
        three places of one number. They are published as the positions of ``world_state``, for a
        demonstrator.
    """

    id: str = parameter('', 'Name for `gymnasium.make`; `module:name` imports the module first')
    kwargs: dict[str, Any] = field(default_factory=dict)
    pixels: str | dict[str, Any] = 'render'
    joints: dict[str, Any] = field(default_factory=dict)
    joint_velocities: dict[str, Any] = field(default_factory=dict)
    success: str = parameter('terminated', 'Place of the true success: a boolean or a number')
    success_at: float = parameter(
        1.0, 'Value of `success` from which the task is done', '', -1e9, 1e9
    )
    instruction: str = parameter('', 'Sentence of the task')
    instruction_from: str = parameter(
        '', 'Place of the sentence after a reset, instead of `instruction`'
    )
    action: str = parameter(
        'same',
        "Bounds of the environment's actions; same: equal to the robot's; affine: mapped to them",
        choices=('same', 'affine'),
    )
    relative_to: str = parameter(
        '', 'Place of a position to which each action is added; empty: none'
    )
    python: str = parameter(
        '', 'Python interpreter that runs the environment, in a process of its own; empty: ours'
    )
    python_path: str = parameter('', 'Folder of further modules for `python`; empty: none')
    python_timeout_s: float = parameter(
        60.0, 'Longest wait for an answer of `python`', 's', 0.1, 3600
    )
    repeat: int = parameter(1, 'Environment steps per control step', 'steps', 1, 10000)
    positions: dict[str, Any] = field(default_factory=dict)
    demonstrator: str = parameter(
        '', "Scripted demonstrator, `module:class`; empty: the simulated table's"
    )

    def validate(self) -> None:
        """
        Check that the environment, the source of the sentence and all velocities are given.

        :raises ValueError: without an id, with no or two sources of the sentence, with velocities
            of other joints, and with a folder for an interpreter that is not named.
        """
        if not self.id:
            raise ValueError('id: expected a name for gymnasium.make, got nothing')
        if bool(self.instruction) == bool(self.instruction_from):
            raise ValueError(
                'instruction: expected either a sentence or instruction_from, '
                f'got {self.instruction!r} and {self.instruction_from!r}'
            )
        names = list(self.joints)
        known = list(self.joint_velocities)
        lonely = self.python_path and not self.python
        expect(not lonely, 'python_path', 'none without `python`', self.python_path)
        expect(known in ([], names), 'joint_velocities', f'none, or the joints {names}', known)
