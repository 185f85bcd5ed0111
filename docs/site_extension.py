"""
What the site adds to Sphinx and MyST.

- ``{modules} FOLDER`` describes every module of a folder from its docstrings.
- A configuration class shows unit, default and range of each of its parameters.
- A link to a file outside ``docs/`` downloads the file. A link to a folder becomes plain text.
"""

from __future__ import annotations

from collections.abc import Iterator
import dataclasses
from pathlib import Path
import re
from typing import Any, cast

from docutils import nodes
from efm_core.config import describe
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).resolve().parents[1]
MODULE = """
## `{module}`

```{{eval-rst}}
.. automodule:: {module}
   :members:
   :ignore-module-all:
```
"""


def modules(folder: str) -> list[str]:
    """Return the modules in a folder and in its subfolders, each subfolder's package first."""
    files = sorted((ROOT / folder).rglob('*.py'), key=lambda path: (path.parent, path.name))
    names = ['.'.join(path.relative_to(ROOT).with_suffix('').parts) for path in files]
    return [name.removesuffix('.__init__') for name in names if name != f'{folder}.__init__']


class Modules(SphinxDirective):
    """Describe the modules of the folder that the argument names, one section a module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        text = '\n'.join(MODULE.format(module=module) for module in modules(self.arguments[0]))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def add_parameters(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Append the description of each parameter to the docstring of a configuration class."""
    if what == 'class' and dataclasses.is_dataclass(obj):
        lines += ['', *_parameters(obj), '']


def _parameters(config_type: Any) -> Iterator[str]:
    for field in dataclasses.fields(config_type):
        if 'description' in field.metadata:
            yield f':param {field.name}: ' + re.sub(r'([*`|_\\])', r'\\\1', describe(field))


def prefer_public_names(app: Sphinx, env: BuildEnvironment) -> None:
    """Let ``Episode``, which is ``efm.Episode`` too, link to the page of the public names."""
    domain = cast(PythonDomain, env.get_domain('py'))
    objects = domain.objects
    public = {name.removeprefix('efm.') for name in objects if objects[name].docname == 'python'}
    for name, entry in objects.items():
        if entry.docname != 'python' and any(name.endswith(f'.{tail}') for tail in public):
            objects[name] = entry._replace(aliased=True)


class RepositoryLinks(SphinxTransform):
    """Replace the links that leave ``docs/`` before MyST looks for pages of these names."""

    default_priority = 1

    def apply(self, **kwargs: Any) -> None:
        """Replace the links of one page."""
        folder = Path(self.env.doc2path(self.env.docname)).parent
        for link in list(self.document.findall(addnodes.pending_xref)):
            target = link.get('reftarget', '')
            if link.get('reftype') != 'myst':
                continue
            if link.get('refdomain') == 'doc' and Path(target).is_absolute():
                link.replace_self(
                    download(link, f'/{Path("..", Path(target).relative_to(ROOT))}.md')
                )
            elif target and (folder / target).is_dir():
                link.replace_self(link.children)


def download(link: addnodes.pending_xref, target: str) -> addnodes.download_reference:
    """Return a link that downloads a file; ``target`` is relative to ``docs/``."""
    return addnodes.download_reference(
        '', '', *link.children, reftarget=target, refdoc=link['refdoc'], refdomain=None
    )


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the extension."""
    app.add_directive('modules', Modules)
    app.add_transform(RepositoryLinks)
    app.connect('autodoc-process-docstring', add_parameters)
    app.connect('env-updated', prefer_public_names)
    return {'version': '1', 'parallel_read_safe': True, 'parallel_write_safe': True}
