"""Robots whose policy is in a process of its own, over TLS, as a person starts them."""

from __future__ import annotations

from contextlib import contextmanager
import json
import signal
import subprocess
import sys
import time

from efm_bringup.run import claim
from models import table_arm
import pytest
from releases import publish_untrained
from serving import write_certificate, write_tokens
from sources import ROOT

EPISODES = ('--fleet', '2', '--body', 'tool', '--max-steps', '8', '--episodes', '4')
WAIT_S = 120.0


@pytest.fixture
def run(tmp_path):
    """Return a run with a release that knows nothing."""
    claim(str(tmp_path / 'run'), '')
    publish_untrained(tmp_path / 'run', 1, table_arm())
    return tmp_path / 'run'


@pytest.fixture
def secrets(tmp_path):
    certificate, key = write_certificate(tmp_path)
    return certificate, key, write_tokens(tmp_path / 'tokens', 'robot_0', 'robot_1')


def efm(verb, run, *words):
    return [sys.executable, '-m', 'efm_bringup.cli', verb, '--run', str(run), *words]


def evaluate(run, folder, *words):
    """Run episodes; return what happened in each, but for when and to whom."""
    command = efm('evaluate', run, *EPISODES, '--folder', folder, *words)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (run / 'results' / f'{folder}.jsonl').read_text().splitlines()
    names = ('index', 'outcome', 'termination', 'steps', 'steps_to_go', 'policy_version')
    found = (json.loads(line) for line in lines)
    return sorted(tuple(line[name] for name in names) for line in found)


@contextmanager
def served(run, *words):
    """Run `efm serve`; yield its process, where it listens and the file of what it says."""
    path = run / 'served.txt'
    with open(path, 'w') as out:
        process = subprocess.Popen(
            efm('serve', run, '--port', '0', *words), cwd=ROOT, stdout=out, stderr=out
        )
    try:
        end = time.monotonic() + WAIT_S
        while ' on port ' not in path.read_text():
            assert time.monotonic() < end, path.read_text()
            assert process.poll() is None, path.read_text()
            time.sleep(0.05)
        yield process, f'127.0.0.1:{path.read_text().split(" on port ")[1].split(":")[0]}', path
    finally:
        process.kill()
        process.wait()


def test_robots_do_elsewhere_what_they_do_with_a_policy_of_their_own(run, secrets):
    certificate, key, tokens = secrets
    own = evaluate(run, 'own')
    door = ('--certificate', certificate, '--key', key, '--tokens', tokens)
    with served(run, *door) as (process, where, said):
        elsewhere = evaluate(
            run, 'elsewhere', '--server', where, '--server-ca', certificate, '--tokens', tokens
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert len(own) == 4
    assert elsewhere == own
    assert 'release 1 on port' in said.read_text()
    assert 'TLS, 2 tokens' in said.read_text()
    assert 'Traceback' not in said.read_text()


def test_a_release_that_comes_later_is_followed_and_a_bad_one_is_not(run):
    with served(run) as (_, _, said):
        publish_untrained(run / 'made', 2, table_arm())
        bad, good = run / 'releases' / '000002', run / 'releases' / '000003'
        (run / 'made' / 'releases' / '000002').rename(run / 'made' / 'bad')
        with open(run / 'made' / 'bad' / 'policy.onnx', 'ab') as file:
            file.write(b'!')
        (run / 'made' / 'bad').rename(bad)
        wait_for_word(said, 'the old release goes on')
        publish_untrained(run / 'more', 3, table_arm())
        (run / 'more' / 'releases' / '000003').rename(good)
        wait_for_word(said, 'release 3 acts in the episodes that begin from now on')


def wait_for_word(path, word):
    end = time.monotonic() + WAIT_S
    while word not in ' '.join(path.read_text().split()):
        assert time.monotonic() < end, path.read_text()
        time.sleep(0.1)


def test_beyond_this_host_it_does_not_serve_without_tls_and_tokens(run):
    command = efm('serve', run, '--address', '0.0.0.0')
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert 'expected certificate, key and tokens' in ' '.join(done.stderr.split())
