"""Who is in the analysis: the flow of people, their covariates, the ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from bids_group.output.report import charts
from bids_group.output.report.figures import Picture
from bids_group.output.report.flow import FlowChart, count_flow
from bids_group.output.report.inputs import AnalysisInputs
from bids_group.output.report.sections import Details, Part, Report, Section, Shown
from bids_group.output.report.tables import PageTable, page_table

MAX_COVARIATES = 8
MAX_LEVELS = 12
_NUMBERS = {"n": "n", "mean": "mean", "SD": "sd", "smallest": "min", "largest": "max"}
NO_LEDGER = "There is no ledger.tsv in this output."


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
