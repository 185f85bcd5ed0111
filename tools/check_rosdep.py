"""
Looks up every dependency of both package.xml in rosdep's own database; prints what is missing.

    python tools/check_rosdep.py ROSDISTRO [jazzy]

ROSDISTRO is a clone of https://github.com/ros/rosdistro. A name counts when rosdep has a rule for
Ubuntu, or the distribution releases a package so called.
"""

from __future__ import annotations

from pathlib import Path
import sys
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).resolve().parents[1]
OWN = {'efm_interfaces'}


def dependencies() -> set[str]:
    """Return what both packages depend on, but for each other."""
    found: set[str] = set()
    for path in (ROOT / 'package.xml', ROOT / 'efm_interfaces' / 'package.xml'):
        found |= {
            n.text or '' for n in ElementTree.parse(path).getroot() if n.tag.endswith('depend')
        }
    return found - OWN


def known(rosdistro: Path, distribution: str) -> dict[str, str]:
    """Return what can be resolved on Ubuntu, and where that is said."""
    names = {}
    for path in (rosdistro / 'rosdep' / name for name in ('base.yaml', 'python.yaml')):
        for key, rule in read(path).items():
            if {'ubuntu', '*'} & set(rule):
                names[key] = path.name
    path = rosdistro / distribution / 'distribution.yaml'
    for name, repository in read(path)['repositories'].items():
        release = repository.get('release', {})
        for package in release.get('packages', [name]) if 'version' in release else []:
            names[package] = f'{distribution}/distribution.yaml'
    return names


def read(path: Path) -> dict:
    """Return the content of a YAML file."""
    return yaml.load(path.read_text(), Loader=getattr(yaml, 'CSafeLoader', yaml.SafeLoader))


def main(rosdistro: str, distribution: str = 'jazzy') -> int:
    """Print where each name is known; 1 when one is not."""
    names = known(Path(rosdistro), distribution)
    for name in sorted(dependencies()):
        print(f'{name:28} {names.get(name, "NOT KNOWN")}')
    return int(not dependencies() <= names.keys())


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
