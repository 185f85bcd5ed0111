"""
The frame of an MCAP file: every length inside the file, and checksums over all of its bytes.

The MCAP format has two optional checksums (CRC-32), of the data section and of the summary. The
writer of rosbags leaves both empty, and its reader checks neither. With both, one changed bit is
found before anything is decoded. See https://mcap.dev/spec.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
import struct
import sys
from typing import BinaryIO, NamedTuple
from zlib import crc32

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd
from lz4.frame import LZ4FrameDecompressor

MAGIC = b'\x89MCAP0\r\n'
RECORD = struct.Struct('<BQ')  # operation, length
CHUNK = struct.Struct('<QQQI')  # first and last time, length when decompressed, checksum
FOOTER = struct.Struct('<QQI')  # start of the summary, of its offsets, checksum of the summary
LENGTH = struct.Struct('<I')
LONG_LENGTH = struct.Struct('<Q')
SUM = struct.Struct('<I')
FOOTER_OP = 0x02
CHUNK_OP = 0x06
DATA_END_OP = 0x0F
LARGEST_CHUNK = 2**30  # [bytes] when decompressed; recorders write chunks of about 1 MB
BLOCK = 2**20  # [bytes] read at once


class Frame(NamedTuple):
    """
    Where the checksums of a file are, as offsets [bytes]; 0: the file has no such section.

    :param data_end: of the record DataEnd, after all data.
    :param summary: of the summary.
    :param footer: of the record Footer.
    """

    data_end: int
    summary: int
    footer: int


def seal(path: Path) -> None:
    """
    Write both checksums into a finished file.

    :raises ValueError: when the file is not a whole MCAP file.
    :raises OSError: when the file cannot be written.
    """
    with open(path, 'r+b') as file:
        frame = _find_frame(file, path)
        data = _checksum(file, 0, frame.data_end)
        file.seek(frame.data_end + RECORD.size)
        file.write(SUM.pack(data))
        summary = _checksum(file, frame.summary, _summary_sum(frame))
        file.seek(_summary_sum(frame))
        file.write(SUM.pack(summary))


def check_file(path: Path) -> None:
    """
    Check every length and every checksum that the file has, before a reader trusts it.

    :raises ValueError: when a record exceeds the file, or a checksum differs.
    :raises OSError: when the file cannot be read.
    """
    with open(path, 'rb') as file:
        frame = _find_frame(file, path)
        if frame.data_end:
            _compare(file, path, (0, frame.data_end), frame.data_end + RECORD.size)
        if frame.summary:
            _compare(file, path, (frame.summary, _summary_sum(frame)), _summary_sum(frame))


def _find_frame(file: BinaryIO, path: Path) -> Frame:
    """Walk through all records of a file; the records must fill it."""
    data_end = footer = 0
    for operation, offset, length in _records(file, path):
        if operation == CHUNK_OP:
            _check_chunk(file.read(length), path, offset)
        elif operation == DATA_END_OP:
            data_end = offset
        elif operation == FOOTER_OP:
            footer = offset
    file.seek(footer + RECORD.size)
    end = file.read()
    if end[FOOTER.size :] != MAGIC:
        raise _damaged(path, 'a footer at the end of the file', 'other data')
    summary, _, _ = FOOTER.unpack_from(end)
    after_data = data_end + RECORD.size + SUM.size
    if summary and summary != after_data:
        raise _damaged(path, f'the summary after the data, at offset {after_data}', summary)
    return Frame(data_end, summary, footer)


def _records(file: BinaryIO, path: Path) -> Iterator[tuple[int, int, int]]:
    """Yield operation, offset and length of each record up to the footer; all are whole."""
    size = file.seek(0, 2)
    file.seek(0)
    if _exactly(file, len(MAGIC), path) != MAGIC:
        raise _damaged(path, 'an MCAP file', 'another beginning')
    operation = 0
    while operation != FOOTER_OP:
        offset = file.tell()
        operation, length = RECORD.unpack(_exactly(file, RECORD.size, path))
        left = size - file.tell()
        if length > left:
            got = f'one of {length} bytes at offset {offset}, where {left} are left'
            raise _damaged(path, 'a record inside the file', got)
        yield operation, offset, length
        file.seek(offset + RECORD.size + length)


def _check_chunk(record: bytes, path: Path, offset: int) -> None:
    """Check the lengths in a chunk, and that it does not decompress to more than it says."""
    where = f'at offset {offset}'
    try:
        _, _, size, _ = CHUNK.unpack_from(record)
        (word,) = LENGTH.unpack_from(record, CHUNK.size)
        start = CHUNK.size + LENGTH.size + word
        (packed,) = LONG_LENGTH.unpack_from(record, start)
    except struct.error as error:
        raise _damaged(path, f'the fields of a chunk {where}', error) from error
    data = record[start + LONG_LENGTH.size :]
    if packed != len(data) or size > LARGEST_CHUNK:
        wanted = f'a chunk {where} of {len(data)} bytes, at most {LARGEST_CHUNK} when decompressed'
        raise _damaged(path, wanted, f'{packed} and {size}')
    kind = record[CHUNK.size + LENGTH.size : start]
    if kind and (found := _decompressed_size(data, kind, size)) != size:
        raise _damaged(path, f'a chunk {where} of {size} bytes when decompressed', found)


def _decompressed_size(data: bytes, kind: bytes, size: int) -> int:
    """Return the decompressed size, or ``size`` + 1 for any larger one."""
    if kind not in (b'zstd', b'lz4'):
        raise ValueError(f'chunk: expected compression zstd or lz4, got {kind!r}')
    decompressor = zstd.ZstdDecompressor() if kind == b'zstd' else LZ4FrameDecompressor()
    return len(decompressor.decompress(data, max_length=size + 1))


def _compare(file: BinaryIO, path: Path, section: tuple[int, int], place: int) -> None:
    """Compare a checksum with the bytes of its section; 0 stands for no checksum."""
    file.seek(place)
    (wanted,) = SUM.unpack(_exactly(file, SUM.size, path))
    if wanted and (found := _checksum(file, *section)) != wanted:
        part = f'of bytes {section[0]} to {section[1]}'
        raise _damaged(path, f'the checksum {wanted:08x} {part}', f'{found:08x}')


def _checksum(file: BinaryIO, start: int, end: int) -> int:
    """Return the CRC-32 of a part of a file."""
    file.seek(start)
    found = 0
    while (left := end - file.tell()) > 0:
        found = crc32(file.read(min(left, BLOCK)), found)
    return found


def _summary_sum(frame: Frame) -> int:
    """Return the offset of the summary's checksum, which covers the footer's other fields."""
    return frame.footer + RECORD.size + FOOTER.size - SUM.size


def _exactly(file: BinaryIO, size: int, path: Path) -> bytes:
    data = file.read(size)
    if len(data) != size:
        raise _damaged(path, f'{size} bytes more', 'the end of the file')
    return data


def _damaged(path: Path, wanted: str, got: object) -> ValueError:
    return ValueError(f'{path}: expected {wanted}, got {got}; the file is damaged')
