"""From finished cells to docs/results: tidy CSV, JSON, pictures and the page."""

from __future__ import annotations

import csv
from dataclasses import asdict
import gzip
import io
import json
from pathlib import Path
from typing import Any

from efm_core.files import write_whole
from efm_evaluation.plots import STYLE
from efm_experiments.catalogue import CATALOGUE, load
from efm_experiments.experiment import Experiment, Record, Results, Table
from efm_experiments.studies import sample_efficiency
from matplotlib import rc_context

QUOTED = 'sample_efficiency'
QUOTE = ('<!-- results -->\n', '<!-- end of results -->\n')  # what stands between them in a README
HEAD = """# Results

Made by `efm experiment` from the files in `docs/results`; nothing here is typed by hand.
Intervals are 95 %: over seeds by Student's t, over episodes by Wilson; differences are paired.
"""


def publish(name: str, results: Results, command: str, folder: Path) -> Path:
    """
    Write the files of one experiment into ``folder``/results, and the page; return the page.

    :param command: what anybody types to get the same.
    """
    experiment = load(name)
    target = folder / 'results' / name
    write_whole(target / 'results.json', to_json(experiment, results, command))
    tidy = gzip.compress(to_csv(results).encode(), mtime=0)  # the same bytes every time
    write_whole(target / 'results.csv.gz', tidy)
    with rc_context(STYLE):
        for word, figure in experiment.plot(results).items():
            figure.savefig(target / f'{word}.png', dpi=110)
    page = folder / 'results.md'
    write_whole(page, make_page(folder / 'results'))
    return page


def republish(folder: Path) -> Path:
    """Make pictures, page and the README's table again from what ``folder``/results holds."""
    for name in CATALOGUE:
        path = folder / 'results' / name / 'results.json'
        if path.is_file():
            command, results = read(path)
            publish(name, results, command, folder)
    quote(folder.parent / 'README.md', folder / 'results')
    return folder / 'results.md'


def quote(readme: Path, folder: Path) -> None:
    """Write the headline of the results in ``folder`` between the marks of a README."""
    begin, end = QUOTE
    text = readme.read_text() if readme.is_file() else ''
    if begin not in text or not (folder / QUOTED / 'results.json').is_file():
        return
    before, rest = text.split(begin, 1)
    write_whole(readme, before + begin + headline(folder) + end + rest.split(end, 1)[1])


def headline(folder: Path) -> str:
    """Return the table that a README quotes from the results in ``folder``."""
    _, results = read(folder / QUOTED / 'results.json')
    return f'\n{to_markdown(sample_efficiency.headline(results))}'


def to_csv(results: Results) -> str:
    """Return one line for every number: cell, seed, name, index in a list (else empty), value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['cell', 'seed', 'name', 'index', 'value'])
    for record in results.records:
        for name, value in record.values.items():
            rows = enumerate(value) if isinstance(value, list) else [('', value)]
            writer.writerows([record.cell, record.seed, name, *row] for row in rows)
    return text.getvalue()


def to_json(experiment: Experiment, results: Results, command: str) -> str:
    """Return everything that the page needs; one line for each record."""
    configs = {record.cell: record.config for record in results.records}
    records = [{**asdict(record), 'config': None} for record in results.records]
    lines = ',\n  '.join(json.dumps(record, allow_nan=False) for record in records)
    head = {'experiment': experiment.name, 'command': command, 'configs': configs}
    return f'{json.dumps(head, indent=1)[:-2]},\n "records": [\n  {lines}\n ]\n}}\n'


def read(path: Path) -> tuple[str, Results]:
    """Return the command and the results in a ``results.json``."""
    plain = json.loads(path.read_text())
    records = (
        Record(**{**record, 'config': plain['configs'][record['cell']]})
        for record in plain['records']
    )
    return plain['command'], Results(tuple(records))


def make_page(folder: Path) -> str:
    """Return the results page of everything in ``folder``."""
    found = [name for name in CATALOGUE if (folder / name / 'results.json').is_file()]
    return '\n'.join([HEAD, *(make_section(name, folder / name) for name in found)])


def make_section(name: str, folder: Path) -> str:
    """Return the part of the page about one experiment."""
    experiment = load(name)
    command, results = read(folder / 'results.json')
    pictures = [
        f'![{path.stem}](results/{name}/{path.name})\n' for path in sorted(folder.glob('*.png'))
    ]
    tables = [to_markdown(table) for table in experiment.summarise(results)]
    parts = [f'## {experiment.title}\n', experiment.about.strip() + '\n', *tables, *pictures]
    return '\n'.join([*parts, origin(command, results)])


def to_markdown(table: Table) -> str:
    """Return a table as GitHub shows it."""

    def line(cells: Any) -> str:
        return f'| {" | ".join(str(cell) for cell in cells)} |'

    rule = ['---' for _ in table.head]
    rows = [line(cells) for cells in (table.head, rule, *table.rows)]
    return '\n'.join([f'**{table.caption}**\n', *rows, ''])


def origin(command: str, results: Results) -> str:
    """Return how these numbers came about, in one line."""
    records = results.records
    dates, commits, machines = (
        ', '.join(sorted({getattr(record, word) for record in records}))
        for word in ('date', 'commit', 'machine')
    )
    seeds = len({record.seed for record in records})
    wall, core = (
        f'{sum(getattr(record, word) for record in records) / 60:.1f}'
        for word in ('seconds', 'cpu_seconds')
    )
    return (
        f'`{command}`: {len(results.cells)} cells, {seeds} seeds; {wall} minutes of wall-clock '
        f'summed over the cells, {core} of a core (without a stage 1 that was there already); '
        f'{dates}; commit {commits}; {machines}.\n'
    )
