"""What drives a result: the value of every row at a peak, and whether it holds without single people."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from bids_group.config.corrections import find_correction
from bids_group.output.report.axes import Chart, Panel
from bids_group.output.report.charts import CATEGORIES, EDGE, short, spread
from bids_group.output.report.folder import read_numbers, weights_of
from bids_group.output.report.inputs import ContrastInputs
from bids_group.output.report.marks import FAINT, INK, SMALL, Dots, Line, Mark, Note
from bids_group.output.report.sections import Part, Shown
from bids_group.output.report.sheet import measure
from bids_group.words import listed, singular

Focus = tuple[str | None, tuple[str, ...]]
"""What a contrast is about: at most one numeric covariate, and the factors it compares."""

_OWN = "variable "  # before names of covariates, which may be called as our own columns are
_LIMITS = ("line_lower", "line_upper")
_TEXTS = ("left_out", "reason", "correction", "holds", "note")
_SHAPES = ("o", "s", "^", "D")
_N_FAR, _N_NAMED = 2, 5
"""Rows that are named because they are furthest from the fit, and named at all, in a panel."""
_WORDS = re.compile(r"`[^`]+`|[^\W\d]\w*")


def influence(inputs: ContrastInputs) -> Iterator[Shown]:
    """Draw the raw points at the peaks, and list what leaving out one row does."""
    if inputs.files.peaks is None:
        return
    points = read_numbers(inputs.files.peaks, text_columns=("label",))
    if points.empty:
        return
    analysis, test = inputs.analysis.files, inputs.files.test
    columns, terms = [str(name) for name in analysis.matrix], analysis.info.terms or {}
    weights = weights_of(inputs.files, len(columns))
    variables, people = analysis.variables, analysis.people_of_rows
    focus: Focus = None, ()
    if weights is not None:
        focus = add_visits(find_focus(weights, columns, terms, variables), variables, people)
    titles = {int(row["peak"]): _title(row) for _, row in points.drop_duplicates("peak").iterrows()}
    n_rows, marked = points["label"].nunique(), inputs.analysis.marked
    yield Part("subheading", "What drives it")
    yield inputs.picture(
        draw_peaks(points, titles, focus, variables, people, marked),
        "desc-peaks_statmap.svg",
        alt=f"Values of {n_rows} rows at {len(titles)} peaks: {'; '.join(titles.values())}.",
        caption=_caption(
            points,
            focus,
            singular(inputs.analysis.elements_word),
            has_several=bool(people.duplicated().any()),
        ),
    )
    rows = [_range(test, title, points[points["peak"] == peak]) for peak, title in titles.items()]
    caption = f"Range of {test} at each peak when one row is left out."
    yield from inputs.table([row for row in rows if row], "leave_one_out", caption)


def _title(peak: pd.Series[Any]) -> str:
    """Name a peak by its point, else by its vertex or region."""
    if pd.notna(peak["x"]):
        return f"({peak['x']:.0f}, {peak['y']:.0f}, {peak['z']:.0f}) mm".replace("-", "−")
    if pd.notna(peak.get("region")):
        return str(peak["region"])
    return f"{peak['structure']} {peak['vertex']:.0f}"


def _caption(points: pd.DataFrame, focus: Focus, element: str, *, has_several: bool) -> str:
    is_raw = np.allclose(points["effect"], points["partial_residual"], rtol=1e-5, atol=1e-12)
    what = (
        "The effect of each row" if is_raw else "The effect of each row, adjusted for the rest of the model,"
    )
    which = f"{what} at the peaks of the significant clusters."
    if not bool(points["is_significant"].all()):
        which = f"Nothing is significant; {what[0].lower()}{what[1:]} at the strongest {element}."
    which += (
        " Named: rows that are marked in the table of quality, and those furthest from the fit;"
        " the others tell their names where the pointer rests."
    )
    if focus[0]:
        limits = points[_LIMITS[0]].notna().any() if _LIMITS[0] in points else False
        interval = ", dashed its 95 % interval (for each value by itself)" if limits else ""
        how = f"Lines are the fitted model against {focus[0]}{interval}."
    else:
        how = "Beside the points: their mean and 95 % interval (of the points shown; the test is that above)."
    how += " Thin lines join the rows of one person." if has_several else ""
    return f"{which} {how} A peak is chosen because it is extreme: a new sample would show less."


def _range(test: str, title: str, rows: pd.DataFrame) -> dict[str, str]:
    known = rows[rows["statistic_without_row"].notna()]
    if known.empty:
        return {}
    statistics, labels = known["statistic_without_row"], known["label"]
    sizes = statistics.astype(float).abs().to_numpy()
    weakest, strongest = int(sizes.argmin()), int(sizes.argmax())
    return {
        "peak": title,
        f"weakest {test} without one row": str(statistics.iloc[weakest]),
        "without": str(labels.iloc[weakest]),
        f"strongest {test} without one row": str(statistics.iloc[strongest]),
        "without ": str(labels.iloc[strongest]),
    }


def find_focus(
    weights: np.ndarray, columns: Sequence[str], terms: Mapping[str, Sequence[str]], variables: pd.DataFrame
) -> Focus:
    """Find the variables in the terms that a contrast weights (``weights``: ``(q, n_regressors)``).

    They are whole words of a term, so that ``age`` is not found in ``group[T.aged]``.
    """
    used = {name for name, weight in zip(columns, np.abs(weights).max(axis=0), strict=True) if weight > 1e-10}
    words = [
        {word.strip("`") for word in _WORDS.findall(term)}
        for term, names in terms.items()
        if used & set(names)
    ]
    found = list(dict.fromkeys(str(name) for own in words for name in variables if str(name) in own))
    numeric = [name for name in found if pd.api.types.is_numeric_dtype(variables[name])]
    factors = [name for name in found if name not in numeric and name != "subject"]
    return numeric[0] if numeric else None, tuple(factors[:2])


def add_visits(focus: Focus, variables: pd.DataFrame, people: pd.Series[str]) -> Focus:
    """Where people have several rows, add what differs between these, so that each person is seen over it.

    Nothing is added to a covariate, to two factors, or to what differs between rows of a person already.
    """
    covariate, factors = focus
    if covariate or len(factors) > 1 or not people.duplicated().any():
        return focus
    known = variables.reindex(people.index)
    within = [
        str(name)
        for name in variables
        if name != "subject" and known[name].groupby(people).agg("nunique").gt(1).any()
    ]
    if not within or set(factors) & set(within):
        return focus
    numeric = [name for name in within if pd.api.types.is_numeric_dtype(variables[name])]
    return (numeric[0], factors) if numeric else (None, (*factors, within[0]))


def draw_peaks(
    points: pd.DataFrame,
    titles: Mapping[int, str],
    focus: Focus,
    variables: pd.DataFrame,
    people: pd.Series[str],
    marked: Collection[str] = (),
) -> Chart:
    """Draw a panel per peak: slopes with a line per group, else groups with means and 95 % intervals.

    ``points`` holds ``peak``, ``label``, ``effect``, ``fitted`` and ``partial_residual``; the index of
    ``variables`` and of ``people`` (whose row each is) is the label. Rows that are ``marked`` are named.
    """
    kept = [
        "peak",
        "label",
        "effect",
        "fitted",
        "partial_residual",
        *(_LIMITS if _LIMITS[0] in points else ()),
    ]
    joined, panels = points[kept].set_index("label").join(variables.add_prefix(_OWN)), []
    for peak, title in titles.items():
        rows = joined[joined["peak"] == peak]
        keys = [f"{_OWN}{name}" for name in focus[1]]
        groups = {"all rows": rows}
        if keys:
            levels = rows.groupby(keys, observed=True, sort=True)
            groups = {", ".join(map(str, level)): members for level, members in levels}
        names: dict[float, str] = {} if focus[0] else {k: short(name, 18) for k, name in enumerate(groups)}
        is_wide = any(measure(name, SMALL) > 0.9 * 300 / len(groups) for name in names.values())
        is_same = np.allclose(rows["effect"], rows["partial_residual"], rtol=1e-5, atol=1e-12)
        panels.append(
            Panel(
                marks=[
                    *(_slopes(groups, focus[0], people) if focus[0] else _levels(groups, people)),
                    *_name_rows(groups, focus[0], marked),
                ],
                size=(300, 200),
                title=title,
                x_name=short(focus[0] or ", ".join(focus[1]), 40),
                y_name="effect" if is_same else "effect, adjusted for the rest",
                x_ticks=None if focus[0] else names,
                slanted="below" if is_wide else "",
                x_limits=(None, None) if focus[0] else (-0.6, len(groups) - 0.4),
            )
        )
    return Chart(panels=panels, n_columns=3)


def _slopes(groups: Mapping[str, pd.DataFrame], covariate: str, people: pd.Series[str]) -> Iterator[Mark]:
    """Draw the points of each group over the covariate, those of one person joined, and the fitted line."""
    for index, (level, rows) in enumerate(groups.items()):
        colour, label = CATEGORIES[index % len(CATEGORIES)], short(level, 30) if len(groups) > 1 else ""
        order = np.argsort(rows[f"{_OWN}{covariate}"].to_numpy(dtype=float), kind="stable")
        rows = rows.iloc[order]
        x, values = (rows[name].to_numpy(dtype=float) for name in (f"{_OWN}{covariate}", "partial_residual"))
        line = values - (rows["effect"] - rows["fitted"]).to_numpy(dtype=float)
        places = dict(zip(rows.index, zip(x, values, strict=True), strict=True))
        yield from _join(places, people, colour)
        yield Dots(
            x=x, y=values, colour=colour, shape=_SHAPES[index % 4], label=label, names=_tell(rows, values)
        )
        yield Line(x=x, y=line, colour=colour, width=2.2)
        for name in _LIMITS if _LIMITS[0] in rows else ():
            limit = rows[name].to_numpy(dtype=float)
            if np.isfinite(limit).any():
                yield Line(x=x, y=limit, colour=colour, width=1.2, dash="4 3", opacity=0.8)


def _join(places: Mapping[str, tuple[float, float]], people: pd.Series[str], colour: str) -> Iterator[Mark]:
    """Join the points of each person who has several, in their order."""
    joined: list[tuple[float, float]] = []
    if not people.duplicated().any():
        return
    for _, own in people[list(places)].groupby(people, sort=False):
        joined += [*(places[label] for label in own.index), (np.nan, np.nan)] if len(own) > 1 else []
    if joined:
        x, y = np.transpose(joined)
        yield Line(x=x, y=y, colour=colour, width=0.8, opacity=0.5)


def _levels(groups: Mapping[str, pd.DataFrame], people: pd.Series[str]) -> Iterator[Mark]:
    """Draw points by level with mean and 95 % t interval; rows of one person are joined by a line."""
    places = _places_by_level(groups)
    yield Line(x=(-EDGE, EDGE), y=(0, 0), colour=FAINT, width=0.9)
    yield from _join(places, people, INK)
    for index, rows in enumerate(groups.values()):
        x, values = np.transpose([places[label] for label in rows.index])
        colour = CATEGORIES[index % len(CATEGORIES)]
        yield Dots(x=x, y=values, colour=colour, opacity=0.7, names=_tell(rows, values))
        if len(values) > 1:
            half = stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / np.sqrt(len(values))
            low, mean, high = values.mean() + half * np.array([-1, 0, 1])
            at = index + 0.3 + 0.03 * np.array([-1, 1, np.nan, 0, 0, np.nan, -1, 1])
            yield Line(x=at, y=[low, low, np.nan, low, high, np.nan, high, high], colour=INK)
            yield Dots(x=[index + 0.3], y=[mean], colour=INK, size=5.5, opacity=1)


def _places_by_level(groups: Mapping[str, pd.DataFrame]) -> dict[str, tuple[float, float]]:
    """Place each row above its level, beside the others of it."""
    return {
        str(label): (index + float(offset), value)
        for index, rows in enumerate(groups.values())
        for label, offset, value in zip(
            rows.index, spread(len(rows), 0.16), rows["partial_residual"].astype(float), strict=True
        )
    }


def _tell(rows: pd.DataFrame, values: np.ndarray) -> list[str]:
    return [f"{label}: {value:.4g}" for label, value in zip(rows.index, values, strict=True)]


def _name_rows(
    groups: Mapping[str, pd.DataFrame], covariate: str | None, marked: Collection[str]
) -> Iterator[Note]:
    """Write the names of marked rows, and of those furthest from the fit, beside their points."""

    def gather(column: str) -> np.ndarray:
        return np.concatenate([rows[column].to_numpy(dtype=float) for rows in groups.values()])

    labels = [str(label) for rows in groups.values() for label in rows.index]
    furthest = np.argsort(-np.abs(gather("effect") - gather("fitted")), kind="stable")[:_N_FAR]
    chosen = [*(label for label in labels if label in marked), *(labels[row] for row in furthest)]
    if covariate is None:
        places = _places_by_level(groups)
    else:
        across, up = gather(f"{_OWN}{covariate}").tolist(), gather("partial_residual").tolist()
        places = dict(zip(labels, zip(across, up, strict=True), strict=True))
    for label in list(dict.fromkeys(chosen))[:_N_NAMED]:
        x, y = places[label]
        yield Note(x=x, y=y, text=short(label, 22), up=5, size=9)


def sum_up_sensitivity(inputs: ContrastInputs) -> str:
    """Say for the first correction that found something whether that holds; empty where it was not tried."""
    table = _read_sensitivity(inputs)
    if table.empty:
        return ""
    first = next((name for name in inputs.found if (table["correction"] == _name_of(name)).any()), None)
    own = table[table["correction"] == table["correction"].iloc[0]]
    own = own if first is None else table[table["correction"] == _name_of(first)]
    lost, kept = own[own["holds"] == "no"], own[own["holds"] == "yes"]
    if lost.empty:
        one_by_one = ", one at a time" if len(kept) > 1 else ""
        return f"Holds without {listed(kept['left_out'], 'or')}{one_by_one}." if len(kept) else ""
    return f"Not significant without {listed(map(_say_lost, _records(lost)), 'or')}."


def _say_lost(row: Mapping[str, Any]) -> str:
    """Say p without a person, and how often normal data lose as much: who carries it most, or by lot."""
    p = "no p" if pd.isna(row["p"]) else f"p = {row['p']:.2g}"
    if pd.isna(row["share_of_normal_data"]):
        return f"{row['left_out']} ({p})"
    one = "who carries it most" if row["reason"].startswith("carries") else "a person chosen by lot"
    share = f"{100 * row['share_of_normal_data']:.0f} % of normal data with this p lose it without {one}"
    return f"{row['left_out']} ({p}; {share})"


def sensitivity(inputs: ContrastInputs) -> Iterator[Shown]:
    """Show what is left of each correction's strongest cluster without single people."""
    table = _read_sensitivity(inputs)
    if table.empty:
        return
    yield Part("subheading", "Without single people")
    what = inputs.analysis.elements_word
    rows = [
        {
            "without": row["left_out"],
            "who": row["reason"],
            "correction": inputs.analysis.rule(row["correction"]).title,
            "holds": row["holds"] if pd.isna(row["note"]) else f"n/a: {row['note']}",
            "p": _number(row["p_all"]),
            "p without": _number(row["p"]),
            "effect": _number(row["effect_all"]),
            "effect without": _number(row["effect"]),
            what: _number(row["n_elements_all"], ".0f"),
            f"{what} without": _number(row["n_elements"], ".0f"),
        }
        for row in _records(table)
    ]
    caption = (
        "The corrected tests again without people who are marked in the table of quality, and without who "
        "carries the contrast most; p is the smallest in the strongest cluster."
    )
    yield from inputs.table(rows, "sensitivity", caption)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def _read_sensitivity(inputs: ContrastInputs) -> pd.DataFrame:
    path = inputs.analysis.folder.root / f"{inputs.files.stem}_desc-sensitivity_table.tsv"
    return read_numbers(path, text_columns=_TEXTS) if path.is_file() else pd.DataFrame()


def _name_of(label: str) -> str:
    return find_correction(label).name


def _number(value: Any, spelling: str = ".3g") -> str:
    return "n/a" if pd.isna(value) else format(value, spelling)
