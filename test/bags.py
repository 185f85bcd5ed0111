"""Bags for tests: an Episode written as the recorder writes it, without ROS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO
from unittest.mock import patch

from efm_core.action import PERTURBATION
from efm_core.embodiment import Embodiment
from efm_core.episode import Episode, Kind, Outcome, Termination
from efm_core.images import encode_png
from efm_core.observation import Observation
from efm_core.topics import TABLE
from efm_data.message_types import typestore_for
import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
import yaml

START = 1
END = 2
TYPES = {topic.name: topic.type for topic in TABLE}
IMAGE = 'image'  # topic of the camera
PERIOD_NS = 100_000_000
LAG_NS = 20_000_000  # other cameras and joints, behind the first camera


def make_episode(embodiment: Embodiment, index: int = 0, steps: int = 4, **fields: Any) -> Episode:
    """Return an episode of noise, repeatable from its index."""
    rng = np.random.default_rng(index)
    space = embodiment.action
    shape = (steps, *(space.chunk,) * (space.chunk > 1), len(space.names))
    tokens = rng.integers(0, min(space.levels), shape)
    low = np.array(space.low)
    high = np.array(space.high)
    size = (steps + 1, *embodiment.observation_size, 3)
    episode = Episode(
        episode_id=f'episode-{index}',
        index=index,
        kind=Kind.PRACTICE,
        instruction='push the red cube to the blue cylinder',
        seed=100 + index,
        observations=Observation.of(rng.integers(0, 256, size, np.uint8)),
        stamps=(1 + space.chunk * np.arange(steps + 1, dtype=np.int64)) * PERIOD_NS,
        tokens=tokens.astype(np.int64).reshape(steps, space.chunk * len(space.names)),
        actions=(low + (high - low) * tokens / (np.array(space.levels) - 1)).astype(np.float32),
        log_probs=rng.uniform(-5, -1, steps).astype(np.float32),
        steps_to_go=np.linspace(steps, 0, steps + 1, dtype=np.float32),
        outcome=Outcome.SUCCESS,
        termination=Termination.SUCCESS_DETECTED,
        policy_version=1,
        reward_version=1,
        embodiment_hash=embodiment.hash,
        true_success=True,
        true_success_per_step=np.arange(steps + 1) == steps,
    )
    return replace(episode, **fields)


class FastYaml:
    """The part of ruamel.yaml that rosbags writes metadata with; libyaml is 20 times as fast."""

    def __init__(self, typ: str):
        assert typ == 'safe'

    def dump(self, data: Any, stream: TextIO) -> None:
        yaml.dump(data, stream, yaml.CSafeDumper, default_flow_style=False)


class BagWriter:
    """Writes messages given as nested dictionaries of their fields."""

    def __init__(self, path: Path, namespace: str = '/robot_0', *, plugin: str = 'mcap'):
        self._types = typestore_for(frozenset())
        self._writer = Writer(path, version=9, storage_plugin=StoragePlugin[plugin.upper()])
        self._namespace = namespace
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *error: object) -> None:
        with patch('rosbags.rosbag2.writer.YAML', FastYaml):
            self._writer.close()

    def write(self, topic: str, stamp: int, **fields: Any) -> None:
        """Write one message of the topic table; ``stamp`` [ns] goes into its header."""
        image = 'CompressedImage' if topic.startswith('observation_') else 'Image'
        kind = TYPES.get(topic, f'sensor_msgs/msg/{image}')  # further cameras
        stamp = int(stamp)
        if topic not in self._connections:
            name = topic if topic.startswith('/') else f'{self._namespace}/{topic}'
            self._connections[topic] = self._writer.add_connection(
                name, kind, typestore=self._types
            )
        if kind != 'std_msgs/msg/String':
            fields['header'] = {'stamp': self.time(stamp), 'frame_id': ''}
        data = self._types.serialize_cdr(self._message(kind, fields), kind)
        self._writer.write(self._connections[topic], stamp, data)

    def time(self, stamp: int) -> dict[str, int]:
        return {'sec': stamp // 1_000_000_000, 'nanosec': stamp % 1_000_000_000}

    def _message(self, kind: str, fields: dict[str, Any]) -> Any:
        """Return a message of ``kind``, with zeros for the fields that are not given."""
        values = {}
        for name, (node, rest) in self._types.fielddefs[kind][1]:
            values[name] = self._value(int(node), rest, fields.get(name))
        return self._types.types[kind](**values)

    def _value(self, node: int, rest: Any, value: Any) -> Any:
        if node == 1:  # a primitive type
            default = {'string': '', 'bool': False, 'float32': 0.0, 'float64': 0.0}
            return value if value is not None else default.get(rest[0], 0)
        if node == 2:  # another message
            return self._message(rest, value or {})
        (_, inner), _ = rest
        if value is None:
            value = [0] * rest[1] if node == 3 else []
        if inner[0] == 'string' or isinstance(inner, str):
            return (
                [self._message(inner, item) for item in value]
                if value and inner[0] != 'string'
                else list(value)
            )
        return np.asarray(value, inner[0])


def write_bag(
    episode: Episode,
    path: Path,
    namespace: str = '/robot_0',
    plugin: str = 'mcap',
    without: tuple[str, ...] = (),
    commands: tuple[int, ...] | None = None,
    steps: int | None = None,
    between: bool = False,
    start: int | None = None,
    robot: Embodiment | None = None,
) -> Path:
    """
    Write ``episode`` as a bag in the folder ``path``.

    :param plugin: ``mcap`` or ``sqlite3``.
    :param without: topics to leave out; ``observation`` is then written as ``image``.
    :param commands: stamps of the actions, or chunk steps, that became commands; None for all.
    :param steps: executed actions that the outcome counts; None for all.
    :param between: also camera pictures at the control steps within chunks.
    :param start: stamp of START [ns]; None for that of the first observation.
    :param robot: a robot with several cameras or proprioception.
    """
    with BagWriter(path, namespace, plugin=plugin) as bag:
        about = {
            'episode_id': episode.episode_id,
            'index': episode.index,
            'kind': episode.kind.value,
            'instruction': episode.instruction,
        }
        event = {**about, 'seed': episode.seed, 'embodiment_hash': episode.embodiment_hash}

        def write(topic: str, stamp: int, **fields: Any) -> None:
            held = topic == 'command' and commands is not None and stamp not in commands
            if topic not in without and not held:
                bag.write(topic, stamp, **fields)

        first = episode.stamps[0] if start is None else start
        last = episode.stamps[-1]
        write('episode_event', first, event=START, **event)
        for t, stamp in enumerate(episode.stamps):
            _write_step(write, episode, t, stamp, 'observation' in without)
            if robot:
                _write_parts(write, episode.observations[t], int(stamp), robot, without)
            following = episode.stamps[min(t + 1, len(episode))] if between else stamp
            for at in range(stamp + PERIOD_NS, following, PERIOD_NS):
                _write_picture(write, episode.observations.images[0][t], at)
        write('episode_event', last, event=END, **event)
        write(
            'outcome',
            last,
            outcome=episode.outcome.value,
            termination=episode.termination.value,
            steps=len(episode) if steps is None else steps,
            policy_version=episode.policy_version,
            reward_version=episode.reward_version,
            **about,
        )
    return path


def _write_parts(
    write: Any, seen: Observation, stamp: int, robot: Embodiment, without: tuple[str, ...]
) -> None:
    """Write what an observation has besides the first camera; raw messages are a little older."""
    raw = 'observation' in without
    for camera, image in zip(robot.cameras[1:], seen.images[1:], strict=True):
        if raw:
            _write_picture(write, image, stamp - LAG_NS, camera.topic)
        else:
            data = np.frombuffer(encode_png(image), np.uint8)
            write(f'observation_{camera.name}', stamp, format='png', data=data)
    names = robot.proprioception_names
    values = seen.proprioception.astype(float)
    if raw:
        joints = [name.rpartition('.')[2] for name in names]
        write('joint_states', stamp - LAG_NS, name=joints, position=values)
    elif names:
        write('proprioception', stamp, name=list(names), position=values)


def _write_picture(write: Any, image: np.ndarray, stamp: int, topic: str = '') -> None:
    height, width = image.shape[:2]
    picture = {'height': height, 'width': width, 'step': 3 * width, 'encoding': 'rgb8'}
    write(topic or IMAGE, stamp, data=image.ravel(), **picture)


def _write_step(write: Any, episode: Episode, t: int, stamp: int, raw: bool) -> None:
    """Write all messages of one observation, as they appear on the wire."""
    image = episode.observations.images[0][t]
    if raw:
        _write_picture(write, image, stamp)
    data = np.frombuffer(encode_png(image), np.uint8)
    write('observation', stamp, format='rgb8; png compressed bgr8', data=data)
    about = {'episode_id': episode.episode_id, 'step': t}
    if not np.isnan(episode.steps_to_go[t]):
        write('steps_to_go', stamp, steps_to_go=float(episode.steps_to_go[t]), **about)
    if episode.true_success_per_step is not None:
        write('world_state', stamp, success=bool(episode.true_success_per_step[t]))
    chunked = episode.actions.ndim == 3
    k = min(t, len(episode) - 1)  # the policy answers the last observation too; nobody executes it
    write(
        'action',
        stamp,
        source='policy' if episode.perturbed is None or not episode.perturbed[k] else PERTURBATION,
        policy_version=episode.policy_version,
        embodiment_hash=episode.embodiment_hash,
        tokens=episode.tokens[k],
        values=episode.actions[k].ravel(),
        chunk_steps=len(episode.actions[k]) if chunked else 1,
        period={'sec': 0, 'nanosec': PERIOD_NS if chunked else 0},
        log_probability=float(episode.log_probs[k]),
        **about,
    )
    if t < len(episode):
        for row in range(len(episode.actions[k]) if chunked else 1):
            write('command', stamp + row * PERIOD_NS)
