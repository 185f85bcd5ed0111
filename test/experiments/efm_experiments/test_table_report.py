from __future__ import annotations

from dataclasses import asdict

from efm_experiments.config import ExperimentConfig, TINY
from efm_experiments.experiment import Record, Results
from efm_experiments.findings import findings_table
from efm_experiments.studies import sample_efficiency, sweeps
from efm_experiments.table.report import (
    difference_table,
    has_bounds_only,
    shown,
    stopped_bounds,
    stopped_rate,
)
from efm_trainer.config import PracticeConfig, PRESETS

# At the goal and detected, detected too early, never detected, never reached, late, missed.
OLDER = {'reached_after': [10, 20, 30, -1, 50, -1], 'fired_after': [12, 15, -1, 5, 70, -1]}


def record(cell='a', seed=0, config=None, **values):
    return Record(
        cell,
        seed,
        digest='',
        config=config or {},
        values=values,
        seconds=0.0,
        cpu_seconds=0.0,
        date='',
        commit='',
        machine='',
    )


def test_older_records_bound_self_stopped_success():
    assert stopped_rate(OLDER, 'after', 60) is None
    assert stopped_bounds(OLDER, 'after', 60) == (1 / 6, 3 / 6)
    results = Results((record(**OLDER),))
    assert has_bounds_only(results.records[0])
    assert shown(results, 'a', 'after', stopped_rate) == '16.7 to 50.0'


def test_the_truth_at_the_detection_makes_self_stopped_success_exact():
    values = {**OLDER, 'right_after': [0, 0, 0, 0, 1, 0]}  # the first goal was left again
    assert stopped_rate(values, 'after', 60) == 0
    assert stopped_bounds(values, 'after', 90) == (1 / 6, 1 / 6)
    assert not has_bounds_only(record(**values))


def test_success_without_detections_is_not_stored():
    results = Results((record(reached_after=[1]),))
    assert shown(results, 'a', 'after', stopped_rate) == 'not stored'


def test_a_difference_uses_the_seeds_of_both_cells():
    one = [record('a', seed, reached_after=[1]) for seed in (0, 1)]
    other = [record('b', seed, reached_after=[-1, 1]) for seed in (1, 2)]
    found = difference_table(Results((*one, *other)), [('a', 'b')], 'minus b')
    assert found.rows == [['a', 'not stored', '50.0']]


def test_the_cell_paper_is_the_preset_paper():
    cells = sweeps.cells(sweeps.SweepsConfig())
    assert cells['paper'].practice_config == PRESETS['paper']
    assert cells['paper batch, c and rate'].practice_config != PRESETS['paper']


def test_the_shipped_cells_have_the_defaults_that_ship():
    cells = sample_efficiency.cells(sample_efficiency.SampleEfficiencyConfig())
    shipped = cells[f'400 demonstrations, {sample_efficiency.SHIPPED}']
    assert shipped.practice_config == PracticeConfig()
    rules = sample_efficiency.DEFAULTS
    found = shipped.embodiment.episode
    assert (found.success_threshold, found.success_dwell) == (
        rules.success_threshold,
        rules.success_dwell,
    )


def test_a_tenth_more_practice_is_compared_at_the_same_scenes():
    config = {**asdict(TINY), 'demonstrations': 4, 'curve_evaluations': 2}
    results = Results(
        (
            record(
                '4 demonstrations',
                config=config,
                reached_before=[1, -1, -1, -1],  # half of the two scenes of the curve
                curve_episodes=[2],
                curve_reached=[[1, 1]],
            ),
        )
    )
    row = sample_efficiency.tenth_table(results).rows[0]
    assert row[3:] == ['not stored', '100.0', '50.0']


def test_findings_appear_with_their_records_only():
    assert findings_table({}).rows == []
    results = Results(
        (record('400 demonstrations', reached_before=[-1], reached_after=[1]),),
    )
    (row,) = findings_table({'sample_efficiency': ('Sample efficiency', results)}).rows
    assert row[1:] == [
        'self-stopped not stored → not stored %; reached 0.0 → 100.0 %',
        '1 seed x 1',
        '[Sample efficiency](#sample-efficiency)',
    ]


def test_the_reference_of_the_sweep_keeps_the_bound_on_the_gradient():
    assert ExperimentConfig().practice_config.gradient_clip == 1.0
