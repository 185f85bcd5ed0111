"""The reasons why other tests of this folder are skipped."""

from __future__ import annotations

import pytest

REASON = 'docs/launch.md says how to install it'


@pytest.mark.parametrize('package', ['launch_ros', 'launch_testing', 'launch_pytest'])
def test_the_package_is_installed(package):
    pytest.importorskip(package, reason=f'{package} is not here; {REASON}')


def test_pytest_is_old_enough_for_launch_pytest():
    if pytest.version_tuple >= (8, 4):
        pytest.skip(f'launch_pytest needs pytest before 8.4, got {pytest.__version__}')
