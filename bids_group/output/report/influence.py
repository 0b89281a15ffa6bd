"""What drives a result: the value of every row at a peak, against what the contrast is about."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from bids_group.output.report.charts import CATEGORIES, FAINT, INK, draw_panels, spread
from bids_group.output.report.folder import read_numbers, weights_of
from bids_group.output.report.inputs import ContrastInputs
from bids_group.output.report.sections import Part, Shown

Focus = tuple[str | None, tuple[str, ...]]
"""What a contrast is about: at most one numeric covariate, and the factors it compares."""

_OWN = "variable "  # before names of covariates, which may be called as our own columns are
_MARKERS = ("o", "s", "^", "D")
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
    focus: Focus = None, ()
    if weights is not None:
        focus = find_focus(weights, columns, terms, analysis.variables)
    titles = {
        int(peak): f"({x:.0f}, {y:.0f}, {z:.0f}) mm".replace("-", "−")
        for peak, x, y, z in points.drop_duplicates("peak")[["peak", "x", "y", "z"]].itertuples(index=False)
    }
    n_rows = points["label"].nunique()
    yield Part("subheading", "What drives it")
    yield inputs.picture(
        draw_peaks(points, titles, focus, analysis.variables, analysis.people_of_rows),
        "desc-peaks_statmap.svg",
        alt=f"Values of {n_rows} rows at {len(titles)} peaks: {'; '.join(titles.values())}.",
        caption=_caption(points, focus),
    )
    rows = [_range(test, title, points[points["peak"] == peak]) for peak, title in titles.items()]
    caption = f"Range of {test} at each peak when one row is left out."
    yield from inputs.table([row for row in rows if row], "leave_one_out", caption)


def _caption(points: pd.DataFrame, focus: Focus) -> str:
    if bool(points["is_significant"].all()):
        which = "Raw points at the peaks of the significant clusters."
    else:
        which = "Nothing is significant; raw points at the strongest voxel."
    if focus[0]:
        how = f"Lines are the fitted model against {focus[0]}."
    else:
        how = "Beside the points: their mean and 95 % interval (of the points shown; the test is that above)."
    return f"{which} {how} A peak is chosen because it is extreme: a new sample would show less."


def _range(test: str, title: str, rows: pd.DataFrame) -> dict[str, str]:
    known = rows[rows["statistic_without_row"].notna()]
    if known.empty:
        return {}
    sizes = known["statistic_without_row"].astype(float).abs().to_numpy()
    weakest, strongest = known.iloc[int(sizes.argmin())], known.iloc[int(sizes.argmax())]
    return {
        "peak": title,
        f"weakest {test} without one row": str(weakest["statistic_without_row"]),
        "without": str(weakest["label"]),
        f"strongest {test} without one row": str(strongest["statistic_without_row"]),
        "without ": str(strongest["label"]),
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


def draw_peaks(
    points: pd.DataFrame,
    titles: Mapping[int, str],
    focus: Focus,
    variables: pd.DataFrame,
    people: pd.Series[str],
) -> Figure:
    """Draw a panel per peak: slopes with a line per group, else groups with means and 95 % intervals.

    ``points`` holds ``peak``, ``label``, ``effect``, ``fitted`` and ``partial_residual``; the index of
    ``variables`` and of ``people`` (whose row each is) is the label.
    """
    n_columns = min(len(titles), 3)
    n_rows = -(-len(titles) // n_columns)
    figure, panels = draw_panels(n_columns, (4.1 * n_columns, 3.0 * n_rows), n_rows)
    for axes, (peak, title) in zip(panels, titles.items(), strict=False):
        rows = points.loc[points["peak"] == peak, ["label", "effect", "fitted", "partial_residual"]]
        rows = rows.set_index("label").join(variables.add_prefix(_OWN))
        keys = [f"{_OWN}{name}" for name in focus[1]]
        groups = {"all rows": rows}
        if keys:
            levels = rows.groupby(keys, observed=True, sort=True)
            groups = {", ".join(map(str, level)): members for level, members in levels}
        _draw_slopes(axes, groups, focus) if focus[0] else _draw_levels(axes, groups, focus, people)
        axes.set_title(title, fontsize=9, color=INK)
        is_same = np.allclose(rows["effect"], rows["partial_residual"], rtol=1e-5, atol=1e-12)
        axes.set_ylabel("effect" if is_same else "effect, adjusted for the rest", fontsize=8)
    for axes in panels[len(titles) :]:
        axes.set_axis_off()
    return figure


def _draw_slopes(axes: Axes, groups: Mapping[str, pd.DataFrame], focus: Focus) -> None:
    for index, (level, rows) in enumerate(groups.items()):
        colour, marker = CATEGORIES[index % len(CATEGORIES)], _MARKERS[index % 4]
        x, values = rows[f"{_OWN}{focus[0]}"].astype(float), rows["partial_residual"]
        axes.scatter(x, values, s=16, color=colour, alpha=0.8, linewidths=0, marker=marker)
        line, order = values - (rows["effect"] - rows["fitted"]), x.sort_values().index
        axes.plot(x[order], line[order], color=colour, linewidth=1.6, label=level)
    axes.set_xlabel(str(focus[0]), fontsize=8)
    if focus[1]:
        axes.legend(frameon=False, fontsize=7)


def _draw_levels(
    axes: Axes, groups: Mapping[str, pd.DataFrame], focus: Focus, people: pd.Series[str]
) -> None:
    """Draw points by level with mean and 95 % t interval; rows of one person are joined by a line."""
    axes.axhline(0, color=FAINT, linewidth=0.8)
    places: dict[str, tuple[float, float]] = {}
    for index, rows in enumerate(groups.values()):
        values = rows["partial_residual"].astype(float)
        x, colour = index + spread(len(values), 0.16), CATEGORIES[index % len(CATEGORIES)]
        places |= dict(zip(rows.index, zip(x, values, strict=True), strict=True))
        axes.scatter(x, values, s=16, color=colour, alpha=0.7, linewidths=0)
        if len(values) > 1:
            half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
            at, mean, bar = [index + 0.3], [values.mean()], [float(half)]
            axes.errorbar(at, mean, bar, fmt="o", color=INK, markersize=4, capsize=3, linewidth=1.2)
    for _, own in people[list(places)].groupby(people, sort=False):
        if len(own) > 1:
            axes.plot(
                *zip(*(places[label] for label in own.index), strict=True), color=FAINT, lw=0.6, zorder=0
            )
    axes.set_xticks(range(len(groups)), list(groups), fontsize=8)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xlabel(", ".join(focus[1]), fontsize=8)
