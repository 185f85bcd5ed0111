"""CITATION.cff has the keys of its format, and agrees with the package."""

from __future__ import annotations

import datetime
import re
from xml.etree import ElementTree

import pytest
from sources import ROOT
import yaml

CITATION = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
PACKAGE = ElementTree.parse(ROOT / 'package.xml')
PAPER = CITATION['references'][0]


def test_required_keys_are_there():
    assert {'cff-version', 'message', 'title', 'authors'} <= set(CITATION)
    assert CITATION['cff-version'] == '1.2.0'
    assert CITATION['type'] == 'software'


@pytest.mark.parametrize('author', [*CITATION['authors'], *PAPER['authors']])
def test_author_is_an_entity_or_a_person(author):
    assert set(author) in ({'name'}, {'family-names', 'given-names'})


def test_citation_agrees_with_the_package():
    assert str(CITATION['version']) == PACKAGE.findtext('version')
    assert CITATION['license'] == PACKAGE.findtext('license')
    assert CITATION['authors'] == [{'name': PACKAGE.findtext('maintainer')}]


def test_date_is_that_of_the_changelog():
    changelog = (ROOT / 'CHANGELOG.rst').read_text()
    date = re.search(rf'^{re.escape(CITATION["version"])} \((.+)\)$', changelog, re.MULTILINE)[1]
    assert CITATION['date-released'] == date
    assert datetime.date.fromisoformat(date)


def test_paper_is_a_reference():
    assert {'type', 'title', 'authors', 'year', 'url'} <= set(PAPER)
    assert PAPER['url'].removeprefix('https://') in (ROOT / 'README.md').read_text()
