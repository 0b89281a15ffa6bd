"""What only the numbers show of a person's maps, for the ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping

import numpy as np

from bids_group.records import PooledMap

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
