"""
The second test set: words for colours and shapes that no training and no other set contains.

The words were written once, before any measurement on them.
"""

from __future__ import annotations

COLOUR_WORDS = {
    'red': (
        'cranberry',
        'garnet',
        'poppy',
        'lipstick red',
        'stop sign red',
        'ketchup coloured',
    ),
    'blue': (
        'periwinkle',
        'blueberry',
        'delft',
        'prussian blue',
        'electric blue',
        'swimming pool blue',
    ),
    'green': (
        'viridian',
        'malachite',
        'spinach',
        'bottle green',
        'frog green',
        'cucumber coloured',
    ),
    'yellow': (
        'dandelion',
        'custard',
        'ochre',
        'taxi yellow',
        'rubber duck yellow',
        'egg yolk',
    ),
}
SHAPE_WORDS = {
    'cube': (
        'parcel',
        'hexahedron',
        'sugar lump',
        'six faced piece',
        'sharp cornered block',
        'right angled thing',
    ),
    'cylinder': (
        'keg',
        'cork',
        'circular prism',
        'pipe shaped object',
        'curved sided block',
        'cornerless thing',
    ),
}
