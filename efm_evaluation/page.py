"""The report as one self-contained page: no other file, no network."""

from __future__ import annotations

import base64
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from efm_core.files import write_whole

STYLE = """
:root { --ink: #1f2937; --soft: #6b7280; --line: #e5e7eb; --good: #0f766e; --pale: #f8fafc; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--pale); color: var(--ink);
  font: 16px/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1000px; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 0 0 .8rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); }
.cards { display: grid; gap: 1rem; margin: 1.6rem 0;
  grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.card, section { background: #fff; border: 1px solid var(--line); border-radius: 12px; }
.card { padding: .9rem 1.1rem; }
.card b { display: block; font-size: 1.25rem; line-height: 1.5; white-space: nowrap; }
.card.lead { border-color: var(--good); } .card.lead b { color: var(--good); }
.card span { color: var(--soft); font-size: .9rem; }
section { padding: 1.3rem 1.5rem; margin: 1rem 0; overflow-x: auto; }
img { max-width: 100%; display: block; margin: 0 auto; } img.success { width: 620px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .4rem .7rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { color: var(--soft); font-weight: 600; font-size: .88rem; }
code { font: .88em ui-monospace, SFMono-Regular, Menlo, monospace; }
"""

PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>$style</style>
</head>
<body><main>
<h1>$title</h1>
<p class="soft">$subtitle</p>
<div class="cards">$cards</div>
$sections
</main></body>
</html>
"""
)

CAPTIONS = {
    'success': (
        'Success before and after practice',
        "Self-stopped: the goal is reached at the observation where the robot's own success "
        'detector fires; an episode without a detection is a failure. Reached: the goal was '
        'reached at some observation within the time limit. Both use simulator truth, on scenes '
        'of neither demonstrations nor practice. The lines are 95 % Wilson intervals.',
    ),
    'learning': (
        'Learning curve',
        "Practice needs no person: the robot's own steps-to-go prediction ends the episodes and "
        'gives the reward. Simulator truth is shown here only.',
    ),
    'traces': (
        'Steps-to-go prediction in two episodes',
        'Mean of the predicted steps-to-go, below the camera images. '
        'Shaded: the goal is reached, by simulator truth.',
    ),
    'wall_clock': ('Duration', 'Wall-clock time of each stage.'),
}
STAGES = {'practice': 'practice', 'evaluation_after': 'evaluation after practice'}


def write_page(path: Path, summary: dict[str, Any], pictures: dict[str, Path]) -> Path:
    """
    Write the page; return its path.

    :param pictures: name to PNG file; the page embeds the files.
    """
    sections = [_picture(name, file) for name, file in pictures.items() if name != 'wall_clock']
    sections.append(_detector(summary['detector']))
    sections += [_picture(n, file) for n, file in pictures.items() if n == 'wall_clock']
    sections.append(_origin(summary))
    page = PAGE.substitute(
        title=escape(_title(summary)),
        subtitle=escape(f'Run {summary["run"]}, {summary["created"]}'),
        style=STYLE,
        cards=''.join(_cards(summary)),
        sections='\n'.join(sections),
    )
    return write_whole(path, page)


def percent(value: float | None) -> str:
    """Return a fraction as a whole percentage; ``n/a`` for None."""
    return 'n/a' if value is None else f'{100 * value:.0f} %'


def duration(seconds: float) -> str:
    """Return a time such as ``9 min 05 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes else f'{rest} s'


def _title(summary: dict[str, Any]) -> str:
    before = summary['success_before']['self_stopped']['rate']
    after = summary['success_after']['self_stopped']['rate']
    labels = summary['labels']['labelled']
    if before is None or after is None:
        return f'Practice with {labels} labels' if labels else 'Practice without labels'
    return f'Self-stopped success: {percent(before)} before, {percent(after)} after practice'


def _cards(summary: dict[str, Any]) -> list[str]:
    """Return the headline figures."""
    before = summary['success_before']
    after = summary['success_after']
    detector = summary['detector']
    seconds = sum(summary['wall_clock_s'].values())
    steps = [r['mean_steps'] for r in (before, after) if r['mean_steps'] is not None]
    disjoint = 'do not overlap' if summary['intervals_are_disjoint'] else 'overlap'
    return [
        _card(
            _change(before['self_stopped'], after['self_stopped']),
            f'self-stopped success before and after practice; the 95 % intervals {disjoint}',
            'lead',
        ),
        _card(
            _change(before['reached'], after['reached']),
            'reached success before and after practice',
        ),
        _card(
            str(summary['episodes_practised']),
            f'practice episodes after {summary["episodes_demonstrated"]} demonstrations',
        ),
        _card(
            ' → '.join(f'{value:.0f}' for value in steps) or 'n/a',
            'mean steps to the goal, or to the time-out',
        ),
        _card(
            f'{percent(detector["precision"])} / {percent(detector["recall"])}',
            'precision and recall of the success detector',
        ),
        _card(duration(seconds) if seconds else 'n/a', 'total wall-clock time'),
    ]


def _change(before: dict[str, Any], after: dict[str, Any]) -> str:
    """Return two rates as ``86 % → 99 %``."""
    return f'{percent(before["rate"])} → {percent(after["rate"])}'


def _card(figure: str, words: str, kind: str = '') -> str:
    return f'<div class="card {kind}"><b>{escape(figure)}</b><span>{escape(words)}</span></div>'


def _section(title: str, caption: str, body: str) -> str:
    return (
        f'<section><h2>{escape(title)}</h2><p class="soft">{escape(caption)}</p>{body}</section>'
    )


def _picture(name: str, file: Path) -> str:
    title, caption = CAPTIONS[name]
    data = base64.b64encode(file.read_bytes()).decode()
    image = f'<img class="{name}" alt="{escape(title)}" src="data:image/png;base64,{data}">'
    return _section(title, caption, image)


def _table(head: list[str], rows: list[list]) -> str:
    heads = ''.join(f'<th>{escape(cell)}</th>' for cell in head)
    lines = [''.join(f'<td>{escape(str(cell))}</td>' for cell in row) for row in rows]
    body = ''.join(f'<tr>{line}</tr>' for line in lines)
    return f'<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'


def _detector(detector: dict[str, Any]) -> str:
    """Return the table of the success detector against simulator truth."""
    rows = []
    for scope, words in (('per_episode', 'episodes'), ('per_frame', 'single observations')):
        for stage, counts in detector[scope].items():
            figures = [percent(counts['precision']), percent(counts['recall'])]
            names = ('true_positives', 'false_positives', 'false_negatives', 'true_negatives')
            rows.append([f'{words}, {STAGES[stage]}', *figures, *(counts[n] for n in names)])
    head = [
        '',
        'precision',
        'recall',
        'true positives',
        'false positives',
        'false negatives',
        'true negatives',
    ]
    caption = (
        f'The detector fires when d ≤ {detector["threshold_steps"]:g} steps on '
        f'{detector["dwell"]} consecutive observations. Only this report compares it with '
        'simulator truth; learning never does.'
    )
    return _section('The success detector', caption, _table(head, rows))


def _labels(labels: dict[str, Any]) -> str:
    successes = f'{labels["labelled"]} ({labels["successes"]} success)'
    return f'{successes}, {labels["minutes"]:.1f} minutes'


def _origin(summary: dict[str, Any]) -> str:
    """Return the table of what a repetition needs."""
    versions = ', '.join(f'{name} {version}' for name, version in summary['versions'].items())
    embodiment = summary['embodiment']
    rows = [
        ['embodiment', f'{embodiment["name"]} ({embodiment["hash"]})'],
        ['commit', summary['commit']],
        ['attempts that a person labelled', _labels(summary['labels'])],
        ['steps practised', summary['steps_practised']],
        ['policy versions in practice', summary['policy_versions']],
        ['episodes that a fault or a person ended', summary['void_episodes']],
        ['unreadable bags', summary['unreadable_bags']],
        ['versions', versions],
    ]
    return _section('Origin', 'All figures are in summary.json.', _table([], rows))
