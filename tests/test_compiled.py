"""Compiled functions that have no door for Python, and where they are called."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
DECORATORS = {"compiled", "compiled_within", "written_out"}


def decorators_of(node):
    found = getattr(node, "decorator_list", ())
    return {one.func.id for one in found if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)}


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def read(*folders):
    return {
        path: path.read_text(encoding="utf-8") for folder in folders for path in (ROOT / folder).rglob("*.py")
    }


def test_functions_without_a_door_for_python_are_called_by_compiled_ones_alone():
    """numba gives them no wrapper: a call from Python would end the process."""
    within = {
        (name_of(path), node.name)
        for path, text in read("bids_group").items()
        if "@compiled_within" in text
        for node in ast.parse(text).body
        if "compiled_within" in decorators_of(node)
    }
    homes = {home.rpartition(".")[2] for home, _ in within}
    assert len(homes) > 4
    wrong = []
    for path, text in read("bids_group", "tests", "benchmarks").items():
        if not any(home in text or home == path.stem for home in homes):
            continue
        module = ast.parse(text)
        known = {name for home, name in within if home == name_of(path)}
        for node in ast.walk(module):
            if isinstance(node, ast.ImportFrom):
                known |= {one.asname or one.name for one in node.names if (node.module, one.name) in within}
        outside = [node for node in module.body if not decorators_of(node) & DECORATORS]
        used = {node.id for one in outside for node in ast.walk(one) if isinstance(node, ast.Name)}
        wrong += [(name_of(path), name) for name in used & known]
    assert wrong == []
