"""A Gazebo Classic that really runs, or the reason why it cannot."""

from __future__ import annotations

import os

from efm_sim.gazebo.root import find_root, Root
import pytest


@pytest.fixture(scope='session')
def root() -> Root:
    """
    Return where Gazebo is.

    Without it the tests are skipped with the reason, unless `make test-gazebo`, which has just set
    it up, asks for it: then they fail.
    """
    try:
        return find_root()
    except FileNotFoundError as error:
        if os.environ.get('EFM_TEST_GAZEBO') == 'required':
            raise
        pytest.skip(str(error))
