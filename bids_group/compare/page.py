"""The page of a comparison: everything is computed first, then written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bids_group import __version__
from bids_group.compare.agreement import Comparison, Ground, compare_maps, find_ground
from bids_group.compare.contents import say_people, tabulate_settings
from bids_group.compare.expectation import expect
from bids_group.compare.figures import Canvas, name_of, picture_agreement, picture_difference, show
from bids_group.compare.sources import Pair, Source, match_contrasts, read_source
from bids_group.compare.writing import check_place, write_comparison
from bids_group.errors import UsageError
from bids_group.output.disk.writing import table_text
from bids_group.output.report.figures import style
from bids_group.output.report.markup import fill_template
from bids_group.output.report.provenance import plain_command
from bids_group.output.report.tables import PageTable, page_table

LOGGER = logging.getLogger(__name__)


def compare_outputs(out_a: Path, out_b: Path, folder: Path, pairs: Sequence[str] = ()) -> Path:
    """Compare two finished outputs; write ``report.html``, ``figures/`` and ``comparison.tsv`` (+ .json).

    Parameters
    ----------
    out_a, out_b
        OUTPUT_DIRs of finished group runs.
    folder
        A new or empty folder, or one that holds an earlier comparison, which is replaced.
    pairs
        ``CONTRAST_A=CONTRAST_B``: compare these instead of the contrasts of equal labels.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    UsageError, SelectionError, DataError, MissingInputError, OutputError
    """
    if out_a.resolve() == out_b.resolve():
        raise UsageError(
            "OUT_A and OUT_B are the same folder.",
            found=str(out_a),
            expected="two analyses",
            fix="Name the OUTPUT_DIRs of two runs.",
        )
    sides = read_source("A", out_a), read_source("B", out_b)
    check_place(folder, out_a, out_b)
    matched = match_contrasts(*sides, pairs)
    payloads: dict[Path, bytes] = {}
    with style():
        views = [_compare(pair, *sides, payloads) for pair in matched]
    table = pd.DataFrame([row for view in views for row in view["rows"]], dtype=object)
    page = {
        "version": __version__,
        "sides": [(one.side, str(one.path), _spell_command(one)) for one in sides],
        "pairs": views,
        "table": _view(table, "comparison.tsv", "Every map and correction that was compared."),
        "left_out": [] if pairs else list(_say_left_out(matched, sides)),
    }
    return write_comparison(
        folder,
        table,
        fill_template("compare.html.j2", page=page),
        payloads,
        sources=(out_a, out_b),
        expectations={view["label"]: view["expectation"] for view in views},
    )


def _spell_command(one: Source) -> str:
    command = plain_command(one.folder.command.command or [])
    return command.replace("OUTPUT_DIR", f"OUT_{one.side}", 1)


def _say_left_out(matched: Sequence[Pair], sides: tuple[Source, Source]) -> Iterator[str]:
    used = {pair.label for pair in matched}
    for side in sides:
        if rest := [one.key for one in side.tested if one.key not in used]:
            yield f"Only in {side.side}, not compared: {', '.join(rest)}."


def _compare(pair: Pair, a: Source, b: Source, payloads: dict[Path, bytes]) -> dict[str, Any]:
    """Compare a pair of contrasts: its section of the page, with ``rows`` of comparison.tsv."""
    ground = find_ground(pair)
    maps = tuple(compare_maps(pair, ground))
    LOGGER.info("%s: %d elements in both, %d maps and corrections", pair.label, ground.n, len(maps))
    settings = tabulate_settings(pair, a, b, ground)
    is_same = settings["A"] == settings["B"]
    same = settings.loc[is_same, ["what", "A"]].rename(columns={"A": "A and B"})
    expectation, remarks = expect(pair, ground, maps), list(_say_remarks(ground, maps))
    for sentence in (*remarks, *([expectation.alarm] if expectation.alarm else [])):
        LOGGER.warning("%s: %s", pair.label, sentence)
    canvas = Canvas(pair, ground, payloads)
    rows = [one.row(pair.label) for one in maps]
    return {
        "id": pair.stem,
        "label": pair.label,
        "words": [one.contrast.words for one in pair.sides],
        "sentence": " ".join(_say(one) for one in maps if one.stat in ("t", "F") and one.correction is None),
        "expectation": expectation,
        "remarks": remarks,
        "people": list(say_people(pair, a, b)),
        "settings": _view(settings[~is_same], f"{pair.stem}_differences.tsv", "What differs."),
        "same": _view(same, f"{pair.stem}_same.tsv", "What is the same.") if len(same) else None,
        "rows": rows,
        "numbers": _view(
            pd.DataFrame(rows, dtype=object).drop(columns="contrast"),
            f"{pair.stem}_numbers.tsv",
            "Agreement of the maps: r is Pearson's correlation, bias the mean of B − A; counts are of "
            "significant elements.",
        ),
        "maps": [
            {
                "name": name_of(one),
                "sentence": _say(one),
                "agreement": picture_agreement(one, canvas),
                "difference": picture_difference(one, canvas),
                "is_correction": one.correction is not None,
            }
            for one in maps
        ],
    }


def _view(table: pd.DataFrame, name: str, caption: str) -> PageTable:
    """Show a table with the text of its TSV."""
    rows = [line.split("\t") for line in table_text(table).splitlines()]
    text = pd.DataFrame(rows[1:], columns=rows[0]).replace("n/a", None)
    return page_table(text, name=name, caption=caption)


def _say_remarks(ground: Ground, maps: Sequence[Comparison]) -> Iterator[str]:
    if ground.remark:
        yield ground.remark
    if max(ground.n_own) > ground.n:
        yield (
            f"The analyses have different elements: {ground.n_own[0]} in A, {ground.n_own[1]} in B. All "
            f"numbers here are of the {ground.n} that both have."
        )
    for one in maps:
        if any(one.outside):
            yield (
                f"By {name_of(one)}, {one.outside[0]} significant elements of A and {one.outside[1]} of B "
                "lie where the other has none; they are in no count."
            )
        if one.difference is not None and one.difference.size < one.n:
            yield f"{one.n - one.difference.size} elements of {name_of(one)} are not finite and left out."


def _say(one: Comparison) -> str:
    """One line on how well a map agrees."""
    parts = []
    bias, lower, upper = one.limits
    if lower is not None:
        parts.append(
            f"r = {show(one.r)}, mean difference B − A {show(bias)}, "
            f"limits of agreement {show(lower)} to {show(upper)}"
        )
    if one.counts is not None:
        n_a, n_b, n_both = one.counts
        parts.append(f"significant in A {n_a}, in B {n_b}, in both {n_both}; Dice {show(one.dice)}")
    name = name_of(one)
    start = name[0].upper() if one.correction else name[0]
    return f"{start}{name[1:]}, {one.n} elements: {'; '.join(parts)}."
