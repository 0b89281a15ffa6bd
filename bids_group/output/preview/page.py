"""What a run would do, for people (a page in the terminal) and for programs (one JSON object)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from bids_group.config import CORRECTIONS
from bids_group.output.disk.writing import json_text
from bids_group.output.files.sidecars import POOLINGS, say_center
from bids_group.output.preview.folding import fold_columns, fold_reasons, fold_weights, folded_terms
from bids_group.records import LEAST_SQUARES, Estimator
from bids_group.words import and_more, counted, plural

_MAX_ROWS = 8
_MAX_COLUMNS = 12
_MAX_LISTED = 12
"""Rows of a table of cells or covariates."""
_GAP = 3
"""Blanks that the table puts between two columns."""


def print_dry_run(
    description: Mapping[str, Any],
    *,
    output_format: Literal["text", "json"] = "text",
    console: Console | None = None,
    estimators: Iterable[Estimator] = (LEAST_SQUARES,),
) -> None:
    """Show the description on standard output: tables for people, or one JSON object."""
    console = console or Console()
    if output_format == "json":
        console.out(json_text(description), end="", highlight=False)
        return
    _print_people(console, description["Maps"], description["Participants"])
    titles = {one.name: one.title for one in estimators}
    shown: list[Mapping[str, Any]] = []
    for analysis in description["Analyses"]:
        _print_analysis(console, analysis, shown, titles)
    if description["Analyses"]:
        is_contrast = "Suffix" not in description["Maps"]
        _print_settings(console, description["Images"], description["Inference"], is_contrast=is_contrast)
    elif description["Maps"]["Used"]:  # the participant level pools, and no more
        _print_pooling(console, description["Maps"]["Pooling"], description["Maps"]["MapsPerRow"])
    _print_notices(console, description["Notices"])


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
        f"{maps['Found']} {maps.get('Suffix', 'effect')} maps found, {maps['WithVariance']} with variance; "
        f"{maps['Used']} used  {where}",
    )
    what = "Maps of" if "Suffix" in maps else "First-level contrasts"
    _say(console, f"{what}: {', '.join(maps['Contrasts']) or 'none'}")
    _say(console, f"{people['Analysed']} of {people['Listed']} participants in")
    for title, whose in (("out", people["Out"]), ("in, with less", people["InWithLess"])):
        for words in fold_reasons(people["Reasons"], whose):
            _say(console, words, start=f"  {title:<15}", style="italic")


def _print_settings(
    console: Console, images: Mapping[str, Any], inference: Mapping[str, Any], *, is_contrast: bool
) -> None:
    _head(console, "Images and inference")
    fwhm_mm = images["Smoothing"]["FullWidthAtHalfMaximum"]
    none = "none (beyond that of the first level)" if is_contrast else "none"
    sides = "two-sided" if inference["TwoSided"] else "one-sided (positive effects only)"
    is_joint = inference["Familywise"] == "across-contrasts"
    scope = "; family-wise errors over all contrasts of the run together" if is_joint else ""
    lines = {
        "Smoothing": f"{_number(fwhm_mm)} mm (FWHM)" if fwhm_mm else none,
        "Elements": _spell_elements(images),
        "Tests": f"{sides}, alpha {_number(inference['Alpha'])}",
        "Corrections": ", ".join(inference["Corrections"]) + scope,
        "Clusters": _spell_clusters(inference),
        "Shuffling": _spell_shuffling(inference) if inference["IsShuffled"] else None,
    }
    for name, words in lines.items():
        if words:
            _say(console, words, start=f"{name:<13}")


def _spell_elements(images: Mapping[str, Any]) -> str:
    share = images["MinimumCoverage"]
    observed = "every row" if share >= 1 else f"at least {100 * share:.4g} % of the rows"
    inside = f", inside {images['Mask']}" if images["Mask"] else ""
    above = f" (values above {images['MaskThreshold']:g})" if inside and "MaskThreshold" in images else ""
    return f"observed in {observed}{inside}{above}"


def _spell_clusters(inference: Mapping[str, Any]) -> str | None:
    neighbours = f"{inference['Connectivity']} neighbours"
    rules = [CORRECTIONS[name] for name in inference["Corrections"]]
    if any(one.uses_forming_p for one in rules):
        extent = inference["ClusterExtentMm3"]
        least = "" if extent is None else f"; uncorrected ones of at least {_number(extent)} mm³"
        return f"formed at p < {_number(inference['ClusterFormingP'])}, {neighbours}{least}"
    return neighbours if any(one.is_clusterwise for one in rules) or inference["Connectivity"] != 6 else None


def _spell_shuffling(inference: Mapping[str, Any]) -> str:
    """Say what was asked for; how the rows of each contrast are shuffled stands in the notices."""
    scheme, column = inference["BlockScheme"], inference["ExchangeabilityBlocks"]
    seconds = inference["SecondsOfShuffling"]
    blocks = [scheme and f"{scheme} blocks", column and f"of {column}" if scheme else f"blocks of {column}"]
    parts = [
        f"{inference['NumberOfPermutations']} times, seed {inference['RandomSeed']}",
        None if inference["Shuffle"] == "auto" else inference["Shuffle"],
        " ".join(filter(None, blocks)) if scheme or column else None,
        inference["VarianceGroups"] and f"variance groups of {inference['VarianceGroups']}",
        "uncorrected p too" if inference["PermutationP"] else None,
        "tail approximated" if inference["TailApproximation"] else None,
        None if seconds is None else f"about {spell_duration(seconds)} on this machine",
    ]
    return ", ".join(part for part in parts if part)


def _print_analysis(
    console: Console,
    analysis: Mapping[str, Any],
    shown: list[Mapping[str, Any]],
    titles: Mapping[str, str],
) -> None:
    levels = "".join(f", {column} {level}" for column, level in analysis["GroupBy"].items())
    node = f" (node {analysis['Node']})" if analysis["Node"] else ""
    _head(console, analysis["FirstLevelContrast"] + levels + node)
    earlier = next((one for one in shown if _essence(one) == _essence(analysis)), None)
    if earlier is not None:
        files = ", ".join(f"contrast-{one['FileLabel']}" for one in analysis["Contrasts"])
        _say(console, f"Rows, design, contrasts and checks of {earlier['FirstLevelContrast']}; files {files}")
        return
    shown.append(analysis)
    estimator = titles[analysis["Estimator"]]
    _say(console, f"Formula  {analysis['Formula']}   {len(analysis['Rows'])} rows, {estimator}")
    if analysis["Sessions"]:
        order = analysis["Sessions"]
        _say(console, f"Sessions {', '.join(order['Levels'])}   (order: {order['Order']})")
    _print_pooling(console, analysis["Pooling"], list(analysis["MapsPerRow"].values()))
    centering = analysis["Centering"]
    values = ", ".join(f"{name} at {say_center(value)}" for name, value in centering["Values"].items())
    if values or centering["Method"] != "grand":
        _say(console, f"Centring {centering['Method']}{': ' + values if values else ''}")
    cells = analysis["NPerCell"]
    columns = list(dict.fromkeys(name for cell in cells for name in cell))
    if len(columns) > 1:  # else there is no factor, and one cell
        counts = [[_number(cell.get(name)) for name in columns] for cell in cells]
        _print_grid(console, columns, counts, title="N per cell")
    _print_covariates(console, analysis["Covariates"])
    _print_columns(console, analysis)
    _print_matrix(console, analysis)
    _print_contrasts(console, analysis)
    _print_checks(console, analysis)


def _essence(analysis: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the maps that a group model is about, and the names of its files."""
    contrasts = [{**one, "FileLabel": None} for one in analysis["Contrasts"]]
    return {**analysis, "FirstLevelContrast": None, "Contrasts": contrasts}


def _print_pooling(console: Console, pooling: Sequence[str], maps_per_row: Sequence[int]) -> None:
    fewest, most = min(maps_per_row), max(maps_per_row)
    counts = str(most) if fewest == most else f"{fewest} to {most}"
    words = " and ".join(POOLINGS[name] for name in pooling) if most > 1 else "nothing to pool"
    mark = ";" if most > 1 else ":"
    _say(console, f"Pooling  {words}{mark} {counts} {plural(most, 'map')} per row")


def _print_covariates(console: Console, covariates: Sequence[Mapping[str, Any]]) -> None:
    if not covariates:
        return
    columns = ["covariate", "group", "n", "mean", "sd", "min", "max"]
    rows = []
    for one in covariates:
        levels = ", ".join(f"{name} {level}" for name, level in (one.get("group") or {}).items()) or "all"
        rows.append([str(one["name"]), levels, *(_number(one.get(name)) for name in columns[2:])])
    _print_grid(console, columns, rows, title="Covariates")


def _print_columns(console: Console, analysis: Mapping[str, Any]) -> None:
    """List the columns by term, unbroken: contrasts name them exactly like this."""
    _say(console, "Columns by term", style="italic")
    folded = folded_terms(analysis["Terms"])
    for term, columns in analysis["Terms"].items():
        listed = ", ".join(columns)
        if term in folded:
            listed = f"{len(columns)} columns ({columns[0]} … {columns[-1]})"
        console.print(Text(f"  {term}: {listed}"), soft_wrap=True)


def _print_matrix(console: Console, analysis: Mapping[str, Any]) -> None:
    """Show as much of the design as fits without breaking a name, and say what is not shown."""
    columns, rows = analysis["Columns"], analysis["Rows"]
    folded = folded_terms(analysis["Terms"])
    hidden = {name for names in folded.values() for name in names}
    labels = rows[:_MAX_ROWS]
    cells = {
        name: [_number(values[at]) for values in analysis["Matrix"][:_MAX_ROWS]]
        for at, name in enumerate(columns)
        if name not in hidden
    }
    shown = _fitting(["row", *labels], cells, console.width)
    body = [[label, *(cells[name][at] for name in shown)] for at, label in enumerate(labels)]
    size = f"{len(rows)} rows x {counted(len(columns), 'column')}"
    _print_grid(console, ["row", *shown], body, title=f"Design: {size}")
    rest = fold_columns([name for name in columns if name not in shown], folded)
    if rest:
        console.print(Text(f"  … not shown: {', '.join(rest)}"), soft_wrap=True)
    _say_more(console, len(rows) - _MAX_ROWS)


def _fitting(labels: Sequence[str], cells: Mapping[str, Sequence[str]], width: int) -> list[str]:
    """Choose the columns, from the left, that stand side by side in the page; one at least."""
    left = width - max(map(len, labels)) - _GAP
    shown: list[str] = []
    for name, texts in cells.items():
        left -= max(map(len, [name, *texts])) + _GAP
        if len(shown) == _MAX_COLUMNS or (shown and left < 0):
            break
        shown.append(name)
    return shown


def _print_contrasts(console: Console, analysis: Mapping[str, Any]) -> None:
    folded = folded_terms(analysis["Terms"])
    _say(console, "\nContrasts", style="bold")
    for one in analysis["Contrasts"]:
        files = f"  {one['Test']} test, estimable, files contrast-{one['FileLabel']}"
        _say(console, files, start=one["Name"], style="bold")
        _say(console, f"  {one['Words']}")
        for weights in one["Weights"]:  # spelled beside their columns: 0.5 · group[a] − 0.5 · group[b]
            by_name = fold_weights(dict(zip(analysis["Columns"], weights, strict=True)), folded)
            parts = (f"{'−' if w < 0 else '+'} {_number(abs(w))} · {name}" for name, w in by_name.items())
            _say(console, f"  {' '.join(parts).removeprefix('+ ') or '0'}")


def _print_checks(console: Console, analysis: Mapping[str, Any]) -> None:
    rank, n_columns = analysis["Rank"], len(analysis["Columns"])
    tied = fold_columns(analysis["DependentColumns"], folded_terms(analysis["Terms"]))
    verdict = "full" if rank == n_columns else f"deficient: {', '.join(tied)} depend on each other"
    _say(console, "\nChecks", style="bold")
    dof = analysis["DegreesOfFreedom"]
    _say(console, f"  rank {rank} of {n_columns} ({verdict}), {dof} degrees of freedom")
    _say(console, f"  condition number {_number(analysis['ConditionNumber'])}")
    inflation = ", ".join(f"{term} {_number(value)}" for term, value in analysis["VIF"].items())
    if inflation:
        _say(console, f"  variance inflation (VIF): {inflation}")


def _print_notices(console: Console, notices: Iterable[Mapping[str, Any]]) -> None:
    listed = sorted(notices, key=lambda one: str(one["Severity"]) != "warning")
    if listed:
        _head(console, "Notices")
    for one in listed:
        style = "yellow" if one["Severity"] == "warning" else "cyan"
        _say(console, f"  {one['Sentence']}", start=one["Severity"], style=style)
        if one["Fix"]:
            _say(console, f"         fix: {one['Fix']}")


def _print_grid(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[str]], title: str | None = None
) -> None:
    if title:
        _say(console, title, style="italic")
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        grid.add_column(Text(str(name)), overflow="fold")
    listed = list(rows)
    for row in listed[:_MAX_LISTED]:
        grid.add_row(*(Text(str(cell)) for cell in row))
    console.print(grid)
    _say_more(console, len(listed) - _MAX_LISTED)


def _say_more(console: Console, n_more: int) -> None:
    if n_more > 0:
        _say(console, f"  …{and_more(n_more, 'rows')} (all with --output-format json)")


def _number(value: Any) -> str:
    if value is None:
        return "n/a"
    return f"{value + 0.0:.4g}" if isinstance(value, float) else str(value)  # + 0.0: no minus before zero


def spell_duration(seconds: float) -> str:
    """Spell a duration in whole seconds up to a minute and a half, then in minutes, then in hours."""
    unit, name = next((u, n) for u, n in ((3600, "h"), (60, "min"), (1, "s")) if seconds >= 1.5 * u or u == 1)
    return f"{max(round(seconds / unit), 1)} {name}"
