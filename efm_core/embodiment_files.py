"""Which YAML file describes a robot: one that ships, by its name, or a file of the user."""

from __future__ import annotations

from pathlib import Path

from efm_core.config import non_defaults
from efm_core.embodiment import Embodiment, SIMULATION, TASK, TASK_FIELDS, task_section
from efm_core.files import share, write_whole
from efm_core.yaml_files import load_yaml
import yaml

DEFAULT = 'table_arm'
FOLDER = 'config/embodiments'


def shipped_embodiments() -> tuple[str, ...]:
    """Return the names of the embodiments that ship with the suite, sorted."""
    return tuple(sorted(path.stem for path in share(FOLDER).glob('*.yaml')))


def find_embodiment(name: str | Path = '') -> Path:
    """
    Return the path of an embodiment's YAML file.

    :param name: a shipped embodiment such as ``ur5e``, or a path, which has a suffix or a folder;
        empty for the simulated table.
    :raises FileNotFoundError: when ``name`` is a single word, but no shipped embodiment.
    """
    word = str(name or DEFAULT)
    if '/' in word or Path(word).suffix:
        return Path(word).absolute()
    if word not in shipped_embodiments():
        raise FileNotFoundError(
            f'embodiment: expected the path of a YAML file, or one of '
            f'{", ".join(shipped_embodiments())}, got {word!r}'
        )
    return share(f'{FOLDER}/{word}.yaml')


def has_simulation(path: str | Path) -> bool:
    """
    Return whether an embodiment's file has a section for a Gymnasium environment.

    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: when the file is not YAML.
    """
    content = load_yaml(path, 'embodiment')
    return isinstance(content, dict) and SIMULATION in content


def save_embodiment(embodiment: Embodiment, path: str | Path) -> Path:
    """
    Write an embodiment as a YAML file that ``load_embodiment`` reads; return its path.

    :raises OSError: when the file cannot be written.
    """
    data = {k: v for k, v in non_defaults(embodiment).items() if k not in TASK_FIELDS}
    task = task_section(embodiment)
    data |= {TASK: task} if task else {}
    return write_whole(path, yaml.safe_dump(data, sort_keys=False))
