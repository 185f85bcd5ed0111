"""Elements of SDF, the world file format of Gazebo Classic and Gazebo Sim."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import numpy as np

VERSION = '1.7'


def element(tag: str, *children: Element | str | None, **attributes: str) -> Element:
    """Return an element. A string among the children is its text; None is left out."""
    made = Element(tag, attributes)
    for child in children:
        if isinstance(child, str):
            made.text = child
        elif child is not None:
            made.append(child)
    return made


def leaf(tag: str, *numbers: float, **attributes: str) -> Element:
    """Return an element whose text is numbers."""
    return element(tag, ' '.join(f'{float(number):.9g}' for number in numbers), **attributes)


def box(*sides: float) -> Element:
    """Return the geometry of a box; sides in m."""
    return element('geometry', element('box', leaf('size', *sides)))


def cylinder(radius: float, length: float) -> Element:
    """Return the geometry of a cylinder along z; radius and length in m."""
    return element('geometry', element('cylinder', leaf('radius', radius), leaf('length', length)))


def sphere(radius: float) -> Element:
    """Return the geometry of a sphere; radius in m."""
    return element('geometry', element('sphere', leaf('radius', radius)))


def inertial(mass: float, moments: Iterable[float], pose: Iterable[float] = ()) -> Element:
    """
    Return the mass and the inertia of a link.

    :param mass: [kg].
    :param moments: about x, y and z [kg m^2].
    :param pose: of the centre of mass, ``(6,)`` [m, rad]; empty: the origin of the link.
    """
    tags = zip(('ixx', 'iyy', 'izz'), moments, strict=True)
    return element(
        'inertial',
        leaf('pose', *pose) if pose else None,
        leaf('mass', mass),
        element('inertia', *(leaf(tag, moment) for tag, moment in tags)),
    )


def visual(name: str, geometry: Element, rgba: Iterable[float], pose: Iterable[float]) -> Element:
    """
    Return a visual. It is matt, because MuJoCo's lamps make almost no highlights on the table.

    :param rgba: colour, 0 to 1; the alpha is ignored.
    :param pose: in the link, ``(6,)`` [m, rad].
    """
    colour = (*tuple(rgba)[:3], 1)
    return element(
        'visual',
        leaf('pose', *pose),
        geometry,
        element(
            'material',
            leaf('ambient', *colour),
            leaf('diffuse', *colour),
            leaf('specular', 0, 0, 0, 1),
        ),
        name=name,
    )


def box_moments(mass: float, sides: Iterable[float]) -> tuple[float, ...]:
    """Return the moments of inertia of a box about its centre: x, y and z [kg m^2]."""
    x, y, z = sides
    return tuple(mass / 12 * (a * a + b * b) for a, b in ((y, z), (x, z), (x, y)))


def to_rpy(axes: np.ndarray) -> tuple[float, float, float]:
    """
    Return roll, pitch and yaw [rad] of a rotation.

    :param axes: rotation matrix, ``(3, 3)``; its columns are the rotated x, y and z.
    """
    pitch = -np.arcsin(np.clip(axes[2, 0], -1, 1))
    roll = np.arctan2(axes[2, 1], axes[2, 2])
    return float(roll), float(pitch), float(np.arctan2(axes[1, 0], axes[0, 0]))


def to_text(root: Element) -> str:
    """Return a document as the text of a file."""
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding='unicode') + '\n'
