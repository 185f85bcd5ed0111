"""
What goes over the wire: protobuf messages, and arrays in them.

The message classes are made from ``serving.desc``, the descriptors of ``serving.proto``, when this
is imported; so every protobuf runtime from ROS 2 Humble's on reads one file, and no generated code
asks for a runtime of its own age. Make it again, after a change, with::

    python -m grpc_tools.protoc -Iefm_policy/serving \
        --descriptor_set_out=efm_policy/serving/serving.desc serving.proto
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
import numpy as np

DESCRIPTORS = Path(__file__).with_name('serving.desc')
PACKAGE = 'efm.serving.v1'
SERVICE = 'efm.serving.v1.Policy'
TYPES = ('uint8', 'int32', 'int64', 'float32')


def read_messages() -> dict[str, Any]:
    """Return every message class of ``serving.proto``, by its name."""
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    names = [message.name for file in files.file for message in file.message_type]
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    if hasattr(message_factory, 'GetMessageClass'):
        make = message_factory.GetMessageClass
    else:  # protobuf before 4.22
        make = message_factory.MessageFactory(pool).GetPrototype
    return {name: make(pool.FindMessageTypeByName(f'{PACKAGE}.{name}')) for name in names}


MESSAGES = read_messages()
Array, BeginRequest, BeginAnswer, ActRequest, ActAnswer = (
    MESSAGES[name] for name in ('Array', 'BeginRequest', 'BeginAnswer', 'ActRequest', 'ActAnswer')
)
METHODS = {'Begin': (BeginRequest, BeginAnswer), 'Act': (ActRequest, ActAnswer)}


def from_array(value: np.ndarray) -> Any:
    """Return an array of one of ``TYPES``, of any shape, as a message."""
    if value.dtype.name not in TYPES:
        raise ValueError(f'array: expected one of {", ".join(TYPES)}, got {value.dtype.name}')
    plain = np.ascontiguousarray(value, value.dtype.newbyteorder('<'))
    return Array(dtype=value.dtype.name, shape=value.shape, data=plain.tobytes())


def to_array(message: Any, name: str) -> np.ndarray:
    """
    Return the array in a message, read-only.

    :param name: what it is, for people.
    :raises ValueError: when its type is unknown, or its bytes are not what its shape asks for.
    """
    if message.dtype not in TYPES:
        raise ValueError(f'{name}: expected one of {", ".join(TYPES)}, got {message.dtype!r}')
    kind = np.dtype(message.dtype).newbyteorder('<')
    shape = tuple(message.shape)
    expected = math.prod(shape) * kind.itemsize
    if len(message.data) != expected:
        raise ValueError(
            f'{name}: expected {expected} bytes for shape {shape} of {message.dtype}, '
            f'got {len(message.data)}'
        )
    plain = np.frombuffer(message.data, kind).reshape(shape)
    return plain.astype(message.dtype, copy=False)
