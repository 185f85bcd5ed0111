"""What a run's words make of its nodes."""

from __future__ import annotations

from arms import make_arm
from efm_bringup.config import GraphConfig
from efm_bringup.graph import EVALUATE, make_graph, make_node, MODES, PRACTICE, RECORD
from efm_core.embodiment_files import save_embodiment
import pytest
from sources import ROOT


@pytest.fixture
def make(tmp_path):
    """Return a function that makes the config of a run that has a release."""
    (tmp_path / 'releases' / '000001').mkdir(parents=True)
    return lambda **words: GraphConfig(run=str(tmp_path), **words)


def by_name(mode, config):
    return {node.full_name: node for node in make_graph(mode, config)}


@pytest.mark.parametrize('mode', MODES)
@pytest.mark.parametrize('namespace', ['lab', '/lab/west/'])
def test_a_namespace_is_that_of_everything(make, mode, namespace):
    top = namespace.strip('/')
    plain = by_name(mode, make())
    inside = by_name(mode, make(namespace=namespace))
    assert set(inside) == {f'{top}/{name}' for name in plain}
    assert inside[f'{top}/fleet'].parameters['robots'] == f'{top}/robot_0,{top}/robot_1'
    assert ('policy_release', f'/{top}/policy_release') in inside[
        f'{top}/robot_1/guard'
    ].remappings
    assert ('policy_release', '/policy_release') in plain['robot_1/guard'].remappings


def test_a_namespace_that_ros_would_refuse_is_refused():
    with pytest.raises(ValueError, match=r"namespace: expected words of .*, got 'lab 1'"):
        GraphConfig(namespace='lab 1')


@pytest.mark.parametrize(
    ('word', 'world', 'follows'),
    [
        ('auto', 'mujoco', True),
        ('auto', 'gazebo', True),
        ('auto', 'real', False),
        ('true', 'real', True),
        ('false', 'mujoco', False),
    ],
)
def test_nodes_follow_the_clock_of_a_world_that_simulates(make, word, world, follows):
    nodes = by_name(PRACTICE, make(use_sim_time=word, world=world))
    given = {n.parameters['use_sim_time'] for n in nodes.values() if n.name != 'fleet'}
    assert given == {follows}


def test_only_a_world_of_ours_has_a_clock_for_each_robot(make):
    remappings = [make_node('guard', PRACTICE, make(world=w)).remappings for w in ('real', 'gym')]
    assert [('/clock', 'clock') in remapping for remapping in remappings] == [False, True]


def test_a_fake_driver_goes_by_the_wall_whatever_the_world(make):
    assert not make_node('fake_driver', PRACTICE, make()).parameters['use_sim_time']


def test_without_autostart_nodes_wait_and_so_does_the_fleet(make):
    nodes = by_name(EVALUATE, make(autostart=False))
    fleet = nodes.pop('fleet')
    assert {node.parameters['autostart'] for node in nodes.values()} == {False}
    assert fleet.parameters['ready_timeout_s'] == 3600.0


def test_python_nodes_are_not_composed():
    with pytest.raises(
        ValueError, match='use_composition: expected false, because a component container'
    ):
        GraphConfig(use_composition=True)


def test_respawn_is_for_all_but_the_fleet_whose_end_is_the_end(make):
    respawned = {name: n.respawn for name, n in by_name(PRACTICE, make(use_respawn=True)).items()}
    assert not respawned.pop('fleet')
    assert all(respawned.values())
    assert not any(node.respawn for node in make_graph(PRACTICE, make()))


def test_a_person_or_a_real_robot_never_makes_the_world_wait(make):
    def waits(mode, **words):
        return by_name(mode, make(**words))['robot_0/guard'].parameters['lockstep']

    assert waits(RECORD)
    assert not waits(RECORD, demonstrator='teleoperation')
    assert waits(PRACTICE, demonstrator='teleoperation')
    assert not waits(PRACTICE, world='real')
    assert not waits(PRACTICE, lockstep=False)


@pytest.mark.parametrize(
    ('demonstrator', 'node'),
    [('scripted', 'demonstrator'), ('teleoperation', 'teleoperation'), ('other', None)],
)
def test_a_recording_has_the_node_of_its_demonstrator(make, demonstrator, node):
    config = make(demonstrator=demonstrator)
    names = {node.name for node in make_graph(RECORD, config)}
    assert names & {'demonstrator', 'teleoperation', 'policy', 'reward'} == {node} - {None}
    recorders = (make_node('recorder', mode, config) for mode in (RECORD, PRACTICE))
    assert [recorder.parameters['receive_history'] for recorder in recorders] == [
        node is not None,
        True,
    ]


@pytest.mark.parametrize('world', ['mujoco', 'gazebo', 'gym', 'real'])
def test_a_bag_needs_the_truth_where_a_simulator_says_it(make, world):
    recorder = make_node('recorder', PRACTICE, make(world=world))
    assert recorder.parameters['require_world_state'] == (world != 'real')


@pytest.mark.parametrize(
    ('mode', 'words', 'expected'),
    [
        (EVALUATE, {'episodes_subdir': 'before'}, (True, 1)),  # the newest release, by its number
        (EVALUATE, {'episodes_subdir': 'before', 'server': 'host:1'}, (True, 0)),
        (EVALUATE, {}, (False, 0)),
        (RECORD, {'episodes_subdir': 'more'}, (False, 0)),
        (PRACTICE, {}, (False, 0)),
    ],
)
def test_an_evaluation_with_a_name_is_resumed(make, mode, words, expected):
    found = make_node('fleet', mode, make(**words)).parameters
    assert (found['resume'], found['policy_version']) == expected


def test_the_fleet_has_patience_with_people(make):
    def patience(**words):
        return make_node('fleet', RECORD, make(**words)).parameters.get('stall_timeout_s')

    assert patience() is None
    assert patience(demonstrator='teleoperation') == 36000.0


def test_a_scripted_demonstrator_is_refused_with_a_real_robot(make):
    with pytest.raises(ValueError, match='demonstrator: expected teleoperation or other for a re'):
        make_graph(RECORD, make(world='real'))
    assert make_graph(RECORD, make(world='real', demonstrator='teleoperation'))


def test_an_environment_names_its_own_demonstrator(make, tmp_path):
    own = ROOT / 'config' / 'embodiments' / 'pusht.yaml'
    found = make_node('demonstrator', RECORD, make(world='gym', embodiment=str(own)))
    assert found.parameters['demonstrator'] == 'efm_sim.gym.pusht:PushTDemonstrator'
    nobody = tmp_path / 'nobody.yaml'
    nobody.write_text(own.read_text().replace('  demonstrator:', '  # demonstrator:'))
    with pytest.raises(ValueError, match='or a `demonstrator` in the section gymnasium'):
        make_graph(RECORD, make(world='gym', embodiment=str(nobody)))
    assert make_graph(RECORD, make(world='gym', embodiment=str(nobody), demonstrator='other'))
    assert 'demonstrator' not in make_node('demonstrator', RECORD, make()).parameters


def test_the_environment_that_the_embodiment_names_is_asked_for(make):
    world = make_node('world', PRACTICE, make(world='gym'))
    assert world.parameters['simulator'] == 'gym'


@pytest.mark.parametrize('mode', MODES)
def test_a_real_robot_brings_its_own_world(make, mode):
    names = {node.name for node in make_graph(mode, make(world='real', demonstrator='other'))}
    assert not names & {'world', 'fake_driver'}


@pytest.mark.parametrize(
    ('driver', 'world', 'is_watched'),
    [
        ('forward_velocity_controller', 'real', True),
        ('moveit_servo', 'real', False),  # it has a watchdog of its own
        ('forward_position_controller', 'real', False),
        (None, 'mujoco', False),
    ],
)
def test_a_second_process_watches_the_guard_where_the_driver_would_go_on(
    make, tmp_path, driver, world, is_watched
):
    robot = save_embodiment(make_arm(driver), tmp_path / 'arm.yaml') if driver else ''
    nodes = by_name(PRACTICE, make(world=world, embodiment=str(robot)))
    assert ('robot_0/guard_watch' in nodes) == is_watched


def test_a_node_needs_a_release_only_if_it_loads_one(tmp_path):
    config = GraphConfig(run=str(tmp_path / 'nothing'))
    assert make_node('guard', PRACTICE, config).name == 'guard'
    with pytest.raises(FileNotFoundError, match='make one with `efm train`'):
        make_node('policy', PRACTICE, config)


def test_a_file_of_parameters_goes_on_top_of_what_the_graph_gives(make, tmp_path):
    path = tmp_path / 'parameters.yaml'
    path.write_text(
        '/**/supervisor:\n  ros__parameters: {permit_duration_s: 0.8}\n'
        '/robot_1/supervisor:\n'
        '  ros__parameters: {permit_duration_s: 0.9, reward_enabled: false}\n'
        'fleet:\n  ros__parameters: {episodes_per_rollout: 4}\n'
    )
    nodes = by_name(PRACTICE, make(params_file=str(path)))
    durations = [
        nodes[f'robot_{index}/supervisor'].parameters['permit_duration_s'] for index in (0, 1)
    ]
    assert durations == [0.8, 0.9]
    assert nodes['robot_0/supervisor'].parameters['reward_enabled']
    assert not nodes['robot_1/supervisor'].parameters['reward_enabled']
    assert nodes['fleet'].parameters['episodes_per_rollout'] == 4
    assert (
        nodes['robot_0/guard'].parameters == by_name(PRACTICE, make())['robot_0/guard'].parameters
    )


def test_practice_whose_bags_the_trainer_would_not_find_is_refused(make):
    with pytest.raises(
        ValueError, match='episodes_subdir: expected none, because the trainer reads practice'
    ):
        make_graph(PRACTICE, make(episodes_subdir='elsewhere'))
    assert make_graph(PRACTICE, make(episodes_subdir='practice'))
