"""The files of a comparison: a folder of its own, recognised when it is written again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group import __version__
from bids_group.compare.expectation import Expectation
from bids_group.errors import OutputError
from bids_group.json_files import peek_json, read_json
from bids_group.output.disk.lock import sweep_parts
from bids_group.output.disk.publishing import Batch
from bids_group.output.disk.writing import write_json, write_table, write_text

_SIDECAR = "comparison.json"
_PROGRAM = "bids-group-compare"
COLUMNS = Path(__file__).with_name("columns.json")
"""What the columns of comparison.tsv are."""


def check_place(folder: Path, out_a: Path, out_b: Path) -> None:
    """Refuse a folder that holds anything but an earlier comparison, or lies in one of the outputs."""
    other, new = "Name another folder.", "a new or empty folder"
    place = folder.resolve()
    for side, out in (("A", out_a), ("B", out_b)):
        if out.resolve() in (place, *place.parents):
            raise OutputError(
                f"The folder for the comparison lies in OUT_{side}: {folder}.",
                expected="a folder of its own, so that both analyses stay as they are",
                fix=other,
            )
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file.", expected=new, fix=other)
    try:
        there = folder.iterdir() if folder.is_dir() else ()
        holds = [one.name for one in there if not one.name.startswith(".part-")]
    except OSError as error:
        raise OutputError(f"The folder {folder} cannot be read.", found=error.strerror) from error
    if holds and not _read_own(folder):
        raise OutputError(
            f"The folder {folder} is not empty, and what it holds is no comparison.",
            found=", ".join(sorted(holds)[:4]) + (" …" if len(holds) > 4 else ""),
            expected=f"{new}, or an earlier comparison (which is replaced)",
            fix=other,
        )


def _read_own(folder: Path) -> Mapping[str, Any]:
    """Read the sidecar of an earlier comparison; empty where there is none."""
    content = peek_json(folder / _SIDECAR) or {}
    return content if dict(content.get("GeneratedBy") or {}).get("Name") == _PROGRAM else {}


def write_comparison(
    folder: Path,
    table: pd.DataFrame,
    page: str,
    figures: Mapping[Path, bytes],
    *,
    sources: tuple[Path, Path],
    expectations: Mapping[str, Expectation],
) -> Path:
    """Write all files beside their places, then move them there; the folder of a killed run is known.

    Until all are written an earlier comparison stays; where moving them is cut short, no page is left that
    shows files of two.
    """
    earlier = _read_own(folder)
    figures_before = [Path(name) for name in earlier.get("Figures", [])]
    about = {
        "Description": "Agreement of two group analyses, map by map",
        "GeneratedBy": {"Name": _PROGRAM, "Version": __version__},
        "A": str(sources[0]),
        "B": str(sources[1]),
        "Expectations": expectations,
        **read_json(COLUMNS),
    }
    page_place, table_place = folder / "report.html", folder / "comparison.tsv"
    sweep_parts(folder)
    both = sorted(map(str, {*figures, *figures_before}))
    write_json(folder / _SIDECAR, {**(earlier or about), "Figures": both})
    with Batch(folder) as batch:
        for path, payload in figures.items():
            batch.write(folder / path, payload)
        write_table(table_place, table, batch.write)
        write_text(page_place, page, batch.write)
        page_place.unlink(missing_ok=True)
        table_place.unlink(missing_ok=True)
    for path in figures_before:
        if path not in figures and not path.is_absolute() and ".." not in path.parts:
            (folder / path).unlink(missing_ok=True)
    write_json(folder / _SIDECAR, {**about, "Figures": sorted(map(str, figures))})
    return page_place
