"""The elements of a space that are analysed, and whether maps lie in one space."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements.space import Grid, Parcels, Part, Space, Structures, Vertices, Voxels, fits
from bids_group.errors import GridError


def check_same_space(
    reference: Path, space: Space, path: Path, other: Space, *, is_mask: bool = False
) -> None:
    """Refuse the file at ``path`` where its elements cannot be those of ``reference``; name both.

    Voxels must lie on one grid. Of surfaces and CIFTI files structures, meshes and grids must be the same;
    which vertices and voxels of them a file has may differ. A mask may have more structures than the maps.
    """
    if isinstance(space, Grid) and isinstance(other, Grid):
        _check_same_grid(reference, space, path, other, is_mask=is_mask)
    elif isinstance(space, Structures) and isinstance(other, Structures):
        _check_same_structures(reference, space, path, other, is_mask=is_mask)
    else:
        raise GridError(
            f"{'The mask ' if is_mask else ''}{path} is of another kind than {reference}.",
            found=other.describe(),
            expected=space.describe(),
            fix="Give maps (and the mask) of one kind: volumes, surfaces, CIFTI files or regions.",
        )


def _check_same_structures(
    reference: Path, space: Structures, path: Path, other: Structures, *, is_mask: bool
) -> None:
    """Refuse structures that the reference lacks, or whose mesh, grid or regions are others."""
    own = {part.structure: part for part in space.parts}
    theirs = {part.structure: part for part in other.parts}
    what = f"{'the mask ' if is_mask else ''}{path}"
    if own.keys() != theirs.keys() and not (is_mask and own.keys() <= theirs.keys()):
        shared = [str(name) for name in own if name in theirs]
        raise GridError(
            f"The structures of {what} are not those of {reference}.",
            found=", ".join(map(str, theirs)),
            expected=f"{', '.join(map(str, own))} as in {reference.name}",
            fix=f"--structures {' '.join(shared)} (those that both have), or leave this map out."
            if shared
            else "Choose maps of one kind.",
        )
    odd = next((name for name, part in own.items() if not fits(part, theirs[name])), None)
    if odd is not None:
        is_grid = isinstance(own[odd], Voxels)
        raise GridError(
            f"The {'grid' if is_grid else 'mesh'} of {what} differs from that of {reference}.",
            found=f"{_say_places(theirs[odd])} in {path.name}",
            expected=f"{_say_places(own[odd])} as in {reference.name}",
            fix="Write the voxels on one grid first (wb_command -cifti-resample), or leave them out: "
            "--structures CORTEX_LEFT CORTEX_RIGHT"
            if is_grid
            else "Choose one --space and --den, or resample the maps to one mesh first "
            "(wb_command -metric-resample; fsaverage and fsLR are different meshes).",
        )


def _say_places(part: Part) -> str:
    """Describe a part, and where the grid of its voxels lies."""
    return f"{part.describe()}, of {part.grid.describe()}" if isinstance(part, Voxels) else part.describe()


def _check_same_grid(reference: Path, grid: Grid, path: Path, other: Grid, *, is_mask: bool) -> None:
    """Refuse a volume on another grid than that of the reference."""
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
    """The analysed elements of a space.

    ``indices``: flat C-order positions in the space, ascending, of shape ``(n_elements,)``.
    """

    space: Space
    indices: npt.NDArray[np.intp]

    @classmethod
    def from_mask(cls, space: Space, mask: npt.NDArray[np.bool_]) -> Elements:
        """Make the elements where ``mask`` (of the space's shape) is true."""
        return cls(space=space, indices=np.flatnonzero(np.ascontiguousarray(mask)))

    @property
    def grid(self) -> Grid:
        """Grid of a plain volume; to ask for it elsewhere is a bug."""
        return self.space.grid

    @cached_property
    def parts(self) -> tuple[Part, ...]:
        """Parts with the analysed voxels, vertices or regions only, in the order of the elements."""
        return self.space.restrict(self.mask).parts

    @property
    def n_elements(self) -> int:
        """Number of analysed elements."""
        return int(self.indices.size)

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """Boolean array of the space's shape."""
        volume = np.zeros(self.space.n_elements, dtype=bool)
        volume[self.indices] = True
        return volume.reshape(self.space.shape)

    @cached_property
    def _in_file(self) -> npt.NDArray[np.intp]:
        """Positions in a file's order (x runs fastest), in the order of ``indices``."""
        voxels = np.unravel_index(self.indices, self.space.shape)
        return np.asarray(np.ravel_multi_index(voxels, self.space.shape, order="F"))

    def pack(self, volume: npt.NDArray[Any], out: npt.NDArray[Any] | None = None) -> npt.NDArray[Any]:
        """Take the analysed elements of an array, into ``out`` if given: shape ``(n_elements,)``."""
        if volume.flags.f_contiguous:
            return np.take(volume.T.reshape(-1), self._in_file, out=out, mode="clip")  # no copy of ``out``
        return np.take(volume.reshape(-1), self.indices, out=out, mode="clip")

    def unpack(self, row: npt.NDArray[np.float32], fill: float = 0.0) -> npt.NDArray[np.float32]:
        """Put a row ``(n_elements,)`` into an array of the space, in a file's order; else ``fill``."""
        volume = np.full(self.space.n_elements, fill, dtype=row.dtype)
        volume[self._in_file] = row
        return volume.reshape(self.space.shape, order="F")

    def name_places(self, which: npt.NDArray[np.intp]) -> dict[str, list[Any]]:
        """Say what elements are, by column of a table: ``region``, or ``structure`` and ``vertex``.

        None of a plain volume, whose places are points; no number of a vertex where it is a voxel.
        """
        if isinstance(self.space, Grid):
            return {}
        ends = np.cumsum([part.n_elements for part in self.parts])
        found: dict[str, list[Any]] = {"structure": [], "vertex": [], "region": []}
        for element in map(int, which):
            at = int(np.searchsorted(ends, element, side="right"))
            part, number = self.parts[at], element - (0 if at == 0 else int(ends[at - 1]))
            found["structure"].append(part.structure)
            found["vertex"].append(int(part.indices[number]) if isinstance(part, Vertices) else None)
            found["region"].append(part.names[number] if isinstance(part, Parcels) else None)
        has_regions = any(isinstance(part, Parcels) for part in self.parts)
        return {name: found[name] for name in (("region",) if has_regions else ("structure", "vertex"))}

    def coordinates_mm(self, which: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
        """Centres in mm, shape ``(n, 3)``, of the elements numbered ``which`` (0 … n_elements − 1)."""
        voxels = np.column_stack(np.unravel_index(self.indices[which], self.grid.shape))
        return voxels @ self.grid.affine[:3, :3].T + self.grid.affine[:3, 3]
