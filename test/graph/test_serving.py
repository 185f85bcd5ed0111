"""Robots whose policy is in a process of its own, over TLS, as a person starts them."""

from __future__ import annotations

from contextlib import contextmanager
import json
import signal
import subprocess

from conftest import ROOT, wait_for
import pytest
from serving import write_certificate, write_tokens

EPISODES = ('--fleet', 2, '--body', 'tool', '--max-steps', 10, '--episodes', 4, '--seed', 1000)


@contextmanager
def served(lab, *words):
    """Run `efm serve`; yield its process and where it listens."""
    said = lab.run / 'served.txt'
    with open(said, 'w') as out:
        process = subprocess.Popen(
            lab.command('serve', '--port', 0, *words), cwd=ROOT, stdout=out, stderr=out
        )
    try:
        wait_for(lambda: ' on port ' in said.read_text() or process.poll() is not None, 'a door')
        yield process, f'127.0.0.1:{said.read_text().split(" on port ")[1].split(":")[0]}'
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def secrets(tmp_path):
    certificate, key = write_certificate(tmp_path)
    return certificate, key, write_tokens(tmp_path / 'tokens', 'robot_0', 'robot_1')


def test_robots_do_elsewhere_what_they_do_with_a_policy_of_their_own(lab, secrets):
    certificate, key, tokens = secrets
    lab.efm('evaluate', *EPISODES, '--folder', 'own')
    with served(lab, '--certificate', certificate, '--key', key, '--tokens', tokens) as (
        process,
        where,
    ):
        remote = ('--server', where, '--server-ca', certificate, '--tokens', tokens)
        lab.efm('evaluate', *EPISODES, '--folder', 'elsewhere', *remote)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    said = (lab.run / 'served.txt').read_text()
    assert 'TLS, 2 tokens' in said
    assert 'Traceback' not in said
    own, elsewhere = (episodes(lab, folder) for folder in ('own', 'elsewhere'))
    assert len(own) == 4
    assert own == elsewhere


def episodes(lab, folder):
    """Return what happened in each episode, but for when and to whom."""
    lines = (lab.run / 'results' / f'{folder}.jsonl').read_text().splitlines()
    names = ('index', 'outcome', 'termination', 'steps', 'steps_to_go', 'policy_version')
    found = (json.loads(line) for line in lines)
    return sorted(tuple(line[name] for name in names) for line in found)
