"""How a run ends: asked to, killed, or because one of its nodes died."""

from __future__ import annotations

import json
import signal

from efm_data.episodes import find_bags
from efm_release.release import FILES, MANIFEST
import psutil
import pytest
from waiting import alive_after, Deadline, wait_for, wait_for_exit

FOREVER = ('--fleet', 1, '--body', 'tool', '--max-steps', 10, '--episodes', 100_000)
PROMISE_S = 5.0


def nodes_of(process):
    """Return the processes of the nodes, by their module."""
    found = {}
    for child in process.crew:
        try:
            words = child.cmdline()
        except psutil.NoSuchProcess:  # it has just ended, or is a zombie
            continue
        if '--ros-args' in words:
            found[words[words.index('-m') + 1]] = child
    return found


@pytest.mark.parametrize(
    ('number', 'code'),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)],
    ids=['ctrl_c', 'sigterm', 'closed_terminal'],
)
def test_a_run_that_is_asked_to_stop_ends_with_all_nodes_within_5_s(lab, send, number, code):
    verb = 'practice' if number == signal.SIGINT else 'evaluate'
    with lab.started(verb, *FOREVER) as process:
        assert len(nodes_of(process)) == (8 if verb == 'practice' else 7)
        assert not send(process, number, PROMISE_S)
        assert process.wait() == code
    system = (lab.run / 'logs' / verb / 'system.log').read_text()
    assert 'SIGKILL' not in system
    assert 'Traceback' not in (lab.run / 'said.txt').read_text()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['ctrl_c', 'sigterm'])
def test_an_evaluation_that_was_interrupted_goes_on_with_the_missing_episodes(lab, send, number):
    words = ('--fleet', 2, '--body', 'tool', '--max-steps', 10, '--seed', 1000, '--episodes', 60)
    words += ('--episodes-subdir', 'evaluation')

    def finished():
        lines = map(json.loads, lab.results('evaluate'))
        return [line['index'] for line in lines if line['termination'] == 'timeout']

    with lab.started('evaluate', *words) as process:
        assert not send(process, number, PROMISE_S)
    before = finished()
    assert 0 < len(before) < 60
    said = lab.efm('evaluate', *words)
    assert f'{60 - len(before)} of 60 episodes are missing' in ' '.join(said.split())
    assert sorted(finished()) == list(range(60))
    assert '0 of 60 episodes are missing' in ' '.join(lab.efm('evaluate', *words).split())
    assert len(finished()) == 60


def test_nodes_whose_launcher_was_killed_end_by_themselves(lab, send):
    with lab.started('evaluate', *FOREVER) as process:
        assert nodes_of(process)
        assert not send(process, signal.SIGKILL, 3 * PROMISE_S)


def test_a_node_that_dies_is_named_with_its_last_lines_and_ends_the_run(lab):
    with lab.started('evaluate', *FOREVER) as process:
        before = len(find_bags(lab.run / 'episodes' / 'evaluation'))
        nodes_of(process)['efm_supervisor.node'].kill()
        assert wait_for_exit(process, 2 * PROMISE_S) == 1
        assert not alive_after(process.crew, PROMISE_S)
    said = (lab.run / 'said.txt').read_text()
    assert 'robot_0/supervisor ended with code -9; its last lines:' in said
    assert 'evaluation-000000: ' in said
    assert len(find_bags(lab.run / 'episodes' / 'evaluation')) >= before


@pytest.mark.parametrize('name', ['efm_policy.node', 'efm_supervisor.node'])
def test_with_respawn_a_node_that_was_killed_comes_back_and_the_run_goes_on(lab, name):
    with lab.started('evaluate', *FOREVER, '--use-respawn') as process:
        first = nodes_of(process)[name]
        first.kill()

        def another():
            process.crew = process.children(recursive=True)
            return nodes_of(process).get(name) not in (None, first)

        wait_for(another, f'another {name}')
        broken = len(lab.results('evaluate'))
        wait_for(lambda: len(lab.results('evaluate')) > broken + 2, 'episodes after it')
    lines = [json.loads(line) for line in lab.results('evaluate')]
    assert lines[-1]['termination'] == 'timeout'
    assert {(line['outcome'], line['termination']) for line in lines} <= {
        ('failure', 'timeout'),
        ('success', 'timeout'),
        ('unlabelled', 'fault'),
    }


def test_two_runs_at_once_never_meet(lab, taught, tmp_path):
    other = taught.copy(tmp_path / 'other')
    with lab.started('evaluate', *FOREVER) as first, other.started('evaluate', *FOREVER) as second:
        domains = [
            {node.environ()['ROS_DOMAIN_ID'] for node in nodes_of(process).values()}
            for process in (first, second)
        ]
        ranges = {
            node.environ()['ROS_AUTOMATIC_DISCOVERY_RANGE']
            for process in (first, second)
            for node in nodes_of(process).values()
        }
    assert [len(domain) for domain in domains] == [1, 1]
    assert domains[0] != domains[1]
    assert ranges == {'LOCALHOST'}


def test_a_release_that_was_tampered_with_ends_the_run_with_the_reason(lab):
    with open(lab.run / 'releases' / '000001' / FILES[0], 'ab') as file:
        file.write(b'!')
    deadline = Deadline(60)
    said = lab.efm('evaluate', *FOREVER, code=1)
    assert 'ended with code 1; its last lines:' in said
    assert 'expected SHA-256' in said
    assert not deadline.has_passed()


def test_without_a_release_nothing_is_started(lab):
    for path in (lab.run / 'releases').iterdir():
        path.rename(path.with_name('none'))
    said = lab.efm('evaluate', *FOREVER, code=1)
    assert 'make one with `efm train`' in ' '.join(said.split())
    assert not (lab.run / 'logs' / 'evaluate').exists()


def test_a_run_for_another_robot_is_refused(lab):
    copy = lab.run / 'embodiment.yaml'
    other = lab.run / 'other.yaml'
    other.write_text(copy.read_text().replace('name: table_arm', 'name: another_arm'))
    said = lab.efm('evaluate', *FOREVER, '--embodiment', other, code=1)
    assert 'belongs to another robot' in ' '.join(said.split())


def test_a_manifest_names_the_robot_that_it_was_made_for(taught):
    manifest = json.loads((taught.run / 'releases' / '000001' / MANIFEST).read_text())
    assert manifest['embodiment'] == 'table_arm'
