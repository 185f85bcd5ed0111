"""`efm pretrain`: a run gets an encoder of its own."""

from __future__ import annotations

import io
import json

from efm.cli import main
from efm.pretrain import describe_errors, ENCODER_FILE
from efm.train import choose_encoder_weights
from efm_core.embodiment import load_embodiment
from efm_sim.gym.pusht_pictures import draw_pictures
from efm_trainer.config import SftConfig
from models import FakeTextEncoder
import numpy as np
import pytest
from rich.console import Console
from safetensors.torch import load_file
from sources import ROOT

PUSHT = ROOT / 'config' / 'embodiments' / 'pusht.yaml'


@pytest.fixture
def words(tmp_path, monkeypatch):
    """Return a command line with few iterations."""
    monkeypatch.setattr('efm_model.text.ensure_text_encoder', lambda: '')
    monkeypatch.setattr('efm_model.text.TextEncoder', lambda path: FakeTextEncoder())
    images, points = draw_pictures(24, 0, (128, 128))
    np.savez(
        tmp_path / 'pictures.npz',
        images=images,
        points=(points + 1) * 64,
        sentences=np.array(['push the T onto its green outline']),
        sentence=np.zeros(24, int),
    )
    run = ['--run', str(tmp_path / 'run'), '--embodiment', str(PUSHT)]
    brief = ['--iterations', '3', '--batch', '4']
    return ['pretrain', *run, '--pictures', str(tmp_path / 'pictures.npz'), *brief]


def test_a_run_gets_an_encoder_with_its_card(words, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    run = tmp_path / 'run'
    assert f'encoder: {run / "encoder.safetensors"}; `efm train`' in capsys.readouterr().out
    assert 'image.keys.weight' in load_file(run / 'encoder.safetensors')
    card = json.loads((run / 'encoder.json').read_text())
    assert (card['pictures'], card['config']['iterations']) == (24, 3)
    assert card['errors_percent_of_picture']['effector_median'] > 0
    assert sorted(path.name for path in run.iterdir()) == [
        'embodiment.yaml',
        'encoder.json',
        'encoder.safetensors',
    ]


def test_an_existing_encoder_is_not_overwritten(words, tmp_path, capsys):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'encoder.safetensors').write_text('precious')
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 1
    assert 'expected one without an encoder' in capsys.readouterr().err
    assert (tmp_path / 'run' / 'encoder.safetensors').read_text() == 'precious'


def test_the_progress_shows_the_median_errors():
    found = {'effector_median': 0.51, 'effector_p95': 3.0, 'source_median': 1.2}
    expected = 'median error in % of the image: effector 0.51, source 1.20'
    assert describe_errors(found) == expected


@pytest.mark.parametrize(
    ('embodiment', 'has_own', 'changes', 'printed', 'expected'),
    [
        ('pusht', True, {}, 'encoder: ', 'own'),
        ('pusht', False, {}, 'trained on the simulated table only', ''),
        ('table_arm', False, {}, '', ''),
        ('pusht', True, {'encoder_weights': 'another'}, '', 'another'),
        ('pusht', True, {'pretrained': 'none'}, '', ''),
    ],
)
def test_stage_one_starts_from_the_encoder_of_the_run(
    tmp_path, embodiment, has_own, changes, printed, expected
):
    if has_own:
        (tmp_path / ENCODER_FILE).write_text('weights')
    robot = load_embodiment(ROOT / 'config' / 'embodiments' / f'{embodiment}.yaml')
    console = Console(file=io.StringIO())
    config = choose_encoder_weights(tmp_path, robot, SftConfig(**changes), console)
    assert config.encoder_weights == (
        str(tmp_path / ENCODER_FILE) if expected == 'own' else expected
    )
    assert printed in console.file.getvalue()
    assert bool(printed) == bool(console.file.getvalue())
