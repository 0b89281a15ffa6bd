"""Walls that import-linter cannot draw: it knows external packages only whole."""

import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "bids_group"
ESTIMATORS = re.compile(r"nilearn\.(glm\.(second|first)_level|mass_univariate)|SecondLevelModel\(")


@pytest.mark.parametrize("room", sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
def test_estimators_of_nilearn_are_used_only_in_model(room):
    users = [path.name for path in (PACKAGE / room).rglob("*.py") if ESTIMATORS.search(path.read_text())]
    assert bool(users) == (room == "model"), users


def test_no_room_is_called_utils():
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}
