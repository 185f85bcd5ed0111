"""The alarm of practice, and the second reward model that raises it."""

from __future__ import annotations

from dataclasses import replace
import json

from bags import make_episode
from efm_core.episode import Termination
from efm_core.episode_rules import EpisodeRules
from efm_model.checkpoint import save_checkpoint
from efm_model.network import new_model
from efm_trainer import second_opinion
from efm_trainer.alarm import find_alarm
from efm_trainer.config import PRESETS
from efm_trainer.detector import DetectorReport, Proposal
from efm_trainer.second_opinion import SecondOpinion
from efm_trainer.trainer import Trainer
import numpy as np
import pytest
from trainer_fakes import add_bags, FakeTextEncoder, make_run, small_embodiment, without_export

EMBODIMENT = small_embodiment()
CONFIG = replace(PRESETS['default'], episodes_per_update=2)


def line(fired, agreed, episodes=10):
    return {'episodes': episodes, 'fired': fired, 'second_agrees': agreed}


START = [line(5, 5)] * 6
ENDINGS = (Termination.SUCCESS_DETECTED, Termination.TIMEOUT)


@pytest.mark.parametrize(
    ('later', 'is_raised'),
    [
        ([line(10, 4)] * 3, True),  # fires twice as often, and the second one does not agree
        ([line(10, 10)] * 3, False),  # fires more often, and rightly so
        ([line(5, 1)] * 6, False),  # does not fire more often
        ([line(10, 8)] * 3, False),  # 24 of 30 against 30 of 30: p is 0.012
        ([line(10, 0)] * 2, False),  # too few detections for the last group
    ],
)
def test_the_alarm_needs_more_detections_and_less_agreement(later, is_raised):
    assert bool(find_alarm([*START, *later])) is is_raised


def test_the_alarm_says_what_was_seen_and_what_to_do():
    text = find_alarm([*START, *[line(10, 4)] * 3])
    assert 'at first it fired in 30 of 60 episodes, the second reward model agreed with 30' in text
    assert 'now it fired in 30 of 30 episodes, the second reward model agreed with 12' in text
    assert 'efm label' in text
    assert '--on-alarm continue' in text


def test_the_two_groups_share_no_update():
    assert find_alarm([line(10, 10), line(10, 10), line(15, 0), line(10, 0), line(10, 0)]) == ''


def test_updates_without_a_second_opinion_do_not_count():
    assert find_alarm([{'episodes': 10}] * 20) == ''


@pytest.mark.parametrize(
    ('d', 'agreed'),
    [([9, 1, 1], 1), ([9, 3, 1], 0), ([1, 1, 3], 0)],
)
def test_the_second_model_agrees_where_its_own_d_is_low_at_the_end(monkeypatch, d, agreed):
    rules = EpisodeRules(success_threshold=2.0, success_dwell=2)
    watch = SecondOpinion(None, None, embodiment=EMBODIMENT, rules=rules)
    asked = []
    monkeypatch.setattr(
        second_opinion,
        'predict_each',
        lambda model, episodes, *_: asked.extend(episodes) or [np.array(d)] * len(episodes),
    )

    ended = [make_episode(EMBODIMENT, termination=reason) for reason in ENDINGS]
    assert watch.examine(ended) == {'fired': 1, 'second_agrees': agreed}
    assert asked == ended[:1]


@pytest.fixture
def run(tmp_path):
    """Return a run after stage 1 with a second reward model that agrees with everything."""
    found = make_run(tmp_path, EMBODIMENT)
    model = new_model(EMBODIMENT, 2, pretrained='none')
    save_checkpoint(found / 'sft' / 'second', model, EMBODIMENT, 'reward', 1)
    everything = Proposal(60.0, dwell=2)
    DetectorReport((), proposed=everything, second=everything).write(found / 'sft')
    return found


def make_trainer(run):
    return Trainer(run, EMBODIMENT, text_encoder=FakeTextEncoder(), config=CONFIG)


def test_the_trainer_notes_detections_and_agreement(run):
    with without_export():
        trainer = make_trainer(run)
        add_bags(run, EMBODIMENT, range(1), termination=Termination.SUCCESS_DETECTED)
        add_bags(run, EMBODIMENT, range(1, 2), termination=Termination.TIMEOUT)
        assert trainer.step().version == 2
        trainer.close()
    (found,) = map(json.loads, (run / 'trainer' / 'metrics.jsonl').read_text().splitlines())
    assert (found['fired'], found['second_agrees']) == (1, 1)


def test_an_alarm_outlives_the_trainer_and_ends_with_its_updates(run):
    alarm = run / 'trainer' / 'alarm.txt'
    with without_export():
        trainer = make_trainer(run)
        add_bags(run, EMBODIMENT, range(2))
        trainer.step()
        assert trainer.alarm == ''
        trainer.close()
        rows = [{'version': 2, **row} for row in (*START, *[line(10, 4)] * 3)]
        metrics = run / 'trainer' / 'metrics.jsonl'
        metrics.write_text(''.join(json.dumps(row) + '\n' for row in rows))
        trainer = make_trainer(run)
        assert trainer.alarm
        assert alarm.read_text().strip() == trainer.alarm
        trainer.close()
        metrics.write_text('')
        trainer = make_trainer(run)
        assert trainer.alarm == ''
        assert not alarm.exists()
        trainer.close()
