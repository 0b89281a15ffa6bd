"""One group model as it stands on the page: people, quality, design and its contrasts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bids_group.output.report import charts, people_view, quality_view
from bids_group.output.report.contrast_view import ContrastView, view_contrast
from bids_group.output.report.figures import Picture
from bids_group.output.report.folder import read_table, weights_of
from bids_group.output.report.inputs import AnalysisInputs, read_contrast_inputs
from bids_group.output.report.methods import methods_text
from bids_group.output.report.tables import PageTable, page_table


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisView:
    """Everything the page shows of a group model."""

    title: str
    question: str
    flow: Picture | None
    remarks: PageTable | None
    covariates: Picture | None
    covariate_tables: tuple[PageTable, ...]
    coverage: Picture | None
    costs: PageTable | None
    people: Picture | None
    quality: Picture | None
    quality_table: PageTable | None
    design: Picture
    design_facts: tuple[tuple[str, str], ...]
    design_table: PageTable
    contrast_table: PageTable | None
    correlations: Picture | None
    inflation: PageTable | None
    leverage: PageTable | None
    regions: PageTable | None
    contrasts: tuple[ContrastView, ...]
    methods: str
    facts: Mapping[str, Any]
    notices: tuple[Mapping[str, Any], ...]


def view_analysis(desk: AnalysisInputs) -> AnalysisView:
    """Draw the figures of a group model and prepare its tables."""
    return AnalysisView(
        title=desk.analysis.title,
        question=_question(desk.facts),
        flow=people_view.view_flow(desk),
        remarks=people_view.view_remarks(desk),
        covariates=people_view.view_covariates(desk),
        covariate_tables=tuple(people_view.view_covariate_tables(desk)),
        coverage=quality_view.view_coverage(desk),
        costs=quality_view.view_costs(desk),
        people=quality_view.view_tiles(desk),
        quality=quality_view.view_metrics(desk),
        quality_table=quality_view.view_quality_table(desk),
        design=_design(desk),
        design_facts=tuple(_design_facts(desk)),
        design_table=_design_table(desk),
        contrast_table=_contrast_table(desk),
        correlations=_correlations(desk),
        inflation=_detail_table(desk, "vif", "Generalised variance inflation factor of each term."),
        leverage=_detail_table(desk, "leverage", "How much each row can pull the fit towards itself."),
        regions=_regions(desk),
        contrasts=tuple(view_contrast(read_contrast_inputs(desk, one)) for one in desk.analysis.contrasts),
        methods=methods_text(desk.facts),
        facts=desk.facts,
        notices=tuple(dict(notice) for notice in desk.analysis.info.notices or []),
    )


def _question(facts: Mapping[str, Any]) -> str:
    rows = f" ({facts['n_rows']} rows)" if facts["n_rows"] != facts["n_people"] else ""
    people = f"{facts['n_people']} participants{rows}"
    return f"{facts['title']} in {people}, model {facts['formula']}. Asked: {'; '.join(facts['contrasts'])}."


def _design(desk: AnalysisInputs) -> Picture:
    matrix = desk.analysis.matrix
    weights = {one.name: weights_of(one, matrix.shape[1]) for one in desk.analysis.contrasts}
    known = {name: rows for name, rows in weights.items() if rows is not None}
    columns = ", ".join(map(str, matrix.columns))
    return desk.figures.add(
        charts.draw_design(matrix, known),
        f"{desk.stem}_design.svg",
        alt=f"Design matrix of {len(matrix)} rows and {matrix.shape[1]} columns: {columns}.",
        caption=(
            "Above: the design matrix, each column scaled to its largest magnitude (orange above zero, "
            "purple below). Below: the weights of each contrast."
        ),
    )


def _correlations(desk: AnalysisInputs) -> Picture | None:
    of_people = desk.analysis.terms.get("subject", ())
    figure = charts.draw_correlations(desk.analysis.matrix.drop(columns=list(of_people)))
    if figure is None:
        return None
    what = "Correlations between the columns of the design that vary"
    what += ", without those of single people." if of_people else "."
    return desk.figures.add(figure, f"{desk.stem}_desc-correlations_design.svg", alt=what, caption=what)


def _design_facts(desk: AnalysisInputs) -> list[tuple[str, str]]:
    info = desk.analysis.info
    condition = (info.details or {}).get("condition_number")
    found = [
        ("Formula", desk.facts["formula"]),
        ("Rows", desk.facts["n_rows"]),
        ("Columns", desk.analysis.matrix.shape[1]),
        ("Rank", info.rank),
        ("Residual degrees of freedom", info.degrees_of_freedom),
        ("Estimator", desk.facts["estimator"]),
        ("Centring", desk.facts["centering"]),
        ("Condition number", None if condition is None else f"{condition:.3g}"),
    ]
    return [(name, str(value)) for name, value in found if value is not None]


def _design_table(desk: AnalysisInputs) -> PageTable:
    path = desk.folder.root / f"{desk.analysis.stem}_design.tsv"
    return page_table(read_table(path), name=path.name, caption="The design matrix.")


def _detail_table(desk: AnalysisInputs, key: str, caption: str) -> PageTable | None:
    """Show one number per name, as the design's sidecar holds them."""
    values = (desk.analysis.info.details or {}).get(key)
    if not values:
        return None
    columns = {"vif": ["term", "VIF"], "leverage": ["row", "leverage"]}[key]
    rows = [(str(name), str(value)) for name, value in dict(values).items()]
    return page_table(pd.DataFrame(rows, columns=columns), name=f"{desk.stem}_{key}.tsv", caption=caption)


def _contrast_table(desk: AnalysisInputs) -> PageTable | None:
    rows = [(one.name, one.test, one.words, one.expression) for one in desk.analysis.contrasts]
    if not rows:
        return None
    table = pd.DataFrame(rows, columns=["contrast", "test", "in words", "as written"])
    return page_table(table, name=f"{desk.stem}_contrasts.tsv", caption="The contrasts in words.")


def _regions(desk: AnalysisInputs) -> PageTable | None:
    """Take up each row's mean effect per region; None without an atlas."""
    path = desk.folder.root / f"{desk.analysis.stem}_desc-regions_effects.tsv"
    return page_table(read_table(path), name=path.name, caption="") if path.is_file() else None
