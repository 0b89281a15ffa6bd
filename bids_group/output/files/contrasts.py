"""The files of one group contrast: maps, what is significant in them, values at its peaks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_numeric_dtype

from bids_group.config.corrections import CORRECTIONS, UNCORRECTED
from bids_group.errors import BidsGroupError
from bids_group.labels import camel_label
from bids_group.output.files.clusters import RegionNamer, label_clusters, map_discoveries, tabulate_clusters
from bids_group.output.files.drafts import Draft, draft_table, draft_volume
from bids_group.output.files.names import contrast_stem
from bids_group.output.files.sidecars import (
    STAT_WORDS,
    Context,
    contrast_sidecar,
    corrected_sidecar,
    fit_sidecar,
)
from bids_group.records import Contrast, ContrastResult, Design, GroupData, Significance
from bids_group.records.sidecars import Sidecar

PLAIN = "residual SD"
"""What Hedges' g is in units of, unless said otherwise."""
_WELCH = "Statistic that allows each variance group its own variance (Welch's v or G), as a normal deviate"
_INTENTS: dict[str, tuple[str, tuple[float, ...]]] = {
    "z": ("z score", ()),
    "p": ("p value", ()),
    "log10p": ("log10 p value", ()),
}
_TDP = (
    "True-discovery proportion: with confidence 1 − alpha, at least this share of the elements of the cluster"
    " carries an effect; every element has the bound of its cluster, signs share alpha (AlphaPerSign)"
)
_NULL = "Null distribution, one row per shuffle; the first row is the unshuffled data"
_OWN_P = "Uncorrected p-value by shuffling: share of the shuffles that reach the element's own statistic"


def draft_contrast(
    context: Context,
    result: ContrastResult,
    significances: Sequence[Significance],
    atlas: RegionNamer | None,
    peaks: pd.DataFrame | None,
) -> Iterator[Draft]:
    """Draft the maps of the fit, what each correction found (of this contrast), and values at the peaks."""
    files = _Files(context, result)
    yield from files.of_fit()
    for one in significances:
        yield from files.of_correction(one, atlas)
    shuffled = next((one.by_shuffling for one in significances if one.by_shuffling is not None), None)
    if shuffled is not None:  # the same under every correction of the contrast
        own = Sidecar(correction=UNCORRECTED.name).but(shuffled.details)
        sidecar = contrast_sidecar(context, result, _OWN_P).but(own)
        yield from files.of_p(shuffled.p, sidecar, desc="_desc-permutation")
    if peaks is not None:
        sidecar = contrast_sidecar(context, result, "Values of each row at the peaks")
        yield files.table("desc-peaks_data", peaks, sidecar)


@dataclass(frozen=True, slots=True)
class _Files:
    context: Context
    result: ContrastResult

    @property
    def stem(self) -> str:
        return str(contrast_stem(self.context.output_dir, self.context.analysis, self.result.contrast))

    def table(self, ending: str, table: pd.DataFrame, sidecar: Sidecar) -> Draft:
        return draft_table(f"{self.stem}_{ending}.tsv", table, sidecar, self.result.contrast.name)

    def map(
        self, stat: str, row: npt.NDArray[np.float32], sidecar: Sidecar, desc: str = "", fill: float = 0.0
    ) -> Draft:
        """Draft a row, or several ``(q, n_elements)`` as a fourth axis, with ``fill`` outside the mask."""
        return draft_volume(
            self.context,
            f"{self.stem}_stat-{stat}{desc}_statmap.nii.gz",
            lambda: _unpack(self.context, row, fill),
            sidecar,
            stat=stat,
            contrast=self.result.contrast.name,
            intent=self._intent(stat),
        )

    def _intent(self, stat: str) -> tuple[str, tuple[float, ...]] | None:
        """Tell viewers what the numbers are; t and F where their dof are the same everywhere."""
        dof = self.result.dof
        if stat in ("t", "F") and dof is not None and np.isfinite(dof):
            numerator = (float(self.result.dof_numerator),) if stat == "F" else ()
            return f"{stat.lower()} test", (*numerator, float(dof))
        return _INTENTS.get(stat)

    def of_fit(self) -> Iterator[Draft]:
        is_two_sided = self.context.spec.inference.is_two_sided and self.result.contrast.test == "t"
        sides = f" ({'two-sided' if is_two_sided else 'one-sided, upper tail'})"
        for stat, row in self.result.maps.items():
            words = STAT_WORDS.get(stat, stat) + (sides if stat == "p" else "")
            sidecar = contrast_sidecar(self.context, self.result, words)
            if stat not in ("effect", "n"):
                sidecar = sidecar.but(fit_sidecar(self.context))
            if stat in ("g", "gLower", "gUpper"):
                sidecar = sidecar.but(standardiser=name_standardiser(self.context.data, self.result.contrast))
            if stat == "p":
                yield from self.of_p(row, sidecar)
            else:
                self._check_numbers(stat, row)
                yield self.map(stat, row, sidecar)

    def of_p(self, p: npt.NDArray[np.float32], sidecar: Sidecar, desc: str = "") -> Iterator[Draft]:
        """Draft a p map and, where asked for, its −log10.

        Uncorrected p are held against the cluster-forming p, corrected ones against alpha. No p is below the
        smallest number of float32, so that −log10 p is at most 37.9; shuffles stop at 1 / (shuffles + 1).
        """
        self._check_numbers("p", p)
        yield self.map("p", p, sidecar, desc, fill=1.0)
        inference = self.context.spec.inference
        if not inference.has_log10_p:
            return
        is_corrected = sidecar.correction not in (None, UNCORRECTED.name)
        level = inference.alpha if is_corrected else inference.cluster_forming_p
        n_shuffles = None if sidecar.tail_approximation else sidecar.number_of_permutations
        smallest = float(np.finfo(np.float32).tiny) if n_shuffles is None else 1 / (n_shuffles + 1)
        yield self.map(
            "log10p",
            np.abs(np.log10(p.astype(np.float64))),
            sidecar.but(
                description=f"−log10 of: {sidecar.description}",
                alpha=level,
                threshold=-math.log10(level),
                threshold_statistic="log10p",
                cap=-math.log10(smallest),
                cap_reason="no p is below the smallest normal number of float32"
                if n_shuffles is None
                else f"no p is below 1 / ({n_shuffles} shuffles + 1)",
            ),
            desc,
        )

    def of_correction(self, significance: Significance, atlas: RegionNamer | None) -> Iterator[Draft]:
        context, result, elements = self.context, self.result, self.context.data.elements
        name = camel_label(significance.correction)

        def sidecar(words: str) -> Sidecar:
            return corrected_sidecar(context, result, significance, words)

        if significance.p_corrected is not None:
            words = f"p-value corrected by {significance.correction}"
            yield from self.of_p(significance.p_corrected, sidecar(words), f"_desc-{name}")
        if CORRECTIONS[significance.correction].bounds_discoveries:
            proportions = map_discoveries(significance, elements.n_elements)
            yield self.map("tdp", proportions, sidecar(_TDP), f"_desc-{name}")
        if significance.z is not None:
            self._check_numbers("z", significance.z)
            own = contrast_sidecar(context, result, _WELCH).but(
                degrees_of_freedom="each element's own (Welch–Satterthwaite)",
                variance_groups=significance.details.variance_groups,
            )
            yield self.map("z", significance.z, own, "_desc-varianceGroups")
        clusters = tabulate_clusters(result, significance, elements, atlas)
        yield self.table(f"desc-{name}_clusters", clusters, sidecar("Clusters and their peaks"))
        yield draft_volume(
            context,
            f"{self.stem}_desc-{name}_dseg.nii.gz",
            lambda: label_clusters(significance, elements),
            sidecar("Clusters: each element's number in the cluster table, 0 = none"),
            contrast=result.contrast.name,
        )
        if significance.null:
            null = pd.DataFrame({measure: pd.Series(values) for measure, values in significance.null.items()})
            yield self.table(f"desc-{name}_null", null, sidecar(_NULL))

    def _check_numbers(self, stat: str, row: npt.NDArray[np.float32]) -> None:
        """Stop before a map with NaN, infinities or impossible p-values is written."""
        is_wrong = ~np.isfinite(row) if stat != "p" else ~((row > 0) & (row <= 1))
        if is_wrong.any():
            raise BidsGroupError(
                f"The {stat} map of the contrast '{self.result.contrast.name}' has values that cannot be.",
                found=f"{int(is_wrong.sum())} of {row.size}, the first is {row[is_wrong].flat[0]}",
                fix="This is a bug; please report it.",
            )


def _unpack(context: Context, row: npt.NDArray[Any], fill: float) -> npt.NDArray[np.float32]:
    elements, row = context.data.elements, row.astype(np.float32, copy=False)
    if row.ndim == 1:
        return elements.unpack(row, fill)
    return np.stack([elements.unpack(one, fill) for one in row], axis=-1)


def name_standardiser(data: GroupData, contrast: Contrast) -> str:
    """Name it: a slope's is per unit of its covariate; within people it is that of a person's rows.

    A paired difference has g = √2 · J · d_z, d_z the mean difference in SDs of the differences.
    """
    unit = PLAIN
    if data.subjects is not None and "subject" in data.design.terms:
        unit = "residual SD within people (of a paired difference g is sqrt(2) * J * d_z)"
    elif data.subjects is not None:
        unit = "residual SD of single rows, within and between people"
    covariates = _covariates(data.design, contrast)
    return f"{unit} per unit of {' and of '.join(covariates)}" if covariates else unit


def _covariates(design: Design, contrast: Contrast) -> list[str]:
    """Covariates in every term that the contrast weighs: it is a slope of these."""
    sizes = np.abs(np.atleast_2d(contrast.weights)).max(axis=0)
    is_weighed = sizes > 1e-10 * sizes.max()
    weighed = {str(name) for name, is_so in zip(design.matrix.columns, is_weighed, strict=True) if is_so}
    terms = [term for term, columns in design.terms.items() if weighed & set(columns)]
    named = [_numbers_in(term, design) for term in terms]
    return sorted(set.intersection(*named)) if named else []


def _numbers_in(term: str, design: Design) -> set[str]:
    coded = {name for cell in design.details.get("n_per_cell") or () for name in cell}
    words = {word for pair in re.findall(r"`([^`]+)`|([A-Za-z_]\w*)", term) for word in pair}
    names = [str(name) for name in design.variables.columns]
    return {
        name
        for name in names
        if name in words and name not in coded and is_numeric_dtype(design.variables[name])
    }
