"""The command `efm label`."""

from http.client import HTTPConnection
import json
import re
import signal
import subprocess
import sys

from bags import make_episode, write_bag
from efm.cli import main
from efm_core.embodiment_files import save_embodiment
from efm_core.episode import Kind, Outcome, Termination
from efm_data.labels import Label, LabelFile
import pytest
from sources import ROOT
from trainer_fakes import small_embodiment

STAGE = 'evaluation_before'
ROBOT = small_embodiment()


@pytest.fixture(scope='module')
def recorded(tmp_path_factory):
    """Return a run with two attempts and one that a person ended as a failure."""
    run = tmp_path_factory.mktemp('run')
    save_embodiment(ROBOT, run / 'embodiment.yaml')
    (run / 'episodes' / STAGE).mkdir(parents=True)
    ended = {'outcome': Outcome.FAILURE, 'termination': Termination.STOPPED}
    for index in range(3):
        changes = ended if index == 2 else {}
        episode = make_episode(ROBOT, index, kind=Kind.EVALUATION, **changes)
        write_bag(episode, run / 'episodes' / STAGE / episode.episode_id)
    return run


@pytest.fixture
def run(recorded):
    LabelFile(recorded).path.unlink(missing_ok=True)
    return recorded


def label(run, *words):
    """Run the command; return its exit code."""
    with pytest.raises(SystemExit) as end:
        main(['label', '--run', str(run), *words])
    return end.value.code


def test_the_summary_counts_both_kinds_of_labels(run, capsys):
    LabelFile(run).append(Label(STAGE, 'episode-0', success_at=3, seconds=90))
    assert label(run, '--summary') == 0
    line = '2 labels (1 by label_episode): 1 success, 1 never; 1.5 minutes'
    assert capsys.readouterr().out == f'{STAGE}: {line}\n'


def test_a_label_is_withdrawn_by_name(run, capsys):
    LabelFile(run).append(Label(STAGE, 'episode-0', success_at=3))
    assert label(run, '--withdraw', 'episode-0') == 0
    assert LabelFile(run).read()[-1].withdrawn
    assert label(run, '--withdraw', 'episode-0') == 1
    assert 'withdraw: expected an episode' in capsys.readouterr().err


def test_a_stage_that_was_not_recorded_is_named(run, capsys):
    assert label(run, '--episodes-subdir', 'clock') == 1
    assert f'expected one of {STAGE}' in capsys.readouterr().err


def test_ctrl_c_ends_the_page_and_loses_no_label(run):
    words = ['label', '--run', str(run), '--port', '0']
    served = subprocess.Popen(
        [sys.executable, '-m', 'efm.cli', *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with served:
        line = served.stdout.readline()
        address = re.search(r'2 attempts: open http://(127\.0\.0\.1:\d+)/ ', line)[1]
        connection = HTTPConnection(address, timeout=10)
        connection.request('GET', '/state')
        shown = json.loads(connection.getresponse().read())['attempt']['episode_id']
        body = json.dumps({'episode_id': shown, 'success_at': 1, 'seconds': 30})
        own = {'Origin': f'http://{address}', 'Content-Type': 'application/json'}
        connection.request('POST', '/label', body, own)
        assert connection.getresponse().status == 200
        connection.close()
        served.send_signal(signal.SIGINT)
        rest = served.stdout.read()
        assert served.wait() == 0
    assert '2 labels (1 by label_episode): 1 success, 1 never; 0.5 minutes' in rest
    assert [one.episode_id for one in LabelFile(run).read()] == [shown]
