"""Errors over cortex and subcortex together: null rate and power of the smallest p, beside the raw maximum.

Run from the repository's root::

    python benchmarks/parts.py                     # about five minutes on one core
    python benchmarks/parts.py --n-datasets 100

Sixteen people, two hemispheres (bumpy spheres of 642 vertices, 42,000 mm² each) and a block of 480 voxels of
8 mm³, smooth noise, sign flips. Null rate: share of data sets without an effect in which anything is
significant, beside the binomial interval of alpha (0.001 in both tails together). Power: share in which
something is significant in the block, where a part of it has an effect and the cortex none. The raw maximum
is what a single maximum over all elements would do, by the same shuffles.
"""

from __future__ import annotations

import argparse

import numpy as np
from null_data import Scheme, as_group_data, make_sphere
from scipy import sparse
from scipy.ndimage import gaussian_filter
from scipy.stats import binom

from bids_group.config import InferenceSpec
from bids_group.elements import join_patches, mesh_patch, voxel_patch
from bids_group.elements.geodesic import geodesic_weights
from bids_group.elements.geometry import Geometry
from bids_group.inference import correct_group
from bids_group.model import fit_group
from bids_group.records import Significance

N_PEOPLE, N_SHUFFLES, ALPHA = 16, 599, 0.05
BOX, SD_MM = (10, 8, 6), 8.0
MEASURES = ("fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce")
EFFECT = 1.0


def make_noise(random: np.random.Generator, weights: sparse.csr_array) -> np.ndarray:
    """Smooth noise of unit variance of all people: two hemispheres, then the block."""
    rows = []
    for _ in range(N_PEOPLE):
        sides = [weights @ random.normal(size=weights.shape[0]) for _ in range(2)]
        block = gaussian_filter(random.normal(size=BOX), 1.5).reshape(-1)
        rows.append(np.concatenate([one / one.std() for one in (*sides, block)]))
    return np.array(rows, dtype=np.float32)


def judge(maps: np.ndarray, geometry: Geometry, seed: int) -> dict[str, Significance]:
    """Test the mean of all people by every measure."""
    ones = np.ones((N_PEOPLE, 1))
    model = Scheme(name="mean", matrix=ones, weights=ones[:1], shape=(maps.shape[1], 1, 1))
    data = as_group_data(model, maps, geometry)
    spec = InferenceSpec(
        corrections=MEASURES, n_permutations=N_SHUFFLES, random_seed=seed, cluster_forming_p=0.01
    )
    found = correct_group(data, fit_group(data, is_two_sided=True).results, spec)
    return {one.correction: one for one in found}


def is_found(judged: Significance, part: int, geometry: Geometry) -> tuple[bool, bool]:
    """Say whether anything is significant in a part: by the smallest p, and by the raw maximum."""
    nulls = list(judged.null.values())
    raw = np.max(nulls, axis=0)
    reaching = float((raw >= nulls[part][0] * (1 - 1e-5)).mean())
    return bool(judged.is_significant[geometry.part_of == part].any()), reaching <= ALPHA


def main() -> None:
    """Simulate, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n-datasets", type=int, default=600)
    n_datasets = parser.parse_args().n_datasets
    mesh = make_sphere(642, 58.0, bumps_mm=4.0)
    weights = geodesic_weights(mesh, SD_MM)
    everywhere = np.arange(mesh.n_vertices)
    block = voxel_patch(np.argwhere(np.ones(BOX, bool)), np.diag([2.0, 2, 2, 1]), 6)
    geometry = join_patches([mesh_patch(mesh, everywhere), mesh_patch(mesh, everywhere), block])
    effect = np.zeros(geometry.weights.size, np.float32)
    corner = np.zeros(BOX, bool)
    corner[:6, :5, :4] = True
    effect[np.flatnonzero(geometry.part_of == 1)[corner.reshape(-1)]] = EFFECT
    rates = {name: np.zeros(4) for name in MEASURES}
    for seed in range(n_datasets):
        maps = make_noise(np.random.default_rng(seed), weights)
        null, real = judge(maps, geometry, seed), judge(maps + effect, geometry, seed)
        for name, rate in rates.items():
            anywhere = np.any([is_found(null[name], part, geometry) for part in (0, 1)], axis=0)
            rate += np.array([*anywhere, *is_found(real[name], 1, geometry)]) / n_datasets
    low, high = binom.ppf([0.0005, 0.9995], n_datasets, ALPHA) / n_datasets
    print(f"{n_datasets} data sets; null rates within {low:.3f} to {high:.3f} are those of {ALPHA}.\n")
    print("| correction | null rate, smallest p | raw maximum | power, smallest p | raw maximum |")
    print("|---|---|---|---|---|")
    for name, rate in rates.items():
        print(f"| {name} | {' | '.join(f'{one:.3f}' for one in rate)} |")


if __name__ == "__main__":
    main()
