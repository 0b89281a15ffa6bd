"""A table that lists first-level maps one by one, for what has no BIDS names (SPM, FSL FEAT, AFNI).

Its further columns are covariates of single maps, and factors that tell contrasts apart.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group.bids.datasets import MapSource
from bids_group.bids.index import group_by
from bids_group.bids.near_labels import plain_label
from bids_group.bids.pattern_table import resolve_pattern
from bids_group.bids.patterns import LABEL
from bids_group.bids.region_lines import join_hemispheres, list_regions, variance_column
from bids_group.bids.statmaps import Found, InputStat
from bids_group.bids.structures import name_hemispheres
from bids_group.bids.tables import name_people, read_tsv, require_columns
from bids_group.config import Inputs, Selection
from bids_group.config.typed import MAPS_FILE, is_pattern
from bids_group.elements import FORMATS, hemi_of, is_label_name, is_map_name, locate
from bids_group.errors import DataError, MissingInputError, UsageError
from bids_group.labels import factor_word, run_key
from bids_group.records import FirstLevelMap, Notice, warn
from bids_group.words import counted, is_number, list_some, listed, plural, quote_for_shell, suggest

_REQUIRED = ("participant_id", "contrast", "effect")
_LABELS = {"session": "ses", "run": "run", "task": "task", "space": "space", "res": "res", "den": "den"}
_KNOWN = (*_REQUIRED, *_LABELS, "variance", "variance_scale", "dof", "mask")

_OTHER_NAMES = {"ses": "session", "ses_id": "session", "var": "variance"}
"""Columns whose nearest known name is another than the one that is meant."""

Lines = Mapping[int, FirstLevelMap]


def read_maps(inputs: Inputs, selection: Selection, output_dir: Path) -> tuple[MapSource, Found, str | None]:
    """Read the maps of ``--maps``: a table of them, or the one that a pattern stands for.

    Paths in a table are relative to its own folder. One with a column per region and no ``effect`` lists its
    own lines. A column ``hemi`` joins two lines. Columns: ``participant_id``, ``contrast``, ``effect``, and
    where wanted ``session``, ``run``, ``task``, ``space``, ``res``, ``den``, ``variance``, ``variance_scale``
    (a number that it is multiplied by), ``dof`` (a number or a file) and ``mask``; others are covariates and
    factors of the maps. The suffix that is selected says what the maps are, as their names say nothing.
    Given back are the source, the maps, and the text of the table that is kept with the results: that of a
    pattern.
    """
    path, kept = inputs.maps_table, output_dir.absolute() / MAPS_FILE
    assert path is not None
    if is_pattern(path):
        frame, notices = resolve_pattern(path, inputs.bids_dir, selection, kept.parent)
        source, found = _build_maps(frame, kept, selection)
        text = frame.to_csv(sep="\t", index=False, na_rep="n/a", lineterminator="\n")
        return source, replace(found, notices=(*found.notices, *notices)), text
    wide = list_regions(path)
    source, found = _build_maps(read_tsv(path) if wide is None else wide, path, selection)
    return source, found, path.read_text(encoding="utf-8") if path == kept else None


def _build_maps(frame: pd.DataFrame, path: Path, selection: Selection) -> tuple[MapSource, Found]:
    frame, _ = name_people(frame)
    frame = join_hemispheres(frame, path)
    require_columns(frame, path, _REQUIRED)
    for column in frame.columns:
        meant = _OTHER_NAMES.get(str(column).lower(), str(column))
        if column not in _KNOWN and (hint := suggest(meant, _KNOWN)):
            others = "other columns, as factors of the maps, under names less alike"
            raise UsageError(
                f"The table {path} has an unknown column '{column}'.",
                expected=f"{', '.join(_KNOWN)}; {others}",
                fix=hint,
            )
    rows = [{str(name): cell for name, cell in row.items()} for row in frame.to_dict("records")]
    lines = [int(number) for number in frame.index]
    read = [
        _read_row(row, f"Line {number} of {path}", path.absolute().parent, selection.input_stat or "effect")
        for number, row in zip(lines, rows, strict=True)
    ]
    named, notices = _name_cells(read)
    by_line = dict(zip(lines, named, strict=True))
    _check_lines(by_line, frame, path)
    notices += _tell_other_labels(by_line, path)
    folders = {one.parent for m in named for one in m.files}
    if path.parts[-2:] != MAPS_FILE.parts:  # else it stands beside results, wherever the maps are
        folders.add(path.absolute().parent)
    root = Path(os.path.commonpath(folders))
    maps = name_hemispheres([replace(m, dataset=root, suffix=selection.input_suffix) for m in named])
    return MapSource(name="maps", root=root, table=path), Found(maps=maps, leftovers={}, notices=notices)


def _read_row(
    row: Mapping[str, str | None], where: str, folder: Path, input_stat: InputStat
) -> FirstLevelMap:
    for name in _REQUIRED:
        if row[name] is None:
            raise DataError(f"{where} has no {name}.", fix="Fill the cell, or remove the line.")
    if input_stat != "effect" and row.get("variance"):
        raise UsageError(
            f"{where} names a variance, but {input_stat} maps have none (--input-stat {input_stat})."
        )
    files = {name: _read_path(row.get(name), folder, where, name) for name in ("effect", "variance", "mask")}
    if files["effect"] is not None and files["variance"] is None and input_stat == "effect":
        files["variance"] = variance_column(files["effect"])
    labels: dict[str, Any] = {name: _read_label(row.get(name), key, where) for name, key in _LABELS.items()}
    labels["subject"] = _read_label(row["participant_id"], "sub", where)
    named = {**labels, "stat": input_stat, "suffix": "statmap"}
    dof = row.get("dof")
    is_dof_number = dof is not None and is_number(dof)
    if dof is not None and is_dof_number and float(dof) <= 0:
        raise DataError(f"{where} has dof {dof}.", expected="a number above 0, or a file")
    scale = row.get("variance_scale")
    if scale is not None and not (row.get("variance") and is_number(scale) and float(scale) > 0):
        raise DataError(
            f"{where} has variance_scale {scale}" + ("." if row.get("variance") else " and no variance."),
            expected="a number above 0, beside the variance that is multiplied by it",
        )
    return FirstLevelMap(
        contrast=row["contrast"] or "",
        effect=files["effect"] or folder,
        variance=files["variance"],
        variance_scale=1.0 if scale is None else float(scale),
        mask=files["mask"],
        dof=float(dof) if dof is not None and is_dof_number else _read_path(dof, folder, where),
        dataset=folder,
        input_stat=input_stat,
        factors=tuple((name, cell) for name, cell in row.items() if name not in _KNOWN),
        entities={name: label for name, label in named.items() if label is not None},
        **labels,
    )


def _read_label(text: str | None, key: str, where: str) -> str | None:
    label = None if text is None else text.removeprefix(f"{key}-")
    if label is not None and not re.fullmatch(LABEL, label):
        plain = re.sub(r"[^A-Za-z0-9+]", "", re.sub(r"(?<=\d)\.0+$", "", label)) or "01"
        raise UsageError(
            f"{where} has the label '{text}', which cannot be part of a BIDS file name.",
            expected="letters and digits",
            fix=f"Write '{plain}' here{' and in participants.tsv' if key == 'sub' else ''}.",
        )
    return label


def _read_path(text: str | None, folder: Path, where: str, column: str = "") -> Path | None:
    if text is None:
        return None
    name, is_label = Path(text).name, is_label_name(text) and column != "mask"
    if is_label or not is_map_name(name):
        raise UsageError(
            f"{where} names {text}, {'a file of labels' if is_label else 'no map that can be read'}.",
            expected=FORMATS,
            fix="Give maps of numbers: effects, thickness …."
            if is_label
            else "Give the maps in such a format.",
        )
    return Path(os.path.normpath(folder / text))


def _check_lines(by_line: Lines, frame: pd.DataFrame, table: Path) -> None:
    """Refuse a result that stands in several lines, lines of the same labels, and files that are not there.

    Masks and degrees of freedom may be shared.
    """

    def twins(keys: Iterable[Hashable]) -> Iterable[list[int]]:
        groups = group_by(zip(by_line, keys, strict=True), lambda line: line[1])
        return ([n for n, _ in lines] for key, lines in groups.items() if key is not None and len(lines) > 1)

    for column in ("effect", "variance"):
        files: list[Path | None] = [getattr(m, column) for m in by_line.values()]
        for lines in twins(None if file is None else locate(file) for file in files):
            if column == "variance" and _share_residuals([by_line[number] for number in lines]):
                continue
            raise DataError(
                f"The table {table} names the same file in several lines of its column '{column}'.",
                found=f"{frame[column][lines[0]]} in "
                + listed(f"line {number} (sub-{by_line[number].subject})" for number in lines),
                expected="a file of its own in each line",
                fix="Mend the path in the line that is wrong, or remove the line; of a 4D file that "
                "holds the volumes of several lines, name the volume in each: all.nii.gz,1",
            )
    for lines in twins((m.contrast, run_key(m.run), *_labels(m)) for m in by_line.values()):
        m = by_line[lines[0]]
        said = [f"{name} {m.entities[name]}" for name in ("session", "run", "task") if name in m.entities]
        about = ", ".join([f"sub-{m.subject}", *said, f"contrast {m.contrast}"])
        raise UsageError(
            f"The table {table} has {len(lines)} lines about the same map: {about}.",
            found=listed(f"line {number} ({frame['effect'][number]})" for number in lines),
            expected="one line for each person, session, run and contrast",
            fix=_how_to_tell(by_line[number].effect.name for number in lines),
        )
    absent = [
        f"line {number}: {frame[column][number]}"
        for number, m in by_line.items()
        for column in ("effect", "variance", "dof", "mask")
        if isinstance(path := getattr(m, column), Path) and not all(map(os.path.lexists, locate(path).all))
    ]
    if n := len(absent):
        raise MissingInputError(
            f"{counted(n, 'file')} that {table} names {plural(n, 'is', 'are')} not there.",
            found=list_some(absent, 10),
            expected=f"paths relative to {table.parent}",
            fix="Mend the paths in the table.",
        )


def _tell_other_labels(by_line: Lines, table: Path) -> tuple[Notice, ...]:
    """Warn of lines whose file names say another person, session or run than their columns do."""
    notices = []
    for name, what in (("subject", "person"), ("session", "session"), ("run", "run")):
        key, odd = _LABELS.get(name, "sub"), list[tuple[int, str]]()
        labels = {number: label for number, m in by_line.items() if (label := getattr(m, name)) is not None}
        plain = {number: _plain_parts(label) for number, label in labels.items()}
        everyone = set[str]().union(*plain.values())
        for column in ("effect", "variance", "dof"):
            files = {number: getattr(by_line[number], column) for number in labels}
            paths = {number: path for number, path in files.items() if isinstance(path, Path)}
            told = {number: _told_labels(str(path), key) for number, path in paths.items()}
            shared = set.intersection(*told.values()) - everyone if told and len(everyone) > 1 else set()
            odd += [
                (number, f"line {number} ({key}-{labels[number]}: {paths[number].name})")
                for number, parts in told.items()
                if parts - shared and not parts & plain[number]
            ]
        if odd:
            sentence = f"Files of the table {table} are named after another {what} than their lines are: "
            fix = "Check the table (was one column sorted without the others?)."
            said = (text for _, text in sorted(odd, key=lambda one: one[0]))
            notices.append(warn("maps", f"{sentence}{list_some(said, 4)}.", fix))
    return tuple(notices)


def _told_labels(path: str, key: str) -> set[str]:
    """Find the labels of a key in a path; a run is a number (``run-level`` is a folder's name)."""
    labels = re.findall(rf"(?:^|[/_]){key}-([A-Za-z0-9+]+)", path)
    return {one for label in labels for one in _plain_parts(label) if key != "run" or re.search(r"\d", one)}


def _plain_parts(label: str) -> set[str]:
    """Give the labels of which one is joined (``1+2``), each as `plain_label` has it."""
    return {plain_label(one) for one in label.split("+")}


def _how_to_tell(names: Iterable[str]) -> str:
    """Say what a table lacks, two of whose lines are about the same map: by the names of their files."""
    if {*map(hemi_of, names)} == {"L", "R"}:
        return "Say in a column hemi (L, R) of which hemisphere each is."
    return "Mend the labels (or add a column run or session), or remove a line."


def _share_residuals(maps: Sequence[FirstLevelMap]) -> bool:
    """Whether contrasts of one first level share its residual variance (SPM's ResMS), each with its scale."""
    places = {(m.subject, m.session, m.run, m.effect.parent) for m in maps}
    return len(places) == 1 and all(m.variance_scale != 1 for m in maps)


def _labels(m: FirstLevelMap) -> tuple[str | None, ...]:
    """Labels but for contrast and run."""
    return m.subject, m.session, m.task, m.space, m.res, m.den


def _name_cells(maps: Sequence[FirstLevelMap]) -> tuple[list[FirstLevelMap], tuple[Notice, ...]]:
    """Name lines about the same map after the factors that tell them apart: ``faces`` as ``faces A1 B2``.

    All lines of such a contrast are named so, by as few columns as do, in their order.
    """
    lines = group_by(maps, lambda m: m.contrast)
    cells = {contrast: _telling_columns(those) for contrast, those in lines.items()}
    named, cells_of = [], dict[str, dict[str, None]]()
    for m in maps:
        values = dict(m.factors)
        parts = (factor_word(column, values[column]) for column in cells[m.contrast])
        name = " ".join([m.contrast, *parts])
        cells_of.setdefault(m.contrast, {})[name] = None
        named.append(replace(m, contrast=name, entities={**m.entities, "contrast": name}))
    notices = []
    for contrast, names in cells.items():
        shown = " ".join(map(quote_for_shell, cells_of[contrast]))
        alone = f" and --first-level-contrast {shown}" if len(cells) > 1 else ""
        if names:
            sentence = (
                f"The lines of contrast {contrast} are told apart by {', '.join(names)}: each cell is a "
            )
            fix = (
                f"Use them in the formula to compare cells, such as '~ {' * '.join(names)} + subject'{alone}."
            )
            notices.append(warn("maps", f"{sentence}first-level contrast of its own.", fix))
    return named, tuple(notices)


def _telling_columns(maps: Sequence[FirstLevelMap]) -> list[str]:
    """Choose columns one after the other while lines of one label are parted by them."""

    def n_groups(names: Sequence[str]) -> int:
        return len({(m.run, *_labels(m), *(dict(m.factors)[name] for name in names)) for m in maps})

    chosen: list[str] = []
    for name, _ in maps[0].factors:
        if n_groups(chosen) < n_groups([*chosen, name]):
            chosen.append(name)
    return chosen if n_groups(chosen) == len(maps) else []
