"""A table that lists first-level maps one by one, for what has no BIDS names (SPM, FSL FEAT, AFNI)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

import pandas as pd

from bids_group.bids.columns import is_number
from bids_group.bids.datasets import Source
from bids_group.bids.entities import name_some, suggest
from bids_group.bids.statmaps import VOLUMES, Candidate, Found
from bids_group.bids.tables import read_tsv, require_columns
from bids_group.errors import DataError, MissingInputError, UsageError
from bids_group.records import FirstLevelMap

_REQUIRED = ("participant_id", "contrast", "effect")
_LABELS = {"session": "ses", "run": "run", "task": "task", "space": "space", "res": "res", "den": "den"}
_FILES = ("effect", "variance", "dof", "mask")


def read_maps_table(path: Path, input_stat: Literal["effect", "z"] = "effect") -> tuple[Source, Found]:
    """Read the table of ``--maps``; paths in it are relative to its own folder.

    Columns: ``participant_id``, ``contrast``, ``effect``, and where wanted ``session``, ``run``, ``task``, ``space``, ``res``,
    ``den``, ``variance``, ``dof`` (a number or a file) and ``mask``.

    Raises
    ------
    UsageError
        An unknown column, a label that is not letters and digits, a file that is no NIfTI volume.
    MissingInputError
        Files of the table are not there.
    DataError
        A cell that must be filled is empty.
    """
    frame = read_tsv(path)
    require_columns(frame, path, _REQUIRED)
    known = [*_REQUIRED, *_LABELS, *_FILES[1:]]
    for column in frame.columns:
        if column not in known:
            raise UsageError(
                f"The table {path} has an unknown column '{column}'.",
                expected=", ".join(known),
                fix=suggest(str(column), known) or "Remove the column: covariates stand in participants.tsv.",
            )
    folder = path.absolute().parent
    rows = [
        _read_row(row, int(number), path, folder)
        for number, row in zip(frame.index, _records(frame), strict=True)
    ]
    _check_there(rows, path)
    source = Source(name="maps", root=_common_folder(rows, folder), producers=())
    candidates = tuple(_as_candidate(row, source.root, input_stat) for row in rows)
    if input_stat == "z" and any(candidate.map.variance for candidate in candidates):
        raise UsageError(f"The table {path} names variances, but z maps have none (--input-stat z).")
    return source, Found(candidates=candidates, leftovers=())


def _records(frame: pd.DataFrame) -> list[dict[str, str | None]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _read_row(
    row: dict[str, str | None], number: int, path: Path, folder: Path
) -> dict[str, str | Path | None]:
    where = f"Line {number} of {path}"
    for name in _REQUIRED:
        if row[name] is None:
            raise DataError(f"{where} has no {name}.", fix="Fill the cell, or remove the line.")
    read: dict[str, str | Path | None] = {"contrast": row["contrast"]}
    for name, key in {"participant_id": "sub", **_LABELS}.items():
        read[name] = _read_label(row.get(name), key, where)
    for name in _FILES:
        text = row.get(name)
        is_value = name == "dof" and text is not None and is_number(text)
        read[name] = text if text is None or is_value else _read_path(text, folder, where)
    if isinstance(read["dof"], str) and float(read["dof"]) <= 0:
        raise DataError(f"{where} has dof {read['dof']}.", expected="a number above 0, or a file")
    return read


def _read_label(text: str | None, key: str, where: str) -> str | None:
    label = None if text is None else text.removeprefix(f"{key}-")
    if label is not None and not re.fullmatch(r"[A-Za-z0-9+]+", label):
        raise UsageError(
            f"{where} has the label '{text}', which cannot be part of a BIDS file name.",
            expected="letters and digits",
            fix=f"Write '{re.sub(r'[^A-Za-z0-9+]', '', label) or '01'}' here and in participants.tsv.",
        )
    return label


def _read_path(text: str, folder: Path, where: str) -> Path:
    if not text.endswith(VOLUMES):
        raise UsageError(
            f"{where} names {text}, which is no NIfTI volume.",
            expected=" or ".join(VOLUMES),
            fix="Convert the file (surfaces, CIFTI, Analyze and AFNI files cannot be read so far).",
        )
    return folder / text


def _check_there(rows: list[dict[str, str | Path | None]], table: Path) -> None:
    paths = [row[name] for row in rows for name in _FILES]
    absent = [p for p in paths if isinstance(p, Path) and not p.exists() and not p.is_symlink()]
    if absent:
        raise MissingInputError(
            f"{len(absent)} of the files that {table} names are not there: {name_some(str(p) for p in absent)}",
            expected=f"paths relative to {table.parent}",
            fix="Mend the paths in the table.",
        )


def _common_folder(rows: list[dict[str, str | Path | None]], folder: Path) -> Path:
    paths = [os.path.normpath(row[name]) for row in rows for name in _FILES if isinstance(row[name], Path)]
    return Path(os.path.commonpath([str(folder), *(str(Path(path).parent) for path in paths)]))


def _as_candidate(
    row: dict[str, str | Path | None], root: Path, input_stat: Literal["effect", "z"]
) -> Candidate:
    labels = {name: str(row[name]) for name in _LABELS if row[name] is not None}
    dof = row["dof"]
    files = {
        name: Path(os.path.normpath(row[name])) if isinstance(row[name], Path) else None for name in _FILES
    }
    first_level = FirstLevelMap(
        subject=str(row["participant_id"]),
        contrast=str(row["contrast"]),
        effect=files["effect"] or root,
        dataset=root,
        variance=files["variance"],
        dof=files["dof"] if isinstance(dof, Path) else float(dof) if dof else None,
        mask=files["mask"],
        input_stat=input_stat,
        **labels,
    )
    entities = {"subject": first_level.subject, "contrast": first_level.contrast, **labels}
    return Candidate(map=first_level, entities={**entities, "stat": input_stat, "suffix": "statmap"})
