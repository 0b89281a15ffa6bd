"""What is read of a group model and of a contrast, and what their pictures share."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from nibabel.affines import apply_affine

from bids_group.config.corrections import Correction, find_correction
from bids_group.elements import Grid, Space, Voxels, name_elements, read_map
from bids_group.executor import ONE_THREAD, Executor
from bids_group.output.files.contrasts import spell_clusters
from bids_group.output.report.analysis_facts import gather_facts
from bids_group.output.report.brains import Layers, Look
from bids_group.output.report.canvas import Box, common_cuts, cuts_through, place, read_anatomy
from bids_group.output.report.folder import (
    UNCORRECTED,
    AnalysisFiles,
    ContrastFiles,
    Folder,
    alpha_of,
    entities_of,
    read_analysis_mask,
    read_numbers,
    read_table,
    sidecar_of,
)
from bids_group.output.report.sections import Drawing, FigureStore, Picture
from bids_group.output.report.surfaces import Cortex, Hemisphere, read_cortex
from bids_group.output.report.tables import PageTable, page_table
from bids_group.records.sidecars import Sidecar

LOGGER = logging.getLogger(__name__)
N_CUTS = 8
MAX_LIMIT = {"t": 12.0, "F": 60.0}
"""Colours end here at most: beyond it pictures would show strong effects only."""

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PageInputs:
    """Something with figures and tables on the page, whose names begin with ``stem``."""

    stem: str
    store: FigureStore

    @property
    def figures(self) -> list[str]:
        """Pictures of this so far, as files of OUTPUT_DIR."""
        names = sorted(str(path) for path in self.store.payloads)
        return [one for one in names if Path(one).name.startswith(f"{self.stem}_desc-")]

    def picture(self, drawn: Drawing, ending: str, *, alt: str, caption: str = "") -> Picture:
        """Store a figure as ``stem_ending``."""
        return self.store.add(drawn, f"{self.stem}_{ending}", alt=alt, caption=caption)

    def table(self, rows: Any, ending: str, caption: str, file: str = "") -> list[PageTable]:
        """Lay out rows as a table that is called ``stem_ending.tsv``; none where there are no rows.

        ``file``: where to find the same in OUTPUT_DIR.
        """
        table, name = pd.DataFrame(rows), f"{self.stem}_{ending}.tsv"
        return [] if table.empty else [page_table(table, name=name, caption=caption, file=file)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """The grid of voxels, and where those of a CIFTI file stand in a row and in it (None: a plain volume)."""

    grid: Grid
    voxels: tuple[tuple[slice, npt.NDArray[np.intp]], ...] | None = None

    def place(self, values: npt.NDArray[Any]) -> Box:
        """Turn numbers over the space of the analysis into a box."""
        return place(self.fill(values), self.grid)

    def fill(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Turn numbers over the space of the analysis into a volume."""
        if self.voxels is None:
            return values.astype(np.float32)
        volume = np.zeros(self.grid.n_elements, dtype=np.float32)
        for own, indices in self.voxels:
            volume[indices] = values[own]
        return volume.reshape(self.grid.shape)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Brain:
    """What slices of a group model share: its mask, anatomy, places by axis, and a point asked for."""

    layout: Layout
    mask: Box
    anatomy: Box | None
    cuts: Sequence[Sequence[float]]
    cut_mm: Point | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnalysisInputs(PageInputs):
    """One group model.

    ``quality``: a row per observation; ``inside``: the analysed elements; ``limits``: end of the colour scale
    of t and of F. ``brain``: what slices need; None where the maps are no volumes. ``cortex``, ``subcortex``:
    what pictures of surfaces need that are there, and slices of the voxels in CIFTI files.
    """

    executor: Executor
    folder: Folder
    files: AnalysisFiles
    facts: Mapping[str, Any]
    quality: pd.DataFrame | None
    space: Space
    inside: npt.NDArray[np.bool_]
    brain: Brain | None
    cortex: Cortex | None
    subcortex: Brain | None
    limits: Mapping[str, float]

    @property
    def elements_word(self) -> str:
        """What the maps are made of: ``voxels``, ``vertices`` …."""
        return name_elements(self.space)

    def rule(self, correction: str | None) -> Correction:
        """Find a correction, in words of these elements."""
        return find_correction(correction).over(self.elements_word)

    @property
    def labels(self) -> list[str]:
        """Labels of the rows."""
        return [str(label) for label in self.files.matrix.index]

    @property
    def marked(self) -> set[str]:
        """Labels of the rows that stand out in the table of quality."""
        table = self.quality
        return set() if table is None else set(table.loc[table["is_outlier"].astype(bool), "label"])


def read_analysis_inputs(
    folder: Folder, analysis: AnalysisFiles, store: FigureStore, executor: Executor = ONE_THREAD
) -> AnalysisInputs:
    """Read what the parts about a group model need, and find common cuts and scales."""
    loaded, path = read_analysis_mask(analysis), analysis.quality
    inside = loaded.data > 0
    return AnalysisInputs(
        stem="_".join(Path(analysis.stem).parts[1:]),
        store=store,
        executor=executor,
        folder=folder,
        files=analysis,
        facts=gather_facts(folder, analysis, int(inside.sum())) | {"has_figures": True},
        quality=read_numbers(path, ("label", "outlier_reasons")) if path else None,
        space=loaded.space,
        inside=inside,
        brain=_brain(analysis, Layout(grid=loaded.space), inside) if isinstance(loaded.space, Grid) else None,
        cortex=read_cortex(folder.root, loaded.space, entities_of(Path(analysis.stem).name)),
        subcortex=_subcortex(analysis, loaded.space, inside),
        limits=_limits(analysis, inside),
    )


def _subcortex(analysis: AnalysisFiles, space: Space, inside: npt.NDArray[np.bool_]) -> Brain | None:
    """Gather the voxels of a CIFTI file, which share a grid."""
    parts = zip(space.parts, space.slices, strict=True)
    found = [(part, own) for part, own in parts if isinstance(part, Voxels) and part.structure is not None]
    if not any(inside[own].any() for _, own in found):
        return None
    voxels = tuple((own, part.indices) for part, own in found)
    return _brain(analysis, Layout(grid=found[0][0].grid, voxels=voxels), inside)


def _brain(analysis: AnalysisFiles, layout: Layout, inside: npt.NDArray[np.bool_]) -> Brain:
    mask = layout.place(inside)
    cut_mm = _point_inside(analysis.info.cut_coordinates, mask)
    cuts = [common_cuts(mask, axis, N_CUTS) for axis in range(3)]
    assert analysis.mask is not None
    return Brain(
        layout=layout,
        mask=mask,
        anatomy=read_anatomy(entities_of(analysis.mask.name).get("space")),
        cuts=cuts if cut_mm is None else [cuts_through(*one) for one in zip(cuts, cut_mm, strict=True)],
        cut_mm=cut_mm,
    )


def _point_inside(point: Sequence[float] | None, mask: Box) -> Point | None:
    """Take the point that was asked for; None, with a warning, where it lies outside the maps."""
    if point is None:
        return None
    x, y, z = point
    if any(mask.position(axis, at) is None for axis, at in enumerate((x, y, z))):
        LOGGER.warning("--cut-coords %g,%g,%g lies outside the maps: pictures go elsewhere.", x, y, z)
        return None
    return x, y, z


def _limits(analysis: AnalysisFiles, inside: npt.NDArray[np.bool_]) -> dict[str, float]:
    """One scale for all t maps of the analysis and one for all F maps."""
    largest: dict[str, float] = {}
    for contrast in analysis.contrasts:
        values = _strength(contrast, read_map(contrast.maps[contrast.test]).data[inside])
        largest[contrast.test] = max(largest.get(contrast.test, 1.0), float(values.max(initial=0.0)))
    return {test: min(value, MAX_LIMIT[test]) for test, value in largest.items()}


def _strength(contrast: ContrastFiles, statistic: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.maximum(statistic, 0) if contrast.is_one_sided else np.abs(statistic)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundClusters:
    """Clusters under one correction, and those of their rows that are significant.

    ``title`` also says of a least ``extent`` that it controls nothing; ``counted`` says how many clusters
    there are, of all-resolutions inference also those without discoveries. ``p_column``: the p it judges by.
    """

    rule: Correction
    p_column: str
    title: str
    extent: str
    counted: str
    table: pd.DataFrame
    significant: pd.DataFrame
    n_significant: int
    sidecar: Sidecar


def read_clusters(contrast: ContrastFiles, rule: Correction) -> FoundClusters:
    """Read what a correction found."""
    path = contrast.clusters[rule.label]
    table, sidecar = read_table(path), sidecar_of(path)
    significant = table
    column = f"p_{rule.measure}" if rule.measure and rule.is_clusterwise else "p_corrected"
    if rule.bounds_discoveries:
        significant = table[pd.to_numeric(table["true_discovery_proportion"]) > 0]
    elif not table.empty and column in table and table[column].notna().any():
        best = pd.to_numeric(table[column]).groupby(table["cluster"]).transform("min")
        significant = table[best <= np.float32(alpha_of(sidecar))]
    n_all, n_significant = table["cluster"].nunique(), significant["cluster"].nunique()
    numbers = (n_all, n_significant) if rule.bounds_discoveries else (n_significant,)
    extent = sidecar.cluster_extent_mm3
    words = "" if extent is None else f"at least {extent:g} mm³"
    return FoundClusters(
        rule=rule,
        p_column=column,
        title=f"{rule.title}, {words} (no error rate is controlled)" if words else rule.title,
        extent=words,
        counted=spell_clusters(*numbers),
        table=table,
        significant=significant,
        n_significant=n_significant,
        sidecar=sidecar,
    )


def mark_significant(contrast: ContrastFiles, found: FoundClusters) -> npt.NDArray[np.bool_]:
    """Mark significant elements: those of the p map, or of the significant clusters where there is none."""
    if path := contrast.corrected.get(found.rule.label):
        return read_map(path).data <= alpha_of(sidecar_of(path))
    labels = read_map(contrast.labels[found.rule.label]).data.astype(np.int32)
    return np.isin(labels, pd.to_numeric(found.significant["cluster"]).unique()) & (labels > 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slices:
    """The maps of a contrast laid on top of each other, for slices.

    ``strongest_mm``: where the evidence is strongest; ``focus_mm``: where pictures go through, the point
    asked for or the strongest.
    """

    brain: Brain
    layers: Layers
    strongest_mm: Point
    focus_mm: Point
    focus_words: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContrastInputs(PageInputs):
    """One contrast, its maps on the whole space, and the inputs of its group model.

    An F of several rows with variance groups has the z that shuffling judged, and p only by shuffling.
    ``significant`` by correction; ``found`` by correction, the strictest first. ``look``: how the statistic
    is coloured. ``slices``: None where the maps are no volumes; ``subcortex``: those of voxels in CIFTI
    files; ``hemispheres``: those that have a surface.
    """

    analysis: AnalysisInputs
    files: ContrastFiles
    statistic: npt.NDArray[np.float32]
    z: npt.NDArray[np.float32]
    p: npt.NDArray[np.float32] | None
    significant: Mapping[str, npt.NDArray[np.bool_]]
    found: Mapping[str, FoundClusters]
    look: Look
    slices: Slices | None
    subcortex: Slices | None
    hemispheres: tuple[Hemisphere, ...]

    @property
    def outlined(self) -> str:
        """Title of the correction whose result is outlined; empty where there is none."""
        return self.analysis.rule(self.files.outlined).title if self.files.outlined else ""


def read_contrast_inputs(analysis: AnalysisInputs, contrast: ContrastFiles) -> ContrastInputs:
    """Read the maps and cluster tables of a contrast, and lay the maps on top of each other."""
    statistic = np.where(analysis.inside, read_map(contrast.maps[contrast.test]).data, 0).astype(np.float32)
    path = contrast.maps.get("p") or contrast.maps.get(UNCORRECTED)
    p = None if path is None else read_map(path).data
    found = {name: read_clusters(contrast, analysis.rule(name)) for name in contrast.corrections}
    significant = {name: mark_significant(contrast, one) & analysis.inside for name, one in found.items()}
    outlined = significant.get(str(contrast.outlined), np.zeros_like(analysis.inside))
    strength, limit = _strength(contrast, statistic), analysis.limits[contrast.test]
    look = Look(
        limit=limit,
        opaque_at=min(_opaque_at(strength, p, outlined), limit),
        is_signed=contrast.test == "t",
        name=contrast.test,
        is_one_sided=contrast.is_one_sided,
    )
    slices, subcortex = (
        None if brain is None else _lay(brain, look, statistic, strength, outlined)
        for brain in (analysis.brain, analysis.subcortex)
    )
    cortex = analysis.cortex
    return ContrastInputs(
        stem="_".join(Path(contrast.stem).parts[1:]),
        store=analysis.store,
        analysis=analysis,
        files=contrast,
        statistic=statistic,
        z=read_map(contrast.maps.get("z") or contrast.maps["varianceGroups"]).data,
        p=p,
        significant=significant,
        found=found,
        look=look,
        slices=slices,
        subcortex=subcortex,
        hemispheres=() if cortex is None else cortex.lay(statistic, analysis.inside, outlined),
    )


def _lay(
    brain: Brain,
    look: Look,
    statistic: npt.NDArray[np.float32],
    strength: npt.NDArray[np.float32],
    outlined: npt.NDArray[np.bool_],
) -> Slices:
    strengths, grid = brain.layout.fill(strength), brain.layout.grid
    x, y, z = apply_affine(grid.affine, np.unravel_index(int(strengths.argmax()), grid.shape))
    strongest = float(x), float(y), float(z)
    layers = Layers(
        look=look,
        mask=brain.mask,
        statistic=brain.layout.place(statistic),
        significant=brain.layout.place(outlined),
        anatomy=brain.anatomy,
    )
    return Slices(
        brain=brain,
        layers=layers,
        strongest_mm=strongest,
        focus_mm=brain.cut_mm or strongest,
        focus_words="the point asked for" if brain.cut_mm else f"the strongest {look.name}",
    )


def _opaque_at(
    strength: npt.NDArray[np.float32], p: npt.NDArray[np.float32] | None, outlined: npt.NDArray[np.bool_]
) -> float:
    """Find the smallest significant strength, or that at p = 1e-6 where this is smaller.

    Where nothing is significant it is the strength at p = 0.001, else the largest.
    """
    level = 1e-6 if outlined.any() else 1e-3
    chosen = outlined if p is None else outlined | ((p <= level) & (strength > 0))
    return max(float(strength[chosen].min() if chosen.any() else strength.max()), 0.1)
