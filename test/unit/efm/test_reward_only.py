"""`efm train --reward-only`: a new reward model for the policy of a run, from labels."""

from __future__ import annotations

import io

from efm import train as module
from efm.cli import make_parser, train_command
from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import save_embodiment
from efm_core.episode import Kind
from efm_data import episodes as bags
from efm_data.labels import LabelledAttempt
from efm_model import text
from efm_model.checkpoint import load_checkpoint
from efm_trainer.detector import read_report
import pytest
from rich.console import Console
import torch
from trainer_fakes import FakeTextEncoder, without_export
from visuomotor import gripper_arm, noise_episode

ROBOT = gripper_arm()
SIZES = ('--iterations', '2', '--batch-size', '6', '--hidden-size', '8')
DEMONSTRATIONS = [noise_episode(ROBOT, i, 3 + i, kind=Kind.DEMONSTRATION) for i in range(3)]
ATTEMPTS = [LabelledAttempt(noise_episode(ROBOT, 9 + i, 4), at) for i, at in enumerate([3, 4])]
FAILURES = [LabelledAttempt(noise_episode(ROBOT, 19 + i, 4), None) for i in range(2)]


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Return `efm train` on a run whose demonstrations and labels are in memory."""
    run = tmp_path / 'run'
    run.mkdir()
    save_embodiment(ROBOT, run / 'embodiment.yaml')
    asked = []
    monkeypatch.setattr(bags, 'find_bags', lambda folder: [])
    monkeypatch.setattr(bags, 'read_episodes', lambda *_: iter(DEMONSTRATIONS))
    monkeypatch.setattr(
        module,
        'read_labelled_attempts',
        lambda place, robot: asked.append(place) or [*ATTEMPTS, *FAILURES],
    )
    monkeypatch.setattr(text, 'ensure_text_encoder', lambda: '')
    monkeypatch.setattr(text, 'TextEncoder', lambda _: FakeTextEncoder())

    def command(*words):
        said = io.StringIO()
        given = make_parser().parse_args(['train', '--run', str(run), *SIZES, *words])
        with without_export():
            assert train_command(given, Console(file=said, width=500)) == 0
        return said.getvalue()

    command.run = run
    command.asked = asked
    return command


def load(path):
    robot = load_embodiment(path.parents[1] / 'embodiment.yaml')
    return load_checkpoint(path, robot)[0]


def test_the_policy_stays_and_the_labels_of_the_run_train_a_new_reward_model(train):
    train('--reward-network', 'shared')
    assert train.asked == []  # a shared network does not learn from labels
    said = train('--fine-tuning', 'labelled', '--reward-only')
    assert train.asked == [train.run]
    assert 'labelled attempts: 2 reached the goal, 2 did not' in said
    assert 'success detector on held-out attempts' in said
    own = train.run / 'fine_tunings' / 'labelled'
    before = load(train.run / 'sft' / 'policy').state_dict()
    after = load(own / 'sft' / 'policy').state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load(own / 'sft' / 'reward').config.proprioception_size == 0
    assert len(read_report(own / 'sft').attempts) == 2
    assert (own / 'releases' / '000001').is_dir()


def test_the_first_stage_1_of_a_run_uses_its_labels_too(train):
    said = train()
    assert 'labelled attempts: 2 reached the goal' in said
    assert (train.run / 'sft' / 'second').is_dir()


def test_a_run_without_a_policy_is_refused(train):
    with pytest.raises(FileNotFoundError, match='run: expected one after stage 1'):
        train('--fine-tuning', 'labelled', '--reward-only')
    assert not (train.run / 'fine_tunings').exists()
