"""YAML files that people write: UTF-8, no key twice, and errors of one line with its number."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

# Part of PyYAML's description of an error, and what to do.
MENDS = {
    'cannot start any token': 'indent with spaces, not tabs; quote text that begins with a sign',
    'end of stream': 'close the quote or the bracket that opens in this line',
    'undefined alias': 'write the anchor &name before its first use *name, spelt the same',
    'duplicate anchor': 'give each anchor &name a name of its own',
    'mapping values are not allowed': 'quote text with a colon, and indent each key equally',
    'block end': 'indent each key of a mapping equally, and close brackets',
    "',' or": 'close the bracket, and separate its values by commas',
}


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key that occurs twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """
        Return a mapping.

        :raises yaml.MarkedYAMLError: when a key occurs twice; the second value would win.
        """
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == 'tag:yaml.org,2002:merge':
                continue
            key = key_node.value
            line = key_node.start_mark.line + 1
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    problem=f'the key {key!r} twice, first in line {seen[key]}; keep one of them',
                    problem_mark=key_node.start_mark,
                )
            seen[key] = line
        return super().construct_mapping(node, deep)


def load_yaml(path: str | Path, what: str) -> Any:
    """
    Return the content of a YAML file in UTF-8, whatever the encoding of the machine.

    :param what: what the file describes, for the error of a missing file.
    :raises FileNotFoundError: when there is no such file.
    :raises ValueError: in one line, with the file, the line and what to do.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{what}: expected a YAML file, got {path}')
    try:
        return yaml.load(path.read_bytes().decode('utf-8-sig'), _Loader)
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b'\n') + 1
        raise ValueError(
            f'{path}, line {line}: expected text in UTF-8, got the byte '
            f'0x{error.object[error.start]:02x}; save the file as UTF-8'
        ) from error
    except yaml.reader.ReaderError as error:
        raise ValueError(
            f'{path}: expected text, got the character #x{error.character:04x} at position '
            f'{error.position}; remove it'
        ) from error
    except yaml.MarkedYAMLError as error:
        raise ValueError(_describe(path, error)) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # such as the date 2026-13-45
        raise ValueError(f'{path}: expected YAML, got {" ".join(str(error).split())}') from error


def _describe(path: Path, error: yaml.MarkedYAMLError) -> str:
    """Return an error of PyYAML in one line; a quote that stays open is named where it opens."""
    problem = ' '.join((error.problem or '').split())
    context = ' '.join((error.context or '').split())
    opens = 'end of stream' in problem and error.context_mark is not None
    mark = error.context_mark if opens else error.problem_mark or error.context_mark
    line = f', line {mark.line + 1}' if mark else ''
    got = f'{problem} ({context})' if context else problem
    mend = next((f'; {mend}' for part, mend in MENDS.items() if part in problem), '')
    return f'{path}{line}: expected YAML, got {got}{mend}'
