import subprocess
import sys

from efm_core.observation import Observation
from efm_policy.serving import wire
from google.protobuf import descriptor_pb2
import numpy as np
import pytest


def test_the_descriptors_are_those_of_the_proto_file(tmp_path):
    source = wire.DESCRIPTORS.with_suffix('.proto')
    made = tmp_path / 'made.desc'
    command = (sys.executable, '-m', 'grpc_tools.protoc', f'-I{source.parent}')
    done = subprocess.run(
        [*command, f'--descriptor_set_out={made}', source.name], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found, kept = (
        descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes())
        for path in (made, wire.DESCRIPTORS)
    )
    assert found == kept, 'make serving.desc again, as efm_policy/serving/wire.py says'


@pytest.mark.parametrize(
    'array',
    [
        np.arange(6, dtype=np.int64),
        np.linspace(-1, 1, 12, dtype=np.float32).reshape(2, 3, 2),
        np.zeros((0, 4), np.float32),
        np.array(3, np.int32),
        np.arange(24, dtype=np.uint8).reshape(2, 4, 3)[:, ::2],
        np.arange(3).astype('>i4'),
    ],
    ids=['tokens', 'chunk', 'empty', 'number', 'strided', 'big-endian'],
)
def test_an_array_of_any_shape_survives_the_conversion(array):
    message = wire.Array.FromString(wire.from_array(array).SerializeToString())
    back = wire.to_array(message, 'array')
    np.testing.assert_array_equal(back, array)
    assert (back.dtype.name, back.shape) == (array.dtype.name, array.shape)


@pytest.mark.parametrize('numbers', [0, 3])
def test_an_observation_of_several_cameras_survives_the_conversion(numbers):
    rng = np.random.default_rng(0)
    sizes = ((4, 6, 3), (2, 3, 3))
    images = tuple(rng.integers(0, 256, size, np.uint8) for size in sizes)
    seen = Observation(images, np.arange(numbers, dtype=np.float32))
    request = wire.ActRequest(**wire.from_observation(seen))
    back = wire.to_observation(wire.ActRequest.FromString(request.SerializeToString()))
    assert back.equals(seen)
    assert back.proprioception.dtype == np.float32


def test_a_request_without_a_proprioception_is_refused():
    image = wire.from_array(np.zeros((4, 6, 3), np.uint8))
    with pytest.raises(ValueError, match='proprioception: expected one of uint8'):
        wire.to_observation(wire.ActRequest(images=[image]))


def test_an_array_of_objects_is_refused():
    with pytest.raises(ValueError, match='expected one of uint8, int32, int64, float32, got obj'):
        wire.from_array(np.array([{}]))


@pytest.mark.parametrize('dtype', ['object', 'O', '|V8', 'float64', '', 'U9'])
def test_an_array_of_another_type_is_refused(dtype):
    with pytest.raises(ValueError, match='values: expected one of uint8'):
        wire.to_array(wire.Array(dtype=dtype, shape=[1], data=b'12345678'), 'values')


@pytest.mark.parametrize('shape', [[2, 3], [2**31, 2**31, 4], [0]])
def test_bytes_that_do_not_fit_the_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r'values: expected \d+ bytes for shape .*, got 4'):
        wire.to_array(wire.Array(dtype='float32', shape=shape, data=b'1234'), 'values')
