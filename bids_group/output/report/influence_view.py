"""What drives a result, as it stands on the page."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from bids_group.output.report.figures import Picture
from bids_group.output.report.folder import read_numbers, weights_of
from bids_group.output.report.inputs import ContrastInputs
from bids_group.output.report.points import Focus, draw_peaks, find_focus
from bids_group.output.report.tables import PageTable, page_table


def view_influence(desk: ContrastInputs) -> tuple[Picture | None, PageTable | None]:
    """Draw the raw points at the peaks, and list what leaving out one row does."""
    if desk.contrast.peaks is None:
        return None, None
    points = read_numbers(desk.contrast.peaks, text_columns=("label",))
    if points.empty:
        return None, None
    titles, focus = _peak_titles(points), _focus(desk)
    n_rows = points["label"].nunique()
    picture = desk.figures.add(
        draw_peaks(points, titles, focus, desk.analysis.variables, desk.analysis.people_of_rows),
        f"{desk.stem}_desc-peaks_statmap.svg",
        alt=f"Values of {n_rows} rows at {len(titles)} peaks: {'; '.join(titles.values())}.",
        caption=_caption(points, focus),
    )
    return picture, _leave_one_out(desk, points, titles)


def _peak_titles(points: pd.DataFrame) -> dict[int, str]:
    firsts = points.drop_duplicates("peak")
    places = firsts[["x", "y", "z"]].to_numpy(dtype=float)
    return {
        int(peak): f"({x:.0f}, {y:.0f}, {z:.0f}) mm".replace("-", "−")
        for peak, (x, y, z) in zip(firsts["peak"], places, strict=True)
    }


def _focus(desk: ContrastInputs) -> Focus:
    analysis = desk.analysis
    weights = weights_of(desk.contrast, analysis.matrix.shape[1])
    if weights is None:
        return Focus(numeric=None, factors=())
    return find_focus(weights, list(analysis.matrix.columns), analysis.terms, analysis.variables)


def _caption(points: pd.DataFrame, focus: Focus) -> str:
    if bool(points["is_significant"].all()):
        which = "Raw points at the peaks of the significant clusters."
    else:
        which = "Nothing is significant; raw points at the strongest voxel."
    if focus.numeric:
        how = f"Lines are the fitted model against {focus.numeric}."
    else:
        how = "Beside the points: their mean and 95 % interval (of the points shown; the test is that above)."
    chosen = "A peak is chosen because it is extreme: a new sample would show less."
    return f"{which} {how} {chosen}"


def _leave_one_out(desk: ContrastInputs, points: pd.DataFrame, titles: Mapping[int, str]) -> PageTable | None:
    rows = [
        _range(desk.contrast.test, title, points[points["peak"] == peak]) for peak, title in titles.items()
    ]
    known = [row for row in rows if row is not None]
    if not known:
        return None
    caption = f"Range of {desk.contrast.test} at each peak when one row is left out."
    return page_table(pd.DataFrame(known), name=f"{desk.stem}_leave_one_out.tsv", caption=caption)


def _range(test: str, title: str, rows: pd.DataFrame) -> dict[str, str] | None:
    known = rows[rows["statistic_without_row"].notna()]
    if known.empty:
        return None
    sizes = known["statistic_without_row"].astype(float).abs().to_numpy()
    weakest, strongest = known.iloc[int(sizes.argmin())], known.iloc[int(sizes.argmax())]
    return {
        "peak": title,
        f"weakest {test} without one row": str(weakest["statistic_without_row"]),
        "without": str(weakest["label"]),
        f"strongest {test} without one row": str(strongest["statistic_without_row"]),
        "without ": str(strongest["label"]),
    }
