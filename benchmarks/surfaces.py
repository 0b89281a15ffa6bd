"""Time per shuffle on surfaces and CIFTI files. Prints a Markdown table.

Run from the repository's root::

    OMP_NUM_THREADS=1 python benchmarks/surfaces.py
    OMP_NUM_THREADS=1 python benchmarks/surfaces.py --palm PALM   # beside PALM's functions (needs Octave)

Two hemispheres of 32,492 vertices (64,984), and 59,412 of these with 31,870 voxels in 19 blocks (91,282), as
in files of the HCP; 100 people, one covariate beside an intercept, smoothed by 6 mm; TFCE, size, mass and the
voxelwise maximum, one thread. Times are processor time of whole shuffles, the least of several rounds. The
spheres have the number of vertices and the areas of fsLR's midthickness, which comes with no library.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from null_data import Scheme, as_group_data, make_sphere
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

from bids_group.config import InferenceSpec
from bids_group.elements import Mesh, join_patches, mesh_patch, voxel_patch
from bids_group.elements.geodesic import geodesic_weights
from bids_group.elements.geometry import Geometry
from bids_group.elements.smoothing import SD_PER_FWHM
from bids_group.inference.clusters.forest import Heights
from bids_group.inference.shuffling.engine import Job, build_statistic, run_null
from bids_group.inference.shuffling.partition import build_residuals
from bids_group.inference.shuffling.scheme import choose_scheme

N_PEOPLE, N_VERTICES, N_CORTEX, N_VOXELS, N_BLOCKS = 100, 32_492, 59_412, 31_870, 19
RADIUS_MM, FWHM_MM, FORMING_Z = 86.0, 6.0, 3.29


def make_blocks() -> list[np.ndarray]:
    """Make 19 blocks of voxels, of 31,870 in all: numbers along the axes ``(n, 3)``."""
    sizes = np.full(N_BLOCKS, N_VOXELS // N_BLOCKS)
    sizes[: N_VOXELS % N_BLOCKS] += 1
    return [np.stack(np.unravel_index(np.arange(size), (12, 12, 20)), axis=1) for size in sizes]


def make_job(mesh: Mesh, maps: np.ndarray, geometry: Geometry, n_shuffles: int) -> Job:
    """Prepare the shuffles of a covariate."""
    age = np.random.default_rng(1).normal(size=(N_PEOPLE, 1))
    model = Scheme(
        name="age", matrix=np.hstack([np.ones((N_PEOPLE, 1)), age]), weights=np.array([[0.0, 1]]),
        shape=(maps.shape[1], 1, 1),
    )  # fmt: skip
    data = as_group_data(model, maps, geometry)
    design, contrast = data.design, data.design.contrasts[0]
    scheme = choose_scheme(
        design, contrast, InferenceSpec(n_permutations=n_shuffles), blocks=None, variance_groups=None
    )
    return Job(
        scheme=scheme,
        statistic=build_statistic(scheme, "t", is_two_sided=True),
        residuals=build_residuals(data.stack.data, scheme.partition),
        heights=Heights(threshold=FORMING_Z, is_two_sided=True, has_tfce=True),
        geometry=geometry,
    )


def time_palm(palm: Path, mesh: Mesh, z: np.ndarray) -> float:
    """Let Octave time PALM's TFCE, extent and mass of a map ``(n_hemispheres, n_vertices)``, in seconds."""
    script = Path(__file__).parents[1] / "validation" / "palm" / "timing.m"
    with TemporaryDirectory() as folder:
        file = Path(folder) / "map.mat"
        triangles = mesh.triangles + 1.0
        savemat(file, {"z": z, "points": mesh.points, "triangles": triangles, "threshold": FORMING_Z})
        command = ["octave", "--no-gui", str(script), str(file), str(palm)]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--palm", type=Path, help="folder of PALM's functions (validation/palm/README.md)")
    asked = parser.parse_args()
    n_rounds = asked.rounds
    mesh, random = make_sphere(N_VERTICES, RADIUS_MM), np.random.default_rng(0)
    start = time.process_time()
    weights = geodesic_weights(mesh, FWHM_MM * SD_PER_FWHM)
    of_weights = time.process_time() - start
    start = time.process_time()
    weights = geodesic_weights(mesh, FWHM_MM * SD_PER_FWHM)
    of_weights = min(of_weights, time.process_time() - start)
    whole, cut = np.arange(N_VERTICES), np.arange(N_CORTEX // 2)
    blocks = make_blocks()
    affine = np.diag([2.0, 2, 2, 1])
    surfaces = [mesh_patch(mesh, whole)] * 2
    mixed = [*[mesh_patch(mesh, cut)] * 2, *(voxel_patch(one, affine, 6) for one in blocks)]

    def sides(which: np.ndarray) -> list[np.ndarray]:
        return [(weights @ random.normal(size=N_VERTICES))[which] for _ in range(2)]

    def voxels() -> list[np.ndarray]:
        noise = [gaussian_filter(random.normal(size=(12, 12, 20)), FWHM_MM * SD_PER_FWHM / 2) for _ in blocks]
        return [one.reshape(-1)[: len(block)] for one, block in zip(noise, blocks, strict=True)]

    least = []
    print("| map | elements | ms per shuffle |")
    print("|---|---|---|")
    for name, patches, draw in (
        ("two hemispheres", surfaces, lambda: sides(whole)),
        ("hemispheres and subcortex", mixed, lambda: [*sides(cut), *voxels()]),
    ):
        rows = [np.concatenate([one / one.std() for one in draw()]) for _ in range(N_PEOPLE)]
        job = make_job(mesh, np.array(rows, np.float32), join_patches(patches), 39)
        times = []
        for _ in range(n_rounds + 1):  # the first compiles
            start = time.process_time()
            run_null(job)
            times.append((time.process_time() - start) / job.n_shuffles)
        least.append(min(times[1:]))
        print(f"| {name} | {rows[0].size:,} | {1e3 * least[-1]:.1f} |", flush=True)
    if asked.palm is not None:
        z = np.array([one / one.std() for one in sides(whole)])
        of_palm = time_palm(asked.palm, mesh, z)
        print(f"| two hemispheres: PALM's functions | {z.size:,} | {1e3 * of_palm:.0f} |")
        print(f"\nPALM: {of_palm / least[0]:.0f} times as long.")
    print(f"\nWeights of smoothing of one hemisphere: {of_weights:.2f} s, {weights.nnz / 1e6:.1f} million.")


if __name__ == "__main__":
    main()
