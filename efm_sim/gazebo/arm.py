"""The arm of ``urdf/arm.urdf`` as an SDF model: the same links, joints, limits and masses."""

from __future__ import annotations

from collections.abc import Mapping
import functools
import math
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from efm_sim.gazebo import sdf
from efm_sim.gazebo.sdf import element, leaf
from efm_sim.table.scene import ARM_BASE, find_urdf, URDF

ARM = 'arm'  # name of the model
GEAR_INERTIA = 0.05  # added to the inertia of each link, because ODE's joints have none [kg m^2]
MOMENTS = ('ixx', 'iyy', 'izz')
Colour = tuple[float, ...]  # red, green, blue and alpha, 0 to 1


@functools.cache
def read_urdf() -> Element:
    """Return the root element of the URDF that MuJoCo loads."""
    return ElementTree.parse(find_urdf()).getroot()


def make_arm() -> Element:
    """Return the arm as a model that stands behind the table and faces it."""
    robot = read_urdf()
    parents = {_find(j, 'child').get('link'): j for j in robot.findall('joint')}
    colours = {
        material.get('name'): _numbers(_get(_find(material, 'color'), 'rgba'))
        for material in robot.findall('material')
    }
    links = [_link(link, parents, colours) for link in robot.findall('link')]
    base = (element('parent', 'world'), element('child', 'base_link'))
    stand = element('joint', *base, name='stand', type='fixed')
    joints = [_joint(joint) for joint in robot.findall('joint')]
    pose = leaf('pose', *ARM_BASE, 0, 0, -math.pi / 2)
    return element('model', pose, *links, stand, *joints, name=ARM)


def _link(
    link: Element, parents: Mapping[str | None, Element], colours: Mapping[str | None, Colour]
) -> Element:
    name = _get(link, 'name')
    inertial = _find(link, 'inertial')
    inertia = _find(inertial, 'inertia')
    return element(
        'link',
        _pose_in_parent(parents[name]) if name in parents else None,
        sdf.inertial(
            float(_get(_find(inertial, 'mass'), 'value')),
            [float(_get(inertia, key)) + GEAR_INERTIA for key in MOMENTS],
            _origin(inertial),
        ),
        *(
            sdf.visual(
                f'{name}_{index}',
                _geometry(visual),
                colours[_find(visual, 'material').get('name')],
                _origin(visual),
            )
            for index, visual in enumerate(link.findall('visual'))
        ),
        *(
            element(
                'collision',
                leaf('pose', *_origin(collision)),
                _geometry(collision),
                name=f'{name}_collision',
            )
            for collision in link.findall('collision')
        ),
        name=name,
    )


def _joint(joint: Element) -> Element:
    name = _get(joint, 'name')
    ends = [element(end, _get(_find(joint, end), 'link')) for end in ('parent', 'child')]
    if joint.get('type') == 'fixed':
        return element('joint', *ends, name=name, type='fixed')
    limit = _find(joint, 'limit')
    keys = ('lower', 'upper', 'effort', 'velocity')
    limits = [leaf(key, float(_get(limit, key))) for key in keys]
    direction = leaf('xyz', *_numbers(_get(_find(joint, 'axis'), 'xyz')))
    axis = element('axis', direction, element('limit', *limits))
    return element('joint', *ends, axis, name=name, type='revolute')


def _pose_in_parent(joint: Element) -> Element:
    return leaf('pose', *_origin(joint), relative_to=_get(_find(joint, 'parent'), 'link'))


def _origin(part: Element) -> tuple[float, ...]:
    """Return the pose of a part in its parent, ``(6,)`` [m, rad]; URDF omits zeros."""
    origin = part.find('origin')
    if origin is None:
        return (0.0,) * 6
    return tuple(number for key in ('xyz', 'rpy') for number in _numbers(origin.get(key, '0 0 0')))


def _geometry(part: Element) -> Element:
    """
    Return the geometry of a visual or collision in SDF.

    :raises ValueError: when it is no cylinder, sphere or box.
    """
    shape = _find(part, 'geometry')[0]
    if shape.tag == 'cylinder':
        return sdf.cylinder(float(_get(shape, 'radius')), float(_get(shape, 'length')))
    if shape.tag == 'sphere':
        return sdf.sphere(float(_get(shape, 'radius')))
    if shape.tag == 'box':
        return sdf.box(*_numbers(_get(shape, 'size')))
    raise ValueError(f'geometry: expected cylinder, sphere or box, got {shape.tag!r}')


def _find(parent: Element, tag: str) -> Element:
    """
    Return the child with a tag.

    :raises ValueError: when there is none.
    """
    child = parent.find(tag)
    if child is None:
        raise ValueError(f'{URDF}: {parent.tag}: expected an element {tag!r}, got none')
    return child


def _get(part: Element, name: str) -> str:
    """
    Return an attribute.

    :raises ValueError: when there is none of this name.
    """
    value = part.get(name)
    if value is None:
        raise ValueError(f'{URDF}: {part.tag}: expected an attribute {name!r}, got none')
    return value


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split())
