"""What a run would do, for people (a page in the terminal) and for programs (JSON)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bids_group.output.disk import json_text, plain
from bids_group.output.names import contrast_label, shared_entities
from bids_group.output.sidecars import contrast_entry
from bids_group.records import Cohort, Design, Exclusion, GroupAnalysis, Notice, Observation

_MAX_ROWS = 8
_MAX_COLUMNS = 12


def describe_dry_run(
    cohort: Cohort,
    analyses: Sequence[GroupAnalysis],
    designs: Sequence[Design],
    exclusions: Sequence[Exclusion],
    notices: Sequence[Notice],
    shuffling_notices: Sequence[Notice] = (),
    *,
    observations: Sequence[Observation] | None = None,
) -> dict[str, Any]:
    """Gather what can be said before any map is read, JSON-able.

    Parameters
    ----------
    analyses, designs
        In the same order.
    exclusions
        Beyond those of the cohort.
    notices, shuffling_notices
        Of all steps; repeated ones are said once.
    observations
        What is pooled, where that is not the rows of ``analyses`` (``participant`` level).
    """
    if observations is None:
        observations = tuple(one for analysis in analyses for one in analysis.observations)
    all_exclusions = tuple(dict.fromkeys([*cohort.exclusions, *exclusions]))
    said = dict.fromkeys([*cohort.notices, *notices, *shuffling_notices])
    description = {
        "Maps": _describe_maps(cohort, observations),
        "Participants": _describe_people(cohort, observations, all_exclusions),
        "Analyses": [_describe_analysis(*pair) for pair in zip(analyses, designs, strict=True)],
        "Notices": [
            {"Severity": one.severity, "Topic": one.topic, "Sentence": one.sentence, "Fix": one.fix}
            for one in said
        ],
    }
    return dict(plain(description))


def print_dry_run(
    description: Mapping[str, Any],
    *,
    output_format: Literal["text", "json"] = "text",
    console: Console | None = None,
) -> None:
    """Show the description on standard output: tables for people, or one JSON object."""
    console = console or Console()
    if output_format == "json":
        console.out(json_text(description), end="", highlight=False)
        return
    _print_people(console, description["Maps"], description["Participants"])
    for analysis in description["Analyses"]:
        _print_analysis(console, analysis)
    _print_notices(console, description["Notices"])


# --------------------------------------------------------------------------------------------
# What is said


def _describe_maps(cohort: Cohort, observations: Sequence[Observation]) -> dict[str, Any]:
    used = {one.effect for observation in observations for one in observation.maps}
    return {
        "Found": len(cohort.maps),
        "Used": len(used),
        "WithVariance": sum(one.variance is not None for one in cohort.maps),
        "Contrasts": sorted({one.contrast for one in cohort.maps}),
        "Sessions": sorted({one.session for one in cohort.maps if one.session is not None}),
        "Runs": sorted({one.run for one in cohort.maps if one.run is not None}),
        **{
            name.capitalize(): value
            for name, value in shared_entities(cohort.maps).items()
            if value is not None
        },
        "Datasets": {name: str(root) for name, root in cohort.dataset_names.items()},
    }


def _describe_people(
    cohort: Cohort, observations: Sequence[Observation], exclusions: Sequence[Exclusion]
) -> dict[str, Any]:
    included = {one.subject for one in observations}
    reasons: dict[str, list[str]] = {}
    for one in exclusions:
        reasons.setdefault(one.subject, []).append(_reason(one))
    everyone = sorted({*cohort.everyone, *included, *reasons})
    return {
        "Listed": len(everyone),
        "Analysed": len(included),
        "In": sorted(included),
        "Out": {
            who: reasons.get(who, ["no map of the selection"]) for who in everyone if who not in included
        },
        "InWithLess": {who: reasons[who] for who in everyone if who in included and who in reasons},
    }


def _reason(exclusion: Exclusion) -> str:
    parts = {"ses-": exclusion.session, "contrast ": exclusion.contrast}
    where = ", ".join(f"{prefix}{value}" for prefix, value in parts.items() if value is not None)
    what = f"{where} ({exclusion.path.name})" if where and exclusion.path else where
    what = what or (exclusion.path.name if exclusion.path else "")
    return f"{what}: {exclusion.reason}" if what else exclusion.reason


def _describe_analysis(analysis: GroupAnalysis, design: Design) -> dict[str, Any]:
    details = design.details
    return {
        "FirstLevelContrast": analysis.first_level_contrast,
        "Node": analysis.node,
        "GroupBy": dict(analysis.group_labels),
        "Formula": design.formula,
        "Estimator": analysis.estimator,
        "Pooling": sorted({one.combine for one in analysis.observations}),
        "MapsPerRow": {one.label: len(one.maps) for one in analysis.observations},
        "Centering": {"Method": design.centering, "Values": dict(design.centers)},
        "Columns": list(design.matrix.columns),
        "Terms": {term: list(columns) for term, columns in design.terms.items()},
        "Rows": list(design.matrix.index),
        "Matrix": design.matrix.to_numpy().tolist(),
        "Rank": design.rank,
        "DegreesOfFreedom": design.dof,
        "ConditionNumber": details.get("condition_number"),
        "VIF": details.get("vif", {}),
        "DependentColumns": details.get("dependent_columns", []),
        "NPerCell": details.get("n_per_cell", []),
        "Covariates": details.get("covariates", []),
        "Contrasts": [
            {**contrast_entry(one, contrast_label(analysis, one.label)), "Estimable": True}
            for one in design.contrasts
        ],
    }


# --------------------------------------------------------------------------------------------
# How it is shown


def _head(console: Console, title: str) -> None:
    console.rule(Text(title, style="bold"))


def _say(console: Console, text: str, *, start: str = "", style: str = "") -> None:
    """Print names as they are, even if they look like markup; ``style`` is that of ``start``, or of all."""
    console.print(Text.assemble((start, style), text) if start else Text(text, style=style))


def _print_people(console: Console, maps: Mapping[str, Any], people: Mapping[str, Any]) -> None:
    _head(console, "Maps and participants")
    where = "  ".join(
        f"{name.lower()} {maps[name]}" for name in ("Task", "Space", "Res", "Den") if name in maps
    )
    _say(
        console,
        f"{maps['Found']} effect maps found, {maps['WithVariance']} with variance; "
        f"{maps['Used']} used  {where}",
    )
    _say(console, f"First-level contrasts: {', '.join(maps['Contrasts']) or 'none'}")
    _say(console, f"{people['Analysed']} of {people['Listed']} participants in")
    _print_reasons(console, "out", people["Out"])
    _print_reasons(console, "in, with less", people["InWithLess"])


def _print_reasons(console: Console, title: str, reasons: Mapping[str, Sequence[str]]) -> None:
    if reasons:
        rows = [[f"sub-{who}", "; ".join(why)] for who, why in reasons.items()]
        _print_grid(console, ["participant", title], rows)


def _print_analysis(console: Console, analysis: Mapping[str, Any]) -> None:
    levels = "".join(f", {column} {level}" for column, level in analysis["GroupBy"].items())
    node = f" (node {analysis['Node']})" if analysis["Node"] else ""
    _head(console, analysis["FirstLevelContrast"] + levels + node)
    _say(console, f"Formula  {analysis['Formula']}   {len(analysis['Rows'])} rows")
    _print_centering(console, analysis["Centering"])
    _print_cells(console, analysis["NPerCell"])
    _print_covariates(console, analysis["Covariates"])
    _print_columns(console, analysis)
    _print_matrix(console, analysis)
    _print_contrasts(console, analysis)
    _print_checks(console, analysis)


def _print_centering(console: Console, centering: Mapping[str, Any]) -> None:
    values = ", ".join(f"{name} at {_number(value)}" for name, value in centering["Values"].items())
    _say(console, f"Centring {centering['Method']}{': ' + values if values else ''}")


def _print_cells(console: Console, cells: Sequence[Mapping[str, Any]]) -> None:
    if cells:
        columns = list(dict.fromkeys(name for cell in cells for name in cell))
        _print_grid(
            console,
            columns,
            [[_number(cell.get(name)) for name in columns] for cell in cells],
            title="N per cell",
        )


def _print_covariates(console: Console, covariates: Sequence[Mapping[str, Any]]) -> None:
    if covariates:
        columns = ["covariate", "group", "n", "mean", "sd", "min", "max"]
        rows = [
            [str(one["name"]), _levels(one.get("group")), *(_number(one.get(name)) for name in columns[2:])]
            for one in covariates
        ]
        _print_grid(console, columns, rows, title="Covariates")


def _levels(group: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name} {level}" for name, level in (group or {}).items()) or "all"


def _print_columns(console: Console, analysis: Mapping[str, Any]) -> None:
    """List the columns by term, unbroken: contrasts name them exactly like this."""
    _say(console, "Columns by term", style="italic")
    for term, columns in analysis["Terms"].items():
        console.print(Text(f"  {term}: {', '.join(columns)}"), soft_wrap=True)


def _print_matrix(console: Console, analysis: Mapping[str, Any]) -> None:
    columns, rows = analysis["Columns"], analysis["Rows"]
    shown, n_more = columns[:_MAX_COLUMNS], len(rows) - _MAX_ROWS
    body = [
        [label, *(_number(value) for value in values[:_MAX_COLUMNS])]
        for label, values in zip(rows[:_MAX_ROWS], analysis["Matrix"], strict=False)
    ]
    _print_grid(console, ["row", *shown], body, title=f"Design: {len(rows)} rows x {len(columns)} columns")
    if len(columns) > _MAX_COLUMNS:
        _say(console, f"  … columns {', '.join(columns[_MAX_COLUMNS:])}")
    if n_more > 0:
        _say(console, f"  … and {n_more} more rows (all with --output-format json)")


def _print_contrasts(console: Console, analysis: Mapping[str, Any]) -> None:
    _say(console, "\nContrasts", style="bold")
    for one in analysis["Contrasts"]:
        _say(
            console,
            f"  {one['Test']} test, estimable, files contrast-{one['FileLabel']}",
            start=one["Name"],
            style="bold",
        )
        _say(console, f"  {one['Words']}")
        for weights in one["Weights"]:
            _say(console, f"  {_spell_weights(weights, analysis['Columns'])}")


def _spell_weights(weights: Sequence[float], columns: Sequence[str]) -> str:
    """Spell the weights that are not 0 beside their columns: ``0.5 · group[a] − 0.5 · group[b]``."""
    parts = [(weight, name) for weight, name in zip(weights, columns, strict=True) if weight != 0]
    text = " ".join(f"{'−' if weight < 0 else '+'} {_number(abs(weight))} · {name}" for weight, name in parts)
    return text.removeprefix("+ ") or "0"


def _print_checks(console: Console, analysis: Mapping[str, Any]) -> None:
    rank, n_columns = analysis["Rank"], len(analysis["Columns"])
    verdict = (
        "full"
        if rank == n_columns
        else f"deficient: {', '.join(analysis['DependentColumns'])} depend on each other"
    )
    _say(console, "\nChecks", style="bold")
    _say(
        console,
        f"  rank {rank} of {n_columns} ({verdict}), {analysis['DegreesOfFreedom']} degrees of freedom",
    )
    _say(console, f"  condition number {_number(analysis['ConditionNumber'])}")
    inflation = ", ".join(f"{term} {_number(value)}" for term, value in analysis["VIF"].items())
    if inflation:
        _say(console, f"  variance inflation (VIF): {inflation}")


def _print_notices(console: Console, notices: Iterable[Mapping[str, Any]]) -> None:
    listed = list(notices)
    if not listed:
        return
    _head(console, "Notices")
    for one in sorted(listed, key=lambda one: str(one["Severity"]) != "warning"):
        style = "yellow" if one["Severity"] == "warning" else "cyan"
        _say(console, f"  {one['Sentence']}", start=one["Severity"], style=style)
        if one["Fix"]:
            _say(console, f"         fix: {one['Fix']}")


def _print_grid(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None
) -> None:
    grid = Grid(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        grid.add_column(Text(str(name)), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(str(cell)) for cell in row))
    console.print(grid)


def _number(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value + 0.0:.4g}" if isinstance(value, float) else str(value)  # + 0.0: no minus before zero
