"""A design matrix of one's own (``--design-matrix``): rows by label, every column a number."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from bids_group.bids.index import name_row
from bids_group.bids.near_labels import plain_label
from bids_group.bids.tables import PERSON_NAMES, index_by_label, read_tsv
from bids_group.errors import DataError, UsageError
from bids_group.records import Cohort, Column, GroupAnalysis, Table
from bids_group.words import counted, is_number, list_some

SESSION_NAMES = ("session_id", "session_label", "session")
_CHOSEN = ("left out (--exclude-participant-label", "--exclude-where", "not selected (--participant-label")
_CHOSEN_SESSIONS = "not selected (--session-label"
"""How reasons start where the user named who, or which session, is left out: then rows may be there."""


def read_design_matrix(path: Path) -> Table:
    """Read a design matrix: columns of labels (and of sessions, where these are rows), and of numbers."""
    text = read_tsv(path)
    keys = []
    for known, prefix in ((PERSON_NAMES, "sub"), (SESSION_NAMES, "ses")):
        found = [str(name) for name in text.columns if name in known]
        if len(found) > 1 or (prefix == "sub" and not found):
            raise UsageError(
                f"The design matrix {path} has {len(found) or 'no'} column{'s' if found else ''} of labels.",
                found=", ".join(found or map(str, text.columns)),
                expected=f"one of {', '.join(known)}",
                fix="Keep one of them." if found else f"Call the column of the people {known[0]}.",
            )
        keys += [(name, prefix) for name in found]
    frame = index_by_label(text, path, keys)
    if not len(frame.columns) or not len(frame):
        raise DataError(
            f"The design matrix {path} has no {'row' if len(frame.columns) else 'column of numbers'}.",
            expected="a row per person, and a column per regressor beside the labels",
        )
    for name in map(str, frame.columns):
        if name == "contrast" or "`" in name or not re.search(r"[^\W_]", name):
            raise UsageError(
                f"A column of the design matrix {path} cannot be called '{name}'.",
                expected="a name with a letter or digit, without backticks, other than contrast",
                fix="Rename the column.",
            )
        odd = frame.loc[[cell is not None and not is_number(str(cell)) for cell in frame[name]], name]
        if len(odd):
            raise DataError(
                f"The column '{name}' of the design matrix {path} holds text.",
                found=f"'{odd.iloc[0]}' in {name_row(odd.index[0])}",
                expected="a finite number in every row (n/a where it is missing)",
                fix="Code each category as columns of numbers, or let --formula do that.",
            )
    about = Column(name="", kind="numeric", kind_source="--design-matrix", source=path)
    columns = {str(name): replace(about, name=str(name)) for name in frame.columns}
    return Table(level="session" if len(keys) > 1 else "subject", frame=frame.astype(float), columns=columns)


def settle_tables(tables: Iterable[Table], matrix: Table | None) -> tuple[Table, ...]:
    """Put the design matrix behind the other tables, which lose the columns that it has too."""
    if matrix is None:
        return tuple(tables)
    settled = []
    for table in tables:
        columns = {name: column for name, column in table.columns.items() if name not in matrix.columns}
        settled.append(replace(table, frame=table.frame[[*columns]], columns=columns))
    return (*settled, matrix)


def check_matrix_rows(
    analyses: Sequence[GroupAnalysis], cohort: Cohort, missing: Literal["error", "drop"]
) -> frozenset[str]:
    """Find the observations that have no row in the design matrix (with ``missing`` ``drop``).

    Raises
    ------
    UsageError
        Rows are people where the analysis has sessions, or the other way round.
    DataError
        An observation has no row, or a row has no map and nothing said so (``missing`` ``error``).
    """
    matrix = cohort.design_matrix
    if matrix is None:
        return frozenset()
    path = next(iter(matrix.columns.values())).source
    rowless: set[str] = set()
    for analysis in analyses:
        has_sessions = "session" in analysis.rows
        if "contrast" in analysis.rows:
            raise UsageError(
                "A design matrix has no place for several first-level contrasts in one model.",
                fix="Leave out --design-matrix, or the model's rows of several contrasts.",
            )
        if has_sessions and matrix.level == "subject":
            raise UsageError(
                f"The rows of the analysis are sessions, those of the design matrix {path} are people.",
                expected=f"a column {SESSION_NAMES[0]} beside that of the people",
                fix="Add the column, or leave out --pooling none.",
            )
        if matrix.level == "session" and not has_sessions:
            raise UsageError(
                f"The rows of the design matrix {path} are sessions, those of the analysis are people.",
                found="sessions pooled within people",
                fix="Add --pooling none, or give each person one row without a column of sessions.",
            )
        lacking = [label for label, key in _keys(analysis).items() if key not in matrix.frame.index]
        rowless.update(lacking)
        if lacking and missing == "error":
            raise _no_row(lacking, matrix, path)
    if missing == "error":
        _check_mapless(analyses, cohort, matrix, path)
    return frozenset(rowless)


def _keys(analysis: GroupAnalysis) -> Mapping[str, object]:
    """Index in the matrix of each row, by label."""
    subjects = [str(subject) for subject in analysis.rows["subject"]]
    sessions = map(str, analysis.rows["session"]) if "session" in analysis.rows else None
    keys: Iterable[object] = subjects if sessions is None else zip(subjects, sessions, strict=True)
    return dict(zip(map(str, analysis.rows.index), keys, strict=True))


def _no_row(lacking: Sequence[str], matrix: Table, path: Path) -> DataError:
    listed = [name_row(label) for label in matrix.frame.index]
    people = " ".join(dict.fromkeys(label.split("_")[0].removeprefix("sub-") for label in lacking))
    alike = {plain_label(label): label for label in listed if label not in lacking}
    close = next((alike[plain] for plain in map(plain_label, lacking) if plain in alike), None)
    return DataError(
        f"The design matrix {path} has no row for {list_some(lacking, 10)}.",
        found=f"{len(listed)} rows: {list_some(listed, 6)}",
        expected="a row for everybody with a map",
        fix=f"Write the labels as in the names of the maps ({close} is another label)."
        if close
        else f"Add the rows, or leave these people out: --exclude-participant-label {people}, or "
        "--missing drop.",
    )


def _check_mapless(analyses: Sequence[GroupAnalysis], cohort: Cohort, matrix: Table, path: Path) -> None:
    """Refuse rows that have no map, unless the user left them out."""
    by_contrast: dict[str, set[object]] = {}
    for analysis in analyses:
        by_contrast.setdefault(analysis.first_level_contrast, set()).update(_keys(analysis).values())
    filtered: set[object] = {one.subject for analysis in analyses for one in analysis.exclusions}
    for contrast, present in by_contrast.items():
        out = filtered | {
            (one.subject, one.session) if one.path is not None and one.session is not None else one.subject
            for one in cohort.exclusions
            if one.contrast in (None, contrast)
            and one.reason.startswith(_CHOSEN if one.session is None else (*_CHOSEN, _CHOSEN_SESSIONS))
        }
        extra = [
            name_row(row)
            for row in matrix.frame.index
            if row not in present and not {row, row[0] if isinstance(row, tuple) else row} & out
        ]
        if extra:
            raise DataError(
                f"The design matrix {path} has {counted(len(extra), 'row')} without a map of {contrast}.",
                found=list_some(extra, 10),
                expected=f"rows of the {len(present)} that have one",
                fix="Remove these rows, or say --missing drop to leave them out.",
            )
