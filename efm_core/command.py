"""What goes to a robot's driver: its kind, what an action drives, what is allowed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, KW_ONLY
import math
from typing import Any, NamedTuple

from efm_core.config import expect

TWIST = 'geometry_msgs/msg/TwistStamped'
POSE = 'geometry_msgs/msg/PoseStamped'
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
ARRAY = 'std_msgs/msg/Float64MultiArray'
GRIPPERS = ('control_msgs/action/GripperCommand', 'control_msgs/action/ParallelGripperCommand')
LINEAR = ('x', 'y', 'z')
ANGULAR = ('roll', 'pitch', 'yaw')
GRIPPER = 'gripper'
DISPLACEMENT = 'displacement'
SERVO = 'moveit_servo'
FIRST_FIELDS = ('type', 'frame')  # of the first contract; later ones count in its hash when set


class Controller(NamedTuple):
    """
    One kind of driver.

    :param type: of its messages.
    :param interface_type: ``twist``, ``velocities``, ``positions`` or ``pose``.
    """

    type: str
    interface_type: str


CONTROLLERS = {
    DISPLACEMENT: Controller(TWIST, 'twist'),
    SERVO: Controller(TWIST, 'twist'),
    'joint_trajectory_controller': Controller(TRAJECTORY, 'positions'),
    'forward_position_controller': Controller(ARRAY, 'positions'),
    'forward_velocity_controller': Controller(ARRAY, 'velocities'),
    'cartesian_pose_controller': Controller(POSE, 'pose'),
}


def _check_range(name: str, low: tuple, high: tuple) -> None:
    fits = len(low) == len(high) and all(
        -math.inf < a < b < math.inf for a, b in zip(low, high, strict=True)
    )
    expect(fits, name, 'as many low as high, and low < high', f'{low} and {high}')


def _choose(name: str, value: str, words: Iterable[str]) -> None:
    expect(value in words, name, f'one of {", ".join(words)}', repr(value))


@dataclass(frozen=True)
class Limits:
    """
    What no command may exceed; empty or zero for no limit.

    :param position_min: smallest position per joint [rad or m].
    :param max_velocity: largest speed per joint [rad/s or m/s].
    :param workspace_min: smallest x, y, z of the tool in the command's frame [m].
    :param max_linear_velocity: largest speed of the tool [m/s].
    :param max_angular_velocity: largest turning speed of the tool [rad/s].
    :param lead: farthest that a commanded position may be from the measured one [rad or m].
    :param beyond: what happens to a command past a position or the box: ``refuse``, or ``clamp``
        to it. A command that is too fast or leads too far is always refused.
    """

    position_min: tuple[float, ...] = ()
    position_max: tuple[float, ...] = ()
    _: KW_ONLY
    max_velocity: tuple[float, ...] = ()
    workspace_min: tuple[float, ...] = ()
    workspace_max: tuple[float, ...] = ()
    max_linear_velocity: float = 0.0
    max_angular_velocity: float = 0.0
    max_following_error: float = 0.0
    on_violation: str = 'refuse'

    def __post_init__(self):
        """
        Refuse limits that leave nothing, or are none.

        :raises ValueError: naming the field.
        """
        for name in ('position', 'workspace'):
            _check_range(name, getattr(self, f'{name}_min'), getattr(self, f'{name}_max'))
        expect(
            len(self.workspace_min) in (0, 3),
            'limits.workspace_min',
            'x, y, z',
            self.workspace_min,
        )
        speeds = (
            *self.max_velocity,
            self.max_linear_velocity,
            self.max_angular_velocity,
            self.max_following_error,
        )
        expect(
            all(0 <= speed < math.inf for speed in speeds) and all(self.max_velocity),
            'limits',
            'speeds and lead above zero',
            speeds,
        )
        _choose('limits.on_violation', self.on_violation, ('refuse', 'clamp'))


@dataclass(frozen=True)
class Gripper:
    """
    A gripper behind an action; without a name of the action, none.

    :param joint: its joint, for ParallelGripperCommand.
    :param low: smallest position, as the driver counts it [rad or m]; the action's value is one.
    :param max_effort: [N or Nm]; zero leaves it to the driver.
    :param tolerance: a goal nearer than this to the last one is not sent [rad or m].
    """

    action: str = ''
    type: str = GRIPPERS[0]
    _: KW_ONLY
    joint: str = ''
    low: float = 0.0
    high: float = 0.0
    max_effort: float = 0.0
    tolerance: float = 1e-3

    def __post_init__(self):
        """
        Refuse a gripper that cannot move.

        :raises ValueError: naming the field.
        """
        _choose('gripper.type', self.type, GRIPPERS)
        if self.action:
            _check_range('gripper', (self.low,), (self.high,))
            named = self.joint or self.type == GRIPPERS[0]
            expect(bool(named), 'gripper.joint', f"a joint's name for {self.type}", repr(''))


@dataclass(frozen=True)
class Command:
    """
    What goes to the robot's driver, and how an action becomes it.

    :param type: of the message.
    :param frame: in which poses, twists and the workspace box are given.
    :param controller: the kind of driver; `displacement` is the simulated table's.
    :param topic: the driver's; empty for ``command``.
    :param axes: what each dimension of the action drives: a joint, x, y, z, roll, pitch, yaw
        (turns about the frame's axes) or ``gripper``.
    :param mode: ``delta``, a displacement per control step, or ``absolute``, the value itself: a
        position, or for drivers of velocity a velocity.
    :param joints: all joints of the driver, in its order.
    :param tool_frame: whose pose in ``frame`` is measured.
    :param pose_topic: a PoseStamped topic with that pose; empty for tf.
    :param scale: MoveIt Servo's ``scale.linear`` and ``scale.rotational`` where it takes
        unitless commands; empty where it takes m/s and rad/s.
    :param horizon_s: a trajectory's time to its point [s]; zero for one control period.
    :param state_timeout_s: measured state older than this is not acted on [s].
    """

    type: str = TWIST
    frame: str = 'table'
    _: KW_ONLY
    controller: str = DISPLACEMENT
    topic: str = ''
    axes: tuple[str, ...] = ()
    mode: str = 'delta'
    joints: tuple[str, ...] = ()
    tool_frame: str = ''
    pose_topic: str = ''
    scale: tuple[float, ...] = ()
    horizon_s: float = 0.0
    state_timeout_s: float = 0.2
    limits: Limits = Limits()
    gripper: Gripper = Gripper()

    def __post_init__(self):
        """
        Refuse what no driver could follow safely.

        :raises ValueError: naming the field, what was expected and what came.
        """
        _choose('command.controller', self.controller, CONTROLLERS)
        _choose('command.mode', self.mode, ('delta', 'absolute'))
        expected = CONTROLLERS[self.controller].type
        expect(self.type == expected, f'command.type of {self.controller}', expected, self.type)
        expect(self.state_timeout_s > 0, 'command.state_timeout_s', 'more', self.state_timeout_s)
        expect(self.horizon_s >= 0, 'command.horizon_s', 'zero or more', self.horizon_s)
        if self.is_planar_displacement:
            more = self.later_fields().keys() - {'topic'}
            expect(not more, f'command of {DISPLACEMENT}', 'type, frame and topic', sorted(more))
        else:
            self._check_axes()
            self._check_joints() if self.drives_joints else self._check_tool()

    @property
    def is_planar_displacement(self) -> bool:
        """Whether this is the planar displacement of the simulated table."""
        return self.controller == DISPLACEMENT

    @property
    def interface_type(self) -> str:
        """What the driver takes: ``twist``, ``velocities``, ``positions`` or ``pose``."""
        return CONTROLLERS[self.controller].interface_type

    @property
    def drives_joints(self) -> bool:
        """Whether the driver takes one number per joint."""
        return self.interface_type in ('positions', 'velocities')

    @property
    def needs_pose(self) -> bool:
        """Whether a command depends on where the tool is."""
        return self.interface_type == 'pose' or (
            self.interface_type == 'twist' and bool(self.limits.workspace_min)
        )

    @property
    def arm_axes(self) -> tuple[str, ...]:
        """The axes without the gripper's action; a joint may be called gripper as well."""
        return tuple(axis for axis in self.axes if not self.is_gripper(axis))

    def is_gripper(self, axis: str) -> bool:
        """Return whether an axis drives the gripper's action."""
        return axis == GRIPPER and bool(self.gripper.action)

    def later_fields(self) -> dict[str, Any]:
        """Return the fields beyond the first contract's that differ from their defaults."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        return {
            name: value
            for name, value in values.items()
            if name not in FIRST_FIELDS and value != defaults[name]
        }

    def check_action(self, names: tuple[str, ...], low: Iterable, high: Iterable) -> None:
        """
        Refuse an action space that does not fit.

        :raises ValueError: when the lengths differ, or the gripper's range is left.
        """
        if self.is_planar_displacement:
            return
        expect(len(self.axes) == len(names), 'command.axes', f'one for each of {names}', self.axes)
        for axis, smallest, largest in zip(self.axes, low, high, strict=True):
            if self.is_gripper(axis):
                inside = self.gripper.low <= smallest and largest <= self.gripper.high
                allowed = f'a range in {self.gripper.low} to {self.gripper.high}'
                expect(inside, 'action of the gripper', allowed, (smallest, largest))

    def _check_axes(self) -> None:
        known = self.joints if self.drives_joints else LINEAR + ANGULAR
        allowed = {*known, *((GRIPPER,) if self.gripper.action else ())}
        expect(bool(self.arm_axes), 'command.axes', 'what the action drives', self.axes)
        expect(
            set(self.axes) <= allowed and len(set(self.axes)) == len(self.axes),
            'command.axes',
            f'each once, of {", ".join(sorted(allowed))}',
            self.axes,
        )
        driven = GRIPPER in self.axes or not self.gripper.action
        expect(driven, 'command.axes', f'{GRIPPER}, which is configured', self.axes)

    def _check_joints(self) -> None:
        unique = bool(self.joints) and len(set(self.joints)) == len(self.joints)
        expect(unique, 'command.joints', "the driver's joints, each once", self.joints)
        for name in ('position_min', 'position_max', 'max_velocity'):
            values = getattr(self.limits, name)
            wanted = f'one for each of {len(self.joints)} joints'
            expect(len(values) == len(self.joints), f'limits.{name}', wanted, values)

    def _check_tool(self) -> None:
        limits = self.limits
        turns = set(self.axes) & set(ANGULAR)
        if set(self.axes) & set(LINEAR):
            expect(
                limits.max_linear_velocity > 0, 'limits.max_linear_velocity', 'more than zero', 0
            )
        if turns:
            expect(
                limits.max_angular_velocity > 0, 'limits.max_angular_velocity', 'more than zero', 0
            )
        if self.interface_type == 'pose':
            expect(
                bool(limits.workspace_min),
                'limits.workspace_min',
                'x, y, z for poses',
                limits.workspace_min,
            )
            relative = self.mode == 'delta' or not turns
            expect(relative, 'command.mode', 'delta where the tool turns', self.mode)
        if self.needs_pose:
            other = self.tool_frame not in ('', self.frame)
            expect(other, 'command.tool_frame', 'a frame to be kept in the box', self.tool_frame)
        self._check_scale()

    def _check_scale(self) -> None:
        if self.scale:
            servo = self.controller == SERVO and len(self.scale) == 2 and min(self.scale) > 0
            expect(servo, 'command.scale', f'linear and rotational of {SERVO}', self.scale)
            speeds = (self.limits.max_linear_velocity, self.limits.max_angular_velocity)
            slow = all(v <= s for v, s in zip(speeds, self.scale, strict=True))
            expect(slow, 'limits', f'speeds within command.scale {self.scale}', speeds)
