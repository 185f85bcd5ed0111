"""
The protobuf messages between robots and a policy server, and arrays in them.

The message classes come from ``serving.desc``, the descriptors of ``serving.proto``, at import.
So one file serves every protobuf runtime since that of ROS 2 Humble. Generated code would need a
runtime of its own version. After a change of ``serving.proto``, write the descriptors again::

    python -m grpc_tools.protoc -Iefm_policy/serving \
        --descriptor_set_out=efm_policy/serving/serving.desc serving.proto
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, TypeAlias

from efm_core.observation import Observation
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
import numpy as np

DESCRIPTORS = Path(__file__).with_name('serving.desc')
PACKAGE = 'efm.serving.v1'
SERVICE = 'efm.serving.v1.Policy'
TYPES = ('uint8', 'int32', 'int64', 'float32')  # dtypes of arrays
Message: TypeAlias = Any  # a message of serving.proto; its classes exist only at run time


def read_messages() -> dict[str, Any]:
    """Return the message classes of ``serving.proto`` by name."""
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(DESCRIPTORS.read_bytes())
    names = [message.name for file in files.file for message in file.message_type]
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    if hasattr(message_factory, 'GetMessageClass'):
        make = message_factory.GetMessageClass
    else:  # protobuf before 4.22
        make = message_factory.MessageFactory(pool).GetPrototype  # type: ignore[attr-defined]
    return {name: make(pool.FindMessageTypeByName(f'{PACKAGE}.{name}')) for name in names}


MESSAGES = read_messages()
Array, BeginRequest, BeginAnswer, ActRequest, ActAnswer = (
    MESSAGES[name] for name in ('Array', 'BeginRequest', 'BeginAnswer', 'ActRequest', 'ActAnswer')
)
METHODS = {'Begin': (BeginRequest, BeginAnswer), 'Act': (ActRequest, ActAnswer)}


def from_array(value: np.ndarray) -> Message:
    """
    Return an array as a message.

    :param value: of any shape, with a dtype in ``TYPES``.
    :raises ValueError: for another dtype.
    """
    if value.dtype.name not in TYPES:
        raise ValueError(f'array: expected one of {", ".join(TYPES)}, got {value.dtype.name}')
    plain = np.ascontiguousarray(value, value.dtype.newbyteorder('<'))
    return Array(dtype=value.dtype.name, shape=value.shape, data=plain.tobytes())


def to_array(message: Message, name: str) -> np.ndarray:
    """
    Return the array in a message, read-only.

    :param name: name of the array in error messages.
    :raises ValueError: when the dtype is unknown, or the bytes do not fit the shape.
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


def from_observation(observation: Observation) -> dict[str, Message]:
    """Return an observation as fields of an ``ActRequest``."""
    return {
        'images': [from_array(image) for image in observation.images],
        'proprioception': from_array(observation.proprioception),
    }


def to_observation(request: Message) -> Observation:
    """
    Return the observation in an ``ActRequest``.

    :raises ValueError: as `to_array`.
    """
    images = tuple(to_array(image, 'image') for image in request.images)
    return Observation(images, to_array(request.proprioception, 'proprioception'))
