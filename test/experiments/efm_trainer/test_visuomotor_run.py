"""`efm train` with the visuomotor model: from bags to a release that acts."""

import json

from bags import write_bag
import efm
from efm.cli import main
from efm_core.observation import Observation
from models import FakeTextEncoder, frames, SENTENCE, table_arm
import pytest
from releases import assert_release_acts
from trainer_fakes import demonstrations

WORDS = ('--model', 'visuomotor', '--iterations', '2', '--batch-size', '6')


@pytest.fixture
def run(tmp_path):
    """Return a run with three demonstrations."""
    folder = tmp_path / 'run' / 'episodes' / 'demonstration'
    folder.mkdir(parents=True)
    for index, episode in enumerate(demonstrations(table_arm(), 3)):
        write_bag(episode, folder / f'{index:06d}')
    return tmp_path / 'run'


def test_efm_train_makes_a_release_of_the_visuomotor_model(run, capsys):
    with pytest.raises(SystemExit) as done:
        main(['train', '--run', str(run), *WORDS])
    said = capsys.readouterr()
    assert done.value.code == 0, said.err
    assert 'model: visuomotor; it was named' in said.out
    assert '2 training demonstrations are few' in said.out
    card = json.loads((run / 'sft' / 'policy' / 'config.json').read_text())
    assert (card['family'], card['sft']['augmentation']) == ('visuomotor', True)
    assert (card['sft']['batch_size'], card['sft']['label_smoothing_bins']) == (6, 1.0)
    assert_release_acts(run)


def test_one_run_holds_several_fine_tunings_each_with_its_own_release(run, capsys):
    for name, seed in (('first', '0'), ('second', '1')):
        with pytest.raises(SystemExit) as done:
            main(['train', '--run', str(run), '--fine-tuning', name, '--seed', seed, *WORDS])
        assert done.value.code == 0, capsys.readouterr().err
    assert not (run / 'releases').exists()
    actions = []
    for name in ('first', 'second'):
        policy, _ = efm.load_release(run / 'fine_tunings' / name, text_encoder=FakeTextEncoder())
        policy.begin(SENTENCE, 0)
        actions.append(policy.act(Observation.of(frames(1)[0])).log_probability)
    assert actions[0] != actions[1]
    with pytest.raises(SystemExit):
        main(['train', '--run', str(run), '--fine-tuning', 'first', *WORDS])
    assert 'use a new --fine-tuning' in capsys.readouterr().err
