"""Several fine-tunings of the demonstrations of one run."""

from __future__ import annotations

from efm.fine_tunings import FineTuningChoice, open_fine_tuning
from efm_bringup.run import open_run
import pytest


@pytest.fixture
def run(tmp_path):
    """Return a run with two demonstrations and their results."""
    run = tmp_path / 'run'
    open_run(str(run), '')
    for name in ('000000', '000001'):
        (run / 'episodes' / 'demonstration' / name).mkdir(parents=True)
    (run / 'results').mkdir()
    (run / 'results' / 'demonstration.jsonl').write_text('{}\n')
    return run


def test_a_fine_tuning_is_a_run_with_the_same_robot_and_demonstrations(run):
    own = open_fine_tuning(run, 'wide-2')
    assert own == run / 'fine_tunings' / 'wide-2'
    assert (own / 'embodiment.yaml').read_bytes() == (run / 'embodiment.yaml').read_bytes()
    assert not (own / 'embodiment.yaml').is_symlink()
    bags = sorted(path.name for path in (own / 'episodes' / 'demonstration').iterdir())
    assert bags == ['000000', '000001']
    assert (own / 'results' / 'demonstration.jsonl').read_text() == '{}\n'


def test_demonstrations_that_are_recorded_later_are_shared_too(run):
    own = open_fine_tuning(run, 'wide')
    (run / 'episodes' / 'demonstration' / '000002').mkdir()
    assert len(list((own / 'episodes' / 'demonstration').iterdir())) == 3


def test_an_encoder_that_was_pretrained_later_is_shared_when_training_starts_again(run):
    open_fine_tuning(run, 'wide')
    (run / 'encoder.safetensors').write_bytes(b'weights')
    assert (open_fine_tuning(run, 'wide') / 'encoder.safetensors').read_bytes() == b'weights'


def test_what_a_fine_tuning_writes_is_its_own(run):
    first = open_fine_tuning(run, 'first')
    second = open_fine_tuning(run, 'second')
    for folder in ('episodes/practice', 'sft', 'releases'):
        (first / folder).mkdir()
        assert not (second / folder).exists()
        assert not (run / folder).exists()


def test_a_run_that_was_moved_keeps_its_fine_tunings(run):
    open_fine_tuning(run, 'wide')
    run.rename(run.with_name('moved'))
    own = run.with_name('moved') / 'fine_tunings' / 'wide'
    assert len(list((own / 'episodes' / 'demonstration').iterdir())) == 2


@pytest.mark.parametrize('name', ['..', 'a/b', '.hidden', '-x', 'two words', ''])
def test_a_name_that_is_no_plain_folder_is_refused(run, name):
    with pytest.raises(ValueError, match='fine_tuning: expected letters, digits, _ and -, got'):
        open_fine_tuning(run, name)
    assert not (run / 'fine_tunings').exists()


def test_a_new_reward_model_needs_a_name_because_the_run_keeps_its_own():
    with pytest.raises(ValueError, match='fine_tuning: expected a name, because --reward-only'):
        FineTuningChoice(reward_only=True)
    assert FineTuningChoice(reward_only=True, fine_tuning='labelled').reward_only
