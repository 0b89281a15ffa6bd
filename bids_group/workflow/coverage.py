"""What only the numbers show: whose maps cover less, and what that costs the analysis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

import numpy as np
import pandas as pd

from bids_group.records import Notice, PooledMap

MIN_SHARE = 0.05
"""Maps of one person always differ a little at the rim; smaller shares than this are not remarked on."""

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


def tell_costs(costs: pd.DataFrame, n_analysed: int) -> list[Notice]:
    """Name those without whom more elements could be analysed; a warning from `MIN_SHARE` on.

    ``costs``: columns ``observation`` and ``n_lost_by_this_row_alone``.
    """
    lost = costs[costs["n_lost_by_this_row_alone"] > 0].sort_values(
        "n_lost_by_this_row_alone", ascending=False
    )
    if lost.empty:
        return []
    total = int(lost["n_lost_by_this_row_alone"].sum())
    first = lost.head(5)
    names = ", ".join(
        f"{row} ({n})" for row, n in zip(first["observation"], first["n_lost_by_this_row_alone"], strict=True)
    )
    more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
    return [
        Notice(
            severity="warning" if total >= MIN_SHARE * n_analysed else "note",
            topic="coverage",
            sentence=f"{n_analysed} elements are analysed; {total} more are lost because a single row "
            f"lacks them: {names}{more}.",
            fix="Look at these maps; leave a person out, or lower --min-coverage.",
        )
    ]
