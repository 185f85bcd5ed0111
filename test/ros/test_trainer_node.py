"""The trainer node: from bags to releases, one trainer for each run."""

from __future__ import annotations

import json

from bags import make_episode, write_bag
from efm_core import topics
from efm_model import text
from efm_release.release import load_release
from efm_trainer.detector import HeldOut, report
from efm_trainer.node import TrainerNode
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from trainer_fakes import add_bags, FakeTextEncoder, make_run, small_embodiment

ROBOT = small_embodiment()


@pytest.fixture(autouse=True)
def _without_weights(monkeypatch):
    monkeypatch.setattr(text, 'TextEncoder', lambda directory: FakeTextEncoder())


@pytest.fixture
def parameters(yaml_of, tmp_path):
    run = make_run(tmp_path / 'run', ROBOT)
    return {
        'embodiment': yaml_of(ROBOT),
        'run': str(run),
        'text_encoder': 'none',
        'episodes_per_update': 2,
        'poll_period_s': 0.01,
    }


@pytest.fixture
def run(tmp_path):
    return tmp_path / 'run'


def test_an_update_publishes_a_release(stage, parameters, run):
    stage.start(TrainerNode, **parameters)
    releases = stage.listen(topics.POLICY_RELEASE)
    statuses = stage.listen(topics.TRAINER_STATUS)
    assert stage.hear(releases)[0].version == 1
    add_bags(run, ROBOT, range(2))
    newest = stage.hear(releases, 2)[1]
    assert (newest.version, newest.stage, newest.embodiment_hash) == (2, 'active', ROBOT.hash)
    manifest = load_release(newest.uri, newest.sha256, ROBOT.hash).manifest
    assert manifest['version'] == 2
    assert all(report['passed'] for report in manifest['parity'])
    stage.spin_until(lambda: statuses and statuses[-1].episodes == 2, 'a status')
    status = statuses[-1]
    assert (status.version, status.updates, status.stale, status.quarantined) == (2, 1, 0, 0)


def test_damaged_bags_and_stale_episodes_are_counted_and_not_used(stage, parameters, run):
    stage.start(TrainerNode, **parameters)
    releases = stage.listen(topics.POLICY_RELEASE)
    statuses = stage.listen(topics.TRAINER_STATUS)
    stage.hear(releases)
    inbox = run / 'episodes' / 'practice'
    add_bags(run, ROBOT, range(1), policy_version=0)
    write_bag(make_episode(ROBOT, 1), inbox / 'torn', without=('outcome',))
    stage.spin_until(lambda: statuses and statuses[-1].quarantined == 1, 'a quarantine')
    stage.spin_until(lambda: statuses[-1].stale == 1, 'a stale episode')
    assert len(releases) == 1
    assert [path.name for path in sorted((run / 'quarantine').iterdir())] == [
        'torn',
        'torn.reason.txt',
    ]


def test_a_second_trainer_on_the_run_is_refused_with_the_reason(stage, parameters, run, capfd):
    first = stage.start(TrainerNode, **parameters)
    second = stage.make(TrainerNode, **parameters)
    assert second.trigger_configure() == TransitionCallbackReturn.FAILURE
    said = capfd.readouterr().err
    assert 'trainer: expected to be the only one in' in said
    assert 'Traceback' not in said
    assert first.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert second.trigger_configure() == TransitionCallbackReturn.FAILURE  # it may go on yet
    assert first.trigger_cleanup() == TransitionCallbackReturn.SUCCESS
    assert second.trigger_configure() == TransitionCallbackReturn.SUCCESS


def test_a_trainer_continues_from_the_state_of_the_trainer_before(stage, parameters, run):
    first = stage.start(TrainerNode, **parameters)
    add_bags(run, ROBOT, range(2))
    stage.spin_until(lambda: first._trainer.version == 2, 'an update')
    assert first.trigger_shutdown() == TransitionCallbackReturn.SUCCESS
    releases = stage.listen(topics.POLICY_RELEASE)
    stage.start(TrainerNode, **parameters)
    stage.spin_until(lambda: releases and releases[-1].version == 2, 'the newest release')


def test_a_run_without_stage_1_is_refused_with_the_reason(stage, parameters, tmp_path, capfd):
    node = stage.make(TrainerNode, **{**parameters, 'run': str(tmp_path / 'empty')})
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    said = capfd.readouterr().err
    assert 'sft' in said
    assert 'Traceback' not in said


@pytest.mark.parametrize('where', ['write_state', 'publish'])
def test_a_full_disk_is_reported_and_the_update_is_repeated(
    stage, parameters, run, monkeypatch, where
):
    node = stage.start(TrainerNode, **parameters)
    releases = stage.listen(topics.POLICY_RELEASE)
    diagnostics = stage.listen(topics.DIAGNOSTICS)

    def full(*args, **fields):
        raise OSError(28, 'No space left on device')

    statuses = stage.listen(topics.TRAINER_STATUS)
    with monkeypatch.context() as broken:
        broken.setattr(f'efm_trainer.trainer.{where}', full)
        broken.setattr('efm_trainer.node.REPEAT_S', 0.0)
        add_bags(run, ROBOT, range(2))
        name = node.get_fully_qualified_name()
        stage.spin_until(
            lambda: any(
                status.name == name and 'disk full: ' in status.message
                for message in diagnostics
                for status in message.status
            ),
            'a fault',
        )
        told = len(statuses)
        stage.spin_until(lambda: len(statuses) > told, 'a sign of life')
        assert {status.version for status in statuses} == {1}  # no release that does not exist
    stage.spin_until(lambda: releases and releases[-1].version == 2, 'a release')


def with_alarm(run):
    """Write metrics of updates in which the second reward model agrees less and less."""
    agrees = [{'fired': 5, 'second_agrees': 5}] * 6 + [{'fired': 10, 'second_agrees': 1}] * 3
    lines = [json.dumps({'version': 2, 'episodes': 10, **line}) + '\n' for line in agrees]
    (run / 'trainer' / 'metrics.jsonl').write_text(''.join(lines))


@pytest.mark.parametrize(('on_alarm', 'stops'), [('stop', True), ('continue', False)])
def test_an_alarm_stops_practice_or_is_only_logged(stage, parameters, run, on_alarm, stops, capfd):
    first = stage.start(TrainerNode, **parameters)
    add_bags(run, ROBOT, range(2))
    stage.spin_until(lambda: first._trainer.version == 2, 'an update')
    first.trigger_shutdown()
    assert (first.is_done, first.exit_code) == (False, 0)
    with_alarm(run)
    node = stage.start(TrainerNode, **parameters, on_alarm=on_alarm)
    assert (node.is_done, node.exit_code) == (stops, int(stops))
    assert 'now it fired in 30 of 30 episodes' in capfd.readouterr().err


def test_a_detector_that_is_too_often_wrong_is_refused(stage, parameters, run, capfd):
    wrong = [HeldOut(np.array([9.0, 0.0, 0.0]), None)]
    report([HeldOut(np.array([9.0, 0.0, 0.0]), 2)], wrong, ROBOT.episode).write(run / 'sft')
    node = stage.make(TrainerNode, **parameters)
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert 'expected a precision of at least 0.9 before practice' in capfd.readouterr().err
    stage.start(TrainerNode, **parameters, min_precision=0.0)
