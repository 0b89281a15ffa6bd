"""The Boutiques descriptor: in step with the parser, and complete."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from bids_group.cli.parser import build_parser

DESCRIPTOR = Path(__file__).parents[2] / "boutiques" / "bids-group.json"
describe_tool = runpy.run_path(str(DESCRIPTOR.with_name("describe.py")))["describe_tool"]


def test_the_descriptor_in_the_repository_is_the_parsers() -> None:
    """Make it again with ``python boutiques/describe.py > boutiques/bids-group.json``."""
    assert json.loads(DESCRIPTOR.read_text(encoding="utf-8")) == describe_tool()


def test_every_argument_but_help_and_version_is_an_input_with_a_place_on_the_command_line() -> None:
    described = describe_tool()
    flags = {one.get("command-line-flag") for one in described["inputs"]} - {None}
    typed = {action.option_strings[-1] for action in build_parser()._actions if action.option_strings} - {
        "--help",
        "--version",
    }
    assert flags == typed
    for one in described["inputs"]:
        assert f" {one['value-key']}" in described["command-line"]
    assert len({one["id"] for one in described["inputs"]}) == len(described["inputs"])


def test_exit_codes_are_those_of_the_manual() -> None:
    codes = [one["code"] for one in describe_tool()["error-codes"]]
    assert codes == [16, 17, 18, 64, 65, 66, 70, 73, 74, 75]


@pytest.mark.parametrize(
    ("id_", "kind"), [("dry_run", "Flag"), ("nprocs", "Number"), ("formula", "String"), ("one_sided", "Flag")]
)
def test_types_follow_the_parser(id_: str, kind: str) -> None:
    by_id = {one["id"]: one for one in describe_tool()["inputs"]}
    assert by_id[id_]["type"] == kind
    assert by_id["connectivity"]["value-choices"] == [6, 18, 26]
    assert by_id["contrast"]["list"] is True
