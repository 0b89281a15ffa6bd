"""The Boutiques descriptor of ``bids-group``, made from its parser.

::

    python -m bids_group.cli.boutiques > boutiques/bids-group.json

Source: Glatard et al. 2018, Boutiques: a flexible framework to integrate command-line applications.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterator
from typing import Any

from bids_group import __version__, errors
from bids_group.cli.parser import DESCRIPTION, LEVELS, build_parser
from bids_group.errors import BidsGroupError

_SHOWS_AND_LEAVES = ("help", "version")
_OUTPUTS = (
    ("results", "Results: a BIDS derivative dataset (nothing with --dry-run)", "[OUTPUT_DIR]"),
    ("report", "Report of the group level", "[OUTPUT_DIR]/report.html"),
)


def describe_tool() -> dict[str, Any]:
    """Describe the command line as a Boutiques descriptor (schema 0.5)."""
    parser = build_parser()
    actions = [action for action in parser._actions if action.dest not in _SHOWS_AND_LEAVES]
    positional = [action for action in actions if not action.option_strings]
    options = [action for action in actions if action.option_strings]
    keys = " ".join(_value_key(action) for action in (*positional, *options))
    return {
        "name": "bids-group",
        "description": DESCRIPTION,
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": f"bids-group {keys}",
        "inputs": [_describe_input(action) for action in (*positional, *options)],
        "groups": list(_exclusive_groups(parser)),
        "output-files": [
            {"id": id_, "name": name, "path-template": path, "optional": True} for id_, name, path in _OUTPUTS
        ],
        "error-codes": list(_error_codes()),
        "tags": {"domain": ["neuroinformatics", "fmri"], "bids": ["app"]},
    }


def _id(action: argparse.Action) -> str:
    """Name an input after its option (``dest`` may be shared by two)."""
    name = action.option_strings[-1].lstrip("-") if action.option_strings else action.dest
    return name.replace("-", "_")


def _value_key(action: argparse.Action) -> str:
    return f"[{_id(action).upper()}]"


def _describe_input(action: argparse.Action) -> dict[str, Any]:
    described: dict[str, Any] = {
        "id": _id(action),
        "name": _id(action),
        "description": (action.help or "").replace("%%", "%"),
        "type": _boutiques_type(action),
        "value-key": _value_key(action),
        "optional": bool(action.option_strings),
    }
    if action.option_strings:
        described["command-line-flag"] = action.option_strings[-1]
    choices = LEVELS if action.dest == "level" else action.choices
    if choices:
        described["value-choices"] = list(choices)
    if action.nargs == "+":
        described["list"] = True
    if action.type is int:
        described["integer"] = True
    return described


def _boutiques_type(action: argparse.Action) -> str:
    """``Flag`` takes no value; paths are strings, for an output folder need not exist."""
    if action.nargs == 0:
        return "Flag"
    return "Number" if action.type in (int, float) else "String"


def _exclusive_groups(parser: argparse.ArgumentParser) -> Iterator[dict[str, Any]]:
    for group in parser._mutually_exclusive_groups:
        members = [_id(action) for action in group._group_actions]
        yield {
            "id": "_or_".join(members),
            "name": " or ".join(members),
            "members": members,
            "mutually-exclusive": True,
        }


def _error_codes() -> Iterator[dict[str, Any]]:
    """One line per exit code: that of the first class in the tree that has it."""
    classes = [
        one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, BidsGroupError)
    ]
    by_code: dict[int, type[BidsGroupError]] = {}
    for one in sorted(classes, key=lambda one: (one.exit_code, len(one.__mro__))):
        by_code.setdefault(one.exit_code, one)
    for code, one in sorted(by_code.items()):
        words = "A bug in bids-group." if code == BidsGroupError.exit_code else inspect.getdoc(one) or ""
        yield {"code": code, "description": words.splitlines()[0]}


if __name__ == "__main__":
    print(json.dumps(describe_tool(), indent=2, ensure_ascii=False))
