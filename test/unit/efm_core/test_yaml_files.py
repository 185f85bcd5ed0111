"""YAML that people write: each fault is one line with the file, the line and what to do."""

from efm_core.embodiment import load_embodiment
from efm_core.embodiment_files import find_embodiment, has_simulation
from efm_core.yaml_files import load_yaml
import pytest

GOOD = 'name: robot\nlimits:\n  velocity: 1\n'


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / 'robot.yaml'
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_plain_yaml_is_what_it_says(write):
    assert load_yaml(write(GOOD), 'robot') == {'name': 'robot', 'limits': {'velocity': 1}}


@pytest.mark.parametrize(
    ('text', 'said'),
    [
        ('name: a\n\tb: 1\n', r'robot.yaml, line 2: expected YAML, got .*; indent with spaces'),
        ('a: 1\nname: "open\nb: 2\n', r'line 2: expected YAML, got .* end of stream.*close the'),
        ('a: &joints [x]\nb: *joint\n', r"line 2: .* undefined alias 'joint'; write the anchor"),
        ('a: 1\nb: 2: 3\n', r'line 2: .*mapping values are not allowed.*; quote text'),
        ('a: [1, 2\nb: 3\n', r'line 2: expected YAML, got .*; close the bracket'),
        ('a: 1\nb: 2\na: 3\n', r"line 3: .* the key 'a' twice, first in line 1; keep one"),
        ('limits: {v: 1,\n  v: 9}\n', r"line 2: .* the key 'v' twice, first in line 1; keep one"),
        (b'a: 1\nname: \xe9\n', r'line 2: expected text in UTF-8, got the byte 0xe9; save'),
        (b'a: \x07\n', r'expected text, got the character #x0007 at position 3; remove it'),
        ('when: 2026-13-45\n', r'robot.yaml: expected YAML, got month must be'),
    ],
)
def test_a_fault_is_one_line_with_file_line_and_mend(write, text, said):
    path = write(text)
    for read in (lambda: load_yaml(path, 'robot'), lambda: has_simulation(path)):
        with pytest.raises(ValueError, match=said) as error:
            read()
        assert '\n' not in str(error.value)
        assert str(path) in str(error.value)


def test_a_key_that_a_merge_replaces_is_no_second_key(write):
    text = 'base: &base {a: 1, b: 2}\nother:\n  <<: *base\n  a: 3\n'
    assert load_yaml(write(text), 'robot')['other'] == {'a': 3, 'b': 2}


def test_the_encoding_of_the_machine_changes_no_hash(tmp_path, monkeypatch):
    """As Python reads text where the locale is Latin-1."""
    text = find_embodiment('table_arm').read_text().replace('unit: m', 'unit: \u00b5m')
    path = tmp_path / 'robot.yaml'
    path.write_bytes(text.encode())
    expected = load_embodiment(path).hash
    monkeypatch.setattr('io.text_encoding', lambda *_: 'latin-1')
    assert load_embodiment(path).hash == expected
    path.write_bytes(b'\xef\xbb\xbf' + text.encode())  # Windows editors write such a mark
    assert load_embodiment(path).hash == expected
