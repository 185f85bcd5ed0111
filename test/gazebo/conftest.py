"""The installation of Gazebo Classic for the tests, or the reason why it is missing."""

from __future__ import annotations

import os

from efm_sim.gazebo.installation import find_installation, GazeboInstallation
import pytest


@pytest.fixture(scope='session')
def installation() -> GazeboInstallation:
    """
    Return the installation of Gazebo Classic.

    Without it the tests are skipped with the reason. `make test-gazebo` sets it up first and
    requires it, so there the tests fail.
    """
    try:
        return find_installation()
    except FileNotFoundError as error:
        if os.environ.get('EFM_TEST_GAZEBO') == 'required':
            raise
        pytest.skip(str(error))
