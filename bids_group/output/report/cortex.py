"""The hemispheres of an analysis: their parts of the maps, and the surfaces that pictures stand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_group.elements import Space, Vertices, read_surface
from bids_group.output.report.brains import Look
from bids_group.output.report.surfaces import Hemisphere, Shape, pack_mesh

ENDING = "midthickness.surf.gii"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Half:
    """A hemisphere of the maps: its part of their space, where this stands in a row, and its surface."""

    part: Vertices
    own: slice
    shape: Shape

    @property
    def hemi(self) -> str:
        """``L`` or ``R``."""
        return str(self.part.hemi)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Cortex:
    """The hemispheres that have a surface in OUTPUT_DIR; ``id``: what the page calls their meshes."""

    id: str
    halves: tuple[Half, ...]

    def pack(self) -> list[dict[str, Any]]:
        """Give the meshes to the viewer."""
        return [pack_mesh(one.hemi, one.shape) for one in self.halves]

    def lay(
        self,
        statistic: npt.NDArray[np.float32],
        inside: npt.NDArray[np.bool_],
        significant: npt.NDArray[np.bool_],
    ) -> tuple[Hemisphere, ...]:
        """Lay rows over the whole space onto the surfaces."""
        found = []
        for half in self.halves:
            values = np.full(half.part.n_vertices, np.nan, dtype=np.float32)
            is_in = np.zeros(half.part.n_vertices, dtype=bool)
            values[half.part.indices] = np.where(inside, statistic, np.nan)[half.own]
            is_in[half.part.indices] = significant[half.own]
            one = Hemisphere(hemi=half.hemi, shape=half.shape, values=values, is_significant=is_in)
            found.append(one)
        return tuple(found)


def read_cortex(root: Path, space: Space, entities: Mapping[str, str]) -> Cortex | None:
    """Read the surfaces that a run wrote beside its maps; None where no hemisphere has one."""
    named = "".join(f"{name}-{entities[name]}_" for name in ("space", "den") if name in entities)
    halves = []
    for part, own in zip(space.parts, space.slices, strict=True):
        if not isinstance(part, Vertices) or part.hemi is None:
            continue
        path = root / "group" / f"hemi-{part.hemi}_{named}{ENDING}"
        if path.is_file():
            mesh = read_surface(path).mesh
            if len(mesh.points) == part.n_vertices:
                shape = Shape(points=mesh.points, triangles=mesh.triangles.astype(np.int64))
                halves.append(Half(part=part, own=own, shape=shape))
    return Cortex(id=f"meshes-{named}", halves=tuple(halves)) if halves else None


def strongest_half(hemispheres: Sequence[Hemisphere], look: Look) -> Hemisphere:
    """Find the hemisphere with the strongest evidence."""

    def strength(one: Hemisphere) -> float:
        values = np.nan_to_num(one.values)
        return float((values if look.is_one_sided else np.abs(values)).max())

    return max(hemispheres, key=strength)
