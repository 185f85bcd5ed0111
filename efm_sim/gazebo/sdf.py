"""Small pieces of SDF, the world format that Gazebo Classic and Gazebo Sim share."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

VERSION = '1.7'


def node(tag: str, *children: Element | str | None, **attributes: str) -> Element:
    """Return an element; a string among the children is its text, None is left out."""
    element = Element(tag, attributes)
    for child in children:
        if isinstance(child, str):
            element.text = child
        elif child is not None:
            element.append(child)
    return element


def leaf(tag: str, *numbers: float, **attributes: str) -> Element:
    """Return an element whose text is numbers."""
    return node(tag, ' '.join(f'{float(number):.9g}' for number in numbers), **attributes)


def box(*sides: float) -> Element:
    """Return a box of these sides [m]."""
    return node('geometry', node('box', leaf('size', *sides)))


def cylinder(radius: float, length: float) -> Element:
    """Return an upright cylinder [m]."""
    return node('geometry', node('cylinder', leaf('radius', radius), leaf('length', length)))


def sphere(radius: float) -> Element:
    """Return a sphere [m]."""
    return node('geometry', node('sphere', leaf('radius', radius)))


def inertial(mass: float, moments: Iterable[float], pose: Iterable[float] = ()) -> Element:
    """
    Return what a link weighs.

    :param moments: about x, y, z [kg m^2].
    :param pose: of the centre of mass, (6,) [m, rad]; none for the link's own frame.
    """
    tags = zip(('ixx', 'iyy', 'izz'), moments, strict=True)
    return node(
        'inertial',
        leaf('pose', *pose) if pose else None,
        leaf('mass', mass),
        node('inertia', *(leaf(tag, moment) for tag, moment in tags)),
    )


def visual(name: str, geometry: Element, rgba: Iterable[float], pose: Iterable[float]) -> Element:
    """Return what is seen; matt, since MuJoCo's lamps have next to no highlights here."""
    colour = (*tuple(rgba)[:3], 1)
    return node(
        'visual',
        leaf('pose', *pose),
        geometry,
        node(
            'material',
            leaf('ambient', *colour),
            leaf('diffuse', *colour),
            leaf('specular', 0, 0, 0, 1),
        ),
        name=name,
    )


def box_moments(mass: float, sides: Iterable[float]) -> tuple[float, float, float]:
    """Return the moments of inertia of a box about its middle [kg m^2]."""
    x, y, z = sides
    return tuple(mass / 12 * (a * a + b * b) for a, b in ((y, z), (x, z), (x, y)))


def to_rpy(axes: np.ndarray) -> tuple[float, float, float]:
    """
    Return roll, pitch, yaw [rad] of a rotation.

    :param axes: (3, 3); its columns are the turned x, y and z.
    """
    pitch = -np.arcsin(np.clip(axes[2, 0], -1, 1))
    roll = np.arctan2(axes[2, 1], axes[2, 2])
    return float(roll), float(pitch), float(np.arctan2(axes[1, 0], axes[0, 0]))


def to_text(root: Element) -> str:
    """Return a document as it is written to a file."""
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding='unicode') + '\n'
