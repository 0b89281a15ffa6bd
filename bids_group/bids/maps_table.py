"""A table that lists first-level maps one by one, for what has no BIDS names (SPM, FSL FEAT, AFNI).

Its further columns are covariates of single maps, and factors that tell contrasts apart.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.bids.cells import is_number
from bids_group.bids.columns import Typing, type_table
from bids_group.bids.datasets import MapSource
from bids_group.bids.entities import run_key
from bids_group.bids.statmaps import Found, InputStat
from bids_group.bids.tables import read_tsv, require_columns
from bids_group.elements import FORMATS, is_cifti_name, is_volume_name, locate
from bids_group.errors import DataError, MissingInputError, UsageError
from bids_group.records import FirstLevelMap, Notice, Table, warn
from bids_group.words import counted, list_some, plural, suggest

_REQUIRED = ("participant_id", "contrast", "effect")
_LABELS = {"session": "ses", "run": "run", "task": "task", "space": "space", "res": "res", "den": "den"}
_KNOWN = (*_REQUIRED, *_LABELS, "variance", "dof", "mask")

Lines = Mapping[int, FirstLevelMap]


def read_maps_table(
    path: Path, input_stat: InputStat = "effect", suffix: str = "statmap"
) -> tuple[MapSource, Found]:
    """Read the table of ``--maps``; paths in it are relative to its own folder.

    Columns: ``participant_id``, ``contrast``, ``effect``, and where wanted ``session``, ``run``, ``task``,
    ``space``, ``res``, ``den``, ``variance``, ``dof`` (a number or a file) and ``mask``. Other columns are
    covariates and factors of the maps. ``suffix`` says what the maps are, as their names say nothing.

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
    for column in frame.columns:
        if column not in _KNOWN and (hint := suggest(str(column), _KNOWN)):
            others = "other columns, as factors of the maps, under names less alike"
            raise UsageError(
                f"The table {path} has an unknown column '{column}'.",
                expected=f"{', '.join(_KNOWN)}; {others}",
                fix=hint,
            )
    rows = [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    read = [
        _read_row(row, f"Line {number} of {path}", path, input_stat)
        for number, row in zip(frame.index, rows, strict=True)
    ]
    named, notices = _name_cells(read)
    by_line = dict(zip(map(int, frame.index), named, strict=True))
    _check_files(by_line, frame, path)
    _check_rows(by_line, frame, path)
    _check_there(by_line, frame, path)
    folders = {str(one.parent) for m in named for one in m.files}
    root = Path(os.path.commonpath([str(path.absolute().parent), *sorted(folders)]))
    fixed = {"stat": input_stat, "suffix": "statmap"}
    maps = (replace(m, dataset=root, suffix=suffix, entities={**_named_labels(m), **fixed}) for m in named)
    return MapSource(name="maps", root=root, table=path), Found(
        maps=tuple(maps), leftovers={}, notices=notices
    )


def _read_row(row: Mapping[str, str | None], where: str, table: Path, input_stat: InputStat) -> FirstLevelMap:
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


def _named_labels(m: FirstLevelMap) -> dict[str, str]:
    labels = {name: getattr(m, name) for name in ("subject", "contrast", *_LABELS)}
    return {name: label for name, label in labels.items() if label is not None}


def _twins(by_line: Lines, key_of: Callable[[FirstLevelMap], Hashable]) -> Iterator[list[int]]:
    """Find the lines of which several have one key; None is no key."""
    lines: dict[Hashable, list[int]] = defaultdict(list)
    for number, m in by_line.items():
        lines[key_of(m)].append(number)
    return (numbers for key, numbers in lines.items() if key is not None and len(numbers) > 1)


def _check_files(by_line: Lines, frame: pd.DataFrame, table: Path) -> None:
    """Refuse a result that stands in several lines (masks and degrees of freedom may be shared)."""
    for column in ("effect", "variance"):

        def files_of(m: FirstLevelMap, name: str = column) -> Hashable:
            path = getattr(m, name)
            return None if path is None else locate(path)

        for numbers in _twins(by_line, files_of):
            where = _name_all(f"line {number} (sub-{by_line[number].subject})" for number in numbers)
            raise DataError(
                f"The table {table} names the same file in several lines of its column '{column}'.",
                found=f"{frame[column][numbers[0]]} in {where}",
                expected="a file of its own in each line",
                fix="Mend the path in the line that is wrong, or remove the line; of a 4D file that "
                "holds the volumes of several lines, name the volume in each: all.nii.gz,1",
            )


def _check_rows(by_line: Lines, frame: pd.DataFrame, table: Path) -> None:
    """Refuse two lines whose labels are the same, as one of them must be wrong."""
    for numbers in _twins(by_line, lambda m: (m.contrast, run_key(m.run), *_labels(m))):
        m = by_line[numbers[0]]
        labels = _named_labels(m)
        said = [f"{name} {labels[name]}" for name in ("session", "run", "task") if name in labels]
        raise UsageError(
            f"The table {table} has {len(numbers)} lines about the same map: "
            f"{', '.join([f'sub-{m.subject}', *said, f'contrast {m.contrast}'])}.",
            found=_name_all(f"line {number} ({frame['effect'][number]})" for number in numbers),
            expected="one line for each person, session, run and contrast",
            fix="Mend the labels (or add a column run or session), or remove a line.",
        )


def _labels(m: FirstLevelMap) -> tuple[str | None, ...]:
    """Labels but for contrast and run."""
    return m.subject, m.session, m.task, m.space, m.res, m.den


def _name_all(parts: Iterable[str]) -> str:
    *most, last = parts
    return f"{', '.join(most)} and {last}"


def _check_there(by_line: Lines, frame: pd.DataFrame, table: Path) -> None:
    absent = [
        f"line {number}: {frame[column][number]}"
        for number, m in by_line.items()
        for column in ("effect", "variance", "dof", "mask")
        if isinstance(path := getattr(m, column), Path)
        and not all(one.exists() or one.is_symlink() for one in locate(path).all)
    ]
    if absent:
        n = len(absent)
        raise MissingInputError(
            f"{counted(n, 'file')} that {table} names {plural(n, 'is', 'are')} not there.",
            found=list_some(absent, 10),
            expected=f"paths relative to {table.parent}",
            fix="Mend the paths in the table.",
        )


def _name_cells(maps: Sequence[FirstLevelMap]) -> tuple[list[FirstLevelMap], tuple[Notice, ...]]:
    """Name lines about the same map after the factors that tell them apart: ``faces`` as ``faces A1 B2``.

    All lines of such a contrast are named so, by as few columns as do, in their order.
    """
    renamed, notices = list(maps), []
    for contrast in dict.fromkeys(m.contrast for m in maps):
        at = [position for position, m in enumerate(maps) if m.contrast == contrast]
        cells = _telling_columns([maps[position] for position in at])
        if cells:
            sentence = (
                f"The lines of contrast {contrast} are told apart by {', '.join(cells)}: each cell is a "
                "first-level contrast of its own."
            )
            fix = f"Use them in the formula to compare cells, such as '~ {' * '.join(cells)} + subject'."
            notices.append(warn("maps", sentence, fix))
        for position in at if cells else ():
            values = dict(maps[position].factors)
            parts = (f"{name}{values[name] or ''}" for name in cells)
            renamed[position] = replace(maps[position], contrast=" ".join([contrast, *parts]))
    return renamed, tuple(notices)


def _telling_columns(maps: Sequence[FirstLevelMap]) -> list[str]:
    """Choose columns one after the other while lines of one label are parted by them."""

    def n_groups(names: Sequence[str]) -> int:
        return len({(m.run, *_labels(m), *(dict(m.factors)[name] for name in names)) for m in maps})

    chosen: list[str] = []
    for name, _ in maps[0].factors:
        if n_groups(chosen) == len(maps):
            break
        if n_groups([*chosen, name]) > n_groups(chosen):
            chosen.append(name)
    return chosen if n_groups(chosen) == len(maps) else []


def find_cell_factors(maps: Sequence[FirstLevelMap]) -> tuple[str, ...]:
    """Find the columns that have one value in each first-level contrast, and several over them."""
    by_column: dict[str, dict[str, set[str | None]]] = defaultdict(lambda: defaultdict(set))
    for m in maps:
        for name, value in m.factors:
            by_column[name][m.contrast].add(value)
    return tuple(
        name
        for name, values in by_column.items()
        if all(len(each) == 1 for each in values.values()) and len(set().union(*values.values())) > 1
    )


def type_factors(maps: Sequence[FirstLevelMap], typing: Typing, source: Path | None) -> Table | None:
    """Type the further columns over the maps; what tells contrasts apart is a factor unless ``--numeric``."""
    if source is None or not maps[0].factors:
        return None
    cells = set(find_cell_factors(maps)) - set(typing.numeric)
    typing = replace(typing, categorical=(*typing.categorical, *sorted(cells)))
    index = pd.Index([str(m.effect) for m in maps], dtype=object)
    names = [name for name, _ in maps[0].factors]
    text = pd.DataFrame([dict(m.factors) for m in maps], index=index, columns=names, dtype=object)
    table = type_table("map", text, dict.fromkeys(names, source), typing, {})
    said = "a factor of the first-level contrasts, in the table of maps"
    columns = {n: replace(c, kind_source=said) if n in cells else c for n, c in table.columns.items()}
    return replace(table, columns=columns)
