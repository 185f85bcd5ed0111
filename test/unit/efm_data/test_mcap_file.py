"""Every change of a sealed file is found; every length stays inside the file."""

import struct

from bags import make_episode, write_bag
from efm_data.mcap_file import check_file, seal
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer
from trainer_fakes import small_embodiment


@pytest.fixture
def sealed(tmp_path):
    bag = write_bag(make_episode(small_embodiment(), steps=1), tmp_path / 'bag')
    (file,) = bag.glob('*.mcap')
    seal(file)
    return file


def test_a_sealed_file_is_accepted_and_reads_as_before(sealed):
    check_file(sealed)
    with Reader(sealed) as reader:
        assert {c.topic for c in reader.connections} >= {'/robot_0/action', '/robot_0/outcome'}


def test_each_changed_byte_of_a_sealed_file_is_found(sealed):
    data = sealed.read_bytes()
    for place in range(0, len(data), 37):
        changed = bytearray(data)
        changed[place] ^= 1
        sealed.write_bytes(changed)
        with pytest.raises(ValueError, match='damaged'):
            check_file(sealed)


def test_a_file_without_checksums_is_accepted(tmp_path):
    bag = write_bag(make_episode(small_embodiment(), steps=1), tmp_path / 'bag')
    check_file(next(bag.glob('*.mcap')))


@pytest.mark.parametrize('length', [2**62, 2**33, 1_000_000])
def test_a_record_longer_than_the_file_is_refused_before_it_is_read(sealed, length):
    data = bytearray(sealed.read_bytes())
    data[9:17] = struct.pack('<Q', length)  # of the first record
    sealed.write_bytes(data)
    with pytest.raises(ValueError, match=f'one of {length} bytes at offset 8'):
        check_file(sealed)


def compressed(path):
    writer = Writer(path, version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection('/x', 'std_msgs/msg/Empty', msgdef='x', rihs01='x')
        writer.write(connection, 1, bytes(100_000))
    return next(path.glob('*.mcap'))


def test_a_chunk_that_decompresses_to_more_than_it_says_is_refused(tmp_path):
    file = compressed(tmp_path / 'bag')
    check_file(file)
    data = bytearray(file.read_bytes())
    place = data.index(struct.pack('<Q', 1) * 2) + 16  # after the times of the chunk
    data[place : place + 8] = struct.pack('<Q', 1000)
    file.write_bytes(data)
    with pytest.raises(ValueError, match='of 1000 bytes when decompressed, got 1001'):
        check_file(file)
