"""Who is in the analysis: the flow of people, their covariates, the ledger."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import pandas as pd

from bids_group.output.report import charts
from bids_group.output.report.inputs import AnalysisInputs
from bids_group.output.report.markup import fill_template
from bids_group.output.report.sections import Details, Part, Picture, Report, Section, Shown
from bids_group.output.report.tables import PageTable, page_table
from bids_group.words import counted, list_some

MAX_COVARIATES = 8
MAX_LEVELS = 12
_NUMBERS = {"n": "n", "mean": "mean", "SD": "sd", "smallest": "min", "largest": "max"}
NO_LEDGER = "There is no ledger.tsv in this output."
ELSEWHERE, NO_REASON = "in another group model of this run", "no reason noted"

MAX_REASONS = 12
"""Boxes for who or what is out."""


def participants(report: Report) -> Section:
    """Show who is in, who is not, and why."""
    ledger, parts = report.folder.ledger, list(report.of_analyses(_flow, _remarks, _tables, _covariates))
    if ledger is None:
        return Section("who", "Who", [*parts, Part("quiet", NO_LEDGER)])
    caption, told = "Every participant and map.", ledger.reindex(columns=["reason", "note"]).notna()
    table = page_table(ledger, name="ledger.tsv", caption=caption, file="ledger.tsv", first=told.any(axis=1))
    summary = f"The ledger: every participant and map, used or not, and why ({len(ledger)} rows)"
    return Section("who", "Who", [*parts, Details(summary, table)])


def _flow(inputs: AnalysisInputs) -> Iterator[Shown]:
    """Draw the way from everybody to the analysed rows; nothing without a ledger."""
    if inputs.folder.ledger is None:
        return
    flow = count_flow(
        inputs.folder.ledger,
        list(inputs.files.people_of_rows),
        inputs.files.first_level_contrasts,
        inputs.facts.get("input_suffix") or "first-level",
    )
    out = "; ".join(f"{len(loss.people)} out: {loss.reason}" for loss in flow.lost) or "nobody left out"
    yield inputs.picture(
        FlowChart(flow),
        "desc-flow_participants.svg",
        alt=f"From {flow.n_everyone} people to {flow.n_people} in the analysis ({flow.n_rows} rows); {out}.",
        caption="From everyone who is known to the rows of the design. Orange: who or what is out, and why.",
    )


def _remarks(inputs: AnalysisInputs) -> list[PageTable]:
    """List what the ledger notes about people who are in (missing runs and the like)."""
    ledger = inputs.folder.ledger
    if ledger is None or "note" not in ledger:
        return []
    is_noted = ledger["note"].notna() & ledger["participant_id"].isin(inputs.files.people)
    noted = ledger.loc[is_noted, ["participant_id", "note"]].drop_duplicates()
    caption = "People in the analysis with a remark in the ledger."
    return inputs.table(noted, "remarks", caption, file="ledger.tsv")


def _tables(inputs: AnalysisInputs) -> list[PageTable]:
    """Show covariates by group and rows per cell, as the design's sidecar has them."""
    details, covariates = inputs.files.info.details or {}, []
    for entry in details.get("covariates") or []:
        group = ", ".join(f"{factor} {level}" for factor, level in dict(entry["group"]).items()) or "all"
        numbers = {name: None if entry[key] is None else str(entry[key]) for name, key in _NUMBERS.items()}
        covariates.append({"covariate": str(entry["name"]), "group": group, **numbers})
    cells = [{name: str(value) for name, value in cell.items()} for cell in details.get("n_per_cell") or []]
    return [
        *inputs.table(covariates, "covariates", "Numeric covariates of the analysed rows."),
        *inputs.table(cells if len(cells) > 1 else [], "cells", "Number of analysed rows per cell."),
    ]


def _covariates(inputs: AnalysisInputs) -> Iterator[Picture]:
    """Draw the distributions of numeric covariates, by the first factor of the model."""
    variables = inputs.files.variables
    names = [str(name) for name in variables]
    numeric = [name for name in names if pd.api.types.is_numeric_dtype(variables[name])]
    factors = [
        name
        for name in names
        if name not in (*numeric, "subject") and variables[name].nunique() <= MAX_LEVELS
    ]
    if numeric:
        shown, by = numeric[:MAX_COVARIATES], f" by {factors[0]}" if factors else ""
        yield inputs.picture(
            charts.draw_covariates(variables, shown, factors[0] if factors else None),
            "desc-covariates_participants.svg",
            alt=f"Distribution of {', '.join(shown)}{by}.",
            caption=f"Covariates{by}: a point per row, bars at the means.",
        )


class Loss(NamedTuple):
    """Some people (or single maps) that are not in, and the reason."""

    reason: str
    people: tuple[str, ...]
    n_maps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Counts of people and maps: ``lost`` people are out, ``trimmed`` maps are of people who are in."""

    n_everyone: int
    n_people: int
    n_rows: int
    n_maps_used: int
    lost: tuple[Loss, ...]
    trimmed: tuple[Loss, ...]
    kind: str = "first-level"


def count_flow(
    ledger: pd.DataFrame, people_of_rows: Sequence[str], contrasts: Sequence[str], kind: str = "first-level"
) -> Flow:
    """Count people and maps of one analysis; everybody who is out once, with every reason noted for them.

    ``ledger``: text columns ``participant_id``, ``contrast``, ``file``, ``used``, ``reason``; rows of other
    first-level ``contrasts`` than the analysis stands on do not count. ``kind``: what maps are called.
    """
    people, used = ledger["participant_id"], ledger["used"] == "yes"
    is_about = ledger["contrast"].isna() | ledger["contrast"].isin(list(contrasts))
    is_in = people.isin(set(people_of_rows))
    noted = ledger["reason"].where(is_about)[~is_in].groupby(people)
    reasons = noted.agg(lambda own: "; ".join(own.dropna().unique()))
    is_elsewhere = used[~is_in].groupby(people).any()
    reasons = reasons.mask(reasons == "", is_elsewhere.map({True: ELSEWHERE, False: NO_REASON}))
    lost = [Loss(str(reason), tuple(own.index), 0) for reason, own in reasons.groupby(reasons)]
    maps = ledger[is_about & is_in & ~used].fillna({"reason": NO_REASON})
    trimmed = [
        Loss(str(reason), tuple(sorted(set(own["participant_id"]))), len(own))
        for reason, own in maps.groupby("reason")
    ]
    return Flow(
        n_everyone=people.nunique(),
        n_people=len(set(people_of_rows)),
        n_rows=len(people_of_rows),
        n_maps_used=int((used & is_in & is_about & ledger["file"].notna()).sum()),
        lost=_gather(sorted(lost, key=lambda loss: (-len(loss.people), loss.reason))),
        trimmed=_gather(sorted(trimmed, key=lambda loss: (-loss.n_maps, loss.reason))),
        kind=kind,
    )


def _gather(losses: Sequence[Loss]) -> tuple[Loss, ...]:
    """Keep the largest; together the others have one box."""
    kept, rest = losses[: MAX_REASONS - 1], losses[MAX_REASONS - 1 :]
    if len(rest) < 2:
        return tuple(losses)
    people = sorted({person for loss in rest for person in loss.people})
    words = f"{len(rest)} other reasons (ledger.tsv)"
    return *kept, Loss(words, tuple(people), sum(loss.n_maps for loss in rest))


class FlowBox(NamedTuple):
    """A box of the picture: its place and height in pixels, and lines of text; losses stand at the side."""

    y: int
    height: int
    lines: tuple[str, ...]
    is_side: bool


@dataclass(frozen=True, slots=True)
class FlowChart:
    """A CONSORT-like picture: ``main`` pixels for the way down, ``side`` for who leaves it."""

    flow: Flow
    main: ClassVar[int] = 320
    side: ClassVar[int] = 400
    width: ClassVar[int] = main + 40 + side

    def render(self) -> bytes:
        """Spell it as SVG."""
        boxes = lay_out(self.flow)
        height = boxes[-1].y + boxes[-1].height
        text = fill_template("flow.svg.j2", boxes=boxes, main=self.main, side=self.side, height=height)
        return text.encode("utf-8", "backslashreplace")


def lay_out(flow: Flow) -> list[FlowBox]:
    """Place the boxes below each other: everyone, who is out, who is in, maps that are out, rows."""
    maps = counted(flow.n_maps_used, f"{flow.kind} map")
    lost = [_say_loss(loss, counted(len(loss.people), "person", "people")) for loss in flow.lost]
    trimmed = [_say_loss(loss, counted(loss.n_maps, "map")) for loss in flow.trimmed]
    texts: list[tuple[tuple[str, ...], bool]] = [
        (("Everyone in the participants table", f"or with maps: {flow.n_everyone}"), False),
        *((lines, True) for lines in lost),
        ((f"In the analysis: {counted(flow.n_people, 'person', 'people')}",), False),
        *((lines, True) for lines in trimmed),
        ((f"Analysed: {counted(flow.n_rows, 'row')} of the design", f"pooled from {maps}"), False),
    ]
    boxes: list[FlowBox] = []
    for lines, is_side in texts:
        y = boxes[-1].y + boxes[-1].height + (17 if is_side else 34) if boxes else 0
        boxes.append(FlowBox(y, 18 + 17 * len(lines), lines, is_side))
    return boxes


def _say_loss(loss: Loss, what: str) -> tuple[str, ...]:
    names = list_some(loss.people, 8, none="")
    return (*textwrap.wrap(f"Out: {what}: {loss.reason}", 56), *textwrap.wrap(names, 56))
