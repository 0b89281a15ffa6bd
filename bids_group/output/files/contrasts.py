"""The files of one group contrast: maps, what is significant in them, values at its peaks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.errors import BidsGroupError
from bids_group.output.files.clusters import RegionNamer, label_clusters, map_discoveries, tabulate_clusters
from bids_group.output.files.drafts import Draft, draft_table, draft_volume
from bids_group.output.files.names import contrast_stem
from bids_group.output.files.sidecars import (
    STAT_WORDS,
    Context,
    contrast_sidecar,
    corrected_sidecar,
    correction_label,
    fit_sidecar,
)
from bids_group.output.files.standardiser import name_standardiser
from bids_group.records import ContrastResult, Significance

_WELCH = "Statistic that allows each variance group its own variance (Welch's v or G), as a normal deviate"
_STATISTIC_INTENTS: Mapping[str, tuple[str, tuple[float, ...]]] = {
    "z": ("z score", ()),
    "p": ("p value", ()),
    "log10p": ("log10 p value", ()),
}
_TDP = (
    "True-discovery proportion: with confidence 1 − alpha, at least this share of the elements of the cluster"
    " carries an effect; every element has the bound of its cluster, signs share alpha (AlphaPerSign)"
)


def draft_contrast(context: Context, result: ContrastResult) -> Iterator[Draft]:
    """Draft the maps of the fit."""
    stem = contrast_stem(context.output_dir, context.analysis, result.contrast)
    for stat, row in result.maps.items():
        sidecar = {
            **contrast_sidecar(context, result, _stat_words(context, result, stat)),
            **({} if stat in ("effect", "n") else fit_sidecar(context)),
        }
        if stat in ("g", "gLower", "gUpper"):
            sidecar["Standardiser"] = name_standardiser(context.data, result.contrast)
        if stat == "p":
            yield from _draft_p(context, result, f"{stem}_stat-{{}}_statmap.nii.gz", row, sidecar)
            continue
        _check_numbers(result, stat, row)
        yield draft_volume(
            context,
            f"{stem}_stat-{stat}_statmap.nii.gz",
            partial(_unpack, context, row, fill=0.0),
            sidecar,
            stat=stat,
            contrast=result.contrast.name,
            intent=_intent(result, stat),
        )


def _draft_p(
    context: Context,
    result: ContrastResult,
    path: str,
    p: npt.NDArray[np.float32],
    sidecar: Mapping[str, Any],
) -> Iterator[Draft]:
    """Draft a p map (``path`` with a place for the stat) and, where asked for, its −log10.

    Uncorrected p are held against the cluster-forming p, corrected ones against alpha. No p is below the
    smallest number of float32, so that −log10 p is at most 37.9; shuffles stop at 1 / (shuffles + 1).
    """
    _check_numbers(result, "p", p)
    draft = partial(draft_volume, context, contrast=result.contrast.name)
    yield draft(
        path.format("p"),
        partial(_unpack, context, p, fill=1.0),
        sidecar,
        stat="p",
        intent=_STATISTIC_INTENTS["p"],
    )
    inference = context.spec.inference
    if not inference.has_log10_p:
        return
    is_corrected = sidecar.get("Correction") not in (None, "none")
    level = inference.alpha if is_corrected else inference.cluster_forming_p
    n_shuffles = sidecar.get("NumberOfPermutations") if not sidecar.get("TailApproximation") else None
    smallest = float(np.finfo(np.float32).tiny) if n_shuffles is None else 1 / (n_shuffles + 1)
    yield draft(
        path.format("log10p"),
        partial(_unpack, context, np.abs(np.log10(p.astype(np.float64))), fill=0.0),
        {
            **sidecar,
            "Description": f"−log10 of: {sidecar['Description']}",
            "Alpha": level,
            "Threshold": -math.log10(level),
            "ThresholdStatistic": "log10p",
            "Cap": -math.log10(smallest),
            "CapReason": "no p is below the smallest normal number of float32"
            if n_shuffles is None
            else f"no p is below 1 / ({n_shuffles} shuffles + 1)",
        },
        stat="log10p",
        intent=_STATISTIC_INTENTS["log10p"],
    )


def _stat_words(context: Context, result: ContrastResult, stat: str) -> str:
    if stat != "p":
        return STAT_WORDS.get(stat, stat)
    is_two_sided = context.spec.inference.is_two_sided and result.contrast.test == "t"
    return f"{STAT_WORDS['p']} ({'two-sided' if is_two_sided else 'one-sided, upper tail'})"


def _intent(result: ContrastResult, stat: str) -> tuple[str, tuple[float, ...]] | None:
    """Tell viewers what the numbers are; t and F where their degrees of freedom are the same everywhere."""
    if stat in _STATISTIC_INTENTS:
        return _STATISTIC_INTENTS[stat]
    if stat not in ("t", "F") or result.dof is None or not np.isfinite(result.dof):
        return None
    numerator = (float(result.dof_numerator),) if stat == "F" else ()
    return f"{stat.lower()} test", (*numerator, float(result.dof))


def draft_significance(
    context: Context, result: ContrastResult, significance: Significance, atlas: RegionNamer | None
) -> Iterator[Draft]:
    """Draft what a correction found: maps, clusters, null."""
    name = correction_label(significance.correction)
    stem = contrast_stem(context.output_dir, context.analysis, result.contrast)
    if significance.p_corrected is not None:
        words = f"p-value corrected by {significance.correction}"
        yield from _draft_p(
            context,
            result,
            f"{stem}_stat-{{}}_desc-{name}_statmap.nii.gz",
            significance.p_corrected,
            corrected_sidecar(context, result, significance, words),
        )
    if significance.correction == "ari":
        proportions = map_discoveries(significance, context.data.elements.n_elements)
        yield draft_volume(
            context,
            f"{stem}_stat-tdp_desc-{name}_statmap.nii.gz",
            partial(_unpack, context, proportions, fill=0.0),
            corrected_sidecar(context, result, significance, _TDP),
            stat="tdp",
            contrast=result.contrast.name,
        )
    if significance.z is not None:
        _check_numbers(result, "z", significance.z)
        yield draft_volume(
            context,
            f"{stem}_stat-z_desc-varianceGroups_statmap.nii.gz",
            partial(_unpack, context, significance.z, fill=0.0),
            {
                **contrast_sidecar(context, result, _WELCH),
                "DegreesOfFreedom": "each element's own (Welch–Satterthwaite)",
                "VarianceGroups": significance.details.get("VarianceGroups"),
            },
            stat="z",
            intent=("z score", ()),
            contrast=result.contrast.name,
        )
    yield draft_table(
        f"{stem}_desc-{name}_clusters.tsv",
        tabulate_clusters(result, significance, context.data.elements, atlas),
        corrected_sidecar(context, result, significance, "Clusters and their peaks"),
        contrast=result.contrast.name,
    )
    yield draft_volume(
        context,
        f"{stem}_desc-{name}_dseg.nii.gz",
        partial(label_clusters, significance, context.data.elements),
        corrected_sidecar(
            context, result, significance, "Clusters: each element's number in the cluster table, 0 = none"
        ),
        contrast=result.contrast.name,
    )
    if significance.null:
        words = "Null distribution, one row per shuffle; the first row is the unshuffled data"
        sidecar = corrected_sidecar(context, result, significance, words)
        null = pd.DataFrame({name: pd.Series(values) for name, values in significance.null.items()})
        yield draft_table(f"{stem}_desc-{name}_null.tsv", null, sidecar, contrast=result.contrast.name)


def draft_shuffling(
    context: Context, result: ContrastResult, significances: Sequence[Significance]
) -> Iterator[Draft]:
    """Draft the uncorrected p by shuffling, which is the same under every correction of the contrast."""
    own = (one.by_shuffling for one in significances if one.contrast == result.contrast.name)
    found = next((one for one in own if one is not None), None)
    if found is None:
        return
    words = "Uncorrected p-value by shuffling: share of the shuffles that reach the element's own statistic"
    stem = contrast_stem(context.output_dir, context.analysis, result.contrast)
    yield from _draft_p(
        context,
        result,
        f"{stem}_stat-{{}}_desc-permutation_statmap.nii.gz",
        found.p,
        {**contrast_sidecar(context, result, words), "Correction": "none", **found.details},
    )


def draft_peaks(
    context: Context, results: Mapping[str, ContrastResult], peaks: Mapping[str, pd.DataFrame]
) -> Iterator[Draft]:
    """Draft the values of the rows at the peaks of each contrast that has some."""
    for name, table in peaks.items():
        stem = contrast_stem(context.output_dir, context.analysis, results[name].contrast)
        sidecar = contrast_sidecar(context, results[name], "Values of each row at the peaks")
        yield draft_table(f"{stem}_desc-peaks_data.tsv", table, sidecar, contrast=name)


def _unpack(context: Context, row: npt.NDArray[np.float32], fill: float) -> npt.NDArray[np.float32]:
    """Put a row into a volume; several rows ``(q, n_elements)`` become a fourth axis."""
    elements = context.data.elements
    if row.ndim == 1:
        return elements.unpack(row.astype(np.float32, copy=False), fill)
    return np.stack([elements.unpack(one.astype(np.float32, copy=False), fill) for one in row], axis=-1)


def _check_numbers(result: ContrastResult, stat: str, row: npt.NDArray[np.float32]) -> None:
    """Stop before a map with NaN, infinities or impossible p-values is written."""
    is_wrong = ~np.isfinite(row) if stat != "p" else ~((row > 0) & (row <= 1))
    if is_wrong.any():
        raise BidsGroupError(
            f"The {stat} map of the contrast '{result.contrast.name}' has values that cannot be.",
            found=f"{int(is_wrong.sum())} of {row.size}, the first is {row[is_wrong].flat[0]}",
            fix="This is a bug; please report it.",
        )
