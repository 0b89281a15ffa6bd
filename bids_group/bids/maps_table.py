"""A table that lists first-level maps one by one, for what has no BIDS names (SPM, FSL FEAT, AFNI)."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from bids_group.bids.cells import is_number
from bids_group.bids.cells_of_design import name_cells
from bids_group.bids.datasets import Source
from bids_group.bids.entities import name_some, run_key, suggest
from bids_group.bids.statmaps import Candidate, Found
from bids_group.bids.tables import read_tsv, require_columns
from bids_group.elements import FORMATS, ImageFiles, is_cifti_name, is_volume_name, locate
from bids_group.errors import DataError, MissingInputError, UsageError
from bids_group.records import FirstLevelMap

_REQUIRED = ("participant_id", "contrast", "effect")
_LABELS = {"session": "ses", "run": "run", "task": "task", "space": "space", "res": "res", "den": "den"}
_KNOWN = (*_REQUIRED, *_LABELS, "variance", "dof", "mask")


def read_maps_table(path: Path, input_stat: Literal["effect", "z", "t"] = "effect") -> tuple[Source, Found]:
    """Read the table of ``--maps``; paths in it are relative to its own folder.

    Columns: ``participant_id``, ``contrast``, ``effect``, and where wanted ``session``, ``run``, ``task``,
    ``space``, ``res``, ``den``, ``variance``, ``dof`` (a number or a file) and ``mask``. Other columns are
    covariates and factors of the maps.

    Raises
    ------
    UsageError
        An unknown column, a label that is not letters and digits, a file that is no NIfTI volume, two lines
        about the same map.
    MissingInputError
        Files of the table are not there.
    DataError
        A cell that must be filled is empty, or a file of effects or variances stands in several lines.
    """
    frame = read_tsv(path)
    require_columns(frame, path, _REQUIRED)
    known = list(_KNOWN)
    for column in frame.columns:
        if column not in known and suggest(str(column), known):
            raise UsageError(
                f"The table {path} has an unknown column '{column}'.",
                expected=f"{', '.join(known)}; other columns, as factors of the maps, under names less alike",
                fix=suggest(str(column), known),
            )
    records = [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    by_line = {
        int(number): _read_row(row, f"Line {number} of {path}", path, input_stat)
        for number, row in zip(frame.index, records, strict=True)
    }
    named, notices = name_cells(list(by_line.values()))
    by_line = dict(zip(by_line, named, strict=True))
    _check_files(by_line, frame, path)
    _check_rows(by_line, frame, path)
    _check_there(by_line, frame, path)
    maps = list(by_line.values())
    root = _common_folder(maps, path)
    candidates = tuple(_as_candidate(replace(m, dataset=root)) for m in maps)
    return Source(name="maps", root=root, producers=(), table=path), Found(
        candidates=candidates, leftovers=(), notices=notices
    )


def _read_row(
    row: Mapping[str, str | None], where: str, table: Path, input_stat: Literal["effect", "z", "t"]
) -> FirstLevelMap:
    for name in _REQUIRED:
        if row[name] is None:
            raise DataError(f"{where} has no {name}.", fix="Fill the cell, or remove the line.")
    if input_stat != "effect" and row.get("variance"):
        raise UsageError(
            f"{where} names a variance, but {input_stat} maps have none (--input-stat {input_stat})."
        )
    folder = table.absolute().parent
    files = {name: _read_path(row.get(name), folder, where) for name in ("effect", "variance", "mask")}
    labels: dict[str, Any] = {name: _read_label(row.get(name), key, where) for name, key in _LABELS.items()}
    return FirstLevelMap(
        subject=_read_label(row["participant_id"], "sub", where) or "",
        contrast=row["contrast"] or "",
        effect=files["effect"] or folder,
        variance=files["variance"],
        mask=files["mask"],
        dof=_read_dof(row.get("dof"), folder, where),
        dataset=folder,
        input_stat=input_stat,
        factors=tuple((name, cell) for name, cell in row.items() if name not in _KNOWN),
        **labels,
    )


def _read_label(text: str | None, key: str, where: str) -> str | None:
    label = None if text is None else text.removeprefix(f"{key}-")
    if label is not None and not re.fullmatch(r"[A-Za-z0-9+]+", label):
        raise UsageError(
            f"{where} has the label '{text}', which cannot be part of a BIDS file name.",
            expected="letters and digits",
            fix=f"Write '{re.sub(r'[^A-Za-z0-9+]', '', label) or '01'}' here and in participants.tsv.",
        )
    return label


def _read_path(text: str | None, folder: Path, where: str) -> Path | None:
    if text is None:
        return None
    if not is_volume_name(Path(text).name):
        is_cifti = is_cifti_name(Path(text).name)
        raise UsageError(
            f"{where} names {text}, which is {'a CIFTI file' if is_cifti else 'no volume that can be read'}.",
            expected=FORMATS,
            fix="Give the maps of the volume: surfaces and CIFTI files cannot be analysed so far.",
        )
    return Path(os.path.normpath(folder / text))


def _read_dof(text: str | None, folder: Path, where: str) -> float | Path | None:
    if text is None or not is_number(text):
        return _read_path(text, folder, where)
    if float(text) <= 0:
        raise DataError(f"{where} has dof {text}.", expected="a number above 0, or a file")
    return float(text)


def _files_of(maps: Iterable[FirstLevelMap]) -> list[Path]:
    return [path for m in maps for path in (m.effect, m.variance, m.dof, m.mask) if isinstance(path, Path)]


def _check_files(by_line: Mapping[int, FirstLevelMap], frame: pd.DataFrame, table: Path) -> None:
    """Refuse a result that stands in several lines (masks and degrees of freedom may be shared)."""
    for column in ("effect", "variance"):
        lines: dict[ImageFiles | None, list[int]] = defaultdict(list)
        for number, m in by_line.items():
            path = getattr(m, column)
            lines[None if path is None else locate(path)].append(number)
        for files, numbers in lines.items():
            if files is not None and len(numbers) > 1:
                where = (f"line {number} (sub-{by_line[number].subject})" for number in numbers)
                raise DataError(
                    f"The table {table} names the same file in several lines of its column '{column}'.",
                    found=f"{frame[column][numbers[0]]} in {_name_all(where)}",
                    expected="a file of its own in each line",
                    fix="Mend the path in the line that is wrong, or remove the line; of a 4D file that "
                    "holds the volumes of several lines, name the volume in each: all.nii.gz,1",
                )


def _check_rows(by_line: Mapping[int, FirstLevelMap], frame: pd.DataFrame, table: Path) -> None:
    """Refuse two lines whose labels are the same, as one of them must be wrong."""
    lines: dict[tuple[str | None, ...], list[int]] = defaultdict(list)
    for number, m in by_line.items():
        labels = (getattr(m, name) for name in _LABELS if name != "run")
        lines[m.subject, m.contrast, run_key(m.run), *labels].append(number)
    for numbers in (found for found in lines.values() if len(found) > 1):
        m = by_line[numbers[0]]
        labelled = ((name, getattr(m, name)) for name in ("session", "run", "task"))
        said = [f"{name} {label}" for name, label in labelled if label is not None]
        where = (f"line {number} ({frame['effect'][number]})" for number in numbers)
        raise UsageError(
            f"The table {table} has {len(numbers)} lines about the same map: "
            f"{', '.join([f'sub-{m.subject}', *said, f'contrast {m.contrast}'])}.",
            found=_name_all(where),
            expected="one line for each person, session, run and contrast",
            fix="Mend the labels (or add a column run or session), or remove a line.",
        )


def _name_all(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}"


def _check_there(by_line: Mapping[int, FirstLevelMap], frame: pd.DataFrame, table: Path) -> None:
    absent = [
        f"line {number}: {frame[column][number]}"
        for number, m in by_line.items()
        for column in ("effect", "variance", "dof", "mask")
        if isinstance(path := getattr(m, column), Path)
        and not all(one.exists() or one.is_symlink() for one in locate(path).all)
    ]
    if absent:
        n_files = "1 file that" if len(absent) == 1 else f"{len(absent)} files that"
        raise MissingInputError(
            f"{n_files} {table} names {'is' if len(absent) == 1 else 'are'} not there.",
            found=name_some(absent),
            expected=f"paths relative to {table.parent}",
            fix="Mend the paths in the table.",
        )


def _common_folder(maps: Iterable[FirstLevelMap], table: Path) -> Path:
    folders = {str(path.parent) for path in _files_of(maps)}
    return Path(os.path.commonpath([str(table.absolute().parent), *sorted(folders)]))


def _as_candidate(m: FirstLevelMap) -> Candidate:
    labels = {name: getattr(m, name) for name in ("subject", "contrast", *_LABELS)}
    named = {name: label for name, label in labels.items() if label is not None}
    return Candidate(map=m, entities={**named, "stat": m.input_stat, "suffix": "statmap"})
