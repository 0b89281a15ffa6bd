"""What drives a result: the value of every row at a peak, against what the contrast is about."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from bids_group.output.report.palette import CATEGORIES, FAINT, INK


@dataclass(frozen=True, slots=True, kw_only=True)
class Focus:
    """What a contrast is about: at most one numeric covariate, and the factors it compares."""

    numeric: str | None
    factors: tuple[str, ...]


def find_focus(
    weights: np.ndarray, columns: Sequence[str], terms: Mapping[str, Sequence[str]], variables: pd.DataFrame
) -> Focus:
    """Find the variables in the terms that a contrast weights (``weights``: ``(q, n_regressors)``)."""
    used = {name for name, weight in zip(columns, np.abs(weights).max(axis=0), strict=True) if weight > 1e-10}
    named = [
        name for term, names in terms.items() if used & set(names) for name in _variables_of(term, variables)
    ]
    found = list(dict.fromkeys(named))
    numeric = [name for name in found if pd.api.types.is_numeric_dtype(variables[name])]
    factors = [name for name in found if name not in numeric and name != "subject"]
    return Focus(numeric=numeric[0] if numeric else None, factors=tuple(factors[:2]))


def _variables_of(term: str, variables: pd.DataFrame) -> list[str]:
    """Variables named in a term: whole words only, so that ``age`` is not found in ``group[T.aged]``."""
    words = {word.strip("`") for word in _WORDS.findall(term)}
    return [str(name) for name in variables.columns if str(name) in words]


def draw_peaks(
    points: pd.DataFrame,
    titles: dict[int, str],
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
    figure = Figure(figsize=(4.1 * n_columns, 3.0 * n_rows), facecolor="none", layout="constrained")
    panels = np.atleast_1d(figure.subplots(n_rows, n_columns, squeeze=False)).ravel()
    for axes, (peak, title) in zip(panels, titles.items(), strict=False):
        rows = points.loc[points["peak"] == peak, ["label", *_VALUES]].set_index("label")
        rows = rows.join(variables.add_prefix(_OWN))
        _draw_slopes(axes, rows, focus) if focus.numeric else _draw_levels(axes, rows, focus, people)
        axes.set_title(title, fontsize=9, color=INK, parse_math=False)
        axes.set_ylabel(_value_name(rows), fontsize=8)
        axes.set_facecolor("none")
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    for axes in panels[len(titles) :]:
        axes.set_axis_off()
    return figure


def _value_name(rows: pd.DataFrame) -> str:
    same = np.allclose(rows["effect"], rows["partial_residual"], rtol=1e-5, atol=1e-12)
    return "effect" if same else "effect, adjusted for the rest"


def _draw_slopes(axes: Axes, rows: pd.DataFrame, focus: Focus) -> None:
    line = rows["partial_residual"] - (rows["effect"] - rows["fitted"])
    for index, (level, members) in enumerate(_by_level(rows, focus.factors)):
        colour = CATEGORIES[index % len(CATEGORIES)]
        x = rows.loc[members, f"{_OWN}{focus.numeric}"].astype(float)
        axes.scatter(
            x,
            rows.loc[members, "partial_residual"],
            s=16,
            color=colour,
            alpha=0.8,
            linewidths=0,
            marker=_MARKERS[index % 4],
        )
        order = x.sort_values().index
        axes.plot(x[order], line[order], color=colour, linewidth=1.6, label=level)
    axes.set_xlabel(str(focus.numeric), fontsize=8, parse_math=False)
    if focus.factors:
        axes.legend(frameon=False, fontsize=7)


def _draw_levels(axes: Axes, rows: pd.DataFrame, focus: Focus, people: pd.Series[str]) -> None:
    groups = _by_level(rows, focus.factors)
    axes.axhline(0, color=FAINT, linewidth=0.8)
    places: dict[str, float] = {}
    for index, (_, members) in enumerate(groups):
        values = rows.loc[members, "partial_residual"].astype(float)
        offsets = 0.16 * (2 * ((np.arange(len(values)) * 0.618033988749895) % 1.0) - 1)
        places |= dict(zip(members, index + offsets, strict=True))
        axes.scatter(
            index + offsets, values, s=16, color=CATEGORIES[index % len(CATEGORIES)], alpha=0.7, linewidths=0
        )
        _draw_interval(axes, index + 0.3, values)
    _join_people(axes, rows, places, people[rows.index])
    axes.set_xticks(range(len(groups)), [level for level, _ in groups], fontsize=8, parse_math=False)
    axes.set_xlim(-0.6, len(groups) - 0.4)
    axes.set_xlabel(", ".join(focus.factors), fontsize=8, parse_math=False)


def _draw_interval(axes: Axes, at: float, values: pd.Series[float]) -> None:
    """Mean and 95 % t interval of the points."""
    if len(values) < 2:
        return
    half = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    axes.errorbar(
        [at], [values.mean()], yerr=[half], fmt="o", color=INK, markersize=4, capsize=3, linewidth=1.2
    )


def _join_people(axes: Axes, rows: pd.DataFrame, places: dict[str, float], people: pd.Series[str]) -> None:
    """Join the rows of one person (sessions, or first-level contrasts) by a line."""
    for _, labels in people.groupby(people, sort=False):
        if len(labels) > 1:
            members = list(labels.index)
            axes.plot(
                [places[name] for name in members],
                rows.loc[members, "partial_residual"],
                color=FAINT,
                linewidth=0.6,
                zorder=0,
            )


def _by_level(rows: pd.DataFrame, factors: tuple[str, ...]) -> list[tuple[str, list[str]]]:
    if not factors:
        return [("all rows", list(rows.index))]
    groups = rows.groupby([f"{_OWN}{name}" for name in factors], observed=True, sort=True)
    return [(", ".join(map(str, key)), list(part.index)) for key, part in groups]


_VALUES = ("effect", "fitted", "partial_residual")
_OWN = "variable "  # before names of covariates, which may be called as our own columns are
_MARKERS = ("o", "s", "^", "D")
_WORDS = re.compile(r"`[^`]+`|[^\W\d]\w*")
