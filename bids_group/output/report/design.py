"""The design: its columns, rows and contrasts, and how well they can be told apart."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bids_group.config.estimators import ESTIMATORS, FIXED_EFFECTS, LEAST_SQUARES
from bids_group.elements import read_map
from bids_group.output.report import charts
from bids_group.output.report.folder import ContrastFiles, read_table, weights_of
from bids_group.output.report.inputs import AnalysisInputs
from bids_group.output.report.sections import Details, Part, Report, Section, Shown
from bids_group.output.report.tables import page_table
from bids_group.words import counted


def design(report: Report) -> Section:
    """Show each design and its contrasts."""
    return Section(
        "design", "Design", [*report.of_analyses(_facts, _matrix, _sphericity, _correlations, _tables)]
    )


def _facts(inputs: AnalysisInputs) -> Iterator[Part]:
    info, facts = inputs.files.info, inputs.facts
    ways = [one for one in (*ESTIMATORS.values(), FIXED_EFFECTS) if one.title == facts["estimator"]]
    assumption = next((one.assumes for one in ways if one != LEAST_SQUARES), None)
    condition = (info.details or {}).get("condition_number")
    found = {
        "Formula": facts["formula"],
        "Rows": facts["n_rows"],
        "Columns": inputs.files.matrix.shape[1],
        "Rank": info.rank,
        "Residual degrees of freedom": info.degrees_of_freedom,
        "Estimator": ", ".join(filter(None, (facts["estimator"], facts["estimator_variant"]))) or None,
        "Random terms": facts["random_terms"],
        "It assumes": assumption,
        "Centring": facts["centering"],
        "Condition number": None if condition is None else f"{condition:.3g}",
    }
    yield Part("facts", {name: value for name, value in found.items() if value is not None})


def _matrix(inputs: AnalysisInputs) -> Iterator[Shown]:
    """Draw the matrix above the weights of the contrasts, and say the contrasts in words."""
    matrix, contrasts = inputs.files.matrix, inputs.files.contrasts
    columns = [str(column) for column in matrix]
    weights = {one.name: weights_of(one, len(columns)) for one in contrasts}
    yield inputs.picture(
        charts.draw_design(matrix, {name: rows for name, rows in weights.items() if rows is not None}),
        "design.svg",
        alt=f"Design matrix of {len(matrix)} rows and {len(columns)} columns: {', '.join(columns)}.",
        caption=(
            "Above: the design matrix, each column scaled to its largest magnitude (orange above zero, "
            "purple below). Below: the weights of each contrast."
        ),
    )
    rows = [
        {"contrast": one.name, "test": one.test, "in words": one.words, "as written": one.expression}
        | _dof(inputs, one)
        for one in contrasts
    ]
    yield from inputs.table(rows, "contrasts", "The contrasts in words.")


def _dof(inputs: AnalysisInputs, contrast: ContrastFiles) -> dict[str, str]:
    """Say the degrees of freedom of a contrast over the analysed voxels, where they have a map."""
    if "dof" not in contrast.maps:
        return {}
    values = read_map(contrast.maps["dof"]).data[inputs.inside]
    low, median, high = (f"{one:.4g}" for one in np.quantile(values, (0.05, 0.5, 0.95)))
    return {"degrees of freedom": median if low == high else f"{median} (5 % to 95 %: {low} to {high})"}


def _sphericity(inputs: AnalysisInputs) -> Iterator[Shown]:
    """Say whether the rows of a person are equally alike, and list the variances of their differences."""
    found = inputs.files.info.sphericity
    if found is None:
        return
    pairs, n_out = found.variances_of_differences, found.number_of_people_left_out
    mean = sum(pairs.values()) / len(pairs)
    rows = [
        {"difference": name, "variance": str(value), "share of their mean": f"{value / mean:.4g}"}
        for name, value in pairs.items()
    ]
    people = counted(found.number_of_people, "person", "people")
    without = f" ({n_out} who lack a row are left out)" if n_out else ""
    caption = (
        f"Greenhouse and Geisser's ε = {found.greenhouse_geisser_epsilon:.2f}: 1 where the rows of a person "
        f"are equally alike, as tests with one variance assume, {1 / (len(found.measurements) - 1):.2g} at "
        f"worst. From the covariance between {people}{without} on {found.degrees_of_freedom} degrees of "
        f"freedom, pooled over {found.number_of_elements} elements; variances of differences between rows."
    )
    yield Part("subheading", "Are the rows of a person equally alike?")
    yield from inputs.table(rows, "sphericity", caption, file=f"{inputs.files.stem}_design.json")


def _correlations(inputs: AnalysisInputs) -> Iterator[Shown]:
    of_people = (inputs.files.info.terms or {}).get("subject", [])
    figure = charts.draw_correlations(inputs.files.matrix.drop(columns=list(of_people)))
    what = "Correlations between the columns of the design that vary"
    what += ", without those of single people." if of_people else "."
    if figure is not None:
        yield inputs.picture(figure, "desc-correlations_design.svg", alt=what, caption=what)


def _tables(inputs: AnalysisInputs) -> Iterator[Shown]:
    """Show variance inflation, leverage and the matrix itself."""
    details = inputs.files.info.details or {}
    inflation, leverage = (dict(details.get(key) or {}).items() for key in ("vif", "leverage"))
    rows = [{"term": str(name), "VIF": str(value)} for name, value in inflation]
    yield from inputs.table(rows, "vif", "Generalised variance inflation factor of each term.")
    rows = [{"row": str(name), "leverage": str(value)} for name, value in leverage]
    file, caption = f"{inputs.files.stem}_design.json", "How much each row can pull the fit towards itself."
    for table in inputs.table(rows, "leverage", caption, file):
        yield Details("Leverage of each row", table)
    path = Path(f"{inputs.files.stem}_design.tsv")
    matrix = read_table(inputs.folder.root / path)
    shown = page_table(matrix, name=path.name, caption="The design matrix.", file=str(path))
    yield Details(f"The design matrix ({len(matrix)} rows)", shown)
