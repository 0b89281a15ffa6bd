"""Whether a contrast holds without single people: a sentence for the card, and the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from bids_group.config.corrections import find_correction
from bids_group.output.report.folder import read_numbers
from bids_group.output.report.inputs import ContrastInputs
from bids_group.output.report.sections import Part, Shown
from bids_group.words import listed

_TEXTS = ("left_out", "reason", "correction", "holds", "note")


def sum_up_sensitivity(inputs: ContrastInputs) -> str:
    """Say for the first correction that found something whether that holds; empty where it was not tried."""
    table = _read(inputs)
    if table.empty:
        return ""
    first = next((name for name in inputs.found if (table["correction"] == _name_of(name)).any()), None)
    own = table[table["correction"] == table["correction"].iloc[0]]
    own = own if first is None else table[table["correction"] == _name_of(first)]
    lost, kept = own[own["holds"] == "no"], own[own["holds"] == "yes"]
    if lost.empty:
        one_by_one = ", one at a time" if len(kept) > 1 else ""
        return f"Holds without {listed(kept['left_out'], 'or')}{one_by_one}." if len(kept) else ""
    return f"Not significant without {listed(map(_say_lost, _rows(lost)), 'or')}."


def _say_lost(row: Mapping[str, Any]) -> str:
    """Say p without a person, and how often normal data lose as much: who carries it most, or by lot."""
    p = "no p" if pd.isna(row["p"]) else f"p = {row['p']:.2g}"
    if pd.isna(row["share_of_normal_data"]):
        return f"{row['left_out']} ({p})"
    one = "who carries it most" if row["reason"].startswith("carries") else "a person chosen by lot"
    share = f"{100 * row['share_of_normal_data']:.0f} % of normal data with this p lose it without {one}"
    return f"{row['left_out']} ({p}; {share})"


def sensitivity(inputs: ContrastInputs) -> Iterator[Shown]:
    """Show what is left of each correction's strongest cluster without single people."""
    table = _read(inputs)
    if table.empty:
        return
    yield Part("subheading", "Without single people")
    what = inputs.analysis.elements_word
    rows = [
        {
            "without": row["left_out"],
            "who": row["reason"],
            "correction": inputs.analysis.rule(row["correction"]).title,
            "holds": row["holds"] if pd.isna(row["note"]) else f"n/a: {row['note']}",
            "p": _number(row["p_all"]),
            "p without": _number(row["p"]),
            "effect": _number(row["effect_all"]),
            "effect without": _number(row["effect"]),
            what: _number(row["n_elements_all"], ".0f"),
            f"{what} without": _number(row["n_elements"], ".0f"),
        }
        for row in _rows(table)
    ]
    caption = (
        "The corrected tests again without people who are marked in the table of quality, and without who "
        "carries the contrast most; p is the smallest in the strongest cluster."
    )
    yield from inputs.table(rows, "sensitivity", caption)


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _read(inputs: ContrastInputs) -> pd.DataFrame:
    path = inputs.analysis.folder.root / f"{inputs.files.stem}_desc-sensitivity_table.tsv"
    return read_numbers(path, text_columns=_TEXTS) if path.is_file() else pd.DataFrame()


def _name_of(label: str) -> str:
    return find_correction(label).name


def _number(value: Any, spelling: str = ".3g") -> str:
    return "n/a" if pd.isna(value) else format(value, spelling)
