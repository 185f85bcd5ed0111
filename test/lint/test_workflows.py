"""The files for code hosts and containers, none of them ever run, are well formed."""

from __future__ import annotations

import json
import re

import pytest
from sources import make_targets, name, ROOT
import yaml

WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
FORMS = sorted((ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml'))
PINNED = re.compile(r'[\w-]+/[\w.-]+@(v\d+|[0-9a-f]{40})')
FIELDS = {'checkboxes', 'dropdown', 'input', 'markdown', 'textarea'}


def steps(workflow: dict) -> list[dict]:
    """Return the steps of all jobs."""
    return [step for job in workflow['jobs'].values() for step in job['steps']]


def test_there_are_workflows_and_forms():
    assert {path.stem for path in WORKFLOWS} == {'ros', 'tests'}
    assert FORMS


@pytest.mark.parametrize('path', WORKFLOWS, ids=name)
def test_workflow_has_what_the_host_asks_for(path):
    workflow = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key `on` as true.
    assert set(workflow) == {'name', True, 'permissions', 'jobs'}
    assert set(workflow[True]) == {'push', 'pull_request'}
    for job in workflow['jobs'].values():
        assert {'runs-on', 'steps', 'timeout-minutes'} <= set(job)
    for step in steps(workflow):
        assert len({'uses', 'run'} & set(step)) == 1
        assert 'uses' not in step or PINNED.fullmatch(step['uses'])


@pytest.mark.parametrize('path', WORKFLOWS, ids=name)
def test_workflow_names_what_exists(path):
    text = path.read_text()
    targets = re.findall(r'run: make ([a-z-]+)', text)
    files = re.findall(r'(?:requirements|launch)/[\w.]+', text)
    assert set(targets) <= make_targets()
    assert not [file for file in files if not (ROOT / file).is_file()]


def test_workflows_cover_every_supported_python_and_distribution():
    jobs = {path.stem: yaml.safe_load(path.read_text())['jobs'] for path in WORKFLOWS}
    assert jobs['tests']['unit']['strategy']['matrix']['python'] == [
        '3.10',
        '3.11',
        '3.12',
        '3.13',
    ]
    distributions = jobs['ros']['industrial_ci']['strategy']['matrix']['distribution']
    assert distributions == ['humble', 'jazzy', 'rolling']


@pytest.mark.parametrize(
    'file', [*map(name, WORKFLOWS), 'Dockerfile', '.devcontainer/devcontainer.json']
)
def test_file_says_that_it_was_never_run(file):
    comments = [line for line in (ROOT / file).read_text().splitlines() if line[:1] in '#/']
    assert re.search(r'was never (run|built|started)\b', '\n'.join(comments))


@pytest.mark.parametrize('path', FORMS, ids=name)
def test_issue_form_is_well_formed(path):
    form = yaml.safe_load(path.read_text())
    assert {'name', 'description', 'body'} <= set(form)
    assert {field['type'] for field in form['body']} <= FIELDS
    assert all(field['attributes']['label'] for field in form['body'])


def test_container_files_name_what_exists():
    docker = (ROOT / 'Dockerfile').read_text()
    copied = re.findall(r'^COPY (\S+) ', docker, re.MULTILINE)
    assert docker.count('FROM ros:jazzy') == 1
    assert copied
    assert not [path for path in copied if not (ROOT / path).exists()]
    assert not [
        path for path in re.findall(r'requirements/[\w.]+', docker) if not (ROOT / path).is_file()
    ]


def test_devcontainer_uses_the_dockerfile():
    folder = ROOT / '.devcontainer'
    lines = (folder / 'devcontainer.json').read_text().splitlines()
    content = json.loads('\n'.join(line for line in lines if not line.startswith('//')))
    assert (folder / content['build']['dockerfile']).resolve() == ROOT / 'Dockerfile'
    assert content['workspaceFolder'] in content['workspaceMount']
