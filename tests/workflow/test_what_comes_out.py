"""The table of files in the README against what a run writes: nothing is left out, nothing is made up."""

import re
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from bids_group.cli import main

README = Path(__file__).parents[2] / "README.md"
ON_REQUEST = (
    "dof",
    "regions_effects",
    "varianceGroups",
    "weightedFlips",
    "icc",
    "stat-variance_desc",
    "tau2",
    "I2",
    "bf10",
    "maps.tsv",
)
"""Of --min-coverage, --atlas, --variance-groups, random terms, weighted, --bayes-factor, --maps."""
CORRECTIONS = ["fdr", "bonferroni", "ari", "fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce"]


def expand(pattern):
    """``a{b,c}`` stands for ``ab`` and ``ac``."""
    braces = re.search(r"\{([^}]*)\}", pattern)
    if braces is None:
        return [pattern]
    return [pattern.replace(braces[0], choice, 1) for choice in braces[1].split(",")]


@pytest.fixture(scope="module")
def patterns():
    table = README.read_text(encoding="utf-8").partition("## What comes out")[2].partition("\n\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    return [one for cell in cells for name in re.findall(r"`([^`]*)`", cell) for one in expand(name)]


@pytest.fixture(scope="module")
def files(small, tmp_path_factory):
    out = tmp_path_factory.mktemp("files") / "out"
    options = ["--formula", "~ poly(age, 2)", "--correction", *CORRECTIONS, "--n-permutations", "20"]
    assert main([str(small), str(out), "group", *options, "--permutation-p", "--log10-p", "-q"]) == 0
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def test_every_file_stands_in_the_table(files, patterns):
    stems = {name.partition(".")[0] for name in files if name.endswith((".nii.gz", ".tsv"))}
    sidecars = {f"{stem}.json" for stem in stems}
    unknown = [
        name
        for name in sorted(files - sidecars)
        if not any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    assert unknown == []


def test_every_row_of_the_table_is_written(files, patterns):
    absent = [
        pattern
        for pattern in patterns
        if not any(word in pattern for word in ON_REQUEST)
        and not any(fnmatchcase(name, pattern) for name in files)
    ]
    assert absent == []
