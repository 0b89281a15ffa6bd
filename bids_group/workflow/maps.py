"""Pooled maps, one after the other: from the cache in OUTPUT_DIR where it fits, else pooled now.

What only the numbers show is told here: whose maps cover less, and what that costs the analysis.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from bids_group.model import StackedMaps, pool
from bids_group.output import is_pooled, pooling_key, read_pooled, write_pooled
from bids_group.records import Notice, Observation, PooledMap, note, warn
from bids_group.words import and_more, counted
from bids_group.workflow.preparation import RunPlan
from bids_group.workflow.provenance import Provenance

MIN_SHARE = 0.05
"""Maps of one person always differ a little at the rim; smaller shares than this are not remarked on."""

LARGE_SHARE = 0.25
"""Several rows always lack some of the rim; from this share on the loss is a warning."""


def pooled_maps(
    plan: RunPlan, observations: Sequence[Observation], provenance: Provenance
) -> Iterator[PooledMap]:
    """Yield the pooled map of each observation, in order; note the hashes of its files and its coverage."""
    take = partial(pool_one, output_dir=plan.config.output_dir, dataset_names=plan.cohort.dataset_names)
    for one in plan.executor.map(take, observations):
        provenance.hashes.update(one.input_hashes)
        remark = describe_coverage(one)
        if remark:
            provenance.remarks[one.observation.subject, one.observation.contrast] = remark
        yield one


def pool_one(observation: Observation, output_dir: Path, dataset_names: Mapping[str, Path]) -> PooledMap:
    """Take one observation from the cache, or pool and write it.

    The key of what is written comes from the bytes that were pooled, which are read once: a file that changes
    meanwhile is never kept under the key of other bytes. Inputs are hashed first only where a key stands.
    """
    if is_pooled(output_dir, observation):
        key = pooling_key(observation)
        cached = read_pooled(output_dir, observation, key, dataset_names=dataset_names)
        if cached is not None:
            return cached
    pooled = pool(observation)
    key = pooling_key(observation, pooled.input_hashes)
    write_pooled(output_dir, pooled, key, dataset_names=dataset_names)
    return pooled


def describe_coverage(pooled: PooledMap) -> str | None:
    """Say at which share of the observed elements some map is missing; None below `MIN_SHARE`."""
    n_most = int(pooled.n_maps.max())
    n_observed = np.count_nonzero(pooled.n_maps)
    n_partly = n_observed - np.count_nonzero(pooled.n_maps == n_most)
    if n_partly < MIN_SHARE * n_observed:
        return None
    return f"fewer than {n_most} maps observed at {100 * n_partly / n_observed:.0f} % of its elements"


def tell_costs(stacked: StackedMaps) -> list[Notice]:
    """Say what incomplete coverage costs, and name those without whom more elements could be analysed."""
    costs, n_analysed = stacked.costs, stacked.elements.n_elements
    n_lost, n_needed = stacked.n_lost, stacked.n_needed
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
    fix = "The maps stat-n say where; lower --min-coverage to analyse them."
    if len(alone):
        fix = "Look at these maps; leave a person out, or lower --min-coverage."
    tell = warn if is_large else note
    return [tell("coverage", f"{counted(n_analysed, 'element')} {are} analysed; {n_lost} more{said}", fix)]


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
    return ", ".join(f"{row} ({n})" for row, n in alone.head(5).items()) + and_more(len(alone) - 5)
