"""The page of a comparison: everything is computed first, then written."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_group import __version__
from bids_group.compare.agreement import Comparison, Ground, compare_maps, find_ground
from bids_group.compare.expectation import expect
from bids_group.compare.figures import Canvas, picture_agreement, picture_difference, show
from bids_group.compare.sources import Pair, Source, Tested, match_contrasts, read_source
from bids_group.compare.writing import check_place, write_comparison
from bids_group.config.corrections import find_correction
from bids_group.config.differences import find_differences
from bids_group.errors import UsageError
from bids_group.output.disk.writing import table_text
from bids_group.output.report.analysis_facts import gather_facts
from bids_group.output.report.markup import fill_template
from bids_group.output.report.provenance import plain_command
from bids_group.output.report.sections import FigureStore
from bids_group.output.report.tables import PageTable, page_table
from bids_group.words import list_some

LOGGER = logging.getLogger(__name__)
NO_MESH = ": OUT_A has no surface of them (run it with --surfaces)"
_MOST = 8
"""Names that are written out."""
_TOLD = {"--formula", "--contrast", "--smoothing-fwhm", "--min-coverage", "--one-sided"}
"""Options whose values stand in the files of the analysis."""


def compare_outputs(out_a: Path, out_b: Path, folder: Path, pairs: Sequence[str] = ()) -> Path:
    """Compare two finished outputs; write ``report.html``, ``figures/`` and ``comparison.tsv`` (+ .json).

    The path of the page is returned.

    Parameters
    ----------
    out_a, out_b
        OUTPUT_DIRs of finished group runs.
    folder
        A new or empty folder, or one that holds an earlier comparison, which is replaced.
    pairs
        ``CONTRAST_A=CONTRAST_B``: compare these instead of the contrasts of equal labels.

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
    store = FigureStore(root=folder, folder=Path("figures"))
    views = [_compare(pair, *sides, store) for pair in matched]
    table = pd.DataFrame([row for view in views for row in view["rows"]], dtype=object)
    used, page_sides, left_out = {pair.label for pair in matched}, [], []
    for one in sides:
        command = plain_command(one.folder.command.command or [])
        page_sides.append((one.side, str(one.path), command.replace("OUTPUT_DIR", f"OUT_{one.side}", 1)))
        left_out.append((one.side, [each.key for each in one.tested if not pairs and each.key not in used]))
    page = {
        "version": __version__,
        "sides": page_sides,
        "pairs": views,
        "table": _view(table, "comparison.tsv", "Every map and correction that was compared."),
        "left_out": left_out,
    }
    return write_comparison(
        folder,
        table,
        fill_template("compare.html.j2", page=page, show=show),
        store.payloads,
        sources=(out_a, out_b),
        expectations={view["label"]: view["expectation"] for view in views},
    )


def _compare(pair: Pair, a: Source, b: Source, store: FigureStore) -> dict[str, Any]:
    """Compare a pair of contrasts: its section of the page, with ``rows`` of comparison.tsv."""
    ground = find_ground(pair)
    maps = tuple(compare_maps(pair, ground))
    LOGGER.info("%s: %d elements in both, %d maps and corrections", pair.label, ground.n, len(maps))
    settings = _tabulate_settings(pair, a, b, ground)
    is_same = settings["A"] == settings["B"]
    same = settings.loc[is_same, ["what", "A"]].rename(columns={"A": "A and B"})
    canvas = Canvas(pair, ground, store)
    expectation, remarks = expect(pair, ground, maps), list(_say_remarks(ground, maps))
    notes = [] if canvas.can_draw else [_tell_undrawn(pair, ground)]
    for sentence in (*remarks, *([expectation.alarm] if expectation.alarm else [])):
        LOGGER.warning("%s: %s", pair.label, sentence)
    rows = [one.row(pair.label) for one in maps]
    return {
        "id": pair.stem,
        "label": pair.label,
        "words": [one.contrast.words for one in pair.sides],
        "expectation": expectation,
        "remarks": [*notes, *remarks],
        "people": list(_say_people(pair, a, b)),
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
                "found": one,
                "name": one.name,
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


def _tell_undrawn(pair: Pair, ground: Ground) -> str:
    sentence = f"Maps of {ground.word} are not drawn{NO_MESH if ground.word != 'regions' else ''}."
    LOGGER.info("%s: %s", pair.label, sentence)
    return sentence


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
                f"By {one.name}, {one.outside[0]} significant elements of A and {one.outside[1]} of B "
                "lie where the other has none; they are in no count."
            )
        if one.difference is not None and one.difference.size < one.n:
            yield f"{one.n - one.difference.size} elements of {one.name} are not finite and left out."


def _tabulate_settings(pair: Pair, a: Source, b: Source, ground: Ground) -> pd.DataFrame:
    """List every setting of a pair: columns ``what``, ``A``, ``B``; those that differ first.

    The last are settings of the command or model file that differ and stand in no file of the analysis.
    """
    both = zip((a, b), pair.sides, ground.n_own, strict=True)
    one, other = (dict(_describe(*side)) for side in both)
    rows = [(what, one.get(what, "–"), other.get(what, "–")) for what in {**one, **other}]
    rows += [(f"values of {name}", "–", told) for name, told in _compare_columns(pair)]
    differences = find_differences(a.identity, b.identity)
    rows += [(each.name, each.stored, each.wanted) for each in differences if each.name not in _TOLD]
    table = pd.DataFrame(rows, columns=["what", "A", "B"])
    return table.iloc[(table["A"] == table["B"]).argsort(kind="stable")].reset_index(drop=True)


def _compare_columns(pair: Pair) -> Iterator[tuple[str, str]]:
    """Name columns of one name with other values in rows that both designs have, but for their centring."""
    one, other = (side.analysis.matrix for side in pair.sides)
    labels = one.index.intersection(other.index)
    for name in one.columns.intersection(other.columns):
        shift = (one.loc[labels, name] - other.loc[labels, name]).to_numpy(dtype=float)
        size = float(np.abs(one.loc[labels, name]).max()) if len(labels) else 0.0
        n_other = int((np.abs(shift - np.median(shift)) > 1e-6 * size).sum()) if len(labels) else 0
        if n_other:
            yield str(name), f"other in {n_other} of {len(labels)} rows that both have"


def _say_dof(dof: float | str | None) -> str:
    return f"{dof:g}" if isinstance(dof, int | float) else str(dof)


def _describe(source: Source, one: Tested, n_elements: int) -> Iterator[tuple[str, str]]:
    facts = gather_facts(source.folder, one.analysis, n_elements)
    info, contrast = one.analysis.info, one.contrast
    dof, sides = contrast.sidecar.degrees_of_freedom, facts["is_two_sided"]
    found: list[tuple[str, Any]] = [
        ("participants", facts["n_people"]),
        ("rows of the design", facts["n_rows"]),
        ("first-level contrast", ", ".join(one.analysis.first_level_contrasts)),
        ("maps of the rows", facts["first_level_contrast"]),
        ("input statistic", facts["input_stat"] or "effect"),
        ("pooling within people", facts["pooling"]),
        ("formula", facts["formula"]),
        ("centring", facts["centering"]),
        ("contrast", contrast.words),
        ("test", contrast.test),
        ("estimator", facts["estimator"]),
        ("degrees of freedom", ", ".join(map(_say_dof, dof if isinstance(dof, list) else [dof]))),
        ("smoothing", f"{one.width_mm:g} mm"),
        ("scaled by", info.scaling.column if info.scaling else "nothing"),
        ("mask given", facts["mask_name"] or "none"),
        ("minimum coverage", f"{facts['min_coverage']:g}"),
        ("elements analysed", n_elements),
        ("voxels", info.resolution),
        ("elements", info.density),
        ("sides", None if sides is None else "two" if sides else "one"),
        ("shuffling", next((how for how, of in facts["schemes"].items() if contrast.name in of), None)),
        ("bids-group", facts["version"]),
    ]
    yield from ((what, str(value)) for what, value in found if value is not None)
    for entry in facts["corrections"]:
        yield (
            f"correction: {find_correction(entry['name']).over(facts['elements']).title}",
            _say_correction(entry),
        )


def _say_correction(entry: Mapping[str, Any]) -> str:
    parts = [f"α = {entry['alpha']:g}"]
    if entry["number_of_permutations"]:
        parts.append(f"{entry['number_of_permutations']} shuffles")
    if entry["cluster_forming_p"]:
        parts.append(f"clusters formed at p = {entry['cluster_forming_p']:g}")
    if (entry["number_of_contrasts_together"] or 1) > 1:
        parts.append(f"counted over {entry['number_of_contrasts_together']} contrasts")
    return ", ".join(parts)


def _say_people(pair: Pair, a: Source, b: Source) -> Iterator[str]:
    """Name who is in one analysis only, with the reason that the other's ledger gives."""
    of_a, of_b = (set(one.analysis.people) for one in pair.sides)
    if of_a == of_b:
        yield f"The same {len(of_a)} people are in both."
        return
    yield f"The people differ: {len(of_a & of_b)} are in both."
    for side, only, other in (("A", of_a - of_b, b), ("B", of_b - of_a, a)):
        reasons, ledger = {}, other.folder.ledger
        if ledger is not None and {"participant_id", "reason"} <= set(ledger.columns):
            told = ledger.dropna(subset=["reason"])
            reasons = dict(zip(told["participant_id"], told["reason"], strict=True))
        names = [
            f"{one} (in {other.side}: {reasons[one]})" if one in reasons else one for one in sorted(only)
        ]
        if only:
            yield f"Only in {side}: {list_some(names, _MOST)}."
