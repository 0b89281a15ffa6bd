"""The page of a comparison: everything is computed first, then written."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from bids_group import __version__
from bids_group.compare.agreement import Comparison, Ground, compare_maps, find_ground
from bids_group.compare.contents import say_people, tabulate_settings
from bids_group.compare.expectation import Expectation, expect
from bids_group.compare.figures import Canvas, Portfolio, name_of, picture_agreement, picture_difference, show
from bids_group.compare.sources import Pair, Source, match_contrasts, read_source
from bids_group.compare.writing import check_place, write_comparison
from bids_group.errors import UsageError
from bids_group.output.disk.writing import table_text
from bids_group.output.report.figures import Picture, style
from bids_group.output.report.markup import fill_template
from bids_group.output.report.provenance import plain_command
from bids_group.output.report.tables import PageTable, page_table

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MapView:
    """One map or correction of a pair on the page."""

    name: str
    sentence: str
    agreement: Picture | None
    difference: Picture | None
    is_correction: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PairView:
    """One pair of contrasts on the page."""

    id: str
    label: str
    words: tuple[str, str]
    sentence: str
    expectation: Expectation
    remarks: tuple[str, ...]
    people: tuple[str, ...]
    settings: PageTable
    same: PageTable | None
    numbers: PageTable
    maps: tuple[MapView, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonView:
    """Everything on the page."""

    version: str
    sides: tuple[tuple[str, str, str], ...]
    pairs: tuple[PairView, ...]
    table: PageTable
    left_out: tuple[str, ...]


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
    portfolio = Portfolio()
    with style():
        found = [_compare(pair, *sides, portfolio) for pair in matched]
    table = pd.DataFrame(
        [one.row(pair.label) for pair, (_, maps) in zip(matched, found, strict=True) for one in maps],
        dtype=object,
    )
    page = ComparisonView(
        version=__version__,
        sides=tuple(_say_side(one) for one in sides),
        pairs=tuple(view for view, _ in found),
        table=_view(table, "comparison.tsv", "Every map and correction that was compared."),
        left_out=tuple(_left_out(matched, *sides)) if not pairs else (),
    )
    text = fill_template("compare.html.j2", page=page)
    return write_comparison(
        folder,
        table,
        text,
        portfolio.payloads,
        sources=(out_a, out_b),
        expectations={view.label: view.expectation.sidecar for view, _ in found},
    )


def _say_side(one: Source) -> tuple[str, str, str]:
    command = plain_command(one.folder.command.command or [])
    return one.side, str(one.path), command.replace("OUTPUT_DIR", f"OUT_{one.side}", 1)


def _left_out(matched: Sequence[Pair], a: Source, b: Source) -> list[str]:
    used = {pair.label for pair in matched}
    return [
        f"Only in {side.side}, not compared: {', '.join(rest)}."
        for side in (a, b)
        if (rest := [one.key for one in side.tested if one.key not in used])
    ]


def _compare(
    pair: Pair, a: Source, b: Source, portfolio: Portfolio
) -> tuple[PairView, tuple[Comparison, ...]]:
    ground = find_ground(pair.a, pair.b)
    maps = compare_maps(pair.a, pair.b, ground)
    LOGGER.info("%s: %d elements in both, %d maps and corrections", pair.label, ground.n, len(maps))
    canvas = Canvas.of(pair, ground)
    settings = tabulate_settings(pair, a, b, ground)
    is_same = settings["A"] == settings["B"]
    same = settings.loc[is_same, ["what", "A"]].rename(columns={"A": "A and B"})
    expectation = expect(pair, ground, maps)
    remarks = tuple(_remarks(ground, maps))
    for sentence in (*remarks, *([expectation.alarm] if expectation.alarm else [])):
        LOGGER.warning("%s: %s", pair.label, sentence)
    view = PairView(
        id=pair.stem,
        label=pair.label,
        words=(pair.a.contrast.words, pair.b.contrast.words),
        sentence=" ".join(_say(one) for one in maps if one.stat in ("t", "F") and one.correction is None),
        expectation=expectation,
        remarks=remarks,
        people=say_people(a, b, pair),
        settings=_view(settings[~is_same], f"{pair.stem}_differences.tsv", "What differs."),
        same=_view(same, f"{pair.stem}_same.tsv", "What is the same.") if len(same) else None,
        numbers=_view(
            pd.DataFrame([one.row(pair.label) for one in maps], dtype=object).drop(columns="contrast"),
            f"{pair.stem}_numbers.tsv",
            "Agreement of the maps: r is Pearson's correlation, bias the mean of B − A; counts are of "
            "significant elements.",
        ),
        maps=tuple(_view_map(one, pair, canvas, portfolio) for one in maps),
    )
    return view, maps


def _view(table: pd.DataFrame, name: str, caption: str) -> PageTable:
    """Show a table with the text of its TSV."""
    rows = [line.split("\t") for line in table_text(table).splitlines()]
    text = pd.DataFrame(rows[1:], columns=rows[0]).replace("n/a", None)
    return page_table(text, name=name, caption=caption)


def _remarks(ground: Ground, maps: Sequence[Comparison]) -> list[str]:
    found = [ground.remark] if ground.remark else []
    only = ground.n_a - ground.n
    if only or ground.n_b > ground.n:
        found.append(
            f"The analyses have different elements: {ground.n_a} in A, {ground.n_b} in B. All numbers here "
            f"are of the {ground.n} that both have."
        )
    for one in maps:
        if any(one.outside):
            found.append(
                f"By {name_of(one)}, {one.outside[0]} significant elements of A and {one.outside[1]} of B "
                "lie where the other has none; they are in no count."
            )
        if one.difference is not None and one.difference.size < one.n:
            found.append(
                f"{one.n - one.difference.size} elements of {name_of(one)} are not finite and left out."
            )
    return found


def _say(one: Comparison) -> str:
    """One line on how well a map agrees."""
    parts = []
    if one.bias is not None and one.limits[0] is not None:
        parts.append(
            f"r = {show(one.r)}, mean difference B − A {show(one.bias)}, "
            f"limits of agreement {show(one.limits[0])} to {show(one.limits[1])}"
        )
    if one.counts is not None:
        n_a, n_b, n_both = one.counts
        parts.append(f"significant in A {n_a}, in B {n_b}, in both {n_both}; Dice {show(one.dice)}")
    name = name_of(one)
    return (
        f"{name[0].upper() if one.correction else name[0]}{name[1:]}, {one.n} elements: {'; '.join(parts)}."
    )


def _view_map(one: Comparison, pair: Pair, canvas: Canvas, portfolio: Portfolio) -> MapView:
    return MapView(
        name=name_of(one),
        sentence=_say(one),
        agreement=picture_agreement(one, pair, portfolio),
        difference=picture_difference(one, pair, canvas, portfolio),
        is_correction=one.correction is not None,
    )
