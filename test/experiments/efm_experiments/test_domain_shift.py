from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from efm_experiments.config import make_tables, TINY, TRAIN_DOMAIN
from efm_experiments.experiment import Record, Results
from efm_experiments.studies import new_skill, transfer
from efm_experiments.table import domain_shift, practice
from efm_experiments.table.domain_shift import defined_text, steps_to_go_error
from efm_sim.table.config import TableConfig
import numpy as np
import pytest

MODELS = SimpleNamespace(version=1), None
ICE = TableConfig(drag=0.1)


class FakeEpisode(SimpleNamespace):
    """The part of an episode that ``steps_to_go_error`` uses."""

    def __len__(self):
        return len(self.steps_to_go) - 1


def fake_episode(d, truth):
    return FakeEpisode(
        steps_to_go=np.array(d, np.float32), true_success_per_step=np.array(truth, dtype=bool)
    )


def test_d_is_compared_with_the_true_steps_to_go():
    arrives = fake_episode([5, 1, 1, 9], [0, 0, 1, 1])  # 2, 1, 0 steps left, then past the goal
    never = fake_episode([3, 3], [0, 0])
    assert steps_to_go_error([arrives, never]) == pytest.approx((3 + 0 + 1) / 3, abs=1e-3)
    assert steps_to_go_error([never]) is None


def test_worlds_of_two_kinds_are_kept_apart():
    (icy,) = make_tables(1, 'tool', 'train', ICE)
    (usual,) = make_tables(1, 'tool', 'train')
    assert icy.config == replace(ICE, body='tool')
    assert usual.config == replace(TRAIN_DOMAIN, body='tool')
    assert make_tables(1, 'tool', 'train', ICE)[0] is icy


def test_practice_and_its_evaluations_use_the_given_world(monkeypatch):
    asked = []

    def note(count, body, split, domain=TRAIN_DOMAIN):
        asked.append(domain)
        raise LookupError

    monkeypatch.setattr(practice, 'make_tables', note)
    monkeypatch.setattr(practice, 'make_policy_and_reward', lambda *arguments: MODELS)
    for function, arguments in (
        (practice.run_episodes, (0, 0, 1, 1)),
        (practice.evaluate_checkpoint, (0, 1)),
    ):
        with pytest.raises(LookupError):
            function(TINY, None, *arguments, domain=ICE)
    assert asked == [ICE, ICE]


def test_all_changes_together_are_each_of_them():
    changes = dict(transfer.CHANGES)
    everything = changes.pop('all')
    names = {name for one in (transfer.CAMERA, transfer.PAINT) for name in one}
    names |= {name for one in (transfer.FRICTION, transfer.LATENCY) for name in one}
    for name in names:
        values = {getattr(world, name) for world in changes.values()} - {
            getattr(TRAIN_DOMAIN, name)
        }
        assert values == {getattr(everything, name)}


def test_the_policy_of_the_training_world_is_evaluated_in_every_world():
    cells = transfer.cells(transfer.TransferConfig())
    home = cells.pop(transfer.TRAINING_WORLD)
    assert home.world == transfer.BLOCKS_ONLY
    assert [name for name, _ in home.visits] == list(cells)
    assert not any(cell.visits for cell in cells.values())


def test_only_the_practised_policy_has_practised_with_blocks():
    cells = new_skill.cells(new_skill.NewSkillConfig())
    assert cells[new_skill.PRACTISED_POLICY].blocks > 0
    assert cells[new_skill.STAGE_ONE_POLICY].blocks == 0
    assert {cell.world.objects for cell in cells.values()} == {'bar'}


def test_an_evaluation_releases_the_graphics_of_other_worlds_only(monkeypatch):
    closed = []

    def some(count, body, split, domain):
        return [SimpleNamespace(close=lambda: closed.append(domain))]

    monkeypatch.setattr(domain_shift, 'make_tables', some)
    monkeypatch.setattr(domain_shift, 'evaluate_policy', lambda *arguments, tables: [])
    monkeypatch.setattr(domain_shift, 'success_values', lambda *arguments: {})
    monkeypatch.setattr(domain_shift, 'detect_per_episode', lambda *arguments: 1 / 0)
    for world in (TRAIN_DOMAIN, ICE):
        with pytest.raises(ZeroDivisionError):
            domain_shift.evaluate_in(TINY, None, 0, world, 'before')
    assert closed == [ICE]


def test_the_precision_of_a_detector_that_never_fires_is_undefined():
    record = Record(
        'cell',
        0,
        digest='',
        config={},
        values={'precision_before': None},
        seconds=0,
        cpu_seconds=0,
        date='',
        commit='',
        machine='',
    )
    fired = replace(record, seed=1, values={'precision_before': 0.5})
    assert defined_text(Results((record,)), 'cell', 'precision_before', 'precision') == 'undefined'
    found = defined_text(Results((record, fired)), 'cell', 'precision_before', 'precision')
    assert found.startswith('50.0')
