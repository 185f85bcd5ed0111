"""Writes finished cells as CSV and JSON, and makes the figures and the results page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import csv
from dataclasses import asdict
import gzip
import io
import json
from pathlib import Path

from efm_core.files import write_whole
from efm_evaluation.plots import STYLE
from efm_experiments.catalogue import CATALOGUE, load
from efm_experiments.experiment import Experiment, Record, Results, ResultTable
from efm_experiments.findings import findings_table
from efm_experiments.studies import sample_efficiency
from efm_experiments.table.report import has_bounds_only
from matplotlib import rc_context

QUOTED = 'sample_efficiency'
QUOTE = ('<!-- results -->\n', '<!-- end of results -->\n')  # marks of the generated block
HEAD = """# Results

This page reports each published experiment with the command that repeats it. `efm experiment`
generates the page from the files in `docs/results`; no number is typed by hand.
[Corrections](corrections.md) lists what earlier versions of this page said wrongly.
"""
GUIDE = """## How to read the tables

- **Self-stopped** success: the goal is reached at the observation at which the robot's own
  success detector fires. A time-out without a detection is a failure. This is the success of a
  robot that stops itself.
- **Reached** success: the goal holds at some moment within the time limit. The simulator's state
  decides.
- *x to y* are bounds of self-stopped success. These records end an episode six steps after its
  goal and do not hold the truth at the detection. The lower end counts detections within these
  steps only. The upper end also counts every goal without a detection, because it may have come
  later. In 300 episodes of `make demo` after practice, with s = 2, the lower end was 68 %, the
  exact figure 76 %. New runs store what the exact figure needs. *Not stored*: no detections.
- The lower end also counts a goal that the robot has left again before the detection. In
  `detector` this is 0.4 points after practice, at most 1.0 in one run.
- Both measures need the simulator's state. Learning does not use it, except in cells that name
  the simulator or true success.
- The reward model predicts d, the steps that remain to the goal. The detector fires when d <= s
  on `dwell` consecutive observations. Unless a cell names others, s = 2 steps and `dwell` = 2.
- Stage 1 is supervised fine-tuning on demonstrations. Stage 2 is practice. A row `before` shows
  the policy of stage 1.
- **The tables do not show the shipped settings**, unless a cell says so. Practice uses each
  sample once, without baseline and without a moving average of the policy. The shipped defaults
  are s = 1, four clipped epochs, a linear baseline and a moving average.
- Brackets hold 95 % intervals: Student's t over seeds, Wilson over episodes. Differences are
  paired by seed and in percentage points.
"""


def check_clean(commits: Iterable[str]) -> None:
    """
    Refuse results that no commit describes.

    :param commits: as ``describe_commit`` returns them.
    :raises ValueError: when a tree had uncommitted changes, or was no clone.
    """
    dirty = sorted({commit for commit in commits if commit == 'unknown' or commit.endswith('+')})
    if dirty:
        raise ValueError(
            f'publish: expected results of a clean tree, got {", ".join(dirty)} (+: uncommitted '
            'changes); commit and run again, or use --allow-dirty for a trial'
        )


def publish(name: str, results: Results, command: str, folder: Path) -> Path:
    """
    Write the files of one experiment into ``folder``/results; return the regenerated page.

    :param command: command line that reproduces the results.
    """
    experiment = load(name)
    target = folder / 'results' / name
    write_whole(target / 'results.json', to_json(experiment, results, command))
    tidy = gzip.compress(to_csv(results).encode(), mtime=0)  # without a time: reproducible bytes
    write_whole(target / 'results.csv.gz', tidy)
    with rc_context(STYLE):
        for word, figure in experiment.plot(results).items():
            figure.savefig(target / f'{word}.png', dpi=110)
    page = folder / 'results.md'
    write_whole(page, make_page(folder / 'results'))
    return page


def republish(folder: Path) -> Path:
    """Regenerate figures, page and README block from the results stored in ``folder``/results."""
    for name in CATALOGUE:
        path = folder / 'results' / name / 'results.json'
        if path.is_file():
            command, results = read(path)
            publish(name, results, command, folder)
    quote(folder.parent / 'README.md', folder / 'results')
    return folder / 'results.md'


def quote(readme: Path, folder: Path) -> None:
    """Write the headline table of the results in ``folder`` between the marks of a README."""
    begin, end = QUOTE
    text = readme.read_text() if readme.is_file() else ''
    if begin not in text or not (folder / QUOTED / 'results.json').is_file():
        return
    before, rest = text.split(begin, 1)
    write_whole(readme, before + begin + headline(folder) + end + rest.split(end, 1)[1])


def headline(folder: Path) -> str:
    """Return the README's table, from the results in ``folder``."""
    _, results = read(folder / QUOTED / 'results.json')
    return f'\n{to_markdown(sample_efficiency.headline(results))}'


def to_csv(results: Results) -> str:
    """Return one line for each number: cell, seed, name, index within a list (or empty), value."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['cell', 'seed', 'name', 'index', 'value'])
    for record in results.records:
        for name, value in record.values.items():
            rows = list(enumerate(value)) if isinstance(value, list) else [('', value)]
            writer.writerows([record.cell, record.seed, name, *row] for row in rows)
    return text.getvalue()


def to_json(experiment: Experiment, results: Results, command: str) -> str:
    """Return all records as JSON, one line for each record."""
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
    """Return the results page of all experiments in ``folder``."""
    found = [name for name in CATALOGUE if (folder / name / 'results.json').is_file()]
    stored = {name: (load(name).title, read(folder / name / 'results.json')[1]) for name in found}
    findings = to_markdown(findings_table(stored))
    return '\n'.join([HEAD, findings, GUIDE, *(make_section(n, folder / n) for n in found)])


def make_section(name: str, folder: Path) -> str:
    """Return the page's section about one experiment."""
    experiment = load(name)
    command, results = read(folder / 'results.json')
    pictures = [
        f'![{path.stem}](results/{name}/{path.name})\n' for path in sorted(folder.glob('*.png'))
    ]
    tables = [to_markdown(table) for table in experiment.summarise(results)]
    parts = [f'## {experiment.title}\n', experiment.about.strip() + '\n', *tables, *pictures]
    return '\n'.join([*parts, origin(command, results)])


def to_markdown(table: ResultTable) -> str:
    """Return a table in GitHub's Markdown."""

    def line(cells: Sequence[object]) -> str:
        return f'| {" | ".join(str(cell) for cell in cells)} |'

    rule = ['---' for _ in table.header]
    rows = [line(cells) for cells in (table.header, rule, *table.rows)]
    return '\n'.join([f'**{table.caption}**\n', *rows, ''])


def origin(command: str, results: Results) -> str:
    """Return how the results were made: command, size, time, date, commit and machine."""
    records = results.records
    dates, commits, machines = (
        ', '.join(sorted({getattr(record, word) for record in records}))
        for word in ('date', 'commit', 'machine')
    )
    seeds = len({record.seed for record in records})
    wall, processor = (
        f'{sum(getattr(record, word) for record in records) / 60:.1f}'
        for word in ('seconds', 'cpu_seconds')
    )
    older = any(has_bounds_only(record) for record in records)
    note = (
        ' Self-stopped success is bounded only: run again for the exact figure.' if older else ''
    )
    dirty = sum(record.commit.endswith('+') for record in records)
    unclean = f' {dirty} of {len(records)} records come from uncommitted changes.' if dirty else ''
    return (
        f'Command: `{command}`. Size: {len(results.cells)} cells, {seeds} seeds. Time summed over '
        f'the cells, without a cached stage 1: {wall} min wall-clock, {processor} min processor. '
        f'Date: {dates}. Commit (`+`: with uncommitted changes): {commits}. '
        f'Machine: {machines}.{unclean}{note}\n'
    )
