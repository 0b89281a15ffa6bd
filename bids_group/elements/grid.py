"""Geometry: the grid a map lies on, and the elements of it that are analysed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.errors import GridError


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """A voxel grid: ``shape`` (3 ints) and ``affine`` (4 × 4, voxel indices to mm)."""

    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]

    @property
    def n_elements(self) -> int:
        """Number of voxels."""
        return int(np.prod(self.shape))

    @property
    def element_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def element_sizes_mm(self) -> tuple[float, float, float]:
        """Edge lengths of a voxel in mm."""
        x, y, z = np.sqrt((self.affine[:3, :3] ** 2).sum(axis=0))
        return float(x), float(y), float(z)

    def is_same(self, other: Grid) -> bool:
        """Whether shape is equal and affine equal to 1e-3 mm (writers round differently)."""
        if self is other:  # which headers of equal bytes share
            return True
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, rtol=0, atol=1e-3))

    def describe(self) -> str:
        """Shape, voxel size and origin in words."""
        sizes = " × ".join(f"{size:.4g}" for size in self.element_sizes_mm)
        origin = ", ".join(f"{value:.4g}" for value in self.affine[:3, 3])
        return f"{' × '.join(map(str, self.shape))} voxels of {sizes} mm, origin ({origin})"


def check_same_grid(reference: Path, grid: Grid, path: Path, other: Grid, *, is_mask: bool = False) -> None:
    """Refuse the file at ``path`` where its grid is not that of ``reference``; name both."""
    if grid.is_same(other):
        return
    apart = np.abs(grid.affine - other.affine).max()
    affines = f" (affines differ by up to {apart:.3g})" if grid.describe() == other.describe() else ""
    raise GridError(
        f"The grid of {'the mask ' if is_mask else ''}{path} differs from that of {reference}.",
        found=f"{other.describe()} in {path.name}{affines}",
        expected=f"{grid.describe()} as in {reference.name}",
        fix="Take the mask of the maps' own space and resolution, or resample it to their grid with nearest "
        'neighbours: nilearn.image.resample_to_img(mask, map, interpolation="nearest").'
        if is_mask
        else "Resample the maps to one grid first, or select one --space and --res.",
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Elements:
    """The analysed elements of a grid.

    ``indices``: flat C-order positions in the grid, ascending, of shape ``(n_elements,)``.
    """

    grid: Grid
    indices: npt.NDArray[np.intp]

    @classmethod
    def from_mask(cls, grid: Grid, mask: npt.NDArray[np.bool_]) -> Elements:
        """Make the elements where ``mask`` (of the grid's shape) is true."""
        return cls(grid=grid, indices=np.flatnonzero(np.ascontiguousarray(mask)))

    @property
    def n_elements(self) -> int:
        """Number of analysed elements."""
        return int(self.indices.size)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Boolean volume of the grid's shape."""
        volume = np.zeros(self.grid.n_elements, dtype=bool)
        volume[self.indices] = True
        return volume.reshape(self.grid.shape)

    @cached_property
    def _in_file(self) -> npt.NDArray[np.intp]:
        """Positions in a file's order (x runs fastest), in the order of ``indices``."""
        voxels = np.unravel_index(self.indices, self.grid.shape)
        return np.asarray(np.ravel_multi_index(voxels, self.grid.shape, order="F"))

    def pack(self, volume: npt.NDArray[Any], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Take the analysed elements of a volume, into ``out`` if given: shape ``(n_elements,)``."""
        if volume.flags.f_contiguous:
            return np.take(volume.T.reshape(-1), self._in_file, out=out, mode="clip")  # no copy of ``out``
        return np.take(volume.reshape(-1), self.indices, out=out, mode="clip")

    def unpack(self, row: npt.NDArray[np.float32], fill: float = 0.0) -> npt.NDArray[np.float32]:
        """Put a row ``(n_elements,)`` into a volume of the grid's shape, in a file's order; else ``fill``."""
        volume = np.full(self.grid.n_elements, fill, dtype=row.dtype)
        volume[self._in_file] = row
        return volume.reshape(self.grid.shape, order="F")

    def coordinates_mm(self, which: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Centres in mm, shape ``(n, 3)``, of the elements numbered ``which`` (0 … n_elements − 1)."""
        voxels = np.column_stack(np.unravel_index(self.indices[which], self.grid.shape))
        return voxels @ self.grid.affine[:3, :3].T + self.grid.affine[:3, 3]
