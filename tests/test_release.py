"""One version: every file that names it names the same, so that a release cannot be half done."""

import re
from pathlib import Path

import pytest

from bids_group import __version__

ROOT = Path(__file__).parents[1]
PLACES = {
    "CITATION.cff": r"^version: (.*)$",
    "CHANGELOG.md": r"^## (\S+)",
    "Dockerfile": r"^ARG VERSION=(.*)$",
    "boutiques/bids-group.json": r'"tool-version": "(.*)"',
}


@pytest.mark.parametrize(("file", "pattern"), PLACES.items(), ids=PLACES)
def test_the_version_is_that_of_the_package(file, pattern):
    found = re.search(pattern, (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    assert found[1] == __version__
