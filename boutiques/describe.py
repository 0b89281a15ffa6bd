"""The Boutiques descriptor of ``bids-group``, made from its options.

::

    python boutiques/describe.py > boutiques/bids-group.json

Source: Glatard et al. 2018, Boutiques: a flexible framework to integrate command-line applications.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

from bids_group import __version__, errors
from bids_group.cli.parser import ARGUMENTS, DESCRIPTION
from bids_group.config.options import Option
from bids_group.config.request import LEVELS, OPTIONS
from bids_group.errors import BidsGroupError

_OUTPUTS = (
    ("results", "Results: a BIDS derivative dataset (nothing with --dry-run)", "[OUTPUT_DIR]"),
    ("report", "Report of the group level", "[OUTPUT_DIR]/report.html"),
)


def describe_tool() -> dict[str, Any]:
    """Describe the command line as a Boutiques descriptor (schema 0.5)."""
    inputs = [{**_input(name, help_, "String"), "optional": False} for name, help_ in ARGUMENTS.items()]
    inputs[-1]["value-choices"] = list(LEVELS)
    inputs += [one for option in OPTIONS for one in _inputs_of(option)]
    groups = []
    for option in OPTIONS:
        members = [_id(flag) for flag in option.flags]
        if len(members) > 1:
            group = {"id": "_or_".join(members), "name": " or ".join(members), "members": members}
            groups.append({**group, "mutually-exclusive": True})
    return {
        "name": "bids-group",
        "description": DESCRIPTION,
        "tool-version": __version__,
        "schema-version": "0.5",
        "command-line": " ".join(["bids-group", *(one["value-key"] for one in inputs)]),
        "inputs": inputs,
        "groups": groups,
        "output-files": [
            {"id": id_, "name": name, "path-template": path, "optional": True} for id_, name, path in _OUTPUTS
        ],
        "error-codes": list(_error_codes()),
        "tags": {"domain": ["neuroinformatics", "fmri"], "bids": ["app"]},
    }


def _inputs_of(option: Option) -> Iterator[dict[str, Any]]:
    """Describe each spelling; paths are strings, for a folder need not exist."""
    type_ = "Number" if option.kind in ("number", "integer") else "String"
    for flag, help_ in option.spellings.items():
        described = _input(_id(flag), help_, "Flag" if option.takes_none else type_)
        described |= {"optional": True, "command-line-flag": flag}
        if option.choices and not option.takes_none and not option.is_list:
            described["value-choices"] = list(option.choices)
        if option.is_list:
            described["list"] = True
        if option.kind == "integer":
            described["integer"] = True
        yield described


def _input(id_: str, help_: str, type_: str) -> dict[str, Any]:
    return {"id": id_, "name": id_, "description": help_, "type": type_, "value-key": f"[{id_.upper()}]"}


def _id(flag: str) -> str:
    return flag.removeprefix("--").replace("-", "_")


def _error_codes() -> Iterator[dict[str, Any]]:
    """One line per exit code: that of the first class in the tree that has it."""
    classes = [
        one for _, one in inspect.getmembers(errors, inspect.isclass) if issubclass(one, BidsGroupError)
    ]
    by_code: dict[int, type[BidsGroupError]] = {}
    for one in sorted(classes, key=lambda one: (one.exit_code, len(one.__mro__))):
        by_code.setdefault(one.exit_code, one)
    for code, one in by_code.items():
        words = "A bug in bids-group." if code == BidsGroupError.exit_code else inspect.getdoc(one) or ""
        yield {"code": code, "description": words.splitlines()[0]}


if __name__ == "__main__":
    print(json.dumps(describe_tool(), indent=2, ensure_ascii=False))
