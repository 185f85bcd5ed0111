"""The command block of an embodiment: kind of driver, meaning of an action, limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, KW_ONLY
from typing import NamedTuple

from efm_core.config import expect, non_defaults

TWIST = 'geometry_msgs/msg/TwistStamped'
POSE = 'geometry_msgs/msg/PoseStamped'
TRAJECTORY = 'trajectory_msgs/msg/JointTrajectory'
ARRAY = 'std_msgs/msg/Float64MultiArray'
ACTION = 'efm_interfaces/msg/Action'
GRIPPERS = ('control_msgs/action/GripperCommand', 'control_msgs/action/ParallelGripperCommand')
LINEAR = ('x', 'y', 'z')
ANGULAR = ('roll', 'pitch', 'yaw')
GRIPPER = 'gripper'
DISPLACEMENT = 'displacement'
SIMULATED = 'simulated'
SERVO = 'moveit_servo'
# Bounds of what an embodiment may state: a typing error must not become a limit.
FASTEST = 100.0  # [m/s or rad/s]; for a following error [m or rad]
FARTHEST = 1e4  # [m or rad]; grippers have units of their own, such as ticks
LONGEST_S = 60.0  # [s]


class Controller(NamedTuple):
    """
    One kind of driver.

    :param type: type of its messages.
    :param interface_type: ``twist``, ``velocities``, ``positions``, ``pose`` or ``action``.
    :param fields: fields of the command block that it uses, besides those of every driver.
    :param repeats: it repeats the last velocity for ever when no command follows.
    """

    type: str
    interface_type: str
    fields: tuple[str, ...] = ()
    repeats: bool = False


COMMON_FIELDS = ('type', 'frame', 'controller', 'topic')  # each driver uses these
ARM_FIELDS = ('axes', 'mode', 'joints', 'state_timeout_s', 'limits.on_violation', 'gripper')
JOINT_FIELDS = (*ARM_FIELDS, 'limits.position_min', 'limits.position_max', 'limits.max_velocity')
TOOL_FIELDS = (
    *ARM_FIELDS,
    'tool_frame',
    'pose_topic',
    'limits.workspace_min',
    'limits.workspace_max',
    'limits.max_linear_velocity',
    'limits.max_angular_velocity',
)
FOLLOWING_ERROR = 'limits.max_following_error'
CONTROLLERS = {
    DISPLACEMENT: Controller(TWIST, 'twist'),
    SIMULATED: Controller(ACTION, 'action'),
    SERVO: Controller(TWIST, 'twist', (*TOOL_FIELDS, 'scale')),
    'joint_trajectory_controller': Controller(
        TRAJECTORY, 'positions', (*JOINT_FIELDS, FOLLOWING_ERROR, 'horizon_s')
    ),
    'forward_position_controller': Controller(
        ARRAY, 'positions', (*JOINT_FIELDS, FOLLOWING_ERROR)
    ),
    'forward_velocity_controller': Controller(ARRAY, 'velocities', JOINT_FIELDS, repeats=True),
    'cartesian_pose_controller': Controller(POSE, 'pose', (*TOOL_FIELDS, FOLLOWING_ERROR)),
}


def _check_range(name: str, low: Sequence[float], high: Sequence[float]) -> None:
    fits = len(low) == len(high) and all(
        -FARTHEST <= a < b <= FARTHEST for a, b in zip(low, high, strict=True)
    )
    expect(
        fits,
        name,
        f'as many minima as maxima, at most {FARTHEST:g}, each minimum below its maximum',
        f'{low} and {high}',
    )


def _check_choice(name: str, value: str, choices: Iterable[str]) -> None:
    expect(value in choices, name, f'one of {", ".join(choices)}', repr(value))


@dataclass(frozen=True)
class Limits:
    """
    Limits of all commands; empty or zero: no limit.

    :param position_min: smallest position of each joint [rad or m].
    :param position_max: largest position of each joint [rad or m].
    :param max_velocity: largest speed of each joint [rad/s or m/s].
    :param workspace_min: smallest x, y, z of the tool in the command's frame [m].
    :param workspace_max: largest x, y, z of the tool in the command's frame [m].
    :param max_linear_velocity: largest linear speed of the tool [m/s].
    :param max_angular_velocity: largest angular speed of the tool [rad/s].
    :param max_following_error: largest distance between a commanded position and the measured
        one [rad or m].
    :param on_violation: treatment of a command outside the positions or the workspace:
        ``refuse`` it, or ``clamp`` it to the limit. A command that exceeds a speed or the
        following error is always refused.
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

    def __post_init__(self) -> None:
        """
        Check the ranges.

        :raises ValueError: with the field, what was expected and what was given.
        """
        for name, low, high in (
            ('position', self.position_min, self.position_max),
            ('workspace', self.workspace_min, self.workspace_max),
        ):
            _check_range(f'limits.{name}_min, limits.{name}_max', low, high)
        expect(
            len(self.workspace_min) in (0, 3),
            'limits.workspace_min',
            'x, y, z [m]',
            self.workspace_min,
        )
        for speed in self.max_velocity:
            inside = 0 < speed <= FASTEST
            expect(inside, 'limits.max_velocity', f'speeds above 0, at most {FASTEST:g}', speed)
        for name in ('max_linear_velocity', 'max_angular_velocity', 'max_following_error'):
            value = getattr(self, name)
            wanted = f'0 (no limit) to {FASTEST:g}'
            expect(0 <= value <= FASTEST, f'limits.{name}', wanted, value)
        _check_choice('limits.on_violation', self.on_violation, ('refuse', 'clamp'))


@dataclass(frozen=True)
class Gripper:
    """
    A gripper that is driven by a ROS action.

    :param action: name of the ROS action; empty: no gripper.
    :param type: type of the ROS action.
    :param joint: joint of the gripper; required for ParallelGripperCommand.
    :param low: smallest position, in the driver's unit [rad or m]; the policy's action has the
        same unit.
    :param high: largest position [rad or m].
    :param max_effort: largest effort [N or Nm]; 0: the driver's default.
    :param tolerance: smallest change of the goal that is sent [rad or m].
    """

    action: str = ''
    type: str = GRIPPERS[0]
    _: KW_ONLY
    joint: str = ''
    low: float = 0.0
    high: float = 0.0
    max_effort: float = 0.0
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        """
        Check the range, and that the gripper has its action and its joint.

        :raises ValueError: with the field, what was expected and what was given.
        """
        _check_choice('gripper.type', self.type, GRIPPERS)
        if not self.action:
            unused = ', '.join(non_defaults(self))
            expect(not unused, 'gripper.action', f'a name, because it has {unused}', repr(''))
            return
        _check_range('gripper.low, gripper.high', (self.low,), (self.high,))
        for name in ('max_effort', 'tolerance'):
            value = getattr(self, name)
            expect(0 <= value <= FARTHEST, f'gripper.{name}', f'0 to {FARTHEST:g}', value)
        has_joint = bool(self.joint) or self.type == GRIPPERS[0]
        expect(has_joint, 'gripper.joint', f'the name of a joint for {self.type}', repr(''))


@dataclass(frozen=True)
class Command:
    """
    The messages that the robot's driver takes, and how an action becomes one.

    :param type: type of the message.
    :param frame: frame of poses, twists and the workspace.
    :param controller: kind of driver; ``displacement``: a simulated robot that takes planar
        displacements, such as the table's; ``simulated``: one that takes the action itself, with
        any number of dimensions.
    :param topic: topic of the driver; empty: ``command``.
    :param axes: for each dimension of the action a joint, x, y, z, roll, pitch, yaw (rotations
        about the axes of ``frame``) or ``gripper``.
    :param mode: ``delta``: a displacement per control step; ``absolute``: a position, or a
        velocity for drivers of velocities.
    :param joints: all joints of the driver, in its order.
    :param tool_frame: frame of the tool, whose pose in ``frame`` is measured.
    :param pose_topic: PoseStamped topic with the pose of the tool; empty: tf.
    :param scale: MoveIt Servo's ``scale.linear`` and ``scale.rotational`` for unitless commands;
        empty: commands in m/s and rad/s.
    :param horizon_s: time from a trajectory's start to its point [s]; 0: one control period.
    :param state_timeout_s: largest age of the measured state [s]; the guard rejects an action
        when the state is older.
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

    def __post_init__(self) -> None:
        """
        Check that the driver can follow each command safely.

        :raises ValueError: with the field, what was expected and what was given.
        """
        _check_choice('command.controller', self.controller, CONTROLLERS)
        _check_choice('command.mode', self.mode, ('delta', 'absolute'))
        expected = CONTROLLERS[self.controller].type
        expect(self.type == expected, f'command.type of {self.controller}', expected, self.type)
        for name, value, low in (
            ('state_timeout_s', self.state_timeout_s, 1e-3),
            ('horizon_s', self.horizon_s, 0.0),
        ):
            wanted = f'{low:g} to {LONGEST_S:g} s'
            expect(low <= value <= LONGEST_S, f'command.{name}', wanted, value)
        self._check_unused()
        if not self.is_simulated:
            self._check_axes()
            self._check_joints() if self.drives_joints else self._check_tool()

    @property
    def is_planar_displacement(self) -> bool:
        """Whether the driver takes planar displacements, as that of the simulated table does."""
        return self.controller == DISPLACEMENT

    @property
    def is_simulated(self) -> bool:
        """Whether a simulated world takes the commands, each with the observation's stamp."""
        return self.controller in (DISPLACEMENT, SIMULATED)

    @property
    def interface_type(self) -> str:
        """The input of the driver, such as ``twist``; see `Controller`."""
        return CONTROLLERS[self.controller].interface_type

    @property
    def needs_guard_watch(self) -> bool:
        """Whether the robot moves on without commands, when its guard is killed or frozen."""
        return CONTROLLERS[self.controller].repeats

    @property
    def drives_joints(self) -> bool:
        """Whether the driver takes one value per joint."""
        return self.interface_type in ('positions', 'velocities')

    @property
    def needs_pose(self) -> bool:
        """Whether the guard needs the pose of the tool."""
        return self.interface_type == 'pose' or (
            self.interface_type == 'twist' and bool(self.limits.workspace_min)
        )

    @property
    def arm_axes(self) -> tuple[str, ...]:
        """The axes without the gripper's action; a joint may also have the name gripper."""
        return tuple(axis for axis in self.axes if not self.is_gripper(axis))

    def is_gripper(self, axis: str) -> bool:
        """Return whether an axis drives the gripper's action."""
        return axis == GRIPPER and bool(self.gripper.action)

    def is_held(self, name: str) -> bool:
        """
        Return whether a dimension of a simulated robot's action keeps its value at a stop.

        A gripper does: zero would move it, and a hand that opens drops what it holds.
        """
        return self.controller == SIMULATED and name == GRIPPER

    def check_action(
        self, names: Sequence[str], low: Sequence[float], high: Sequence[float]
    ) -> None:
        """
        Check that an action space fits the axes.

        :raises ValueError: when the lengths differ, or the gripper's values exceed its range.
        """
        if self.is_simulated:
            return
        expect(len(self.axes) == len(names), 'command.axes', f'one for each of {names}', self.axes)
        for axis, smallest, largest in zip(self.axes, low, high, strict=True):
            if self.is_gripper(axis):
                inside = self.gripper.low <= smallest and largest <= self.gripper.high
                allowed = f'values in {self.gripper.low} to {self.gripper.high}'
                expect(inside, 'action of the gripper', allowed, (smallest, largest))

    def _check_unused(self) -> None:
        """Refuse fields that this kind of driver ignores, such as limits that nothing enforces."""
        given = non_defaults(self)
        limits = given.pop('limits', {})
        given.update({f'limits.{name}': value for name, value in limits.items()})
        used = (*COMMON_FIELDS, *CONTROLLERS[self.controller].fields)
        unused = [name for name in given if name not in used]
        names = ', '.join(f'command.{name}' for name in unused)
        expect(
            not unused,
            names,
            f'no value, because the driver {self.controller} does not use it',
            ', '.join(str(given[name]) for name in unused),
        )

    def _check_axes(self) -> None:
        known = self.joints if self.drives_joints else LINEAR + ANGULAR
        allowed = {*known, *((GRIPPER,) if self.gripper.action else ())}
        expect(bool(self.arm_axes), 'command.axes', 'one axis for each action', self.axes)
        expect(
            set(self.axes) <= allowed and len(set(self.axes)) == len(self.axes),
            'command.axes',
            f'each axis once, out of {", ".join(sorted(allowed))}',
            self.axes,
        )
        driven = GRIPPER in self.axes or not self.gripper.action
        expect(driven, 'command.axes', f'{GRIPPER} among them, as configured', self.axes)

    def _check_joints(self) -> None:
        unique = bool(self.joints) and len(set(self.joints)) == len(self.joints)
        expect(unique, 'command.joints', 'each joint of the driver once', self.joints)
        for name in ('position_min', 'position_max', 'max_velocity'):
            values = getattr(self.limits, name)
            wanted = f'one for each of {len(self.joints)} joints'
            expect(len(values) == len(self.joints), f'limits.{name}', wanted, values)

    def _check_tool(self) -> None:
        limits = self.limits
        turns = set(self.axes) & set(ANGULAR)
        if set(self.axes) & set(LINEAR):
            expect(limits.max_linear_velocity > 0, 'limits.max_linear_velocity', 'above 0', 0)
        if turns:
            expect(limits.max_angular_velocity > 0, 'limits.max_angular_velocity', 'above 0', 0)
        if self.interface_type == 'pose':
            expect(
                bool(limits.workspace_min),
                'limits.workspace_min',
                'x, y, z [m] for a driver of poses',
                limits.workspace_min,
            )
            relative = self.mode == 'delta' or not turns
            expect(relative, 'command.mode', 'delta for a tool that turns', self.mode)
        if self.needs_pose:
            other = self.tool_frame not in ('', self.frame)
            expect(other, 'command.tool_frame', f'a frame besides {self.frame}', self.tool_frame)
        self._check_scale()

    def _check_scale(self) -> None:
        if self.scale:
            is_scale = len(self.scale) == 2 and 0 < min(self.scale) <= max(self.scale) <= FASTEST
            wanted = f'two values above 0, at most {FASTEST:g}'
            expect(is_scale, 'command.scale', wanted, self.scale)
            speeds = (self.limits.max_linear_velocity, self.limits.max_angular_velocity)
            slow = all(v <= s for v, s in zip(speeds, self.scale, strict=True))
            expect(slow, 'limits', f'speeds up to command.scale {self.scale}', speeds)
