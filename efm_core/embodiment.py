"""
The contract between a robot and everything that was learned for it.

One YAML file describes cameras, actions, limits and episodes. It becomes one frozen dataclass,
whose canonical JSON is hashed; the hash stands in every bag, checkpoint, ONNX file and message.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, is_dataclass, KW_ONLY, replace
import difflib
import hashlib
import json
import math
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from efm_core.command import Command, FIRST_FIELDS
from efm_core.config import expect
from efm_core.episode_rules import EpisodeRules
from efm_core.specs import ArraySpec, image_spec
import numpy as np
import yaml

# What YAML may say for a plain field: the Python types, and the word for people.
PLAIN = {
    float: ((int, float), 'a number'),
    int: (int, 'a whole number'),
    str: (str, 'text'),
    dict: (dict, 'a mapping'),
}
LONGEST_CHUNK = 100  # control steps
SIMULATION = 'gymnasium'  # section of the file that is no part of the contract: who plays it


@dataclass(frozen=True)
class Camera:
    """
    One camera and what the policy sees of it.

    :param crop: left, top, width, height [px]; zero width keeps the whole picture.
    """

    name: str
    topic: str
    _: KW_ONLY
    height: int
    width: int
    crop: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self):
        """
        Refuse a picture of no size, or a crop that is not inside it.

        :raises ValueError: naming the camera.
        """
        left, top, width, height = self.crop
        size = (self.height, self.width)
        expect(min(size) > 0, f'{self.name}: height, width', '1 px or more', size)
        expect(
            min(self.crop) >= 0 and left + width <= self.width and top + height <= self.height,
            f'{self.name}: crop',
            f'left, top, width, height inside {self.width} x {self.height} px',
            self.crop,
        )


@dataclass(frozen=True)
class ActionSpace:
    """
    What an action is and how it becomes tokens.

    :param names: one word per dimension.
    :param low: smallest value per dimension, in ``unit``.
    :param tokeniser: ``uniform`` (one token per dimension) or ``sign_magnitude`` (two, as the
        paper's LanguageTable).
    :param bins: levels, one number for all dimensions or a list with one for each. Odd where
        an action is a displacement, so that zero is one of them.
    :param chunk: H, control steps that the policy decides at once: its action is H rows, one
        executed each control period. What the learner counts in steps is then counted in chunks.
    """

    names: tuple[str, ...]
    unit: str
    _: KW_ONLY
    low: tuple[float, ...]
    high: tuple[float, ...]
    tokeniser: str = 'uniform'
    bins: int | tuple[int, ...] = 11
    chunk: int = 1

    def __post_init__(self):
        """
        Refuse an action space that makes no sense.

        :raises ValueError: when lengths disagree, a range is empty or the tokeniser is unknown.
        """
        if not len(self.names) == len(self.low) == len(self.high):
            raise ValueError(
                f'action: expected as many low and high as names ({len(self.names)}), '
                f'got {len(self.low)} and {len(self.high)}'
            )
        bounds = zip(self.low, self.high, strict=True)
        if not all(-math.inf < low < high < math.inf for low, high in bounds):
            raise ValueError(f'action: expected low < high, got {self.low} and {self.high}')
        if self.tokeniser not in ('uniform', 'sign_magnitude'):
            raise ValueError(
                f'action.tokeniser: expected uniform or sign_magnitude, got {self.tokeniser!r}'
            )
        for bins in self.levels:
            expect(bins >= 2, 'action.bins', 'at least 2 levels', bins)
        if self.tokeniser == 'sign_magnitude':
            self.check_zero_is_a_level()
        expect(
            1 <= self.chunk <= LONGEST_CHUNK, 'action.chunk', f'1 to {LONGEST_CHUNK}', self.chunk
        )

    def check_zero_is_a_level(self) -> None:
        """
        Refuse levels of which none is in the middle.

        :raises ValueError: naming the number of levels.
        """
        for bins in self.levels:
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
        """The same for one control step."""
        return replace(self, chunk=1)

    @property
    def spec(self) -> ArraySpec:
        """The array spec of one row, ``(A,)`` float32."""
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

    A step is one decision of the policy: an action, or a chunk of ``action.chunk`` of them.

    :param max_steps: value of the last bin, which also takes all that is larger [steps].
    """

    max_steps: int = 60
    bins: int = 61

    @property
    def values(self) -> np.ndarray:
        """The number of steps that each bin stands for, ``(bins,)`` float32 [steps]."""
        return np.linspace(0, self.max_steps, self.bins, dtype=np.float32)


@dataclass(frozen=True)
class Reset:
    """How the scene comes back to a start state: ``service`` calls ``reset_world``."""

    strategy: str = 'service'
    timeout_s: float = 20.0


@dataclass(frozen=True)
class Embodiment:
    """
    The whole contract of one robot.

    :param observation_size: height and width of the policy's input [px].
    :param proprioception: joint names that the policy sees, in order; empty for none.
    :param control_rate_hz: actions a second of robot time; of chunks, rows.
    :param action_lifetime_s: an action older than this is stale and is not executed; a row of a
        chunk from the time that it is due.
    """

    name: str
    cameras: tuple[Camera, ...]
    _: KW_ONLY
    observation_size: tuple[int, int]
    action: ActionSpace
    instruction_language: str = 'en'
    proprioception: tuple[str, ...] = ()
    command: Command = Command()  # noqa: RUF009, frozen
    control_rate_hz: float = 10.0
    action_lifetime_s: float = 0.3
    steps_to_go: StepsToGoRange = StepsToGoRange()
    episode: EpisodeRules = EpisodeRules()  # noqa: RUF009, frozen
    reset: Reset = Reset()

    def __post_init__(self):
        """
        Refuse a robot that cannot see, act or end an episode.

        :raises ValueError: naming the field, what was expected and what came.
        """
        expect(bool(self.cameras), 'cameras', 'at least one', self.cameras)
        for name, value in (
            ('observation_size', min(self.observation_size)),
            ('control_rate_hz', self.control_rate_hz),
            ('action_lifetime_s', self.action_lifetime_s),
            ('steps_to_go.max_steps', self.steps_to_go.max_steps),
            ('steps_to_go.bins', self.steps_to_go.bins - 1),
            ('episode.max_steps', self.episode.max_steps),
            ('episode.success_threshold', self.episode.success_threshold),
            ('episode.success_dwell', self.episode.success_dwell),
            ('reset.timeout_s', self.reset.timeout_s),
        ):
            expect(0 < value < math.inf, name, 'more than that', value)
        if self.command.mode == 'delta':
            self.action.check_zero_is_a_level()
        if self.action.chunk > 1:
            lasts = self.action_lifetime_s
            period_s = 1 / self.control_rate_hz
            wanted = (
                f'a control period of {period_s} s at least, or a chunk stops between its rows'
            )
            expect(lasts >= period_s, 'action_lifetime_s', wanted, lasts)
        self.command.check_action(self.action.names, self.action.low, self.action.high)

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON, first 16 hexadecimal digits."""
        contract = asdict(self)
        if self.action.chunk == 1:  # of a later contract: counts when set
            del contract['action']['chunk']
        kept = {*FIRST_FIELDS, *self.command.later_fields()}
        contract['command'] = {k: v for k, v in contract['command'].items() if k in kept}
        canonical = json.dumps(contract, sort_keys=True, separators=(',', ':'))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    @property
    def observation_spec(self) -> ArraySpec:
        """Spec of the policy's own input, ``(H, W, 3)`` uint8 RGB."""
        return image_spec('observation', *self.observation_size)

    @property
    def period_ns(self) -> int:
        """One control period [ns]."""
        return round(1e9 / self.control_rate_hz)

    @property
    def decision_ns(self) -> int:
        """Time between two decisions of a policy with chunks [ns]; 0 if every picture is one."""
        return self.action.chunk * self.period_ns if self.action.chunk > 1 else 0

    def check_same(self, other_hash: str, where: str, other: dict | None = None) -> None:
        """
        Refuse anything made for another embodiment.

        :param other: that embodiment as a card has it, to say where the two differ.
        :raises ValueError: with both hashes, and where the other one came from.
        """
        if other_hash != self.hash:
            mine = json.loads(json.dumps(asdict(self)))
            said = '; '.join(_differences(mine, other or {}))
            raise ValueError(
                f'{where}: expected embodiment {self.hash} ({self.name}), got {other_hash}; '
                'it was made for another robot or an older contract'
                + (f' ({said})' if said else '')
            )


def _differences(mine: dict, other: dict, where: str = '') -> Iterator[str]:
    """Yield what differs between two embodiments in plain data, of what both have."""
    if where == 'action.':
        other = {'chunk': 1, **other}
    for name in sorted(mine.keys() & other.keys()):
        here = mine[name]
        there = other[name]
        if isinstance(here, dict) and isinstance(there, dict):
            yield from _differences(here, there, f'{where}{name}.')
        elif here != there:
            yield f'{where}{name}: {here} here, {there} there'


def load_embodiment(path: str | Path) -> Embodiment:
    """
    Read an embodiment from a YAML file.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: on an unknown or missing key, with the closest known one.
    """
    data = _read(path)
    if isinstance(data, dict):
        data.pop(SIMULATION, None)
    return _build(Embodiment, data, Path(path).name)


def load_simulation(path: str | Path, cls: type) -> Any:
    """
    Read who plays an embodiment, a section of its file, as the dataclass ``cls``.

    :raises ValueError: when there is no such section; else as ``load_embodiment``.
    """
    data = _read(path)
    name = Path(path).name
    found = isinstance(data, dict) and SIMULATION in data
    expect(found, name, f'a section `{SIMULATION}`', 'none')
    return _build(cls, data[SIMULATION], f'{name}: {SIMULATION}')


def _read(path: str | Path) -> Any:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'embodiment: expected a YAML file, got {path}')
    return yaml.safe_load(path.read_text())


def _build(cls: type, data: Any, where: str) -> Any:
    """Return a ``cls`` from plain data; lists become tuples, nested mappings dataclasses."""
    if not isinstance(data, dict):
        raise ValueError(f'{where}: expected a mapping for {cls.__name__}, got {data!r}')
    known = {field.name for field in fields(cls)}
    for key in set(data) - known:
        closest = difflib.get_close_matches(key, known, 1)
        raise ValueError(
            f'{where}: unknown key {key!r}'
            + (f', did you mean {closest[0]!r}?' if closest else '')
        )
    types = get_type_hints(cls)
    try:
        return cls(
            **{key: _convert(types[key], value, f'{where}: {key}') for key, value in data.items()}
        )
    except TypeError as error:
        raise ValueError(f'{where}: {error}') from error


def _convert(kind: Any, value: Any, where: str) -> Any:
    """Return ``value`` as ``kind``: a dataclass, a tuple (of dataclasses) or a plain value."""
    if is_dataclass(kind):
        return _build(kind, value, where)
    if get_origin(kind) is tuple:
        return _convert_list(get_args(kind), value, where)
    if isinstance(kind, UnionType):
        plain, listed = get_args(kind)
        return _convert(listed if isinstance(value, list) else plain, value, where)
    types, words = PLAIN[kind]
    fits = isinstance(value, types) and not isinstance(value, bool)
    expect(fits, where, words, repr(value))
    return kind(value)


def _convert_list(kinds: tuple, value: Any, where: str) -> tuple:
    """Return a YAML list as a tuple of its kind; ``...`` in ``kinds`` stands for any length."""
    expect(isinstance(value, list), where, 'a list', repr(value))
    expect(kinds[-1] is ... or len(value) == len(kinds), where, f'{len(kinds)} values', value)
    return tuple(_convert(kinds[0], item, where) for item in value)
