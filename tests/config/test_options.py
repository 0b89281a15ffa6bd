"""One record for each option: what holds of all of them, and that no other module spells one as a key."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import bids_group
from bids_group.cli.parser import read_arguments, translate
from bids_group.config import InferenceSpec
from bids_group.config.options import Option
from bids_group.config.request import OPTIONS

PACKAGE = Path(bids_group.__file__).parent
NAMES = {one.name for one in OPTIONS if "_" in one.name}
ALSO_OTHER_FACTS = {
    "bids/design_matrix.py": {"session_label"},  # a column
    "output/files/pooled.py": {"input_stat", "mask_threshold"},  # what a pooled map is made of, hashed
    "output/files/sidecars.py": {"input_suffix"},
    "records/sidecars.py": {"mask_threshold", "input_suffix", "design_matrix"},  # fields of a sidecar
    "output/__init__.py": {"print_design"},  # a function
}


def test_no_module_but_the_table_spells_an_option_as_a_key():
    """What the report knows of files has names of its own (`output/report`, `compare`)."""
    spelled = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(("config/", "output/report/", "compare/")):
            texts = {
                n.value for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.Constant)
            }
            spelled[name] = (texts & NAMES) - ALSO_OTHER_FACTS.get(name, set())
    assert {name: found for name, found in spelled.items() if found} == {}


def words_for(option: Option) -> tuple[list[str], object]:
    """Type another value than the default, and what the field then holds."""
    if option.flags:
        return [option.flag], option.flags[option.flag][0]
    other = [one for one in option.choices if one != option.default]
    value = other[0] if other else {"number": 0.25, "integer": 7, "count": 1}.get(option.kind, "a=b")
    return [option.flag, *([] if option.kind == "count" else [str(value)])], value


UNREAD = ("center", "config")
FREE = [one for one in OPTIONS if one.read is None and one.section != "cluster" and one.name not in UNREAD]


@pytest.mark.parametrize("option", FREE, ids=lambda one: one.name)
def test_what_is_typed_for_an_option_stands_in_its_field_and_its_name_among_those_typed(option):
    words, value = words_for(option)
    more = ["--dry-run"] if option.name == "output_format" else []
    config = translate(read_arguments(["data", "out", "group", *words, *more]))
    records = (config.inputs, config.selection, config.analysis, config.analysis.inference, config.execution)
    (record,) = [one for one in records if hasattr(one, option.attribute)]
    held = getattr(record, option.attribute)
    if option.kind in ("path", "paths", "texts"):
        held = str(held if option.kind == "path" else held[0]).removeprefix(f"{Path.cwd()}/")
    assert held == value
    assert option.name in config.typed
    assert option.name not in translate(read_arguments(["data", "out", "group"])).typed


def test_every_option_has_a_name_and_help_of_its_own():
    flags = [flag for one in OPTIONS for flag in one.spellings]
    assert len({*flags}) == len(flags)
    assert len({one.name for one in OPTIONS}) == len(OPTIONS)
    assert all(help_ for one in OPTIONS for help_ in one.spellings.values())
    assert all(re.fullmatch(r"--[a-z0-9-]+", flag) for flag in flags)


def test_options_of_shuffling_that_change_nothing_are_named_as_they_are_typed():
    asked = {"n_permutations": 5, "block_scheme": "whole", "has_tail_approximation": True}
    assert InferenceSpec(**asked).idle == ("--n-permutations", "--whole-blocks", "--tail-approximation")
    assert InferenceSpec(**asked, has_permutation_p=True).idle == ("--tail-approximation",)
    assert InferenceSpec(**asked, corrections=("fwe-size",)).idle == ()
