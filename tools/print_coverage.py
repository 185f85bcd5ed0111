"""Print the share of lines that the tests of the last ``make test`` ran, one package a line."""

from __future__ import annotations

from collections import Counter
import json
from pathlib import Path

from coverage import Coverage

REPORT = Path('build/coverage/report.json')


def main() -> None:
    """Combine the data of all levels, write the report and print the table."""
    coverage = Coverage()
    coverage.combine(keep=True)
    coverage.json_report(outfile=str(REPORT))
    print(table(json.loads(REPORT.read_text())['files']))


def table(files: dict[str, dict]) -> str:
    """
    Return the table of a report.

    :param files: the files of coverage's JSON report.
    """
    covered: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for path, file in sorted(files.items()):
        for name in (Path(path).parts[0], 'total'):
            covered[name] += file['summary']['covered_lines']
            lines[name] += file['summary']['num_statements']
    names = [*(name for name in lines if name != 'total'), 'total']
    return '\n'.join(
        f'{name:<16} {100 * covered[name] / max(lines[name], 1):5.1f} % of {lines[name]:6} lines'
        for name in names
    )


if __name__ == '__main__':
    main()
