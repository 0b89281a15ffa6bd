"""The files of one group contrast: maps, what is significant in them, clusters, values at its peaks."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api.types import is_numeric_dtype
from scipy import special

from bids_group.config.corrections import CORRECTIONS, UNCORRECTED
from bids_group.elements import Elements
from bids_group.errors import BidsGroupError
from bids_group.labels import camel_label
from bids_group.output.disk.map_files import Intent
from bids_group.output.files.drafts import Draft
from bids_group.output.files.sidecars import (
    STAT_WORDS,
    Context,
    bayes_sidecar,
    contrast_sidecar,
    corrected_sidecar,
    fit_sidecar,
)
from bids_group.records import Contrast, ContrastResult, GroupData, Peak, Significance
from bids_group.records.sidecars import Sidecar
from bids_group.records.significance import SIZES
from bids_group.words import counted

PLAIN = "residual SD"
"""What Hedges' g is in units of, unless said otherwise."""
_WELCH = "Statistic that allows each variance group its own variance (Welch's v or G), as a normal deviate"
_WEIGHTED = (
    "What sign flips judged: the statistic with weights 1 / (v + tau2), tau2 of the model without what is"
    " tested, as a normal deviate"
)
_INTENTS: dict[str, Intent] = {"z": ("z score", ()), "p": ("p value", ()), "log10p": ("log10 p value", ())}
_TDP = (
    "True-discovery proportion: with confidence 1 − alpha, at least this share of the elements of the cluster"
    " carries an effect; every element has the bound of its cluster, signs share alpha (AlphaPerSign)"
)
_SENSITIVITY = (
    "The corrected tests again without single people, one at a time: mask, centring, blocks and shuffles are "
    "made anew; a result holds where its strongest cluster stays significant somewhere"
)
_NULL = "Null distribution, one row per shuffle; the first row is the unshuffled data"
_OWN_P = "Uncorrected p-value by shuffling: share of the shuffles that reach the element's own statistic"


_MEASURES = ("size", "mass", "tfce", "peak")


class RegionNamer(Protocol):
    """An atlas: names elements and sets of them; ``title`` is its own name."""

    @property
    def title(self) -> str:
        """What it is called."""

    def name_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> Sequence[str | None]:
        """Region of each of some elements; None outside all regions."""

    def describe_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> str:
        """Regions that a set of elements reaches, with its share in each."""


def draft_contrast(
    context: Context,
    result: ContrastResult,
    significances: Sequence[Significance],
    atlas: RegionNamer | None,
    peaks: pd.DataFrame | None,
) -> Iterator[Draft]:
    """Draft the maps of the fit, what each correction found (of this contrast), and values at the peaks."""
    files = _Files(context, result, context.stem(result.contrast.label))
    yield from files.of_fit()
    for one in significances:
        yield from files.of_correction(one, atlas)
    shuffled = next((one.by_shuffling for one in significances if one.by_shuffling is not None), None)
    if shuffled is not None:  # the same under every correction of the contrast
        own = files.sidecar(_OWN_P).but(Sidecar(correction=UNCORRECTED.name), shuffled.details)
        yield from files.of_p(shuffled.p, own, desc="_desc-permutation")
    if peaks is not None:
        said = files.sidecar("Values of each row at the peaks")
        yield Draft(path=f"{files.stem}_desc-peaks_data.tsv", content=peaks, sidecar=said)


def describe_sensitivity(context: Context, result: ContrastResult) -> tuple[str, Sidecar]:
    """Name the table of what holds without single people, and say what it is."""
    path = f"{context.stem(result.contrast.label)}_desc-sensitivity_table.tsv"
    return path, contrast_sidecar(context, result, _SENSITIVITY)


@dataclass(frozen=True, slots=True)
class _Files:
    context: Context
    result: ContrastResult
    stem: str

    def sidecar(self, words: str) -> Sidecar:
        return contrast_sidecar(self.context, self.result, words)

    def map(
        self, stat: str, row: npt.NDArray[np.float32], sidecar: Sidecar, desc: str = "", fill: float = 0.0
    ) -> Draft:
        """Draft a row, or several ``(q, n_elements)`` as a fourth axis, with ``fill`` outside the mask.

        Nothing is written where a map has NaN, infinities or impossible p.
        """
        is_wrong = ~((row > 0) & (row <= 1)) if stat == "p" else ~np.isfinite(row)
        if is_wrong.any():
            raise BidsGroupError(
                f"The {stat} map of the contrast '{self.result.contrast.name}' has values that cannot be.",
                found=f"{int(is_wrong.sum())} of {row.size}, the first is {row[is_wrong].flat[0]}",
                fix="This is a bug; please report it.",
            )
        elements, rows = self.context.data.elements, row.astype(np.float32, copy=False)

        def unpack() -> npt.NDArray[np.float32]:
            if rows.ndim == 1:
                return elements.unpack(rows, fill)
            return np.stack([elements.unpack(one, fill) for one in rows], axis=-1)

        intent, dof = _INTENTS.get(stat), self.result.dof
        if stat in ("t", "F") and dof is not None and np.isfinite(dof):  # the same everywhere
            numerator = (float(self.result.dof_numerator),) if stat == "F" else ()
            intent = f"{stat.lower()} test", (*numerator, float(dof))
        path = self.context.name_map(f"stat-{stat}{desc}_statmap", self.result.contrast.label)
        return Draft(path=path, content=unpack, sidecar=sidecar, intent=intent, is_inside=True)

    def of_fit(self) -> Iterator[Draft]:
        is_two_sided = self.context.spec.inference.is_two_sided and self.result.contrast.has_two_tails
        sides = f" ({'two-sided' if is_two_sided else 'one-sided, upper tail'})"
        for stat, row in self.result.maps.items():
            sidecar = self.sidecar(STAT_WORDS.get(stat, stat) + (sides if stat == "p" else ""))
            if stat not in ("effect", "n"):
                sidecar = sidecar.but(fit_sidecar(self.context))
            if stat in ("g", "gLower", "gUpper"):
                sidecar = sidecar.but(standardiser=name_standardiser(self.context.data, self.result.contrast))
            if stat == "bf10":
                sidecar = sidecar.but(bayes_sidecar(self.context, self.result))
            if stat == "p":
                yield from self.of_p(row, sidecar)
            else:
                yield self.map(stat, row, sidecar)

    def of_p(self, p: npt.NDArray[np.float32], sidecar: Sidecar, desc: str = "") -> Iterator[Draft]:
        """Draft a p map and, where asked for, its −log10.

        Uncorrected p are held against the cluster-forming p, corrected ones against alpha. No p is below the
        smallest number of float32, so that −log10 p is at most 37.9; shuffles stop at 1 / (shuffles + 1).
        """
        yield self.map("p", p, sidecar, desc, fill=1.0)
        inference = self.context.spec.inference
        if not inference.has_log10_p:
            return
        is_corrected = sidecar.correction not in (None, UNCORRECTED.name)
        level = inference.alpha if is_corrected else inference.cluster_forming_p
        smallest, reason = float(np.finfo(np.float32).tiny), "the smallest normal number of float32"
        if sidecar.number_of_permutations is not None and not sidecar.tail_approximation:
            n_shuffles = sidecar.number_of_permutations
            smallest, reason = 1 / (n_shuffles + 1), f"1 / ({n_shuffles} shuffles + 1)"
        said = sidecar.but(
            description=f"−log10 of: {sidecar.description}",
            alpha=level,
            threshold=-math.log10(level),
            threshold_statistic="log10p",
            cap=-math.log10(smallest),
            cap_reason=f"no p is below {reason}",
        )
        yield self.map("log10p", np.abs(np.log10(p.astype(np.float64))), said, desc)

    def of_correction(self, significance: Significance, atlas: RegionNamer | None) -> Iterator[Draft]:
        result, elements = self.result, self.context.data.elements
        desc = f"_desc-{camel_label(significance.correction)}"

        def sidecar(words: str) -> Sidecar:
            return corrected_sidecar(self.context, result, significance, words)

        if significance.p_corrected is not None:
            words = f"p-value corrected by {significance.correction}"
            yield from self.of_p(significance.p_corrected, sidecar(words), desc)
        if CORRECTIONS[significance.correction].bounds_discoveries:
            bounds = np.zeros(elements.n_elements, dtype=np.float32)
            for cluster in significance.clusters:
                bounds[cluster.elements] = cluster.true_discovery_proportion or 0.0
            yield self.map("tdp", bounds, sidecar(_TDP), desc)
        if significance.z is not None:
            if self.context.data.estimator.needs_variance:
                yield self.map("z", significance.z, self.sidecar(_WEIGHTED), "_desc-weightedFlips")
            else:
                own = self.sidecar(_WELCH).but(
                    degrees_of_freedom="each element's own (Welch–Satterthwaite)",
                    variance_groups=significance.details.variance_groups,
                )
                yield self.map("z", significance.z, own, "_desc-varianceGroups")
        clusters = tabulate_clusters(result, significance, elements, atlas)
        said = sidecar("Clusters and their peaks").but(atlas=None if atlas is None else atlas.title)
        yield Draft(path=f"{self.stem}{desc}_clusters.tsv", content=clusters, sidecar=said)
        yield Draft(
            path=self.context.name_map(f"{desc[1:]}_dseg", result.contrast.label),
            content=lambda: label_clusters(significance, elements),
            sidecar=sidecar("Clusters: each element's number in the cluster table, 0 = none"),
        )
        if significance.null:
            null = pd.DataFrame({measure: pd.Series(values) for measure, values in significance.null.items()})
            yield Draft(path=f"{self.stem}{desc}_null.tsv", content=null, sidecar=sidecar(_NULL))


def name_standardiser(data: GroupData, contrast: Contrast) -> str:
    """Name it: a slope's is per unit of its covariate; within people it is that of a person's rows.

    A paired difference has g = √2 · J · d_z, d_z the mean difference in SDs of the differences.
    """
    unit = PLAIN
    if data.subjects is not None and "subject" in data.design.terms:
        unit = "residual SD within people (of a paired difference g is sqrt(2) * J * d_z)"
    elif data.subjects is not None:
        unit = "residual SD of single rows, within and between people"
    design, sizes = data.design, np.abs(np.atleast_2d(contrast.weights)).max(axis=0)
    weighed = set(design.matrix.columns[sizes > 1e-10 * sizes.max()])
    coded = {name for cell in design.details.get("n_per_cell") or () for name in cell}
    numeric = {name for name in design.variables if is_numeric_dtype(design.variables[name])} - coded
    terms = [term for term, columns in design.terms.items() if weighed & set(columns)]
    words = [re.findall(r"`([^`]+)`|([A-Za-z_]\w*)", term) for term in terms]
    named = [numeric & {word for pair in pairs for word in pair} for pairs in words]
    slopes = sorted(map(str, set.intersection(*named))) if named else []  # in every term that is weighed
    return f"{unit} per unit of {' and of '.join(slopes)}" if slopes else unit


def tabulate_clusters(
    result: ContrastResult, significance: Significance, elements: Elements, atlas: RegionNamer | None = None
) -> pd.DataFrame:
    """List every peak of every cluster, one row each; what belongs to the cluster stands in each of its rows.

    ``effect_lower`` and ``effect_upper`` limit the effect at the peak with confidence 1 − alpha (for t).
    Columns in which no row has a value are kept (``n/a``): tables of one kind of test have the same columns.
    """
    test = result.contrast.test
    columns = [
        *("cluster", "peak", "sign", "x", "y", "z", test, "z_score", "p_uncorrected", "p_corrected"),
        *("size_mm3", "n_elements", "mass", *(f"p_{measure}" for measure in _MEASURES)),
        *("true_discovery_proportion", "effect", "effect_lower", "effect_upper", "g", "g_lower", "g_upper"),
        *SIZES,
    ]
    rows = [
        (
            *(cluster.index, number, "positive" if cluster.sign > 0 else "negative", *peak.xyz_mm),
            *(peak.statistic, peak.z, peak.p_uncorrected, peak.p_corrected),
            *(
                None if cluster.size_mm3 is None else round(cluster.size_mm3, 6),
                len(cluster.elements),
                cluster.mass,
            ),  # 10125, no 10124.999999999995
            *(cluster.p_corrected.get(measure) for measure in _MEASURES),
            *(cluster.true_discovery_proportion, peak.effect, *_effect_limits(result, significance, peak)),
            *(peak.g, peak.g_lower, peak.g_upper, *map(peak.sizes.get, SIZES)),
        )
        for cluster in significance.clusters
        for number, peak in enumerate(cluster.peaks, start=1)
    ]
    table = pd.DataFrame(rows, columns=columns)
    peaks = [peak.element for cluster in significance.clusters for peak in cluster.peaks]
    if places := elements.name_places(np.array(peaks, dtype=np.intp)):
        sizes = [one.size_mm2 for one in significance.clusters for _ in one.peaks]
        for at, (name, cells) in enumerate(places.items(), start=3):
            table.insert(at, name, pd.Series(cells, dtype=object))
        table.insert(list(table.columns).index("size_mm3"), "size_mm2", pd.Series(sizes, dtype=object))
    if atlas is not None:
        named = atlas.name_elements(elements, np.array(peaks, dtype=np.intp))
        table = table.assign(region=pd.Series(named, dtype=object))
        shares = {one.index: atlas.describe_elements(elements, one.elements) for one in significance.clusters}
        table["cluster_regions"] = table["cluster"].map(shares).where(table["peak"] == 1, None)
    return table


def _effect_limits(
    result: ContrastResult, significance: Significance, peak: Peak
) -> tuple[float | None, float | None]:
    """Limits effect ± t(1 − alpha/2, dof) · SE; None for F, where an effect has no sign."""
    if result.contrast.test != "t" or "variance" not in result.maps or "effect" not in result.maps:
        return None, None
    effect = float(result.maps["effect"][peak.element])
    dof = result.dof if result.dof is not None else float(result.maps["dof"][peak.element])
    upper = 1 - significance.alpha / 2
    quantile = special.stdtrit(dof, upper) if np.isfinite(dof) else special.ndtri(upper)
    width = float(quantile) * float(np.sqrt(result.maps["variance"][peak.element]))
    return effect - width, effect + width


def spell_clusters(n_clusters: int, n_found: int | None = None) -> str:
    """Count clusters; of all-resolutions inference (``n_found``) also those with true discoveries."""
    found = "" if n_found is None else f", {n_found} with true discoveries"
    return counted(n_clusters, "cluster") + found


def label_clusters(significance: Significance, elements: Elements) -> npt.NDArray[np.int32]:
    """Make an array of the space's shape with each element's cluster number, 0 = in none."""
    volume = np.zeros(elements.space.n_elements, dtype=np.int32)
    for cluster in significance.clusters:
        volume[elements.indices[cluster.elements]] = cluster.index
    return volume.reshape(elements.space.shape)
