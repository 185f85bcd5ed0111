"""The arm of ``urdf/arm.urdf`` as a model in SDF: the same links, joints, limits and masses."""

from __future__ import annotations

import functools
import math
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from efm_sim.gazebo import sdf
from efm_sim.gazebo.sdf import leaf, node
from efm_sim.table.scene import BASE, find_urdf

ARM = 'arm'  # the model's name
GEARS = 0.05  # added to the inertia of each link, since ODE's joints have no gears [kg m^2]
MOMENTS = ('ixx', 'iyy', 'izz')


@functools.cache
def read_urdf() -> Element:
    """Return the robot that MuJoCo loads."""
    return ElementTree.parse(find_urdf()).getroot()


def make_arm() -> Element:
    """Return the arm as a model that stands behind the table and faces it."""
    robot = read_urdf()
    parents = {joint.find('child').get('link'): joint for joint in robot.findall('joint')}
    colours = {
        material.get('name'): _numbers(material.find('color').get('rgba'))
        for material in robot.findall('material')
    }
    links = [_link(link, parents, colours) for link in robot.findall('link')]
    stand = node('joint', node('parent', 'world'), node('child', 'base_link'), **_fixed('stand'))
    joints = [_joint(joint) for joint in robot.findall('joint')]
    pose = leaf('pose', *BASE, 0, 0, -math.pi / 2)
    return node('model', pose, *links, stand, *joints, name=ARM)


def _link(link: Element, parents: dict[str, Element], colours: dict[str, tuple]) -> Element:
    name = link.get('name')
    inertia = link.find('inertial/inertia')
    return node(
        'link',
        _pose_in_parent(parents[name]) if name in parents else None,
        sdf.inertial(
            float(link.find('inertial/mass').get('value')),
            [float(inertia.get(key)) + GEARS for key in MOMENTS],
            _origin(link.find('inertial')),
        ),
        *(
            sdf.visual(
                f'{name}_{index}',
                _geometry(visual),
                colours[visual.find('material').get('name')],
                _origin(visual),
            )
            for index, visual in enumerate(link.findall('visual'))
        ),
        *(
            node(
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
    ends = [node(end, joint.find(end).get('link')) for end in ('parent', 'child')]
    if joint.get('type') == 'fixed':
        return node('joint', *ends, **_fixed(joint.get('name')))
    limit = joint.find('limit')
    limits = [leaf(key, float(limit.get(key))) for key in ('lower', 'upper', 'effort', 'velocity')]
    axis = node(
        'axis', leaf('xyz', *_numbers(joint.find('axis').get('xyz'))), node('limit', *limits)
    )
    return node('joint', *ends, axis, name=joint.get('name'), type='revolute')


def _pose_in_parent(joint: Element) -> Element:
    return leaf('pose', *_origin(joint), relative_to=joint.find('parent').get('link'))


def _origin(element: Element) -> tuple[float, ...]:
    """Return where something is in its parent's frame, (6,) [m, rad]; URDF leaves out zeros."""
    origin = element.find('origin')
    if origin is None:
        return (0.0,) * 6
    return tuple(number for key in ('xyz', 'rpy') for number in _numbers(origin.get(key, '0 0 0')))


def _geometry(element: Element) -> Element:
    """
    Return a visual's or collision's geometry in SDF.

    :raises ValueError: on anything but cylinder, sphere and box.
    """
    shape = element.find('geometry')[0]
    if shape.tag == 'cylinder':
        return sdf.cylinder(float(shape.get('radius')), float(shape.get('length')))
    if shape.tag == 'sphere':
        return sdf.sphere(float(shape.get('radius')))
    if shape.tag == 'box':
        return sdf.box(*_numbers(shape.get('size')))
    raise ValueError(f'geometry: expected cylinder, sphere or box, got {shape.tag!r}')


def _fixed(name: str) -> dict[str, str]:
    return {'name': name, 'type': 'fixed'}


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(word) for word in text.split())
