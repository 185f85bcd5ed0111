"""
Check that an ONNX file is complete: everything that onnxruntime would load is in its bytes.

An ONNX file may keep its weights in other files, which no hash of the file covers. The check reads
the protobuf encoding itself, because the package ``onnx`` is not installed on a robot.
"""

from __future__ import annotations

from collections.abc import Iterator

from efm_core.config import expect
from efm_core.files import FileContent

Value = int | memoryview

# The messages of onnx.proto that can contain a tensor: for each the fields to descend into.
MODEL = 'ModelProto'
GRAPH = 'GraphProto'
NODE = 'NodeProto'
ATTRIBUTE = 'AttributeProto'
TENSOR = 'TensorProto'
SPARSE = 'SparseTensorProto'
FUNCTION = 'FunctionProto'
TRAINING = 'TrainingInfoProto'
PARTS = {
    MODEL: {7: GRAPH, 20: TRAINING, 25: FUNCTION},
    GRAPH: {1: NODE, 5: TENSOR, 15: SPARSE},
    NODE: {5: ATTRIBUTE},
    ATTRIBUTE: {5: TENSOR, 6: GRAPH, 10: TENSOR, 11: GRAPH, 22: SPARSE, 23: SPARSE},
    SPARSE: {1: TENSOR, 2: TENSOR},
    FUNCTION: {7: NODE, 11: ATTRIBUTE},
    TRAINING: {1: GRAPH, 2: GRAPH},
}
EXTERNAL_DATA = 13  # field of a TensorProto: names the other file
DATA_LOCATION = 14  # field of a TensorProto: 1 for another file
OPERATOR = 4  # field of a NodeProto
ENGINE = b'EPContext'  # operator that loads a compiled engine, also from another file
FLATBUFFER = b'ORTM'  # mark of onnxruntime's own format, at byte 4
DEEPEST = 100  # levels of graphs inside graphs; as protobuf


def check_complete(file: FileContent, name: str) -> None:
    """
    Refuse an ONNX file that needs other files.

    :param name: name of the model in error messages.
    :raises ValueError: when it does, or is no ONNX file.
    """
    readable = 'a readable ONNX file'
    expect(file.data[4:8] != FLATBUFFER, name, readable, f"{file.path} in onnxruntime's format")
    try:
        problem = _find_reference(MODEL, memoryview(file.data), 0)
    except (IndexError, ValueError) as error:
        raise ValueError(f'{name}: expected {readable}, got {file.path}: {error}') from error
    expect(
        not problem,
        name,
        'everything in one ONNX file, which its hash covers',
        f'{file.path} with {problem}; export the model again into one file',
    )


def _find_reference(kind: str, data: memoryview, depth: int) -> str:
    """Return what in a message needs another file; empty if nothing does."""
    if depth > DEEPEST:
        raise ValueError(f'more than {DEEPEST} levels')
    for number, value in read_fields(data):
        if kind == TENSOR and (number == EXTERNAL_DATA or (number, value) == (DATA_LOCATION, 1)):
            return 'a tensor with external data'
        if kind == NODE and number == OPERATOR and bytes(_to_bytes(value)) == ENGINE:
            return f'the operator {ENGINE.decode()}, which loads a compiled engine'
        part = PARTS.get(kind, {}).get(number)
        found = _find_reference(part, _to_bytes(value), depth + 1) if part else ''
        if found:
            return found
    return ''


def read_fields(data: memoryview) -> Iterator[tuple[int, Value]]:
    """
    Yield the fields of a protobuf message: number and value, an integer or bytes.

    :raises IndexError: when the message ends within a field.
    :raises ValueError: when a field has an unknown wire type.
    """
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        wire = key & 7
        if wire == 0:
            value, at = _read_varint(data, at)
            yield key >> 3, value
            continue
        if wire == 2:
            length, at = _read_varint(data, at)
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
        else:
            raise ValueError(f'wire type {wire}')
        if at + length > len(data):
            raise IndexError(f'{length} bytes expected, {len(data) - at} left')
        yield key >> 3, data[at : at + length]
        at += length


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """Return an integer of variable length, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError('an integer of more than 10 bytes')


def _to_bytes(value: Value) -> memoryview:
    if isinstance(value, int):
        raise ValueError('a number where a message was expected')
    return value
