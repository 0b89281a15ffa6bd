"""What only the numbers show: whose maps cover less, and what that costs the analysis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

import numpy as np
import pandas as pd

from bids_group.records import Notice, PooledMap
from bids_group.workflow.preparation import counted

MIN_SHARE = 0.05
"""Maps of one person always differ a little at the rim; smaller shares than this are not remarked on."""

LARGE_SHARE = 0.25
"""Several rows always lack some of the rim; from this share on the loss is a warning."""

Remarks = MutableMapping[tuple[str, str], str]
"""By (subject label, first-level contrast)."""


def remark_on_coverage(maps: Iterable[PooledMap], remarks: Remarks) -> Iterator[PooledMap]:
    """Pass the maps on, and remark on those whose sources do not all cover what one of them covers."""
    for one in maps:
        remark = describe_coverage(one)
        if remark:
            remarks[one.observation.subject, one.observation.contrast] = remark
        yield one


def describe_coverage(pooled: PooledMap) -> str | None:
    """Say at which share of the observed elements some map is missing; None below `MIN_SHARE`."""
    n_most = int(pooled.n_maps.max())
    n_observed = np.count_nonzero(pooled.n_maps)
    n_partly = n_observed - np.count_nonzero(pooled.n_maps == n_most)
    if n_partly < MIN_SHARE * n_observed:
        return None
    return f"fewer than {n_most} maps observed at {100 * n_partly / n_observed:.0f} % of its elements"


def tell_costs(costs: pd.DataFrame, *, n_analysed: int, n_lost: int, n_needed: int) -> list[Notice]:
    """Say what incomplete coverage costs, and name those without whom more elements could be analysed.

    Parameters
    ----------
    costs
        Columns ``observation`` and ``n_lost_by_this_row_alone``.
    n_analysed, n_lost
        Elements that are analysed, and that are observed in some rows but not in ``n_needed`` of them.
    """
    alone = costs.set_index("observation")["n_lost_by_this_row_alone"].sort_values(
        ascending=False, kind="stable"
    )
    alone = alone[alone > 0]
    if n_lost == 0:
        return []
    are = "is" if n_analysed == 1 else "are"
    is_complete = n_needed == len(costs)
    is_large = alone.sum() >= MIN_SHARE * n_analysed or n_lost >= LARGE_SHARE * n_analysed
    said = (
        _say_complete(alone, n_lost, len(costs)) if is_complete else _say_reduced(alone, n_needed, len(costs))
    )
    return [
        Notice(
            severity="warning" if is_large else "note",
            topic="coverage",
            sentence=f"{counted(n_analysed, 'element')} {are} analysed; {n_lost} more{said}",
            fix="Look at these maps; leave a person out, or lower --min-coverage."
            if len(alone)
            else "The maps stat-n say where; lower --min-coverage to analyse them.",
        )
    ]


def _say_complete(alone: pd.Series, n_lost: int, n_rows: int) -> str:
    """Part the loss into what one row lacks and what several do."""
    n_alone = int(alone.sum())
    are, them = ("is", "it") if n_lost == 1 else ("are", "them")
    if n_alone == n_lost:
        return f" {are} lost because a single row lacks {them}: {_name_rows(alone)}."
    some = f", observed in some of the {n_rows} rows, {are} lost"
    if n_alone == 0:
        return f"{some} because several rows lack {them}."
    single = f"{n_alone} because a single row lacks {'it' if n_alone == 1 else 'them'}, {_name_rows(alone)}"
    return f"{some}: {single}; {n_lost - n_alone} because several rows do."


def _say_reduced(alone: pd.Series, n_needed: int, n_rows: int) -> str:
    """With a lower coverage an element may be gained without one row or without another: no sum is made."""
    said = f" are lost because they are observed in fewer than {n_needed} of the {n_rows} rows."
    return (
        f"{said} Without one of these rows, so many would be gained: {_name_rows(alone)}."
        if len(alone)
        else said
    )


def _name_rows(alone: pd.Series) -> str:
    names = ", ".join(f"{row} ({n})" for row, n in alone.head(5).items())
    return names + (f" and {len(alone) - 5} more" if len(alone) > 5 else "")
