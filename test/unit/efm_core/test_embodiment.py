"""The embodiment: read from YAML, hashed, refused when no robot can have it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, KW_ONLY, replace
import hashlib
import json

from arms import make_arm
from efm_core.command import Command, Limits
from efm_core.embodiment import (
    ActionSpace,
    Camera,
    Embodiment,
    load_embodiment,
    Proprioception,
    StepsToGoRange,
)
from efm_core.episode_rules import EpisodeRules
import numpy as np
import pytest

MINIMAL = """
name: robot
cameras: [{name: wrist, topic: image, height: 48, width: 64}]
observation_size: [32, 32]
action: {names: [x], unit: m, low: [-1], high: [1]}
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads an embodiment from text."""

    def load(text):
        path = tmp_path / 'robot.yaml'
        path.write_text(text)
        return load_embodiment(path)

    return load


def test_shipped_table_arm_fits_the_simulator(embodiment):
    assert embodiment.cameras == (
        Camera('table', 'image', height=64, width=64, crop=(0, 0, 64, 64)),
    )
    assert [spec.shape for spec in embodiment.image_specs] == [(64, 64, 3)]
    assert embodiment.proprioception_spec.shape == (0,)
    assert embodiment.action.names == ('delta_x', 'delta_y')
    assert embodiment.control_rate_hz == 10.0
    assert embodiment.episode.success_dwell == 2


def test_omitted_keys_have_defaults(load):
    robot = load(MINIMAL)
    assert robot.instruction_language == 'en'
    assert robot.action.bins == 11
    assert robot.episode == EpisodeRules()


def test_whole_numbers_become_floats_where_floats_are_meant(load):
    assert load(MINIMAL) == load(MINIMAL.replace('[-1]', '[-1.0]'))
    assert isinstance(load(MINIMAL).action.low[0], float)


def test_hash_is_stable(load):
    """A change of this hash makes all existing bags and checkpoints those of another robot."""
    canonical = (
        '{"action":{"high":[1.0],"low":[-1.0],"names":["x"],"unit":"m"},'
        '"cameras":[{"height":48,"name":"wrist","topic":"image","width":64}],'
        '"name":"robot","observation_size":[32,32]}'
    )
    assert load(MINIMAL).hash == hashlib.sha256(canonical.encode()).hexdigest()[:16]
    assert load(MINIMAL).hash == '0eb2633c4424d41a'


def test_hash_does_not_depend_on_the_order_of_keys_or_on_comments(load):
    lines = MINIMAL.strip().splitlines()
    assert load('\n'.join(reversed(lines)) + '\n# more\n').hash == load(MINIMAL).hash


def test_hash_depends_on_every_field(embodiment):
    camera = embodiment.cameras[0]
    changes = {
        'name': 'other',
        'cameras': (replace(camera, topic='other'),),
        'observation_size': (64, 32),
        'action': replace(embodiment.action, bins=13),
        'instruction_language': 'de',
        'command': replace(embodiment.command, frame='other'),
        'control_rate_hz': 10.5,
        'action_lifetime_s': 0.4,
        'max_permit_s': 2.0,
        'proprioception': (Proprioception('joint_positions', ('a',)),),
        'observation_max_age_s': 0.2,
        'steps_to_go': replace(embodiment.steps_to_go, bins=31),
        'episode': replace(embodiment.episode, success_threshold=3.0),
    }
    assert changes.keys() == {field.name for field in fields(Embodiment)} - {'_'}
    others = [replace(embodiment, **{name: value}) for name, value in changes.items()]
    assert len({embodiment.hash, *(other.hash for other in others)}) == len(changes) + 1


@dataclass(frozen=True)
class LaterCamera(Camera):
    """A camera of a later release, with an optional field."""

    _: KW_ONLY
    exposure_s: float = 0.01


@dataclass(frozen=True)
class LaterLimits(Limits):
    """Limits of a later release, with an optional field."""

    _: KW_ONLY
    max_force: float = 0.0


@dataclass(frozen=True)
class LaterEmbodiment(Embodiment):
    """An embodiment of a later release, with an optional field."""

    _: KW_ONLY
    payload_kg: float = 0.0


def values_of(instance):
    return {field.name: getattr(instance, field.name) for field in fields(instance)}


def test_a_new_optional_field_does_not_change_the_hash_until_a_robot_sets_it(embodiment):
    values = values_of(embodiment)
    assert LaterEmbodiment(**values).hash == embodiment.hash
    assert LaterEmbodiment(**values, payload_kg=1.0).hash != embodiment.hash


def test_a_new_optional_field_of_a_part_does_not_change_the_hash_either(embodiment):
    camera = values_of(embodiment.cameras[0])
    later = replace(embodiment, cameras=(LaterCamera(**camera),))
    assert later.hash == embodiment.hash
    later = replace(embodiment, cameras=(LaterCamera(**camera, exposure_s=0.02),))
    assert later.hash != embodiment.hash
    command = replace(embodiment.command, limits=LaterLimits())
    assert replace(embodiment, command=command).hash == embodiment.hash


def test_a_field_that_is_set_to_its_default_does_not_change_the_hash(load):
    longer = f'{MINIMAL}command: {{frame: table, state_timeout_s: 0.2}}\ncontrol_rate_hz: 10\n'
    assert load(longer).command == Command()
    assert load(longer).hash == load(MINIMAL).hash


def test_another_hash_is_refused_with_both(embodiment):
    embodiment.check_same(embodiment.hash, 'here')
    with pytest.raises(ValueError, match=f'policy.onnx: .*{embodiment.hash}.*, got 0123'):
        embodiment.check_same('0123', 'policy.onnx')


def test_missing_file_is_named(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r'embodiment: expected a YAML file, got .*no.yaml'
    ):
        load_embodiment(tmp_path / 'no.yaml')


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('observation_size', 'observaton_size', "did you mean 'observation_size'"),
        ('height: 48', 'hight: 48', r"cameras: unknown key 'hight', did you mean 'height'"),
        ('name: robot', 'zzzzz: 1', "unknown key 'zzzzz'$"),
        ('name: robot', '', r'robot.yaml: name: expected a value, got none'),
        ('name: wrist, ', '', r'robot.yaml: cameras: name: expected a value, got none'),
        ('name: robot', '5: robot', r'robot.yaml: unknown key 5$'),
        ('[-1]', '[-1, 2]', r'as many low and high as names \(1\), got 2 and 1'),
        ('[-1]', '[1]', 'expected low < high'),
        ('unit: m', 'unit: m, tokeniser: magic', "tokeniser: expected .*, got 'magic'"),
        ('unit: m', 'unit: m, bins: 10', 'bins: expected an odd number of at least 3, got 10'),
        ('unit: m', 'unit: m, bins: 1', 'bins: expected at least 2 levels, got 1'),
        ('{names: [x], unit: m, low: [-1], high: [1]}', '3', 'expected a mapping for ActionSpace'),
        (MINIMAL, '', 'expected a mapping for Embodiment, got None'),
    ],
)
def test_wrong_file_is_refused_and_says_why(load, old, new, said):
    with pytest.raises(ValueError, match=said):
        load(MINIMAL.replace(old, new))


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('height: 48', 'height: tall', 'height: expected a whole number'),
        ('[32, 32]', '32', 'observation_size: expected a list'),
        ('low: [-1]', 'low: [left]', 'low: expected a number'),
        ('name: robot', 'name: robot\ncontrol_rate_hz: 0', 'control_rate_hz: expected'),
        ('height: 48', 'height: 0', r'wrist: height, width: expected 1 to 8192 px, got \(0, 64\)'),
        ('width: 64', 'width: 64, crop: [32, 0, 64, 48]', 'crop: expected'),
        ('unit: m', 'unit: 5', 'unit: expected text, got 5'),
        ('high: [1]', 'high: [.inf]', 'expected low < high'),
        ('[32, 32]', '[32]', 'observation_size: expected'),
        (
            'name: robot',
            'name: robot\ncontrol_rate_hz: 1.0e+10',
            '.* in 0.01 to 1000',
        ),
        ('name: robot', 'name: robot\ncontrol_rate_hz: .nan', '.* in 0.01 to 1000'),
        ('name: robot', 'name: robot\naction_lifetime_s: 1.0e+9', r'lifetime_s: .* 0.001 to 100'),
        (
            'name: robot',
            'name: robot\nepisode: {max_steps: 9999999}',
            r'episode.max_steps: .*',
        ),
        (
            'name: robot',
            'name: robot\nsteps_to_go: {bins: 99999999}',
            r'steps_to_go.bins: .*',
        ),
        ('unit: m', 'unit: m, bins: 1000001', 'action.bins: expected at most 10001 levels'),
        ('high: [1]', 'high: [1.0e+30]', r'action.low, action.high: expected at most 1e\+06'),
        ('[32, 32]', '[32, 999999]', r'observation_size: expected 1 to 8192 px'),
        (
            'topic: image',
            'topic: action',
            "a topic that no node .*, got 'action'",
        ),
        ('topic: image', 'topic: /diagnostics', 'topic that no node of the suite publishes'),
        (
            'topic: image',
            'topic: the image',
            "words of letters.*, got 'the image'",
        ),
        ('topic: image', "topic: ''", 'topic: expected words of letters'),
    ],
)
def test_values_that_no_robot_has_are_refused(load, old, new, said):
    with pytest.raises(ValueError, match=said):
        load(MINIMAL.replace(old, new))


@pytest.mark.parametrize(
    ('line', 'message'),
    [
        ('reset: {strategy: script}', 'robot.yaml: reset: expected no such key; .*reset_world'),
        ('reset: {timeout_s: 60.0}', r"reset: .* reset_timeout_s .*, got \{'timeout_s': 60.0\}"),
    ],
)
def test_a_key_that_no_code_reads_is_refused_in_one_line(load, line, message):
    with pytest.raises(ValueError, match=message) as error:
        load(MINIMAL + line)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('field', ['topic', 'pose_topic'])
def test_a_driver_may_not_have_a_topic_of_the_suite_or_of_the_camera(field):
    """The guard would receive its own actions, or the policy its own commands, as pictures."""
    arm = make_arm('cartesian_pose_controller')
    for topic in ('action', '/permit', 'estop'):
        with pytest.raises(ValueError, match=f'command.{field}: expected a topic that no node'):
            replace(arm, command=replace(arm.command, **{field: topic}))
    with pytest.raises(ValueError, match=r'topics of cameras, .*: expected a topic for'):
        replace(arm, command=replace(arm.command, **{field: arm.cameras[0].topic}))


TWO_CAMERAS = MINIMAL.replace(
    '[{name: wrist, topic: image, height: 48, width: 64}]',
    '[{name: table, topic: image, height: 48, width: 64}, '
    '{name: hand, topic: hand/image, height: 60, width: 80, role: wrist, size: [24, 16]}]',
)
STATE = """
proprioception:
- {source: joint_positions, joints: [b, a]}
- {source: joint_velocities, joints: [a]}
- {source: tool_pose}
"""


def cameras(count):
    return tuple(Camera(f'c{k}', f'image{k}', height=8, width=8) for k in range(count))


def test_a_robot_may_have_several_cameras_each_with_its_own_role_and_size(load):
    robot = load(TWO_CAMERAS)
    assert [camera.role for camera in robot.cameras] == ['scene', 'wrist']
    assert robot.image_sizes == ((32, 32), (24, 16))
    assert [spec.name for spec in robot.image_specs] == ['image of table', 'image of hand']
    assert [spec.shape for spec in robot.image_specs] == [(32, 32, 3), (24, 16, 3)]


def test_a_policy_may_see_joints_velocities_and_the_pose_of_the_tool(load):
    robot = load(MINIMAL + STATE)
    assert robot.proprioception_names == (
        'joint_positions.b',
        'joint_positions.a',
        'joint_velocities.a',
        *(f'tool_pose.{part}' for part in ('x', 'y', 'z', 'qx', 'qy', 'qz', 'qw')),
    )
    assert robot.proprioception_spec.shape == (10,)
    assert robot.proprioception_spec.dtype is np.float32
    assert load(f'{MINIMAL}proprioception: []').hash == load(MINIMAL).hash


@pytest.mark.parametrize('count', [1, 2, 8])
def test_a_robot_has_one_to_eight_cameras(embodiment, count):
    assert len(replace(embodiment, cameras=cameras(count)).cameras) == count


@pytest.mark.parametrize('count', [0, 9])
def test_no_camera_and_a_ninth_are_refused(embodiment, count):
    with pytest.raises(ValueError, match='cameras: expected 1 to 8, each with its own name'):
        replace(embodiment, cameras=cameras(count))


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('name: hand', 'name: table', r"cameras: .* its own name, got \['table', 'table'\]"),
        ('hand/image', 'image', "topics of cameras, .*: expected a topic for each, got 'image'"),
        ('role: wrist', 'role: hand', "hand: role: expected one of scene, wrist, got 'hand'"),
        ('[24, 16]', '[0, 16]', r'hand: size: expected 1 to 8192 px, got \(0, 16\)'),
        ('[24, 16]', '[24]', 'size: expected 2 values'),
        (
            'name: robot',
            'name: robot\nobservation_max_age_s: 11.0',
            'observation_max_age_s: expected a number in 0.001 to 10, got 11.0',
        ),
    ],
)
def test_cameras_that_no_robot_has_are_refused(load, old, new, said):
    with pytest.raises(ValueError, match=said):
        load(TWO_CAMERAS.replace(old, new))


@pytest.mark.parametrize(
    ('old', 'new', 'said'),
    [
        ('joint_velocities', 'torque', "source: expected joint_positions, .*, got 'torque'"),
        ('{source: tool_pose}', 'tool_pose', 'mapping for Proprioception'),
        ('{source: tool_pose}', '{joints: [a]}', 'proprioception: source: expected a value'),
        ('source: tool_pose', 'source: tool_pose, joints: [a]', 'joints of tool_pose: .* none'),
        (', joints: [b, a]', '', 'proprioception: joints: expected one or more, each once'),
        ('joints: [b, a]', 'joints: [a, a]', 'proprioception: joints: expected one or more'),
        ('joint_velocities', 'joint_positions', 'proprioception: expected each number once'),
    ],
)
def test_proprioception_that_no_robot_has_is_refused(load, old, new, said):
    with pytest.raises(ValueError, match=said):
        load(MINIMAL + STATE.replace(old, new))


def test_only_one_camera_without_proprioception_is_an_only_camera(load):
    assert load(MINIMAL).only_camera.name == 'wrist'
    said = (
        'robot: expected one camera and no proprioception, .*, got cameras {}; proprioception {}'
    )
    for text, message in (
        (TWO_CAMERAS, said.format('table, hand', 'none')),
        (MINIMAL + STATE, said.format('wrist', 'joint_positions.b, joint_positions.a, .*')),
    ):
        with pytest.raises(ValueError, match=message) as error:
            _ = load(text).only_camera
        assert '\n' not in str(error.value)


def test_action_spec_holds_the_bounds_in_float32():
    space = ActionSpace(('x', 'y'), 'm', low=(-0.1, -0.2), high=(0.1, 0.3))
    assert space.spec.shape == (2,)
    space.spec.check(np.array([-0.2, 0.3], np.float32))
    with pytest.raises(ValueError, match='action'):
        space.spec.check(np.array([0, 0.31], np.float32))


def test_steps_to_go_bins_lie_evenly_from_none_to_most():
    values = StepsToGoRange(max_steps=8, bins=5).values
    assert values.tolist() == [0, 2, 4, 6, 8]
    assert values.dtype == np.float32


def test_embodiment_cannot_be_changed_by_accident(embodiment):
    with pytest.raises(AttributeError):
        embodiment.name = 'other'
    assert hash(embodiment.cameras)
    assert isinstance(embodiment, Embodiment)


def test_a_chunk_of_one_is_the_same_contract_as_no_chunk(embodiment):
    assert embodiment.action.chunk == 1
    assert replace(embodiment, action=replace(embodiment.action, chunk=1)).hash == embodiment.hash
    assert (embodiment.decision_ns, embodiment.period_ns) == (100_000_000, 100_000_000)
    others = [replace(embodiment, action=replace(embodiment.action, chunk=n)) for n in (2, 4)]
    assert len({embodiment.hash, *(other.hash for other in others)}) == 3
    assert others[1].decision_ns == 400_000_000


def test_bins_may_be_one_number_for_each_dimension(load):
    two = MINIMAL.replace('names: [x]', 'names: [x, y]').replace('[-1]', '[-1, -1]')
    space = load(two.replace('high: [1]', 'high: [1, 2], bins: [3, 11], chunk: 4')).action
    assert (space.levels, space.chunk, space.single_step.chunk) == ((3, 11), 4, 1)


@pytest.mark.parametrize(
    ('new', 'said'),
    [
        ('unit: m, bins: [3, 5]', 'bins: expected one for each of 1'),
        ('unit: m, bins: [4]', 'bins: expected an odd number of at least 3, got 4'),
        ('unit: m, bins: [many]', 'bins: expected a whole number'),
        ('unit: m, chunk: 0', 'action.chunk: expected 1 to 100, got 0'),
        ('unit: m, chunk: 1.5', 'chunk: expected a whole number'),
    ],
)
def test_levels_and_chunks_that_no_robot_has_are_refused(load, new, said):
    with pytest.raises(ValueError, match=said):
        load(MINIMAL.replace('unit: m', new))


def test_a_robot_may_not_stop_between_two_chunk_steps(embodiment):
    action = replace(embodiment.action, chunk=2)
    with pytest.raises(ValueError, match=r'action_lifetime_s: .*between its steps'):
        replace(embodiment, action=action, action_lifetime_s=0.05)


def test_differences_are_listed_when_the_other_contract_is_known(embodiment):
    chunked = replace(embodiment, action=replace(embodiment.action, chunk=4))
    older = json.loads(json.dumps(asdict(embodiment)))
    del older['action']['chunk']
    del older['steps_to_go']
    older['proprioception'] = []  # a key of an earlier version
    with pytest.raises(ValueError, match=r'\(action.chunk: 4 here, 1 there\)'):
        chunked.check_same(embodiment.hash, 'policy.onnx', older)
    other = replace(embodiment, steps_to_go=StepsToGoRange(max_steps=50))
    with pytest.raises(ValueError, match=r'\(steps_to_go.max_steps: 50 here, 60 there\)'):
        other.check_same(embodiment.hash, 'policy.onnx', older)
