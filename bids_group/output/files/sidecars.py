"""What stands beside each map and table and is written with it: how it came about, in keys of the manual."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bids_group.config import AnalysisSpec
from bids_group.config.inference import CAUCHY_SCALE
from bids_group.elements import Grid, Space, Vertices, expand
from bids_group.output.files.names import (
    analysis_stem,
    contrast_label,
    hemispheres_of,
    map_path,
    pooled_path,
)
from bids_group.records import (
    Contrast,
    ContrastResult,
    FirstLevelMap,
    GroupAnalysis,
    GroupData,
    Notice,
    PooledMap,
    Significance,
    are_told_apart,
)
from bids_group.records.sidecars import (
    Centering,
    ContrastEntry,
    RowEntry,
    ScalingFacts,
    Sidecar,
    Smoothing,
    SphericityFacts,
    VariableKind,
)
from bids_group.words import bids_uri, counted, say_number

STAT_WORDS: dict[str, str] = json.loads(Path(__file__).with_name("stats.json").read_text(encoding="utf-8"))
ESTIMATOR_WORDS = {
    "variance": "Variance component of the mixed model, in squared units of the effects",
    "icc": "Intraclass correlation: share of the variance of a row that its group explains",
    "I2": "I²: share of the variance of the effects that is between people, in percent (Higgins 2002)",
    "tau2": "Variance between people beyond that of their maps (REML), in squared units of the effects",
}
SHARED_STATS = tuple(stat for stat in ESTIMATOR_WORDS if stat != "variance")
"""Maps of the estimator that belong to all contrasts of an analysis, and are named by ``stat`` alone."""
_N_POOLED = "Number of maps observed at each element; 0 = missing in every other map of this set"
POOLINGS = {
    "precision": "fixed effects, weighted by precision (1/variance)",
    "mean": "fixed effects, unweighted mean",
    "weights": "weighted sum",
}
_SCALING = "each map times Mean / its value of Column; variance times the square"
_EQUIVALENCE = {
    False: "two one-sided t tests (Schuirmann 1987), bounds in units of the effect: t is that of the nearer "
    "bound, p the larger of the two",
    True: "two one-sided tests by the non-central t, bounds in residual standard deviations (the units of "
    "Hedges' g): p is the larger of the two, t the central t with the same p",
}
"""By whether bounds are standardised."""
_DOF_DIFFERS = "differs between elements: see stat-dof"
_DOF_OF_CONTRASTS = "those of each contrast: see its stat-dof"
_DOF_NONE = "none that hold: an F of several rows with variance groups is judged by shuffling alone"
_DOF_INFINITE = "infinite: variances are known, the reference is normal"


@dataclass(frozen=True, kw_only=True, eq=False)
class Context:
    """Everything that the files of one analysis have in common."""

    output_dir: Path
    analysis: GroupAnalysis
    data: GroupData
    spec: AnalysisSpec
    dataset_names: Mapping[str, Path]

    def stem(self, contrast_part: str = "") -> str:
        """Start of the names of the analysis' files, or of those of a group contrast."""
        return str(analysis_stem(self.output_dir, self.analysis, contrast_part))

    def name_map(self, ending: str, contrast_part: str = "") -> Path:
        """Name a map of the analysis, or of a group contrast, by its ending: ``stat-t_statmap``."""
        space = self.data.elements.space
        return map_path(self.stem(contrast_part), ending, space.form, hemispheres_of(space))

    @cached_property
    def sidecar(self) -> Sidecar:
        """What every file of the analysis shares; what belongs to one contrast is null."""
        data, spec, analysis, maps = self.data, self.spec, self.analysis, self.analysis.maps
        design, own, scaling = data.design, analysis.design_matrix, analysis.scaling
        roots = {**self.dataset_names, "": self.output_dir}  # the output dataset has no name in URIs
        sources = [pooled_path(self.output_dir, one, "effect") for one in analysis.observations]
        first_level, first_levels = analysis.first_level_contrast, sorted({one.contrast for one in maps})
        is_one = data.is_complete and not data.estimator.has_own_dof
        is_by_contrast = data.is_complete and data.estimator.has_clusters
        differs = _DOF_OF_CONTRASTS if is_by_contrast else _DOF_DIFFERS
        dof = design.dof if is_one else differs
        return Sidecar(
            description="",
            sources=_uris(sources, roots),
            **_space(maps, data.elements.space, self.dataset_names),
            first_level_contrast=first_level,
            first_level_contrasts=first_levels if first_levels != [first_level] else None,
            group_contrast=None,
            test=None,
            weights=None,
            columns=list(design.matrix.columns),
            formula=design.formula,
            design_matrix=None if own is None else own.name,
            estimator=data.estimator.title,
            random_terms=None if design.random is None else design.random.text,
            estimator_variant=data.estimator.variant or None,
            degrees_of_freedom=dof if data.estimator.has_residual_variance else _DOF_INFINITE,
            sample_size=len(design.matrix),
            number_of_participants=len({one.subject for one in analysis.observations}),
            smoothing=smoothing(spec),
            scaling=None if scaling is None else ScalingFacts.of(scaling, method=_SCALING),
            mask=", ".join(_uris([self.name_map("desc-analysis_mask")], roots)),
            mask_threshold=_own_threshold(maps) if spec.mask is None else spec.mask_threshold,
            minimum_coverage=spec.min_coverage,
            pooling=", ".join(sorted({one.combine for one in analysis.observations})),
            centering=Centering(method=design.centering, values=dict(design.centers)),
            group_by=dict(analysis.group_labels) or None,
            **_input(maps),
        )


def analysis_sidecar(context: Context, description: str) -> Sidecar:
    """Say what every file of an analysis shares; what belongs to one contrast is null."""
    return context.sidecar.but(description=description)


def smoothing(spec: AnalysisSpec) -> Smoothing:
    """Describe the kernel, of no width where nothing is smoothed."""
    return Smoothing(kernel="Gaussian", full_width_at_half_maximum=spec.smoothing_fwhm_mm, units="mm")


def say_center(value: Any) -> str:
    """Say with four digits that matter what a covariate is centred at (by level of a factor, or once)."""
    if isinstance(value, Mapping):
        return ", ".join(f"{say_center(center)} in {level}" for level, center in value.items())
    if isinstance(value, str):  # in the files of an earlier version
        return value
    return say_number(value)


def _uris(paths: Iterable[Path], roots: Mapping[str, Path]) -> list[str]:
    """Spell files as BIDS URIs, both of two hemispheres."""
    return [bids_uri(one, roots) for path in paths for one in expand(path)]


def _space(maps: Sequence[FirstLevelMap], space: Space, dataset_names: Mapping[str, Path]) -> dict[str, Any]:
    """Name the first input map, whose elements are those of every map here, and say what they are."""
    reference = ", ".join(_uris([maps[0].effect], dataset_names))
    if not isinstance(space, Grid):
        density = maps[0].den
        meshes = [part.describe() for part in space.parts if isinstance(part, Vertices)]
        said = space.describe() if not meshes else "; ".join(meshes)
        return {
            "spatial_reference": None if space.form == "table" else reference,
            "density": f"{said}{f' (den-{density})' if density else ''}",
        }
    sizes = " x ".join(f"{size:.4g}" for size in space.element_sizes_mm)
    return {
        "spatial_reference": reference,
        "resolution": f"Voxels of {sizes} mm" + (f" (res-{maps[0].res})" if maps[0].res else ""),
    }


def _own_threshold(maps: Iterable[FirstLevelMap]) -> float | None:
    """Say above which value voxels are inside the maps' own masks; None without, and where two values say."""
    return next((one.mask_threshold for one in maps if one.mask is not None), None)


def _input(maps: Sequence[FirstLevelMap]) -> dict[str, Any]:
    """Say that z or t maps were taken for effects, and that maps are no contrasts."""
    stat, suffix = maps[0].input_stat, maps[0].suffix
    warning = f"{stat} maps were analysed in place of effects: effects have no units"
    return {
        "input_statistic": None if stat == "effect" else stat,
        "input_statistic_warning": None if stat == "effect" else warning,
        "input_suffix": None if suffix == "statmap" else suffix,
    }


def design_sidecar(
    context: Context, notices: Sequence[Notice], sphericity: SphericityFacts | None = None
) -> Sidecar:
    """Say what the columns and rows of a design are, and what is tested."""
    design, analysis, data = context.data.design, context.analysis, context.data
    columns = {str(name): analysis.columns.get(str(name)) for name in design.variables.columns}
    return analysis_sidecar(context, "Design matrix: one row per observation, one column per regressor").but(
        terms=design.terms,
        variables={str(name): column.to_dict() for name, column in design.variables.items()},
        variable_kinds={name: VariableKind.of(one) for name, one in columns.items() if one is not None},
        centers=design.centers,
        rank=design.rank,
        details=design.details,
        contrasts=[contrast_entry(analysis, one) for one in (*design.contrasts, *design.conjunctions)],
        notices=[asdict(one) for one in dict.fromkeys([*analysis.notices, *design.notices, *notices])],
        observations=[
            RowEntry.of(
                one,
                participant_id=f"sub-{one.subject}",
                n_maps=len(one.maps),
                contrast=one.contrast if one.is_one_of_several else None,
            )
            for one in analysis.observations
        ],
        blocks=_labels_of(data.blocks),
        variance_groups=_labels_of(data.variance_groups),
        node=analysis.node,
        sphericity=sphericity,
        cut_coordinates=context.spec.cut_coords_mm,
    )


def contrast_entry(analysis: GroupAnalysis, contrast: Contrast) -> ContrastEntry:
    """Describe a group contrast in the design's sidecar."""
    return ContrastEntry.of(contrast, file_label=contrast_label(analysis, contrast.label))


def _labels_of(series: pd.Series | None) -> dict[str, str] | None:
    return None if series is None else {str(row): str(value) for row, value in series.items()}


def contrast_sidecar(context: Context, result: ContrastResult, description: str) -> Sidecar:
    """Say what every map of a group contrast shares; dof of F are numerator and denominator."""
    contrast = result.contrast
    dof: float | list[float] | str = _DOF_DIFFERS if "p" in result.maps else _DOF_NONE
    if result.dof is not None:
        dof = [float(result.dof_numerator), float(result.dof)] if contrast.test == "F" else float(result.dof)
        dof = dof if np.isfinite(result.dof) else _DOF_INFINITE
    bounds = contrast.bounds
    return analysis_sidecar(context, f"{description}; {contrast.words or contrast.name}").but(
        group_contrast=contrast.name,
        group_contrast_expression=contrast.expression,
        group_contrast_words=contrast.words,
        test=contrast.test,
        weights=contrast.weights,
        degrees_of_freedom=dof,
        two_sided=context.spec.inference.is_two_sided and contrast.has_two_tails,
        equivalence_bounds=None if bounds is None else [bounds.lower, bounds.upper],
        equivalence_method=None if bounds is None else _EQUIVALENCE[bounds.is_standardised],
        conjunction=list(contrast.parts) or None,
    )


def bayes_sidecar(context: Context, result: ContrastResult) -> Sidecar:
    """Say on which prior and which sample size a map of Bayes factors stands."""
    slope = result.contrast.slope
    per = "" if slope is None else f" per standard deviation of {slope.covariate}"
    size = result.effective_size
    return Sidecar(
        bayes_factor_prior=f"JZS (Rouder et al. 2009): the effect in residual standard deviations{per} has a "
        "Cauchy prior around 0 of scale CauchyScale, the residual variance Jeffreys' prior; two-sided",
        cauchy_scale=CAUCHY_SCALE,
        effective_sample_size="differs between elements" if size is None else size,
        covariate_standard_deviation=None if slope is None else slope.sd,
    )


def fit_sidecar(context: Context) -> Sidecar:
    """Say what the fit, and what needs no shuffling, makes of variance groups and blocks."""
    groups, blocks = context.data.variance_groups, context.data.blocks
    said = Sidecar()
    if groups is not None and context.data.has_group_variances:
        said = Sidecar(
            variance_groups=str(groups.name),
            variance_estimate="each variance group's own residual variance: t = effect / sqrt(sum of a_g) on "
            "(sum of a_g)^2 / sum(a_g^2 / dof_g) degrees of freedom (Satterthwaite)",
        )
    if blocks is not None and are_told_apart(blocks) and not context.data.estimator.compares_people:
        said = said.but(ignored_exchangeability_blocks=str(blocks.name))
    return said


def corrected_sidecar(
    context: Context, result: ContrastResult, significance: Significance, description: str
) -> Sidecar:
    """Say what one correction found of one contrast; keys of shuffling are null without it."""
    return contrast_sidecar(context, result, description).but(
        Sidecar(
            two_sided=significance.is_two_sided,
            correction=significance.correction,
            alpha=significance.alpha,
            threshold=significance.threshold,
            threshold_statistic=significance.threshold_stat,
            number_of_permutations=None,
            random_seed=None,
            shuffling=None,
            number_of_significant_elements=int(significance.is_significant.sum()),
            number_of_clusters=len(significance.clusters),
            notices=[one.sentence for one in significance.notices],
        ),
        fit_sidecar(context) if significance.details.shuffling_scheme is None else Sidecar(),
        significance.details,
    )


def pooled_sidecar(
    pooled: PooledMap, stats: Iterable[str], dataset_names: Mapping[str, Path]
) -> dict[str, Sidecar]:
    """Say how a pooled map came about, for each stat; what belongs to the group level is null."""
    observation, maps, dof = pooled.observation, pooled.observation.maps, pooled.dof
    base = Sidecar(
        **_space(maps, pooled.space, dataset_names),
        first_level_contrast=observation.contrast,
        group_contrast=None,
        test=None,
        weights=list(observation.weights) or None,
        columns=None,
        formula=None,
        estimator=POOLINGS[observation.combine] if len(maps) > 1 else "the only map, unchanged",
        degrees_of_freedom=dof if dof is None else float(dof) if dof.ndim == 0 else "see stat-dof",
        sample_size=len(maps),
        smoothing=None,
        mask=None,
        mask_threshold=_own_threshold(maps),
        pooling=observation.combine,
        centering=None,
        **_input(maps),
        input_hashes={bids_uri(Path(path), dataset_names): one for path, one in pooled.input_hashes.items()},
    )
    words = STAT_WORDS | {"n": _N_POOLED}
    kind = "first-level" if maps[0].suffix == "statmap" else maps[0].suffix
    n_maps = counted(len(maps), "map").replace(" ", f" {kind} ")
    sidecars = {}
    for stat in stats:  # sources: the maps of the same kind where there are such, else the effects
        own = [getattr(one, stat) for one in maps] if stat in ("variance", "dof") else []
        files = [path for path in own if isinstance(path, Path)] or [one.effect for one in maps]
        sources = _uris(files, dataset_names)
        sidecars[stat] = Sidecar(description=f"{words[stat]}; pooled over {n_maps}", sources=sources).but(
            base
        )
    return sidecars
