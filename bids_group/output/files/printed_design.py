"""The design in hand as a table that ``--design-matrix`` reads (``--print-design``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from bids_group.errors import OutputError, UsageError
from bids_group.output.disk.writing import table_text, write_text
from bids_group.records import Design, GroupAnalysis


def print_design(
    path: Path, planned: Sequence[tuple[GroupAnalysis, Design]], *, is_overwrite: bool = False
) -> None:
    """Write labels and columns of the one design of these analyses, with every digit.

    Raises
    ------
    UsageError
        The analyses have different designs, or rows that a table of people and sessions cannot tell apart.
    OutputError
        The file is there and holds something else (``is_overwrite`` replaces it), or cannot be written.
    """
    texts = {table_text(_table(analysis, design)): analysis for analysis, design in planned}
    if len(texts) > 1:
        raise UsageError(
            f"The designs of this run differ, so that {path.name} cannot hold them.",
            found="; ".join(f"{one.first_level_contrast}: {len(one.rows)} rows" for one, _ in planned),
            expected="one design",
            fix="Choose one analysis, for example with --first-level-contrast.",
        )
    text = next(iter(texts))
    if path.exists() and not is_overwrite and (not path.is_file() or path.read_bytes() != text.encode()):
        raise OutputError(
            f"The file {path} is there already.",
            expected="a new name for the design",
            fix="Give --print-design another name, remove the file, or say --overwrite.",
        )
    write_text(path, text)


def _table(analysis: GroupAnalysis, design: Design) -> pd.DataFrame:
    if any(one.is_one_of_several for one in analysis.observations):
        raise UsageError(
            "A design with rows of several first-level contrasts cannot be printed for --design-matrix.",
            expected="a row per person, or per person and session",
            fix="The design stands in the output of --dry-run --output-format json.",
        )
    sessions = [one.session for one in analysis.observations]
    labels = {"participant_id": [f"sub-{one.subject}" for one in analysis.observations]}
    if any(sessions):
        labels["session_id"] = [f"ses-{session}" for session in sessions]
    columns = design.matrix.rename(columns=lambda name: name.replace("`", ""))
    return pd.concat([pd.DataFrame(labels, index=columns.index), columns], axis=1)
