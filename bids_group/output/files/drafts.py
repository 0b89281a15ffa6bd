"""Files to be written, each with its sidecar: all are named before the first one is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pandas as pd

from bids_group.output.disk.manifest import record_outputs
from bids_group.output.disk.writing import write_json, write_table, write_volume
from bids_group.output.files.names import shared_entities, sidecar_path
from bids_group.output.files.sidecars import Context
from bids_group.records import OutputFile
from bids_group.records.sidecars import Sidecar

COLUMNS = {
    "label": "Row of the design: participant (and session)",
    "n_elements_observed": "Number of elements observed in this map",
    "n_elements_lost_only_by_this_row": "Number of elements that the mask lacks because of this map alone",
    "mean_effect": "Mean of the effect over the analysed elements",
    "sd_effect": "Standard deviation of the effect over the analysed elements",
    "correlation_loo": "Spatial correlation with the mean of all other maps",
    "mahalanobis": "Mahalanobis distance from the other maps",
    "cooks_at_peak": "Cook's distance at the strongest peak",
    "leverage": "Leverage of the row in the design",
    "is_outlier": "Whether the row is marked as an outlier (never removed)",
    "outlier_reasons": "Why the row is marked",
    "cluster": "Number of the cluster, as in the label image",
    "peak": "1 is the strongest local maximum of the cluster, larger numbers its further ones",
    "sign": "positive or negative",
    "x": ("Position in the space of the maps", "mm"),
    "y": ("Position in the space of the maps", "mm"),
    "z": ("Position in the space of the maps", "mm"),
    "t": "t value of the fit at the peak",
    "F": "F value of the fit at the peak",
    "z_score": "Statistic that was judged at the peak as a normal deviate (variance groups: Welch's v or G)",
    "p_uncorrected": "Uncorrected p-value at the peak",
    "p_corrected": "Corrected p-value at the peak",
    "size_mm3": ("Volume of the cluster", "mm^3"),
    "n_elements": "Number of elements of the cluster",
    "mass": "Sum over the cluster of what the statistic (as z) exceeds the forming threshold by",
    "p_size": "Family-wise corrected p-value of the cluster's size",
    "p_mass": "Family-wise corrected p-value of the cluster's mass",
    "p_tfce": "Family-wise corrected p-value of threshold-free cluster enhancement, smallest in the cluster",
    "p_peak": "Smallest corrected p-value in the cluster (fwe-: of the voxelwise maximum)",
    "true_discovery_proportion": "Lower bound of the share of truly active elements in the cluster",
    "effect": "Effect, in the units of the input maps",
    "effect_lower": "Lower limit of the effect's confidence interval (1 - alpha)",
    "effect_upper": "Upper limit of the effect's confidence interval (1 - alpha)",
    "g": "Hedges' g",
    "g_lower": "Lower limit of Hedges' g (95 %)",
    "g_upper": "Upper limit of Hedges' g (95 %)",
    "region": "Region of the atlas at the peak",
    "cluster_regions": "Regions of the atlas that the cluster reaches, with its share in each",
    "is_significant": "Whether the peak is significant",
    "fitted": "Fitted value of the model",
    "partial_residual": "Effect without the centred share of regressors that the contrast does not weight",
    "statistic_without_row": "Statistic at the peak when this row is left out",
}
"""What the columns of our tables mean, and their units where they have some."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draft:
    """A file to be written, with its sidecar. ``write`` makes the content when its turn has come."""

    path: Path
    write: Callable[[Path], object]
    sidecar: Sidecar
    stat: str | None = None
    contrast: str | None = None
    columns: Sequence[str] = ()
    """Columns of a table: the sidecar describes those that we have words for."""


def write_drafts(output_dir: Path, drafts: Sequence[Draft]) -> tuple[OutputFile, ...]:
    """Note every name first: what a killed run wrote is known. Of two drafts of one name the later counts."""
    last = {draft.path: draft for draft in drafts}
    own = (path for draft in last.values() for path in (draft.path, sidecar_path(draft.path)))
    record_outputs(output_dir, (path.relative_to(output_dir) for path in own))
    written = []
    for draft in last.values():
        draft.write(draft.path)
        write_json(sidecar_path(draft.path), draft.sidecar.to_json() | _describe(draft.columns))
        sources = tuple(draft.sidecar.sources or ())
        path = draft.path.relative_to(output_dir)
        written.append(OutputFile(path=path, stat=draft.stat, contrast=draft.contrast, sources=sources))
    return tuple(written)


def _describe(columns: Sequence[str]) -> dict[str, dict[str, str]]:
    known = {name: COLUMNS[name] for name in columns if name in COLUMNS}
    return {
        name: {"Description": text}
        if isinstance(text, str)
        else dict(zip(("Description", "Units"), text, strict=True))
        for name, text in known.items()
    }


def draft_volume(
    context: Context,
    path: str,
    make: Callable[[], npt.NDArray[Any]],
    sidecar: Sidecar,
    *,
    stat: str | None = None,
    contrast: str | None = None,
    intent: tuple[str, tuple[float, ...]] | None = None,
) -> Draft:
    """Draft a volume on the grid of the analysis; ``intent``: its NIfTI intent and parameters."""
    grid, space = context.data.elements.grid, shared_entities(context.maps)["space"]
    return Draft(
        path=Path(path),
        write=lambda target: write_volume(target, make(), grid, space=space, intent=intent),
        sidecar=sidecar,
        stat=stat,
        contrast=contrast,
    )


def draft_table(path: str, table: pd.DataFrame, sidecar: Sidecar, contrast: str | None = None) -> Draft:
    """Draft a table."""
    return Draft(
        path=Path(path),
        write=lambda target: write_table(target, table),
        sidecar=sidecar,
        contrast=contrast,
        columns=[str(name) for name in table.columns],
    )
