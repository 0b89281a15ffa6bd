"""Who is in the analysis, as it stands on the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bids_group.output.report import charts
from bids_group.output.report.figures import Picture
from bids_group.output.report.flow import arrows_between, count_flow, lay_out
from bids_group.output.report.inputs import AnalysisInputs
from bids_group.output.report.markup import fill_template
from bids_group.output.report.tables import PageTable, page_table

MAX_COVARIATES = 8
MAX_LEVELS = 12
_NUMBERS = {"n": "n", "mean": "mean", "SD": "sd", "smallest": "min", "largest": "max"}


def view_flow(desk: AnalysisInputs) -> Picture | None:
    """Draw the way from everybody to the analysed rows; None without a ledger."""
    if desk.folder.ledger is None:
        return None
    flow = count_flow(
        desk.folder.ledger,
        list(desk.analysis.people_of_rows),
        desk.analysis.first_level_contrasts,
        desk.facts.get("input_suffix") or "first-level",
    )
    boxes, width, height = lay_out(flow)
    out = "; ".join(f"{len(loss.people)} out: {loss.reason}" for loss in flow.lost) or "nobody left out"
    return desk.figures.add_svg(
        fill_template("flow.svg.j2", boxes=boxes, arrows=arrows_between(boxes), width=width, height=height),
        f"{desk.stem}_desc-flow_participants.svg",
        alt=f"From {flow.n_everyone} people to {flow.n_people} in the analysis ({flow.n_rows} rows); {out}.",
        caption="From everyone who is known to the rows of the design. Orange: who or what is out, and why.",
        width_inches=width / 96,
    )


def view_remarks(desk: AnalysisInputs) -> PageTable | None:
    """List what the ledger notes about people who are in (missing runs and the like)."""
    ledger = desk.folder.ledger
    if ledger is None or "note" not in ledger:
        return None
    is_noted = ledger["note"].notna() & ledger["participant_id"].isin(desk.analysis.people)
    noted = ledger.loc[is_noted, ["participant_id", "note"]].drop_duplicates()
    if noted.empty:
        return None
    caption = "People in the analysis with a remark in the ledger."
    return page_table(noted, name=f"{desk.stem}_remarks.tsv", caption=caption)


def view_covariates(desk: AnalysisInputs) -> Picture | None:
    """Draw the distributions of numeric covariates, by the first factor of the model."""
    variables = desk.analysis.variables
    numeric = [str(name) for name in variables if pd.api.types.is_numeric_dtype(variables[name])]
    if not numeric:
        return None
    factor = next((name for name in map(str, variables) if _is_factor(variables, name, numeric)), None)
    by = f" by {factor}" if factor else ""
    shown = numeric[:MAX_COVARIATES]
    return desk.figures.add(
        charts.draw_covariates(variables, shown, factor),
        f"{desk.stem}_desc-covariates_participants.svg",
        alt=f"Distribution of {', '.join(shown)}{by}.",
        caption=f"Covariates{by}: a point per row, bars at the means.",
    )


def _is_factor(variables: pd.DataFrame, name: str, numeric: list[str]) -> bool:
    return name not in (*numeric, "subject") and variables[name].nunique() <= MAX_LEVELS


def view_covariate_tables(desk: AnalysisInputs) -> list[PageTable]:
    """Show covariates by group and rows per cell, as the design's sidecar has them."""
    details = desk.analysis.info.details or {}
    covariates = [_covariate_row(dict(entry)) for entry in details.get("covariates") or []]
    cells = [{name: str(value) for name, value in cell.items()} for cell in details.get("n_per_cell") or []]
    tables = []
    if covariates:
        caption = "Numeric covariates of the analysed rows."
        tables.append(
            page_table(pd.DataFrame(covariates), name=f"{desk.stem}_covariates.tsv", caption=caption)
        )
    if len(cells) > 1:
        caption = "Number of analysed rows per cell."
        tables.append(page_table(pd.DataFrame(cells), name=f"{desk.stem}_cells.tsv", caption=caption))
    return tables


def _covariate_row(entry: Mapping[str, Any]) -> dict[str, str | None]:
    group = ", ".join(f"{factor} {level}" for factor, level in dict(entry["group"]).items())
    numbers = {name: entry[key] for name, key in _NUMBERS.items()}
    shown = {name: None if value is None else str(value) for name, value in numbers.items()}
    return {"covariate": str(entry["name"]), "group": group or "all", **shown}
