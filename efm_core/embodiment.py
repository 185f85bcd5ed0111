"""
The embodiment: the contract between a robot and everything that was learned for it.

One YAML file describes cameras, actions, limits and the task. It becomes one frozen dataclass.
The hash of its canonical JSON is in each bag, checkpoint, ONNX file and message. The canonical
JSON holds only the fields that differ from their defaults, so that a new optional field changes
the hash of no existing robot. The task is not in it: success threshold, dwell, time limit and the
bins of steps-to-go can change without new bags.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass, KW_ONLY, MISSING, replace
import difflib
from functools import cached_property
import hashlib
import json
import math
from operator import attrgetter
from pathlib import Path
import re
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, TYPE_CHECKING, TypeVar

from efm_core.command import Command
from efm_core.config import default_of, expect, non_defaults
from efm_core.episode_rules import EpisodeRules
from efm_core.specs import ArraySpec, image_spec
from efm_core.topics import RESERVED
from efm_core.yaml_files import load_yaml
import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

DataclassType = TypeVar('DataclassType', bound='DataclassInstance')
# Types that YAML has for a plain field, and their name in error messages.
PLAIN: dict[type, tuple[tuple[type, ...], str]] = {
    float: ((int, float), 'a number'),
    int: ((int,), 'a whole number'),
    str: ((str,), 'text'),
    dict: ((dict,), 'a mapping'),
}
LONGEST_CHUNK = 100  # control steps
# Smallest and largest value of each number, in the unit of its field: a typing error such as
# 1e10 Hz must not reach a robot. Units of actions are free; encoders count in thousands.
LARGEST_ACTION = 1e6
MOST_BINS = 10_001
LARGEST_IMAGE = 8192  # [px] on each side
BOUNDS = {
    'control_rate_hz': (0.01, 1000.0),
    'action_lifetime_s': (1e-3, 1000.0),
    'max_permit_s': (1e-3, 1000.0),
    'observation_max_age_s': (1e-3, 10.0),
    'steps_to_go.max_steps': (1, 100_000),
    'steps_to_go.bins': (2, 10_001),
    'episode.max_steps': (1, 1_000_000),
    'episode.success_threshold': (1e-6, 100_000.0),
    'episode.success_dwell': (1, 10_000),
}
CAMERA_ROLES = ('scene', 'wrist')
TOOL_POSE = 'tool_pose'
PROPRIOCEPTION = ('joint_positions', 'joint_velocities', TOOL_POSE)
MOST_CAMERAS = 8
WORD = re.compile(r'[A-Za-z_]\w*', re.ASCII)
TOPIC_NAME = re.compile(r'(/|~/)?[A-Za-z_]\w*(/[A-Za-z_]\w*)*', re.ASCII)
TASK = 'task'  # section of the file for the fields that follow: no part of the contract either
TASK_FIELDS = ('episode', 'steps_to_go')
SIMULATION = 'gymnasium'  # section of the file that is not part of the contract
# Keys of earlier versions.
NOT_YET = {
    'reset': 'the supervisor calls reset_world; its parameter reset_timeout_s is the time limit',
    'episode': 'its keys are in the section `task`',
    'steps_to_go': 'it is in the section `task`',
}


@dataclass(frozen=True)
class Camera:
    """
    One camera, and the part of its image that the policy sees.

    :param topic: topic of its images; compressed if the last word is ``compressed``.
    :param height: height of its images [px].
    :param width: width of its images [px].
    :param crop: left, top, width, height [px]; width 0: the whole image.
    :param role: ``scene`` for a camera that stands still, ``wrist`` for one on the robot. Cameras
        of one role share an image encoder.
    :param size: height and width of the policy's input [px]; 0, 0: `observation_size`.
    :param max_identical_images: so many images in a row without a difference in any byte, under a
        robot in real time, are a frozen camera, and the policy stops to answer; 0: never. A
        renderer repeats a still scene exactly, so that simulated cameras are not compared.
    """

    name: str
    topic: str
    _: KW_ONLY
    height: int
    width: int
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)
    role: str = 'scene'
    size: tuple[int, int] = (0, 0)
    max_identical_images: int = 10

    def __post_init__(self) -> None:
        """
        Check the size of the image, and that the crop is inside it.

        :raises ValueError: with the camera's name.
        """
        left, top, width, height = self.crop
        size = (self.height, self.width)
        _check_size(f'{self.name}: height, width', size)
        check_topic(f'{self.name}: topic', self.topic)
        if self.size != (0, 0):
            _check_size(f'{self.name}: size', self.size)
        expect(
            self.role in CAMERA_ROLES,
            f'{self.name}: role',
            f'one of {", ".join(CAMERA_ROLES)}',
            repr(self.role),
        )
        expect(
            min(self.crop) >= 0 and left + width <= self.width and top + height <= self.height,
            f'{self.name}: crop',
            f'left, top, width, height inside {self.width} x {self.height} px',
            self.crop,
        )
        least = self.max_identical_images
        expect(
            least == 0 or least > 1, f'{self.name}: max_identical_images', '0, 2 or more', least
        )


@dataclass(frozen=True)
class Proprioception:
    """
    One part of the robot's measured state that the policy sees.

    :param source: ``joint_positions`` or ``joint_velocities`` of ``joint_states``, or
        ``tool_pose``: x, y, z [m] and the quaternion x, y, z, w of the tool, in the frame of the
        command.
    :param joints: names in ``joint_states``, a gripper's joint among them; none for ``tool_pose``.
    """

    source: str
    joints: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """
        Check that the source exists and has what it needs.

        :raises ValueError: with the field, what was expected and what was given.
        """
        known = ', '.join(PROPRIOCEPTION)
        expect(self.source in PROPRIOCEPTION, 'proprioception: source', known, repr(self.source))
        names = self.joints
        if self.source == TOOL_POSE:
            expect(not names, f'proprioception: joints of {TOOL_POSE}', 'none', names)
        else:
            unique = bool(names) and len(set(names)) == len(names)
            expect(unique, 'proprioception: joints', 'one or more, each once', names)

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each number."""
        if self.source == TOOL_POSE:
            return tuple(f'{TOOL_POSE}.{part}' for part in ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw'))
        return tuple(f'{self.source}.{joint}' for joint in self.joints)


@dataclass(frozen=True)
class ActionSpace:
    """
    The dimensions of an action, and how an action becomes tokens.

    :param names: one word per dimension.
    :param unit: unit of all dimensions.
    :param low: smallest value of each dimension, in ``unit``.
    :param high: largest value of each dimension, in ``unit``.
    :param tokeniser: ``uniform`` (one token per dimension) or ``sign_magnitude`` (two, as in the
        paper's LanguageTable).
    :param bins: levels per dimension: one number for all, or a list. The number is odd for
        displacements, so that zero is one of the levels.
    :param chunk: H, the control steps of one action. The policy decides H chunk steps at once;
        the guard executes one in each control period. Steps-to-go and time limits then count
        chunks.
    """

    names: tuple[str, ...]
    unit: str
    _: KW_ONLY
    low: tuple[float, ...]
    high: tuple[float, ...]
    tokeniser: str = 'uniform'
    bins: int | tuple[int, ...] = 11
    chunk: int = 1

    def __post_init__(self) -> None:
        """
        Check lengths, ranges, levels and the tokeniser.

        :raises ValueError: with the field, what was expected and what was given.
        """
        if not len(self.names) == len(self.low) == len(self.high):
            raise ValueError(
                f'action: expected as many low and high as names ({len(self.names)}), '
                f'got {len(self.low)} and {len(self.high)}'
            )
        bounds = zip(self.low, self.high, strict=True)
        if not all(-math.inf < low < high < math.inf for low, high in bounds):
            raise ValueError(f'action: expected low < high, got {self.low} and {self.high}')
        for value in (*self.low, *self.high):
            inside = abs(value) <= LARGEST_ACTION
            expect(inside, 'action.low, action.high', f'at most {LARGEST_ACTION:g}', value)
        if self.tokeniser not in ('uniform', 'sign_magnitude'):
            raise ValueError(
                f'action.tokeniser: expected uniform or sign_magnitude, got {self.tokeniser!r}'
            )
        for bins in self.levels:
            expect(bins >= 2, 'action.bins', 'at least 2 levels', bins)
            expect(bins <= MOST_BINS, 'action.bins', f'at most {MOST_BINS} levels', bins)
        if self.tokeniser == 'sign_magnitude':
            self.check_zero_is_a_level()
        expect(
            1 <= self.chunk <= LONGEST_CHUNK, 'action.chunk', f'1 to {LONGEST_CHUNK}', self.chunk
        )

    def check_zero_is_a_level(self, but: Collection[str] = ()) -> None:
        """
        Check that each dimension has an odd number of levels, so that zero is one of them.

        :param but: names of dimensions that are no displacements.
        :raises ValueError: with the number of levels.
        """
        for name, bins in zip(self.names, self.levels, strict=True):
            if name in but:
                continue
            odd = bins >= 3 and bins % 2 == 1
            expect(odd, 'action.bins', 'an odd number of at least 3', bins)

    @property
    def levels(self) -> tuple[int, ...]:
        """The number of levels of each dimension."""
        if isinstance(self.bins, int):
            return (self.bins,) * len(self.names)
        count = len(self.names)
        expect(len(self.bins) == count, 'action.bins', f'one for each of {count}', self.bins)
        return self.bins

    @property
    def single_step(self) -> ActionSpace:
        """The same action space with a chunk of one control step."""
        return replace(self, chunk=1)

    @property
    def spec(self) -> ArraySpec:
        """The array spec of one control step, ``(A,)`` float32."""
        return ArraySpec(
            'action',
            (len(self.names),),
            dtype=np.float32,
            unit=self.unit,
            low=float(np.float32(min(self.low))),
            high=float(np.float32(max(self.high))),
        )


@dataclass(frozen=True)
class StepsToGoRange:
    """
    The categorical distribution over steps-to-go: ``bins`` bins, evenly over 0 to ``max_steps``.

    A step is one decision of the policy: an action, or a chunk.

    :param max_steps: value of the last bin, which also holds all larger values [steps].
    :param bins: number of bins.
    """

    max_steps: int = 60
    bins: int = 61

    @property
    def values(self) -> np.ndarray:
        """The value of each bin, ``(bins,)`` float32 [steps]."""
        return np.linspace(0, self.max_steps, self.bins, dtype=np.float32)


@dataclass(frozen=True)
class Embodiment:
    """
    The contract of one robot.

    :param cameras: the cameras of the policy. An observation has the stamp of the first one.
    :param observation_size: height and width of the policy's input [px], of each camera that
        names no ``size``.
    :param proprioception: what the policy sees of the robot's measured state, besides images.
    :param observation_max_age_s: an image of another camera, or a measured state, joins an image
        of the first camera if it is at most this much older [s].
    :param instruction_language: language of the instructions, a code such as ``en``.
    :param control_rate_hz: actions, or chunk steps, per second of robot time [Hz].
    :param action_lifetime_s: the guard rejects an older action as stale [s]; the age of a chunk
        step counts from the time at which it is due.
    :param max_permit_s: in real time the guard lets a permit last no longer than this after its
        last renewal, whatever end it names [s].
    """

    name: str
    cameras: tuple[Camera, ...]
    _: KW_ONLY
    observation_size: tuple[int, int]
    action: ActionSpace
    instruction_language: str = 'en'
    command: Command = Command()  # noqa: RUF009, frozen
    control_rate_hz: float = 10.0
    action_lifetime_s: float = 0.3
    max_permit_s: float = 1.0
    proprioception: tuple[Proprioception, ...] = ()
    observation_max_age_s: float = 0.1
    steps_to_go: StepsToGoRange = StepsToGoRange()
    episode: EpisodeRules = EpisodeRules()  # noqa: RUF009, frozen

    def __post_init__(self) -> None:
        """
        Check that the robot can observe, act and end an episode.

        :raises ValueError: with the field, what was expected and what was given.
        """
        names = [camera.name for camera in self.cameras]
        several = 1 <= len(names) <= MOST_CAMERAS and len(set(names)) == len(names)
        expect(several, 'cameras', f'1 to {MOST_CAMERAS}, each with its own name', names)
        for name in names[1:]:  # part of the name of a topic
            word = bool(WORD.fullmatch(name))
            expect(word, 'cameras: name', 'letters, digits and _, not a digit first', repr(name))
        parts = self.proprioception_names
        expect(len(set(parts)) == len(parts), 'proprioception', 'each number once', parts)
        _check_size('observation_size', self.observation_size)
        for name, (low, high) in BOUNDS.items():
            value = attrgetter(name)(self)
            key = f'task.{name}'.replace('episode.', '') if '.' in name else name
            expect(low <= value <= high, key, f'a number in {low:g} to {high:g}', value)
        check_topics(self)
        if self.command.mode == 'delta':
            held = [name for name in self.action.names if self.command.is_held(name)]
            self.action.check_zero_is_a_level(but=held)
        if self.action.chunk > 1:
            lasts = self.action_lifetime_s
            period_s = 1 / self.control_rate_hz
            wanted = (
                f'at least a control period of {period_s} s, or a chunk stops between its steps'
            )
            expect(lasts >= period_s, 'action_lifetime_s', wanted, lasts)
        self.command.check_action(self.action.names, self.action.low, self.action.high)

    @cached_property
    def hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON, without the task."""
        contract = {k: v for k, v in non_defaults(self).items() if k not in TASK_FIELDS}
        canonical = json.dumps(contract, sort_keys=True, separators=(',', ':'))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def image_sizes(self) -> tuple[tuple[int, int], ...]:
        """Height and width of the policy's input from each camera [px]."""
        return tuple(
            camera.size if camera.size != (0, 0) else self.observation_size
            for camera in self.cameras
        )

    @property
    def image_specs(self) -> tuple[ArraySpec, ...]:
        """The array spec of the policy's input from each camera, ``(H, W, 3)`` uint8 RGB."""
        named = zip(self.cameras, self.image_sizes, strict=True)
        return tuple(image_spec(f'image of {camera.name}', *size) for camera, size in named)

    @property
    def sees_joints(self) -> bool:
        """Whether the policy sees positions or velocities of joints."""
        return any(part.source != TOOL_POSE for part in self.proprioception)

    @property
    def sees_tool_pose(self) -> bool:
        """Whether the policy sees the pose of the tool."""
        return any(part.source == TOOL_POSE for part in self.proprioception)

    @property
    def proprioception_names(self) -> tuple[str, ...]:
        """A name for each of the ``P`` numbers of the proprioception."""
        return sum((part.names for part in self.proprioception), ())

    @property
    def proprioception_spec(self) -> ArraySpec:
        """The array spec of the proprioception, ``(P,)`` float32."""
        size = len(self.proprioception_names)
        return ArraySpec('proprioception', (size,), dtype=np.float32, unit='rad, m, rad/s or m/s')

    @property
    def period_ns(self) -> int:
        """Length of one control period [ns]."""
        return round(1e9 / self.control_rate_hz)

    @property
    def decision_ns(self) -> int:
        """Time between two decisions of a policy: a control period, or those of a chunk [ns]."""
        return self.action.chunk * self.period_ns

    def check_bins(self, other: Mapping[str, Any], where: str) -> None:
        """
        Refuse a model that predicts other bins of steps-to-go.

        :param other: the embodiment that the model was made for, as plain data.
        :param where: name of the model, for the error message.
        :raises ValueError: with both ranges.
        """
        mine = asdict(self.steps_to_go)
        found = dict(other.get('steps_to_go', mine))
        wanted = f'{mine}; train again, or set task.steps_to_go back'
        expect(found == mine, f'{where}: steps_to_go', wanted, found)

    def standstill(self, last: np.ndarray | None) -> np.ndarray | None:
        """
        Return the action with which a simulated robot stands still, ``(A,)`` float32.

        All dimensions are zero, except a gripper's, which keeps its value.

        :param last: the last action, ``(A,)``; None: there was none.
        :return: None when the value of a gripper is unknown.
        """
        held = np.array([self.command.is_held(name) for name in self.action.names])
        if last is None:
            return None if held.any() else np.zeros(len(held), np.float32)
        return np.where(held, last, 0.0).astype(np.float32)

    def check_same(
        self, other_hash: str, where: str, other: Mapping[str, Any] | None = None
    ) -> None:
        """
        Refuse data of another embodiment.

        :param where: name of the data, for the error message.
        :param other: the other embodiment as plain data, to list the differences.
        :raises ValueError: with both hashes and the differences.
        """
        if other_hash != self.hash:
            contract = {k: v for k, v in (other or {}).items() if k not in TASK_FIELDS}
            differences = '; '.join(_differences(self, contract)) if contract else ''
            raise ValueError(
                f'{where}: expected embodiment {self.hash} ({self.name}), got {other_hash}; '
                'it belongs to another robot or an older contract'
                + (f' ({differences})' if differences else '')
            )


def _check_size(name: str, size: tuple[int, int]) -> None:
    inside = min(size) >= 1 and max(size) <= LARGEST_IMAGE
    expect(inside, name, f'1 to {LARGEST_IMAGE} px', size)


def check_topics(robot: Embodiment) -> None:
    """
    Check that the topics of a robot's drivers are their own.

    :raises ValueError: when a driver has a topic of the suite, or two have the same.
    """
    command = robot.command
    cameras = [camera.topic for camera in robot.cameras]
    for name, topic in (
        *(('cameras: topic', camera) for camera in cameras),
        ('command.topic', command.topic),
        ('command.pose_topic', command.pose_topic),
    ):
        if topic:
            check_topic(name, topic)
            free = topic.strip('/') not in RESERVED
            expect(free, name, 'a topic that no node of the suite publishes', repr(topic))
    own = [*cameras, command.topic, command.pose_topic]
    twice = next((topic for topic in own if topic and own.count(topic) > 1), '')
    expect(not twice, 'topics of cameras, command and pose', 'a topic for each', repr(twice))


def check_topic(name: str, topic: str) -> None:
    """
    Check the name of a topic.

    :raises ValueError: when ROS 2 does not allow it.
    """
    wanted = 'words of letters, digits and _ between slashes, none beginning with a digit'
    expect(bool(TOPIC_NAME.fullmatch(topic)), name, wanted, repr(topic))


def _differences(
    mine: DataclassInstance, other: Mapping[str, Any], where: str = ''
) -> Iterator[str]:
    """Yield each difference from plain data; a field that it lacks has its default."""
    for field in sorted(fields(mine), key=lambda field: field.name):
        if not where and field.name in TASK_FIELDS:
            continue
        here = getattr(mine, field.name)
        there = other.get(field.name, default_of(field))
        name = f'{where}{field.name}'
        if is_dataclass(there) and not isinstance(there, type):
            there = asdict(there)
        if isinstance(there, Mapping):
            yield from _differences(here, there, f'{name}.')
        elif there is not MISSING and _plain(here) != _plain(there):
            yield f'{name}: {_plain(here)} here, {_plain(there)} there'


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON has it."""
    return json.loads(json.dumps(value, default=asdict))


def load_embodiment(path: str | Path) -> Embodiment:
    """
    Read an embodiment from a YAML file.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: on an unknown key, with the closest known one; on a missing key, a wrong
        type or a value that no robot has.
    """
    data = load_yaml(path, 'embodiment')
    name = Path(path).name
    if isinstance(data, dict):
        data.pop(SIMULATION, None)
        for key in sorted(data.keys() & NOT_YET.keys()):
            expect(False, f'{name}: {key}', f'no such key; {NOT_YET[key]}', repr(data[key]))
        data.update(_split_task(data.pop(TASK, {}), f'{name}: {TASK}'))
    return _build(Embodiment, data, name)


def _split_task(task: Any, where: str) -> dict[str, Any]:
    """
    Return the section `task` as the two fields of an embodiment that it holds.

    :raises ValueError: when it is no mapping.
    """
    expect(isinstance(task, dict), where, 'a mapping', repr(task))
    rules = dict(task)
    found = {'steps_to_go': rules.pop('steps_to_go')} if 'steps_to_go' in rules else {}
    return {**found, 'episode': rules} if rules else found


def task_section(embodiment: Embodiment) -> dict[str, Any]:
    """Return the section `task` of an embodiment's file, without defaults."""
    found = non_defaults(embodiment.episode)
    steps = non_defaults(embodiment.steps_to_go)
    return {**found, 'steps_to_go': steps} if steps else found


def load_simulation(path: str | Path, cls: type[DataclassType]) -> DataclassType:
    """
    Read the section of an embodiment's file that describes its simulation, as a ``cls``.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: when there is no such section; otherwise as ``load_embodiment``.
    """
    data = load_yaml(path, 'embodiment')
    name = Path(path).name
    found = isinstance(data, dict) and SIMULATION in data
    expect(found, name, f'a section `{SIMULATION}`', 'none')
    return _build(cls, data[SIMULATION], f'{name}: {SIMULATION}')


def _build(cls: type[DataclassType], data: Any, where: str) -> DataclassType:
    """Return a ``cls`` from plain data; lists become tuples, nested mappings dataclasses."""
    if not isinstance(data, dict):
        raise ValueError(f'{where}: expected a mapping for {cls.__name__}, got {data!r}')
    known = {field.name: default_of(field) for field in fields(cls)}
    for key in data:
        if key not in known:
            closest = difflib.get_close_matches(str(key), known, 1)
            hint = f', did you mean {closest[0]!r}?' if closest else ''
            raise ValueError(f'{where}: unknown key {key!r}{hint}')
    for key, default in known.items():
        expect(key in data or default is not MISSING, f'{where}: {key}', 'a value', 'none')
    types = get_type_hints(cls)
    return cls(
        **{key: _convert(types[key], value, f'{where}: {key}') for key, value in data.items()}
    )


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as ``kind``: a dataclass, a tuple (of dataclasses) or a plain value."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _build(kind, value, where)
    if get_origin(kind) is tuple:
        return _convert_list(get_args(kind), value, where)
    if isinstance(kind, UnionType):
        return _convert(_member(kind, value), value, where)
    types, description = PLAIN[get_origin(kind) or kind]
    fits = isinstance(value, types) and not isinstance(value, bool)
    expect(fits, where, description, repr(value))
    return kind(value)


def _member(kind: UnionType, value: Any) -> Any:
    """Return the type of a union that fits a value; the first one for an error message."""
    members = get_args(kind)
    listed = [member for member in members if get_origin(member) is tuple]
    mapped = [member for member in members if get_origin(member) is dict]
    fitting = listed if isinstance(value, list) else mapped if isinstance(value, dict) else []
    return fitting[0] if fitting else members[0]


def _convert_list(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """Return a YAML list as a tuple; ``...`` in ``kinds`` stands for any length."""
    expect(isinstance(value, list), where, 'a list', repr(value))
    expect(kinds[-1] is ... or len(value) == len(kinds), where, f'{len(kinds)} values', value)
    return tuple(_convert(kinds[0], item, where) for item in value)
