"""What is typed for options that take more than a word: contrasts, points, folders, files of filters."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bids_group.errors import UsageError
from bids_group.json_files import read_json
from bids_group.words import compose

FilterValue = str | int | None | tuple[str | int | None, ...]


_SHEET = re.compile(r"(?i)(.+?\.xlsx)#(.+)")


def file_of(path: Path) -> Path:
    """Name the file of a table, without the sheet of a workbook: ``all.xlsx#Sheet1`` is ``all.xlsx``."""
    found = _SHEET.fullmatch(path.name)
    return path.with_name(found[1]) if found else path


def sheet_of(path: Path) -> str | None:
    """Name the sheet of a workbook that is meant; None where none is named."""
    found = _SHEET.fullmatch(path.name)
    return found[2] if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastRequest:
    """A group contrast as the user wrote it: a name and an expression (contract, section 3).

    ``name`` is None for an expression without ``NAME =``. ``test`` is ``"pass"`` only for a
    BIDS Stats Models contrast that hands maps on without a test.
    """

    expression: str
    name: str | None = None
    test: Literal["auto", "t", "F", "pass"] = "auto"

    def __str__(self) -> str:
        return self.expression if self.name is None else f"{self.name} = {self.expression}"


_EQUALS = re.compile(r"(?<![<>=!])=(?!=)")


def parse_contrast(text: str) -> ContrastRequest:
    """Read ``NAME = EXPR`` or ``EXPR``: the first ``=`` outside of brackets parts them.

    ``==``, ``>=`` and the like are left to the expression, which refuses them.
    """
    text, depth = compose(text), 0
    for position, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0 and _EQUALS.match(text, position):
            name, expression = text[:position].strip(), text[position + 1 :].strip()
            if name and expression:
                return ContrastRequest(name=name, expression=expression)
            lacks = f"The contrast {text!r} lacks its name or its expression."
            raise UsageError(lacks, expected="NAME = EXPR")
    return ContrastRequest(expression=text.strip())


MAPS_FILE = Path("code/maps.tsv")
"""Where the table that a pattern of ``--maps`` stands for is kept in OUTPUT_DIR, whose paths start there."""


def is_pattern(path: Path | str) -> bool:
    """Whether ``--maps`` names files by a pattern, not one table."""
    return any(mark in str(path) for mark in "{}*") and not os.path.exists(file_of(Path(path)))  # noqa: PTH110 - also of names that cannot be


def read_contrasts(texts: Sequence[str]) -> tuple[ContrastRequest, ...]:
    """Read each contrast."""
    return tuple(map(parse_contrast, texts))


def part_name(text: str) -> tuple[str | None, str]:
    """Part ``NAME=PATH``; a name has no slash, and a path without one has none (None)."""
    name, equals, path = text.partition("=")
    return (name, path) if equals and name and "/" not in name else (None, text)


def read_named_folders(texts: Sequence[str]) -> tuple[tuple[str | None, Path], ...]:
    """Read ``NAME=PATH`` or ``PATH``."""
    return tuple((name, Path(path).absolute()) for name, path in map(part_name, texts))


def read_point(text: str) -> tuple[float, float, float]:
    """Read three coordinates in mm."""
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        x = y = z = math.nan
    if not math.isfinite(x + y + z):
        raise UsageError(
            "--cut-coords is not a point.", found=text, expected="three numbers in mm: --cut-coords -42,10,3"
        )
    return x, y, z


def read_filter_file(typed: str) -> Mapping[str, FilterValue]:
    """Read the filters of entities in a file, as fMRIPrep has them."""
    path = Path(typed)
    example = '{"task": "faces", "session": null}'
    content = read_json(path, what="filter file", wrong=UsageError, expected=example, has_keys_once=True)
    nested = content.get("statmap", content)  # fMRIPrep's files have one object per query
    if not isinstance(nested, dict) or any(isinstance(value, dict) for value in nested.values()):
        queries = ", ".join(repr(key) for key, value in content.items() if isinstance(value, dict))
        is_named = "statmap" in content
        raise UsageError(
            f"The filter file {path} has no filter of statistical maps.",
            found="statmap, which is not an object of labels" if is_named else f"queries {queries}",
            expected='the query "statmap", such as {"statmap": {"run": "1", "session": null}}',
            fix="Call the query of this program 'statmap'; those of other programs may stay beside it.",
        )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in nested.items()}
