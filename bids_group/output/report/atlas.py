"""Names of places: a labelled image and its table of regions, both given by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group.elements import Elements, Grid, read_map
from bids_group.errors import DataError, MissingInputError
from bids_group.input_files import read_file
from bids_group.output.report.folder import entities_of
from bids_group.work_files import drop_pages

MIN_SHARE = 0.05
"""Regions with less of a cluster than this are not named."""
_ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Atlas:
    """Regions on a grid of their own: ``labels`` (0 = none) of the grid's shape; ``names`` by label."""

    path: Path
    grid: Grid
    labels: npt.NDArray[np.int32]
    names: Mapping[int, str]

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

    The table stands beside the image or above it, with the same name or fewer entities (BIDS inheritance):
    ``.tsv`` or ``.csv`` with the columns ``index`` and ``name``.

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
    names = _read_names(_find_table(path))
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


def _find_table(path: Path) -> Path:
    """Find the table with the most entities in common, and no others than the image has."""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    suffix, own = stem.rsplit("_", 1)[-1], entities_of(stem).items()
    folders = (path.parent, path.parent.parent)
    tables = [table for folder in folders for table in sorted([*folder.glob("*.tsv"), *folder.glob("*.csv")])]
    fitting = [
        table
        for table in tables
        if own and table.stem.rsplit("_", 1)[-1] == suffix and entities_of(table.stem).items() <= own
    ]
    best = [table for table in tables if table.stem == stem]
    best += sorted(fitting, key=lambda table: -len(entities_of(table.stem)))
    if best:
        return best[0]
    raise MissingInputError(
        f"The atlas {path} has no table of region names.",
        expected=f"{stem}.tsv beside it, with the columns index and name",
        fix="Put the table beside the image.",
    )


def _read_names(path: Path) -> dict[int, str]:
    separator = "\t" if path.suffix == ".tsv" else ","
    try:
        content = BytesIO(read_file(path))
        table = pd.read_csv(content, sep=separator, dtype=str, encoding="utf-8-sig", keep_default_na=False)
    except OSError as error:
        sentence = f"The table of regions {path} cannot be read."
        raise MissingInputError(sentence, found=error.strerror) from error
    except ValueError as error:
        raise DataError(f"The table of regions {path} is no table.", found=str(error)) from error
    table.columns = pd.Index([str(name).strip().lower() for name in table.columns])
    index = next((name for name in ("index", "label", "value", "id") if name in table), None)
    name = next((one for one in ("name", "region", "label") if one in table and one != index), None)
    if index is None or name is None or not table[index].str.strip().str.fullmatch(r"\d{1,10}(\.0)?").all():
        raise DataError(
            f"The table of regions {path} cannot be used.",
            found=f"columns {', '.join(table.columns)}",
            expected="index (whole numbers) and name",
            fix="Rename its columns.",
        )
    return {int(float(label)): text.strip() for label, text in zip(table[index], table[name], strict=True)}
