"""An ONNX file that needs other files is refused before onnxruntime sees it."""

from pathlib import Path

from efm_core.files import FileContent
from efm_model.onnx_file import check_complete, read_fields
from efm_model.providers import OnnxSession
from efm_model.runtime import Runtime
from models import exported, table_arm
import numpy as np
import onnx
from onnx import helper, TensorProto
import pytest


def content(data: bytes) -> FileContent:
    return FileContent(Path('policy.onnx'), data)


def external(name='w'):
    """Return a tensor whose values are in another file."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='weights.bin')
    return tensor


def graph(nodes=(), initializer=()):
    value = helper.make_tensor_value_info('x', TensorProto.FLOAT, [1])
    return helper.make_graph(list(nodes), 'g', [value], [value], list(initializer))


def inside(**attributes):
    return helper.make_model(graph([helper.make_node('If', [], ['y'], **attributes)]))


def in_function():
    node = helper.make_node('Constant', [], ['y'], value=external())
    opset = [helper.make_opsetid('', 17)]
    function = helper.make_function('own', 'f', [], ['y'], [node], opset)
    return helper.make_model(graph(), functions=[function])


def sparse():
    model = helper.make_model(graph())
    model.graph.sparse_initializer.add().values.CopyFrom(external())
    return model


MODELS = {
    'initializer': lambda: helper.make_model(graph(initializer=[external()])),
    'attribute': lambda: inside(value=external()),
    'list of tensors': lambda: inside(values=[external()]),
    'inner graph': lambda: inside(then_branch=graph(initializer=[external()])),
    'inner graphs': lambda: inside(branches=[graph(initializer=[external()])]),
    'function': in_function,
    'sparse': sparse,
    'compiled engine': lambda: helper.make_model(graph([helper.make_node('EPContext', [], [])])),
}


@pytest.mark.parametrize('name', MODELS)
def test_a_model_that_needs_another_file_is_refused(name):
    with pytest.raises(ValueError, match='policy: expected everything in one ONNX file') as caught:
        check_complete(content(MODELS[name]().SerializeToString()), 'policy')
    assert ('compiled engine' if name == 'compiled engine' else 'external data') in str(
        caught.value
    )


def test_external_data_is_found_without_its_mark():
    tensor = external()
    tensor.ClearField('data_location')
    with pytest.raises(ValueError, match='external data'):
        check_complete(
            content(helper.make_model(graph(initializer=[tensor])).SerializeToString()), 'policy'
        )


@pytest.mark.parametrize('kind', ['policy', 'reward'])
def test_an_exported_model_is_complete(kind):
    check_complete(FileContent.read(exported(kind)), kind)


def test_a_policy_with_external_weights_is_not_loaded_though_they_are_there(tmp_path):
    model = onnx.load(exported('policy'))
    onnx.save_model(
        model,
        tmp_path / 'policy.onnx',
        save_as_external_data=True,
        location='weights.bin',
        size_threshold=0,
    )
    assert (tmp_path / 'weights.bin').is_file()
    with pytest.raises(ValueError, match=r'got .*policy\.onnx with a tensor with external data'):
        Runtime(tmp_path / 'policy.onnx', 'policy', embodiment=table_arm())


@pytest.mark.parametrize(
    'data',
    [b'\x08', b'\x3a\x7f', b'\xff' * 12, b'\x0b', b'\x38\x01', b'1234ORTM'],
    ids=['no value', 'too short', 'no integer', 'group', 'number for a graph', 'flatbuffer'],
)
def test_bytes_that_are_no_onnx_file_are_one_line_of_error(data):
    with pytest.raises(ValueError, match='policy: expected a readable ONNX file, got policy'):
        check_complete(content(data), 'policy')


def test_graphs_nested_beyond_the_limit_are_refused():
    data = b''
    for _ in range(300):  # graph 6 in an attribute 5 in a node 1, and so on
        for key in (0x32, 0x2A, 0x0A):
            data = bytes([key]) + _varint(len(data)) + data
    with pytest.raises(ValueError, match='levels'):
        check_complete(content(b'\x3a' + _varint(len(data)) + data), 'policy')


def _varint(number):
    out = b''
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def test_the_fields_of_a_message_are_read():
    tensor = TensorProto(name='w', dims=[300], double_data=[1.5])
    fields = [(n, v if isinstance(v, int) else bytes(v)) for n, v in
              read_fields(memoryview(tensor.SerializeToString()))]  # fmt: skip
    assert (8, b'w') in fields
    assert (10, np.float64(1.5).tobytes()) in fields


def test_the_bytes_that_were_read_run_though_the_file_is_exchanged(tmp_path):
    path = tmp_path / 'policy.onnx'
    path.write_bytes(exported('policy').read_bytes())
    file = FileContent.read(path)
    path.write_bytes(b'exchanged')
    assert OnnxSession(file, 'policy').metadata['kind'] == 'policy'
