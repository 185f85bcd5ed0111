"""
Several fine-tunings of the demonstrations of one run.

A named fine-tuning is a run of its own inside the run: ``fine_tunings/NAME``. It shares the
demonstrations and the encoder by links. Checkpoints, releases, practice, evaluations and the
report are its own, and every command takes its folder as ``--run``.
"""

from __future__ import annotations

import os
from pathlib import Path
import re

from efm.pretrain import ENCODER_FILE
from efm_bringup.run import open_run
from efm_core.config import config, expect, parameter

FOLDER = 'fine_tunings'
SHARED = ('episodes/demonstration', 'results/demonstration.jsonl', ENCODER_FILE)


@config
class FineTuningChoice:
    """Which fine-tuning of a run's demonstrations this is."""

    fine_tuning: str = parameter(
        '', f'Name of a further fine-tuning: a run in {FOLDER}/ of the run; empty: the run itself'
    )
    reward_only: bool = parameter(
        False,
        'Keep the policy of stage 1 of the run, and train its reward model again with the labels '
        'of the run; needs --fine-tuning',
    )

    def validate(self) -> None:
        """
        Check that a new reward model has a place.

        :raises ValueError: when the fine-tuning has no name.
        """
        needed = 'a name, because --reward-only keeps the reward model of the run'
        expect(bool(self.fine_tuning) or not self.reward_only, 'fine_tuning', needed, 'none')


def open_fine_tuning(run: Path, name: str) -> Path:
    """
    Return the folder of a named fine-tuning of a run; make it if there is none.

    :raises ValueError: when the name is none of a plain folder.
    """
    is_plain = re.fullmatch(r'\w[\w-]*', name, re.ASCII) is not None
    expect(is_plain, 'fine_tuning', 'letters, digits, _ and -', repr(name))
    own = run / FOLDER / name
    open_run(str(own), str(run / 'embodiment.yaml'))
    for shared in SHARED:
        link = own / shared
        if (run / shared).exists() and not link.is_symlink():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(os.path.relpath(run / shared, link.parent))
    return own
