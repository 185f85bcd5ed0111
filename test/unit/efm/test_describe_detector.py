"""What `efm train` says about the success detector."""

from __future__ import annotations

from dataclasses import replace

from efm.train import describe_detector
from efm_trainer.detector import DetectorFigures
import pytest


def figures(threshold, fired, right):
    return DetectorFigures(threshold, demonstrations=10, fired=fired, right=right)


@pytest.mark.parametrize(
    ('threshold', 'expected'),
    [
        (1.0, 's = 1: precision 1.00, recall 0.50; s = 1.5: 0.90, 0.90. Set task.success_thres'),
        (1.5, 's = 1.5: precision 0.90, recall 0.90. All of them succeeded'),
    ],
)
def test_a_better_threshold_is_named_and_what_was_not_measured(embodiment, threshold, expected):
    rules = replace(embodiment.episode, success_threshold=threshold)
    robot = replace(embodiment, episode=rules)
    said = describe_detector([figures(1.0, 5, 5), figures(1.5, 10, 9)], robot)
    assert expected in said
    assert said.endswith('what the detector does in attempts that fail')
