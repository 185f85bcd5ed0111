from dataclasses import replace
import json
import os

from bags import make_episode, write_bag
from efm_core.episode import Kind
from efm_release.release import load_release
from efm_trainer import state
from efm_trainer import trainer as module
from efm_trainer.config import PRESETS
from efm_trainer.trainer import Trainer
import numpy as np
import pytest
import torch
from trainer_fakes import add_bags, FakeTextEncoder, make_run, small_embodiment, without_export

EMBODIMENT = small_embodiment()
CONFIG = replace(PRESETS['default'], episodes_per_update=2, ema_rate=0.5)


class Killed(BaseException):
    """Ends a trainer as a killed process does; no handler catches it."""


@pytest.fixture(scope='module')
def quick():
    with without_export():
        yield


@pytest.fixture(scope='module')
def undisturbed(quick, tmp_path_factory):
    """Return the state of a trainer that made two updates and was never killed."""
    whole = make_run(tmp_path_factory.mktemp('whole'), EMBODIMENT)
    trainer = Trainer(whole, EMBODIMENT, text_encoder=FakeTextEncoder(), config=CONFIG)
    learn_twice(trainer, whole)
    trainer.close()
    return weights(whole)


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path, EMBODIMENT)


@pytest.fixture
def begin(run, quick):
    """Return a function that makes a trainer; all are closed at the end."""
    made = []

    def make(config=CONFIG, directory=run):
        made.append(Trainer(directory, EMBODIMENT, text_encoder=FakeTextEncoder(), config=config))
        return made[-1]

    yield make
    for trainer in made:
        trainer.close()


def weights(run):
    """Return policy, optimiser and random numbers from the state file."""
    with state.safe_open(run / 'trainer' / 'state.safetensors', 'pt') as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


def metrics(run):
    lines = (run / 'trainer' / 'metrics.jsonl').read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_enough_episodes_make_the_next_release(run, begin):
    trainer = begin()
    add_bags(run, EMBODIMENT, range(1))
    assert trainer.step() is None
    assert trainer.status['pending'] == 1
    add_bags(run, EMBODIMENT, range(1, 2))
    release = trainer.step()
    assert (release.version, trainer.version) == (2, 2)
    assert trainer.status == {
        'version': 2,
        'updates': 1,
        'episodes': 2,
        'stale': 0,
        'unusable': 0,
        'quarantined': 0,
        'pending': 0,
    }
    assert [(row['version'], row['episodes']) for row in metrics(run)] == [(2, 2)]
    assert trainer.step() is None


def test_episodes_of_an_older_policy_are_counted_but_not_used(run, begin):
    trainer = begin()
    add_bags(run, EMBODIMENT, range(2))
    trainer.step()
    before = weights(run)
    add_bags(run, EMBODIMENT, range(2, 6))  # still of version 1
    assert trainer.step() is None
    assert (trainer.status['stale'], trainer.status['episodes']) == (4, 6)
    assert_same(weights(run), before)


def test_evaluation_episodes_are_not_used(run, begin):
    trainer = begin()
    add_bags(run, EMBODIMENT, range(2), kind=Kind.EVALUATION)
    assert trainer.step() is None
    assert trainer.status['unusable'] == 2


def test_the_papers_update_waits_for_its_samples(run, begin):
    trainer = begin(replace(PRESETS['paper'], updates=2, batch_size=5))
    add_bags(run, EMBODIMENT, range(2))
    assert trainer.step() is None
    add_bags(run, EMBODIMENT, range(2, 3))  # 12 samples now, 10 are needed
    assert trainer.step().version == 2
    assert metrics(run)[0]['samples'] == 10
    assert trainer.status['pending'] == 0


def test_a_release_holds_the_deployed_policy_not_the_trained_one(run, begin, monkeypatch):
    exported = []
    export = module.export_policy
    monkeypatch.setattr(
        module,
        'export_policy',
        lambda model, *rest: exported.append(model) or export(model, *rest),
    )
    trainer = begin()
    learner = trainer._learner
    add_bags(run, EMBODIMENT, range(2))
    trainer.step()
    assert learner.deployed is not learner.policy
    assert exported[-1] is learner.deployed


def learn_twice(trainer, run):
    add_bags(run, EMBODIMENT, range(2))
    trainer.step()
    add_bags(run, EMBODIMENT, range(2, 4), policy_version=2)
    trainer.step()


@pytest.mark.parametrize(
    ('target', 'name'),
    [
        (module.Reinforce, 'update'),
        (module, 'write_state'),
        (os, 'replace'),
        (module, 'export_policy'),
        (module, 'publish'),
        (module.json, 'dumps'),
    ],
)
def test_a_trainer_killed_at_any_moment_continues_with_the_same_result(
    run, begin, monkeypatch, undisturbed, target, name
):
    trainer = begin()
    add_bags(run, EMBODIMENT, range(2))
    trainer.step()
    add_bags(run, EMBODIMENT, range(2, 4), policy_version=2)

    def die(*_, **__):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(target, name, die)
        with pytest.raises(Killed):
            trainer.step()
    trainer.close()
    successor = begin()
    successor.step()
    assert successor.version == successor.release.version == 3
    assert_same(weights(run), undisturbed)
    assert [row['version'] for row in metrics(run)] == [2, 3]
    assert successor.status['episodes'] == 4
    assert load_release(successor.release.uri, successor.release.sha256).manifest['version'] == 3


def test_a_trainer_killed_after_an_update_uses_no_episode_twice(run, begin):
    trainer = begin()
    learn_twice(trainer, run)
    trainer.close()
    before = weights(run)
    successor = begin()
    assert successor.step() is None
    assert_same(weights(run), before)
    assert (successor.version, successor.status['episodes']) == (3, 4)
    assert successor.release == trainer.release


def test_the_order_of_arrival_changes_nothing(run, begin, tmp_path_factory):
    other = make_run(tmp_path_factory.mktemp('other'), EMBODIMENT)
    add_bags(run, EMBODIMENT, range(3))
    (other / 'episodes' / 'practice').mkdir(parents=True)
    for name, index in (('z', 0), ('y', 1), ('x', 2)):
        write_bag(make_episode(EMBODIMENT, index), other / 'episodes' / 'practice' / name)
    begin().step()
    begin(directory=other).step()
    assert_same(weights(run), weights(other))


def test_a_full_disk_is_reported_and_the_last_state_remains(run, begin, monkeypatch):
    trainer = begin()
    before = weights(run)
    add_bags(run, EMBODIMENT, range(2))

    def full(*_, **__):
        raise OSError(28, 'No space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(state, 'save_file', full)
        with pytest.raises(OSError, match=r'No space left.*intact'):
            trainer.step()
    assert_same(weights(run), before)
    assert trainer.step().version == 2  # there is space again
    assert [row['version'] for row in metrics(run)] == [2]


def test_a_second_trainer_on_the_same_run_is_refused(begin):
    begin()
    with pytest.raises(RuntimeError, match='another at work'):
        begin()


def test_a_second_trainer_is_refused_though_every_lock_file_was_deleted(run, begin):
    first = begin()
    for path in (*run.rglob('*lock*'), *run.glob('.*')):
        path.unlink()
    with pytest.raises(RuntimeError, match='another at work'):
        begin()
    first.close()
    begin()


def test_a_run_without_stage_1_is_refused_and_leaves_no_lock(tmp_path):
    for _ in range(2):
        with pytest.raises(FileNotFoundError, match='checkpoint'):
            Trainer(tmp_path, EMBODIMENT, text_encoder=FakeTextEncoder())


def test_a_state_of_another_stage_1_is_refused(run, begin, tmp_path_factory):
    begin().close()
    elsewhere = make_run(tmp_path_factory.mktemp('elsewhere'), EMBODIMENT)
    (run / 'sft' / 'policy').rename(run / 'sft' / 'old')
    (elsewhere / 'sft' / 'reward').rename(run / 'sft' / 'policy')
    with pytest.raises(ValueError, match='new run directory'):
        begin()


def test_a_damaged_state_is_refused(run, begin):
    begin().close()
    path = run / 'trainer' / 'state.safetensors'
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ValueError, match='whole file'):
        begin()


def test_a_torn_bag_does_not_stop_the_others(run, begin):
    trainer = begin()
    bags = add_bags(run, EMBODIMENT, range(3))
    (file,) = bags[1].glob('*.mcap')
    file.write_bytes(file.read_bytes()[:500])
    assert trainer.step().version == 2
    assert (trainer.status['quarantined'], trainer.status['episodes']) == (1, 3)


def test_an_instruction_that_the_text_encoder_refuses_sets_its_bag_aside(
    run, begin, monkeypatch, undisturbed
):
    trainer = begin()

    def encode(self, sentence, encode=FakeTextEncoder.encode):
        if sentence == 'pousse le cube':
            raise ValueError(f'instruction: expected English, got {sentence!r}')
        return encode(self, sentence)

    monkeypatch.setattr(FakeTextEncoder, 'encode', encode)
    add_bags(run, EMBODIMENT, range(9, 10), instruction='pousse le cube')
    learn_twice(trainer, run)
    assert_same(weights(run), undisturbed)
    assert trainer.status['quarantined'] == 1
    reason = (run / 'quarantine' / '000009.reason.txt').read_text()
    assert 'episode-9' in reason
    assert 'pousse le cube' in reason


def test_the_culprit_of_a_failed_update_is_set_aside_and_the_others_are_learned_from(
    run, begin, undisturbed
):
    """Its log-probability is finite, but the ratio of an update is not."""
    trainer = begin(replace(CONFIG, episodes_per_update=2))
    culprit = np.full(4, -1e30, np.float32)
    add_bags(run, EMBODIMENT, range(1))
    add_bags(run, EMBODIMENT, range(9, 10), log_probs=culprit)
    assert trainer.step() is None
    assert trainer.status['quarantined'] == 1
    assert 'episode-9: loss: expected a finite' in (
        (run / 'quarantine' / '000009.reason.txt').read_text()
    )
    add_bags(run, EMBODIMENT, range(1, 2))
    trainer.step()
    add_bags(run, EMBODIMENT, range(2, 4), policy_version=2)
    trainer.step()
    assert_same(weights(run), undisturbed)


def test_an_update_that_fails_for_no_single_bag_says_why(run, begin, monkeypatch):
    trainer = begin()
    add_bags(run, EMBODIMENT, range(2))

    def fail(*_):
        raise ValueError('loss: expected a finite number, got nan')

    monkeypatch.setattr(module.Reinforce, 'update', fail)
    with pytest.raises(ValueError, match='loss: expected a finite number'):
        trainer.step()
    assert trainer.status['quarantined'] == 0
