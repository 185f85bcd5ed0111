"""`efm train` with the visuomotor model: from bags to a release that acts."""

import json

from bags import write_bag
import efm
from efm.cli import main
from efm_core.observation import Observation
from models import FakeTextEncoder, frames, SENTENCE, table_arm
import pytest
from trainer_fakes import demonstrations


def test_efm_train_makes_a_release_of_the_visuomotor_model(tmp_path, capsys):
    run = tmp_path / 'run'
    folder = run / 'episodes' / 'demonstration'
    folder.mkdir(parents=True)
    for index, episode in enumerate(demonstrations(table_arm(), 3)):
        write_bag(episode, folder / f'{index:06d}')
    words = ['--model', 'visuomotor', '--iterations', '2', '--batch-size', '6']
    with pytest.raises(SystemExit) as done:
        main(['train', '--run', str(run), *words])
    said = capsys.readouterr()
    assert done.value.code == 0, said.err
    assert 'model: visuomotor; it was named' in said.out
    assert '2 training demonstrations are few' in said.out
    card = json.loads((run / 'sft' / 'policy' / 'config.json').read_text())
    assert (card['family'], card['sft']['augmentation']) == ('visuomotor', True)
    assert (card['sft']['batch_size'], card['sft']['label_smoothing_bins']) == (6, 1.0)
    policy, reward_model = efm.load_release(run, text_encoder=FakeTextEncoder())
    policy.begin(SENTENCE, 0)
    reward_model.begin(SENTENCE)
    seen = Observation.of(frames(1)[0])
    assert policy.act(seen).values.shape == (2,)
    assert reward_model.predict(seen).probabilities.sum() == pytest.approx(1, abs=1e-5)
