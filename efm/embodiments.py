"""Embodiments by name, for the Python API."""

from __future__ import annotations

from pathlib import Path

from efm_core.embodiment import Embodiment
from efm_core.embodiment import load_embodiment as load_embodiment_file
from efm_core.embodiment_files import DEFAULT, find_embodiment


def load_embodiment(name: str | Path = DEFAULT) -> Embodiment:
    """
    Return an embodiment: the contract between a robot and everything that was learned for it.

    :param name: a shipped embodiment such as ``ur5e``, or the path of a YAML file.
    :raises FileNotFoundError: when there is no such embodiment.
    :raises ValueError: on an unknown or missing key, or a value out of range.
    """
    return load_embodiment_file(find_embodiment(name))
