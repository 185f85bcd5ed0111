"""Robots whose policy is in a process of its own, over TLS, as a person starts them."""

from __future__ import annotations

import json
import signal

from efm_bringup.run import open_run
from models import table_arm
import pytest
from releases import publish_untrained
from serving import write_certificate, write_tokens
from waiting import wait_for, wait_for_exit

EPISODES = ('--fleet', '2', '--body', 'tool', '--max-steps', '8', '--episodes', '4')
SMALL = ('--body', 'tool', '--max-steps', '10')


@pytest.fixture
def untaught(new_lab):
    """Return a run with a release that knows nothing."""
    lab = new_lab('serving')
    open_run(str(lab.run), '')
    publish_untrained(lab.run, 1, table_arm())
    return lab


@pytest.fixture
def secrets(tmp_path):
    certificate, key = write_certificate(tmp_path)
    return certificate, key, write_tokens(tmp_path / 'tokens', 'robot_0', 'robot_1')


def evaluate(lab, folder, *words):
    """Run episodes; return what happened in each, but for when and to whom."""
    lab.efm('evaluate', *EPISODES, '--episodes-subdir', folder, *words)
    lines = (lab.run / 'results' / f'{folder}.jsonl').read_text().splitlines()
    names = ('index', 'outcome', 'termination', 'steps', 'steps_to_go', 'policy_version')
    found = (json.loads(line) for line in lines)
    return sorted(tuple(line[name] for name in names) for line in found)


def test_robots_do_elsewhere_what_they_do_with_a_policy_of_their_own(untaught, secrets):
    certificate, key, tokens = secrets
    own = evaluate(untaught, 'own')
    door = ('--certificate', certificate, '--key', key, '--tokens', tokens)
    ticket = ('--server-ca', certificate, '--auth-tokens', tokens)
    with untaught.served(*door) as (process, where, said):
        elsewhere = evaluate(untaught, 'elsewhere', '--server', where, *ticket)
        process.send_signal(signal.SIGTERM)
        assert wait_for_exit(process, 30) == 0
    assert len(own) == 4
    assert elsewhere == own
    assert 'release 1 on port' in said.read_text()
    assert 'TLS, 2 tokens' in said.read_text()
    assert 'Traceback' not in said.read_text()


def test_a_release_that_comes_later_is_followed_and_a_bad_one_is_not(untaught):
    run = untaught.run
    with untaught.served() as (_, _, said):
        publish_untrained(run / 'made', 2, table_arm())
        bad = run / 'releases' / '000002'
        good = run / 'releases' / '000003'
        (run / 'made' / 'releases' / '000002').rename(run / 'made' / 'bad')
        with open(run / 'made' / 'bad' / 'policy.onnx', 'ab') as file:
            file.write(b'!')
        (run / 'made' / 'bad').rename(bad)
        wait_for_word(said, 'the present one stays deployed')
        publish_untrained(run / 'more', 3, table_arm())
        (run / 'more' / 'releases' / '000003').rename(good)
        wait_for_word(said, 'release 3 is deployed for episodes that begin from now on')


def wait_for_word(path, word):
    wait_for(lambda: word in ' '.join(path.read_text().split()), word, 120)


def test_beyond_this_host_it_does_not_serve_without_tls_and_tokens(untaught):
    said = untaught.efm('serve', '--address', '0.0.0.0', code=1)
    assert 'expected certificate, key and tokens' in ' '.join(said.split())


def test_practice_with_a_policy_elsewhere_improves_it_there(lab):
    with lab.served() as (_, where, said):
        lab.efm(
            'practice', *SMALL, '--seed', 5000, '--episodes', 16, '--fleet', 2, '--server', where
        )
        wait_for_word(said, 'release 2 is deployed for episodes that begin from now on')
    acted = {
        line['index']: line['policy_version'] for line in map(json.loads, lab.results('practice'))
    }
    assert acted == {index: 1 + index // 8 for index in range(16)}
    updates = (lab.run / 'trainer' / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(update)['version'] for update in updates] == [2, 3]
    assert [json.loads(update)['stale_total'] for update in updates] == [0, 0]
