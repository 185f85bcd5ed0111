from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from efm_experiments.config import HOME, TINY, worlds
from efm_experiments.experiment import Record, Results
from efm_experiments.studies import new_skill, transfer
from efm_experiments.table import domain_shift, practice
from efm_experiments.table.domain_shift import known, steps_to_go_error
from efm_sim.table.config import TableConfig
import numpy as np
import pytest

PLAYERS = SimpleNamespace(version=1), None
ICE = TableConfig(drag=0.1)


class Seen(SimpleNamespace):
    """What ``steps_to_go_error`` needs of an episode."""

    def __len__(self):
        return len(self.steps_to_go) - 1


def seen(d, truth):
    return Seen(
        steps_to_go=np.array(d, np.float32), true_success_per_step=np.array(truth, dtype=bool)
    )


def test_d_is_compared_with_the_steps_that_were_really_left():
    arrives = seen([5, 1, 1, 9], [0, 0, 1, 1])  # 2, 1, 0 steps left, then past the goal
    never = seen([3, 3], [0, 0])
    assert steps_to_go_error([arrives, never]) == pytest.approx((3 + 0 + 1) / 3, abs=1e-3)
    assert steps_to_go_error([never]) is None


def test_worlds_of_two_kinds_are_kept_apart():
    (icy,) = worlds(1, 'tool', 'train', ICE)
    (usual,) = worlds(1, 'tool', 'train')
    assert icy.config == replace(ICE, body='tool')
    assert usual.config == replace(HOME, body='tool')
    assert worlds(1, 'tool', 'train', ICE)[0] is icy


def test_practice_and_its_curve_are_in_the_world_that_was_asked_for(monkeypatch):
    asked = []

    def note(count, body, split, like=HOME):
        asked.append(like)
        raise LookupError

    monkeypatch.setattr(practice, 'worlds', note)
    monkeypatch.setattr(practice, 'players', lambda *arguments: PLAYERS)
    for function, arguments in ((practice.attempts, (0, 0, 1, 1)), (practice.point, (0, 1))):
        with pytest.raises(LookupError):
            function(TINY, None, *arguments, world=ICE)
    assert asked == [ICE, ICE]


def test_all_changes_together_are_each_of_them():
    changes = dict(transfer.CHANGES)
    everything = changes.pop('all')
    names = {name for one in (transfer.CAMERA, transfer.PAINT) for name in one}
    names |= {name for one in (transfer.FRICTION, transfer.LATENCY) for name in one}
    for name in names:
        values = {getattr(world, name) for world in changes.values()} - {getattr(HOME, name)}
        assert values == {getattr(everything, name)}


def test_the_policy_practised_at_home_visits_every_world():
    cells = transfer.cells(transfer.TransferConfig())
    assert cells['home'].world == transfer.AT_HOME
    assert [name for name, _ in cells['home'].visits] == [c for c in cells if c != 'home']
    assert not any(cell.visits for name, cell in cells.items() if name != 'home')


def test_only_the_improved_policy_has_practised_with_blocks():
    cells = new_skill.cells(new_skill.NewSkillConfig())
    assert cells[new_skill.IMPROVED].blocks > 0
    assert cells[new_skill.FROM_STAGE_ONE].blocks == 0
    assert {cell.world.objects for cell in cells.values()} == {'bar'}


def test_looking_frees_the_graphics_of_other_worlds_only(monkeypatch):
    closed = []

    def some(count, body, split, like):
        return [SimpleNamespace(close=lambda: closed.append(like))]

    monkeypatch.setattr(domain_shift, 'worlds', some)
    monkeypatch.setattr(domain_shift, 'examine', lambda *arguments, tables: [])
    monkeypatch.setattr(domain_shift, 'figures', lambda *arguments: {})
    monkeypatch.setattr(domain_shift, 'detect_per_episode', lambda *arguments: 1 / 0)
    for world in (HOME, ICE):
        with pytest.raises(ZeroDivisionError):
            domain_shift.look(TINY, None, 0, world, 'before')
    assert closed == [ICE]


def test_a_detector_that_never_fired_has_no_precision_there():
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
    assert known(Results((record,)), 'cell', 'precision_before', 'precision') == 'never'
    found = known(Results((record, fired)), 'cell', 'precision_before', 'precision')
    assert found.startswith('50.0')
