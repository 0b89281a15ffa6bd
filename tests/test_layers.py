"""Rules that linters do not check: layers (import-linter knows other packages only whole), and sizes."""

import ast
import re
from pathlib import Path

import pytest

from bids_group.config.corrections import CORRECTIONS
from bids_group.records.sidecars import RunRecord, Sidecar

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bids_group"
ESTIMATORS = re.compile(r"nilearn\.(glm\.(second|first)_level|mass_univariate)|SecondLevelModel\(")


@pytest.mark.parametrize("package", sorted(path.name for path in PACKAGE.iterdir() if path.is_dir()))
def test_estimators_of_nilearn_are_used_only_in_model(package):
    users = [path.name for path in (PACKAGE / package).rglob("*.py") if ESTIMATORS.search(path.read_text())]
    assert bool(users) == (package == "model"), users


def test_no_module_is_called_utils():
    names = {path.stem for path in PACKAGE.rglob("*.py")}
    assert not names & {"utils", "util", "helpers", "misc", "common"}


def test_bodies_have_at_most_40_lines_and_files_400():
    """A body is what follows the docstring of a function, blank lines and functions within it included."""
    files = {str(path.relative_to(PACKAGE)): path.read_text("utf-8") for path in PACKAGE.rglob("*.py")}
    bodies = [
        (f"{name}, line {node.lineno}: {node.name}", node.body[ast.get_docstring(node) is not None :])
        for name, text in files.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    n_lines = {name: body[-1].end_lineno - body[0].lineno + 1 for name, body in bodies if body}
    assert len(n_lines) > 1000
    assert {name: n for name, n in n_lines.items() if n > 40} == {}
    assert {name: n for name, text in files.items() if (n := text.count("\n")) > 400} == {}


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_files_that_a_page_names_are_there(page):
    names = re.findall(r"`([\w./]+/[\w.]+\.(?:py|j2|json))`", (ROOT / page).read_text(encoding="utf-8"))
    places = (ROOT, PACKAGE, PACKAGE / "output" / "report")
    assert names
    assert [name for name in names if not any((place / name).is_file() for place in places)] == []


def test_every_package_stands_in_the_table_of_layers():
    table = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("## Layers")[2]
    found = {path.stem for path in PACKAGE.iterdir() if path.suffix in ("", ".py") and path.name[0] != "_"}
    assert [name for name in sorted(found) if f"`{name}`" not in table.partition("## Records")[0]] == []


def test_a_key_of_sidecars_is_spelled_only_as_a_field_of_its_record():
    """Who writes files, and who reads them back, goes through the records (the dry run has its own JSON)."""
    known = {
        Sidecar.key_of(name) for name in vars(Sidecar)["__annotations__"] if not hasattr(RunRecord, name)
    }
    shared = {"Description", "Columns", "Formula", "Rank", "Estimator", "Files", "Type", "Scaling", "Mask"}
    folders = [
        PACKAGE / name for name in ("compare", "inference", "workflow", "output/files", "output/report")
    ]
    spelled = {
        (path.name, word)
        for folder in folders
        for path in folder.rglob("*.py")
        for word in re.findall(r'"([A-Z]\w+)"', path.read_text())
    }
    assert not {(name, word) for name, word in spelled if word in known - shared}


def test_a_correction_is_spelled_only_in_its_record():
    """Commands inside messages may name it; ``none`` is also the name of other settings."""
    names = {name for one in CORRECTIONS.values() for name in (one.name, one.label)} - {"none"}
    spelled = {
        (str(path.relative_to(PACKAGE)), node.value)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    }
    assert {place for place, _ in spelled} == {"config/corrections.py"}, spelled
