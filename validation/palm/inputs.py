"""What PALM and bids-group are both given: maps of fourteen people on surfaces, in a CIFTI file, in a volume.

Run from the repository's root::

    python validation/palm/inputs.py FOLDER     # FOLDER/{surface,cifti,volume}.mat, for witness.m

Numbers are odd numbers over 2048, drawn from the raw
stream of PCG64 and summed over neighbours, so they are the same on every machine and exact in float32. The
hemispheres are those of fsaverage5 that come with nilearn; the CIFTI set leaves out a medial wall and has two
blobs of voxels. The shuffles are the app's own, of the seed and number below.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.io import savemat
from scipy.stats import norm

from bids_group.config import InferenceSpec
from bids_group.elements import Mesh, mesh_patch, read_fsaverage5, voxel_patch
from bids_group.inference.shuffling.scheme import choose_scheme
from bids_group.inference.shuffling.shuffles import Batch
from bids_group.records import Contrast, Design

N_SHUFFLES, SEED, FORMING_P = 24, 0, 0.02
AGES = np.array([21, 34, 27, 45, 52, 38, 29, 61, 33, 47, 25, 56, 40, 36])
IS_PATIENT = np.arange(AGES.size) % 5 < 2
PEOPLE = [f"sub-{number:02d}" for number in range(1, AGES.size + 1)]
FORMULA = "~ group + age"
CONTRASTS = {"difference": "mean(group=patient) - mean(group=control)", "mean": "mean()"}
"""The first is shuffled by permutations, the second by sign flips; age is left alone by both."""
SHAPE, AFFINE = (22, 20, 18), np.diag([2.0, 2, 2, 1])


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """A hemisphere or a structure of voxels: its elements, and where they lie.

    ``which``: vertices, or places in the grid ``(n, 3)``.
    """

    structure: str
    which: np.ndarray
    mesh: Mesh | None = None

    def adjacency(self) -> sparse.csr_array:
        """Say which elements touch, each itself too."""
        patch = voxel_patch(self.which, AFFINE, 6) if self.mesh is None else mesh_patch(self.mesh, self.which)
        n = len(self.which)
        edges = sparse.csr_array((np.ones(patch.pairs[0].size, np.int64), patch.pairs), shape=(n, n))
        return sparse.csr_array(edges + sparse.eye_array(n, dtype=np.int64))


def make_parts(kind: str) -> list[Part]:
    """Lay out ``surface``, ``cifti`` or ``volume``."""
    grid = np.argwhere(np.ones(SHAPE, bool))
    if kind == "volume":
        is_in = (((grid - np.array([10.5, 9.5, 8.5])) / np.array([10, 9, 8])) ** 2).sum(axis=1) < 1
        return [Part(structure="VOLUME", which=grid[is_in])]
    parts = []
    for structure, mesh in read_fsaverage5().items():
        middle = mesh.points[np.abs(mesh.points[:, 0]).argmin()]
        is_wall = np.linalg.norm(mesh.points - middle, axis=1) < 25
        which = np.flatnonzero(~is_wall) if kind == "cifti" else np.arange(mesh.n_vertices)
        parts.append(Part(structure=structure, which=which, mesh=mesh))
    for structure, middle in {"CAUDATE_LEFT": (6, 10, 9), "THALAMUS_LEFT": (15, 10, 9)}.items():
        is_in = np.linalg.norm(grid - np.array(middle), axis=1) < 5
        parts.append(Part(structure=structure, which=grid[is_in]))
    return parts if kind == "cifti" else parts[:2]


def draw(part: Part, seed: int) -> np.ndarray:
    """Smooth noise with an effect of patients in a twelfth of the elements, float32 ``(n_people, n)``."""
    n = len(part.which)
    raw = np.random.PCG64(seed).random_raw(4 * n * AGES.size).reshape(4, AGES.size, n)
    noise = (raw >> np.uint64(55)).astype(np.int64).sum(axis=0) - 4 * 256 + 2
    sums = noise.T
    for _ in range(3):
        sums = part.adjacency() @ sums
    level = int(np.abs(sums).mean())
    is_near = np.linalg.norm(part.which - part.which[n // 3], axis=1) < 4 if part.mesh is None else (
        np.linalg.norm(part.mesh.points[part.which] - part.mesh.points[part.which[n // 3]], axis=1) < 30
    )  # fmt: skip
    effects = is_near[:, None] * (level * (2 * IS_PATIENT - 1) + level // 2) + level // 4
    whole = (sums + effects + (AGES - AGES.min()) * (level // 40)).T
    return np.float32((2 * whole + 1) / 2048)  # never 0, which would be unobserved


def make_maps(kind: str) -> list[np.ndarray]:
    """Draw the maps of each part, ``(n_people, n)``."""
    return [draw(part, 100 * len(kind) + number) for number, part in enumerate(make_parts(kind))]


def design_of_people() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Design and contrasts, written by hand: control, patient, age as it is."""
    design = np.column_stack([~IS_PATIENT, IS_PATIENT, AGES]).astype(float)
    return design, {"difference": np.array([-1.0, 1, 0]), "mean": np.array([0.5, 0.5, AGES.mean()])}


def shuffles_of(name: str) -> Batch:
    """Ask the app for its shuffles of a contrast: the unshuffled data, then the others."""
    design, contrasts = design_of_people()
    weights = contrasts[name][None]
    matrix = pd.DataFrame(design, index=PEOPLE, columns=["control", "patient", "age"])
    contrast = Contrast(name=name, label="", weights=weights, test="t", expression="", words="")
    record = Design(
        matrix=matrix, contrasts=(contrast,), formula=FORMULA, terms={}, variables=matrix, centering="none",
        centers={}, rank=3, details={},
    )  # fmt: skip
    spec = InferenceSpec(n_permutations=N_SHUFFLES, random_seed=SEED)
    scheme = choose_scheme(record, contrast, spec, blocks=None, variance_groups=None)
    return scheme.shuffles.batch(0, N_SHUFFLES + 1)


def for_octave(kind: str) -> dict[str, object]:
    """Gather what witness.m reads."""
    design, contrasts = design_of_people()
    batches = {name: shuffles_of(name) for name in contrasts}
    parts = make_parts(kind)
    meshes = [one.mesh for one in parts]
    none = np.zeros((0, 3))

    def cells(values: Iterator[np.ndarray]) -> np.ndarray:
        found = np.empty(len(parts), dtype=object)
        found[:] = list(values)
        return found

    return {
        "design": design,
        "contrasts": np.array(list(contrasts.values())).T,
        "names": np.array(list(contrasts), dtype=object),
        "sources": np.stack([one.sources + 1 for one in batches.values()], axis=2).astype(float),
        "signs": np.stack([one.signs for one in batches.values()], axis=2),
        "threshold": norm.isf(FORMING_P / 2),
        "shape": np.array(SHAPE, dtype=float),
        "voxel_volume": 1.0 if kind == "volume" else 8.0,
        "maps": cells(iter(one.astype(float) for one in make_maps(kind))),
        "which": cells(one.which.reshape(len(one.which), -1) + 1.0 for one in parts),
        "points": cells(none if one is None else one.points for one in meshes),
        "triangles": cells(none if one is None else one.triangles + 1.0 for one in meshes),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in ("surface", "cifti", "volume"):
        savemat(folder / f"{kind}.mat", for_octave(kind))
