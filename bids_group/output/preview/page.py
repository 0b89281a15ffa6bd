"""What a run would do, for people (a page in the terminal) and for programs (one JSON object)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from bids_group.config import CORRECTIONS, InferenceSpec
from bids_group.elements import Space, Structures, Vertices, Voxels
from bids_group.errors import printable
from bids_group.output.disk.writing import json_text, plain
from bids_group.output.files.names import contrast_label, shared_entities
from bids_group.output.files.sidecars import POOLINGS, say_center
from bids_group.output.preview.description import (
    Preview,
    describe_analysis,
    describe_dry_run,
    session_order,
    spell_duration,
)
from bids_group.records import Contrast, Design, GroupAnalysis, Observation
from bids_group.words import and_more, counted, list_some, plural, quote_for_shell

_MAX_ROWS = 8
_MAX_COLUMNS = 12
_MAX_LISTED = 12  # rows of a table of cells or covariates
_MOST_PEOPLE = 6  # people, and columns of a term of `subject`, that are listed; more are folded
_SUMMARY = ("n", "mean", "sd", "min", "max")
_GAP = 3  # blanks that the table puts between two columns


def print_dry_run(
    preview: Preview, *, output_format: Literal["text", "json"] = "text", console: Console | None = None
) -> None:
    """Show it on standard output: tables for people, or one JSON object."""
    console = console or _Page()
    if output_format == "json":
        console.out(printable(json_text(describe_dry_run(preview))), end="", highlight=False)
        return
    _print_people(console, preview)
    shown: dict[str, str] = {}
    for at, (analysis, design) in enumerate(preview.planned):
        levels = "".join(f", {column} {level}" for column, level in analysis.group_labels.items())
        node = f" (node {analysis.node})" if analysis.node else ""
        console.rule(Text(analysis.first_level_contrast + levels + node, style="bold"))
        one_name = replace(analysis, first_level_contrast="x")  # models alike but for the maps they are about
        description = json_text(describe_analysis(one_name, design))
        if description in shown:
            every = (*design.contrasts, *design.conjunctions)
            files = ", ".join(f"contrast-{contrast_label(analysis, one.label)}" for one in every)
            _say(console, f"Rows, design, contrasts and checks of {shown[description]}; files {files}")
        else:
            shown[description] = analysis.first_level_contrast
            _print_analysis(console, analysis, design)
            _print_proposals(console, preview.proposals[at] if preview.proposals else ())
    if preview.planned:
        _print_settings(console, preview)
    elif preview.observations:  # the participant level pools, and no more
        _print_pooling(console, preview.observations)
    notices = sorted(dict.fromkeys(preview.notices), key=lambda one: one.severity != "warning")
    if notices:
        console.rule(Text("Notices", style="bold"))
    for one in notices:
        style = "yellow" if one.severity == "warning" else "cyan"
        _say(console, f"  {one.sentence}", start=one.severity, style=style)
        if one.fix:
            _say(console, f"         fix: {one.fix}")


class _Page(Console):
    """A page of text alone: names and cells may hold what a terminal would obey."""

    def render(self, *what: Any, **how: Any) -> Iterator[Segment]:
        """Show every text so that it is seen."""
        for one in super().render(*what, **how):
            yield one if one.control else Segment(printable(one.text), one.style)

    def on_broken_pipe(self) -> None:
        """Leave it to the command what a closed pipe ends with (rich would say 1)."""
        raise BrokenPipeError


def _say(console: Console, text: str, *, start: str = "", style: str = "") -> None:
    """Print names as they are, even if they look like markup; ``style`` is that of ``start``, or of all."""
    console.print(Text.assemble((start, style), text) if start else Text(text, style=style))


def _print_people(console: Console, preview: Preview) -> None:
    console.rule(Text("Maps and participants", style="bold"))
    maps, included = preview.cohort.maps, preview.included
    where = "  ".join(f"{name} {value}" for name, value in shared_entities(maps).items() if value is not None)
    is_contrast = maps[0].suffix == "statmap"
    kind, n_with = "effect" if is_contrast else maps[0].suffix, sum(one.variance is not None for one in maps)
    n_used = len({one.effect for row in preview.observations for one in row.maps})
    found = f"{len(maps)} {kind} maps found, {n_with} with variance; {n_used} used  {where}"
    _say(console, found)
    names = ", ".join(sorted({one.contrast for one in maps}))
    _say(console, f"{'First-level contrasts' if is_contrast else 'Maps of'}: {names}")
    everyone, reasons = preview.everyone, preview.reasons
    _say(console, f"{len(included)} of {len(everyone)} participants in")
    for title, whose in (("out", set(everyone) - included), ("in, with less", included)):
        for words in fold_reasons(reasons, whose):
            _say(console, words, start=f"  {title:<15}", style="italic")


def _print_settings(console: Console, preview: Preview) -> None:
    """Say what was asked for; how the rows of each contrast are shuffled stands in the notices."""
    spec, asked = preview.spec, preview.spec.inference
    is_contrast = preview.cohort.maps[0].suffix == "statmap"
    none = "none (beyond that of the first level)" if is_contrast else "none"
    share = 100 * spec.min_coverage
    observed = "every row" if share >= 100 else f"at least {share:.4g} % of the rows"
    inside = f", inside {spec.mask}" if spec.mask else ""
    above = f" (values above {spec.mask_threshold:g})" if inside and spec.mask_threshold is not None else ""
    sides = "two-sided" if asked.is_two_sided else "one-sided (positive effects only)"
    is_joint = asked.familywise == "across-contrasts"
    scope = "; family-wise errors over all contrasts of the run together" if is_joint else ""
    rules = [CORRECTIONS[name] for name in asked.corrections]
    clusters = _spell_neighbours(asked.connectivity, preview.cohort.spaces.values())
    if any(one.uses_forming_p for one in rules):
        extent = asked.cluster_extent_mm3
        least = "" if extent is None else f"; uncorrected ones of at least {_number(extent)} mm³"
        clusters = f"formed at p < {_number(asked.cluster_forming_p)}, {clusters}{least}"
    elif not any(one.is_clusterwise for one in rules) and asked.connectivity == 6:
        clusters = ""
    lines = {
        "Smoothing": f"{_number(spec.smoothing_fwhm_mm)} mm (FWHM)" if spec.smoothing_fwhm_mm else none,
        "Elements": f"observed in {observed}{inside}{above}",
        "Tests": f"{sides}, alpha {_number(asked.alpha)}",
        "Corrections": ", ".join(asked.corrections) + scope,
        "Clusters": clusters,
        "Shuffling": _spell_shuffling(asked, preview.durations.shuffling) if asked.needs_shuffling else "",
    }
    console.rule(Text("Images and inference", style="bold"))
    if said := preview.durations.words:
        lines["Time"] = f"{'; '.join(said)} (on this machine)"
    if preview.mem_gb is not None:
        lines["Memory"] = f"at most {_number(preview.mem_gb)} GB for the whole run"
    for name, words in lines.items():
        if words:
            _say(console, words, start=f"{name:<13}")
    for words in preview.stored:
        _say(console, words, start=f"{'  maps of':<13}")


def _spell_neighbours(connectivity: int, spaces: Iterable[Space]) -> str:
    """Say who is next to whom: voxels by their number, vertices by the mesh, regions not at all."""
    structured = (space for space in spaces if isinstance(space, Structures))
    kinds = {type(part) for space in structured for part in space.parts} or {Voxels}
    ways = {Vertices: "neighbours by the mesh", Voxels: f"{connectivity} neighbours"}
    if Vertices in kinds:
        ways[Voxels] += " of voxels"
    return ", ".join(words for kind, words in ways.items() if kind in kinds) or "no neighbours"


def _spell_shuffling(asked: InferenceSpec, seconds: float | None) -> str:
    scheme, column = asked.block_scheme, asked.exchangeability_blocks
    blocks = [scheme and f"{scheme} blocks", column and f"of {column}" if scheme else f"blocks of {column}"]
    parts = [
        f"{asked.n_permutations} times, seed {asked.random_seed}",
        None if asked.shuffle == "auto" else asked.shuffle,
        " ".join(filter(None, blocks)) if scheme or column else None,
        asked.variance_groups and f"variance groups of {asked.variance_groups}",
        "uncorrected p too" if asked.has_permutation_p else None,
        "tail approximated" if asked.has_tail_approximation else None,
        None if seconds is None else f"about {spell_duration(round(seconds, 1))} on this machine",
    ]
    return ", ".join(filter(None, parts))


def _print_analysis(console: Console, analysis: GroupAnalysis, design: Design) -> None:
    _say(console, f"Formula  {design.formula}   {len(design.matrix)} rows, {analysis.estimator.title}")
    random, variant = design.random, analysis.estimator.variant
    why = f"the random term {random.text}" if random else "no random term in the formula"
    named = f"{analysis.estimator.name}{f' ({variant})' if variant else ''}"
    _say(console, f"Estimator {named}: {why}; it assumes {analysis.estimator.assumes}")
    if (sessions := session_order(analysis)) is not None:
        _say(console, f"Sessions {', '.join(map(str, sessions[0]))}   (order: {sessions[1]})")
    _print_pooling(console, analysis.observations)
    values = ", ".join(f"{name} at {say_center(value)}" for name, value in design.centers.items())
    if values or design.centering != "grand":
        _say(console, f"Centring {design.centering}{': ' + values if values else ''}")
    cells = design.details.get("n_per_cell", [])
    columns = list(dict.fromkeys(name for cell in cells for name in cell))
    if len(columns) > 1:  # else there is no factor, and one cell
        counts = [[_number(cell.get(name)) for name in columns] for cell in cells]
        _print_grid(console, columns, counts, title="N per cell")
    rows = []
    for one in design.details.get("covariates", []):
        levels = ", ".join(f"{name} {level}" for name, level in (one["group"] or {}).items()) or "all"
        rows.append([one["name"], levels, *(_number(one[name]) for name in _SUMMARY)])
    if rows:
        _print_grid(console, ["covariate", "group", *_SUMMARY], rows, title="Covariates")
    of_people = (term for term in design.terms if "subject" in term.split(":"))
    folded = {term: design.terms[term] for term in of_people if len(design.terms[term]) > _MOST_PEOPLE}
    _say(console, "Columns by term", style="italic")
    for term, names in design.terms.items():  # unbroken: contrasts name them exactly like this
        short = f"{len(names)} columns ({names[0]} … {names[-1]})"
        console.print(Text(f"  {term}: {short if term in folded else ', '.join(names)}"), soft_wrap=True)
    _print_matrix(console, design, folded)
    _print_contrasts(console, analysis, design, folded)


def _print_pooling(console: Console, observations: Sequence[Observation]) -> None:
    n_maps = [len(one.maps) for one in observations]
    fewest, most = min(n_maps), max(n_maps)
    counts = str(most) if fewest == most else f"{fewest} to {most}"
    names = sorted({one.combine for one in observations})
    words = " and ".join(POOLINGS[name] for name in names) if most > 1 else "nothing to pool"
    _say(console, f"Pooling  {words}{';' if most > 1 else ':'} {counts} {plural(most, 'map')} per row")


def _print_matrix(console: Console, design: Design, folded: Mapping[str, Sequence[str]]) -> None:
    """Show as much of the design as fits without breaking a name, and say what is not shown."""
    matrix, hidden = design.matrix, {name for names in folded.values() for name in names}
    labels = list(matrix.index[:_MAX_ROWS])
    left = console.width - max(map(len, labels)) - _GAP
    shown: dict[str, list[str]] = {}  # from the left, one column at least
    for name in (one for one in matrix.columns if one not in hidden):
        cells = [_number(value) for value in matrix[name].iloc[:_MAX_ROWS]]
        left -= max(map(len, [name, *cells])) + _GAP
        if len(shown) == _MAX_COLUMNS or (shown and left < 0):
            break
        shown[name] = cells
    body = list(zip(labels, *shown.values(), strict=True))
    size = f"{len(matrix)} rows x {counted(len(matrix.columns), 'column')}"
    _print_grid(console, ["row", *shown], body, title=f"Design: {size}")
    rest = fold_columns([name for name in matrix.columns if name not in shown], folded)
    if rest:
        console.print(Text(f"  … not shown: {', '.join(rest)}"), soft_wrap=True)
    _say_more(console, len(matrix) - _MAX_ROWS)


def _print_contrasts(
    console: Console, analysis: GroupAnalysis, design: Design, folded: Mapping[str, Sequence[str]]
) -> None:
    """Show the contrasts, and what speaks for and against the design that they weigh."""
    _say(console, "\nContrasts", style="bold")
    for one in (*design.contrasts, *design.conjunctions):
        kind = f"conjunction of {', '.join(one.parts)}" if one.parts else f"{one.test} test, estimable"
        files = f"  {kind}, files contrast-{contrast_label(analysis, one.label)}"
        _say(console, files, start=one.name, style="bold")
        _say(console, f"  {one.words}")
        for weights in (
            () if one.parts else one.weights
        ):  # spelled beside their columns: 0.5 · group[a] − 0.5 · group[b]
            by_name = fold_weights(dict(zip(design.matrix.columns, weights, strict=True)), folded)
            parts = (f"{'−' if w < 0 else '+'} {_number(abs(w))} · {name}" for name, w in by_name.items())
            _say(console, f"  {' '.join(parts).removeprefix('+ ') or '0'}")
    rank, n_columns, details = design.rank, len(design.matrix.columns), design.details
    tied = ", ".join(fold_columns(details.get("dependent_columns", []), folded))
    verdict = "full" if rank == n_columns else f"deficient: {tied} depend on each other"
    _say(console, "\nChecks", style="bold")
    _say(console, f"  rank {rank} of {n_columns} ({verdict}), {design.dof} degrees of freedom")
    _say(console, f"  condition number {_number(details.get('condition_number'))}")
    inflation = ", ".join(f"{term} {_number(value)}" for term, value in details.get("vif", {}).items())
    if inflation:
        _say(console, f"  variance inflation (VIF): {inflation}")


def _print_proposals(console: Console, proposed: Sequence[Contrast]) -> None:
    """Show contrasts to paste behind the command, unbroken, each with what it asks."""
    if proposed:
        _say(console, "\nContrasts that this formula answers, to paste behind the command", style="bold")
    for one in proposed:
        text = quote_for_shell(f"{one.name} = {one.expression}")
        console.print(Text(f"  --contrast {text}"), soft_wrap=True)
        _say(console, f"      {one.words}", style="italic")


def _print_grid(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]], title: str) -> None:
    _say(console, title, style="italic")
    grid = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        grid.add_column(Text(str(name)), overflow="fold")
    for row in rows[:_MAX_LISTED]:
        grid.add_row(*(Text(str(cell)) for cell in row))
    console.print(grid)
    _say_more(console, len(rows) - _MAX_LISTED)


def _say_more(console: Console, n_more: int) -> None:
    if n_more > 0:
        _say(console, f"  …{and_more(n_more, 'rows')} (all with --output-format json)")


def _number(value: Any) -> str:
    value = plain(value)
    if value is None:
        return "n/a"
    return f"{value + 0.0:.4g}" if isinstance(value, float) else str(value)  # + 0.0: no minus before zero


def fold_reasons(reasons: Mapping[str, Mapping[str, int]], whose: Collection[str]) -> Iterator[str]:
    """Spell each reason once, with the first of the people (of ``whose``) whom it concerns.

    ``age > 40: age is 51`` and ``age > 40: age is 55`` share one half, and are one line. ``reasons``: by
    reason the people whom it concerns, with the number of single maps (0: the whole person).
    """
    told = {why: [who for who in concerned if who in whose] for why, concerned in reasons.items()}
    halves = {why: (why.rsplit(": ", 1) * 2)[:2] for why in told}  # without a colon twice the whole
    sharing = Counter(half for both in halves.values() for half in set(both))
    lines: dict[str, list[tuple[str, str, int]]] = {}
    for why, people in told.items():
        shared, own = sorted(halves[why], key=sharing.__getitem__, reverse=True)
        if sharing[shared] == 1:
            shared, own = why, ""
        lines.setdefault(shared, []).extend((who, own, reasons[why][who]) for who in people)
    for why, concerned in lines.items():
        if concerned:
            n_people, n_maps = len({who for who, _, _ in concerned}), sum(n for _, _, n in concerned)
            named = (f"sub-{who}" + (f" ({own})" if own else "") for who, own, _ in sorted(concerned))
            maps = f", {counted(n_maps, 'map')}" if n_maps else ""
            yield f"{n_people}{maps}: {why}: {list_some(named, _MOST_PEOPLE)}"


def fold_columns(names: Sequence[str], folded: Mapping[str, Sequence[str]]) -> list[str]:
    """Shorten a list of columns: those of a folded term become one entry that counts them."""
    term_of = {name: term for term, columns in folded.items() for name in columns}
    parts = Counter(term_of.get(name, name) for name in names)
    return [
        f"{'' if n == len(folded[part]) else f'{n} of '}the {len(folded[part])} columns of {part}"
        if part in folded
        else part
        for part, n in parts.items()
    ]


def fold_weights(weights: Mapping[str, float], folded: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Leave out weights of 0, and make one entry of the columns of a folded term that have one weight."""
    term_of = {name: term for term, columns in folded.items() for name in columns}
    alike: dict[tuple[str, float], list[str]] = {}
    for name, weight in ((name, weight) for name, weight in weights.items() if weight != 0):
        alike.setdefault((term_of.get(name, name), weight), []).append(name)
    return {
        names[0] if len(names) == 1 else f"each of {fold_columns(names, folded)[0]}": weight
        for (_, weight), names in alike.items()
    }
