"""The topic table."""

from __future__ import annotations

from efm_core import topics
from efm_core.embodiment import Camera
from efm_data.message_types import definitions_directory, known_types
import pytest
from sources import ROOT


def test_names_in_the_table_are_unique():
    names = [topic.name for topic in topics.TABLE]
    assert len(names) == len(set(names))


def test_every_topic_of_the_module_is_in_the_table():
    named = {value for value in vars(topics).values() if isinstance(value, topics.Topic)}
    assert named == set(topics.TABLE)


@pytest.mark.parametrize('topic', topics.TABLE, ids=lambda topic: topic.name)
def test_each_row_has_a_known_type_a_qos_profile_and_a_meaning(topic):
    assert topic.type in known_types()
    assert topic.qos in (topics.SENSOR_DATA, topics.RELIABLE, topics.DURABLE, topics.LATCHED)
    assert topic.meaning


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('image', 'Image'),
        ('image_uncompressed', 'Image'),
        ('uncompressed', 'Image'),
        ('compressed', 'CompressedImage'),
        ('/camera/image_raw/compressed', 'CompressedImage'),
    ],
)
def test_only_the_last_word_compressed_makes_a_compressed_camera(name, kind):
    camera = Camera('front', name, height=64, width=64)
    assert topics.camera_topic(camera).type == f'sensor_msgs/msg/{kind}'


def test_the_readme_has_the_same_table():
    rows = [f'| `{t.name}` | {t.type} | {t.qos} | {t.meaning} |' for t in topics.TABLE]
    written = (ROOT / 'README.md').read_text().split('| topic | type | QoS | meaning |')[1]
    assert written.split('\n\n')[0].splitlines()[2:] == rows


def test_names_are_relative_to_the_namespace_of_a_robot():
    absolute = [topic.name for topic in topics.TABLE if topic.name.startswith('/')]
    assert absolute == ['/diagnostics']


def test_every_message_of_the_suite_can_be_decoded_without_ros():
    names = {f'efm_interfaces/msg/{path.stem}' for path in definitions_directory().glob('*.msg')}
    assert names <= set(known_types())
