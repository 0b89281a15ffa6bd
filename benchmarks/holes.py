"""Shuffling where rows are not observed at every element: errors under the null, and time.

Run from the repository's root; prints Markdown::

    OMP_NUM_THREADS=1 python benchmarks/holes.py                     # 90 minutes on one core (--nprocs)
    OMP_NUM_THREADS=1 python benchmarks/holes.py --n-datasets 200    # a quick look

Errors: share of data sets without any effect in which anything is found at 0.05. Every element lacks rows of
its own (each row with the probability that is said; at least half of them and three are kept). Time: 100
people, 64,000 elements, a tenth of which lack rows, each a pattern of its own.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product

import numpy as np
import numpy.typing as npt
from null_data import Scheme, as_group_data, draw_maps, interval
from threadpoolctl import threadpool_limits

from bids_group.config import InferenceSpec
from bids_group.inference import correct_group
from bids_group.inference.checks import check_inference
from bids_group.inference.shuffling.engine import Job, Scratch, build_statistic, do_shuffles, spell_out
from bids_group.inference.shuffling.holes import build_holes
from bids_group.inference.shuffling.partition import build_residuals
from bids_group.model import fit_group

SHAPE = (8, 8, 7)
MEASURES = ("fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce")
SHARES = (0.0, 0.05, 0.1, 0.2, 0.3)
Maps = npt.NDArray[np.float32]


def schemes() -> Iterator[Scheme]:
    """Yield designs that are judged by flips, by flips beside a covariate, and by permutations."""
    random = np.random.default_rng(3)
    age = random.normal(size=20)
    group = np.repeat([0.0, 1.0], (8, 12))
    yield Scheme(name="one sample, 20 people", matrix=np.ones((20, 1)), weights=np.eye(1), shape=SHAPE)
    yield Scheme(
        name="mean beside a covariate",
        matrix=np.column_stack([np.ones(20), age - age.mean()]),
        weights=np.eye(2)[:1],
        shape=SHAPE,
    )
    yield Scheme(
        name="two samples (8, 12) and a covariate",
        matrix=np.column_stack([np.ones(20), group, age]),
        weights=np.eye(3)[1:2],
        shape=SHAPE,
    )
    skewed = random.exponential(size=20)
    yield Scheme(
        name="skewed covariate and errors",
        matrix=np.column_stack([np.ones(20), skewed]),
        weights=np.eye(2)[1:],
        is_skewed=True,
        shape=SHAPE,
    )


def take_out(maps: Maps, share: float, random: np.random.Generator) -> Maps:
    """Leave rows out at random, at each element for itself."""
    gone = random.random(maps.shape) < share
    kept = max(len(maps) // 2, 3)
    gone[np.argsort(random.random(maps.shape), axis=0) < kept] = False
    return np.where(gone, np.float32(np.nan), maps)


def findings(job: tuple[Scheme, float, int]) -> list[bool]:
    """Whether a data set has any finding, by measure."""
    scheme, share, seed = job
    random = np.random.default_rng([round(1000 * share), seed])
    data = as_group_data(scheme, take_out(draw_maps(scheme, random), share, random))
    data = replace(data, is_complete=share == 0)
    spec = InferenceSpec(corrections=MEASURES, n_permutations=99, cluster_forming_p=0.01, random_seed=seed)
    results = fit_group(data, is_two_sided=True, has_effect_sizes=False).results
    return [bool(verdict.is_significant.any()) for verdict in correct_group(data, results, spec)]


def errors(n_datasets: int, n_procs: int) -> str:
    """Measure the errors of all designs and shares: the share of data sets with a finding."""
    low, high = interval(n_datasets)
    lines = ["| design | rows missing | voxel | size | mass | TFCE |", "|---|---|---|---|---|---|"]
    with ProcessPoolExecutor(n_procs, initializer=threadpool_limits, initargs=(1,)) as pool:
        for scheme, share in product(schemes(), SHARES):
            jobs = [(scheme, share, seed) for seed in range(n_datasets)]
            rates = np.mean(list(pool.map(findings, jobs, chunksize=5)), axis=0)
            cells = [f"{100 * rate:.1f}{'' if low <= rate <= high else ' (!)'}" for rate in rates]
            lines.append(f"| {scheme.name} | {100 * share:g} % | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + f"\n\n99.9 % interval of 5 %: {100 * low:.1f} to {100 * high:.1f} %."


def seconds_of_shuffle(scheme: Scheme, n_elements: int, n_missing: int) -> float:
    """Processor time of a shuffle where a tenth of the elements lacks about so many rows."""
    random = np.random.default_rng(0)
    maps = random.standard_normal((len(scheme.matrix), n_elements), np.float32)
    data = as_group_data(replace(scheme, shape=(4, 4, 4)), maps[:, :64])
    (own,) = check_inference(data.design, InferenceSpec(corrections=("fwe-voxel",), n_permutations=10**6))[1]
    everywhere, by_place, holes = np.ones(n_elements, dtype=bool), None, None
    for element in random.permutation(n_elements)[: n_elements // 10 if n_missing else 0]:
        maps[random.permutation(len(maps))[: random.integers(1, 2 * n_missing)], element] = np.nan
    if n_missing:
        residuals, by_place, holes = build_holes(
            maps, own.partition, own.shuffles, is_signed=True, is_tested=everywhere
        )
    else:
        residuals = build_residuals(maps, own.partition)
    statistic = build_statistic(own, "t", is_two_sided=True)
    job = Job(scheme=own, statistic=statistic, residuals=residuals, by_place=by_place, holes=holes)
    scratch, taken = Scratch(job), []
    for start in range(0, 5 * job.batch_size, job.batch_size):
        begun = time.process_time()
        do_shuffles(job, spell_out(job, start), job.batch_size, scratch)
        taken.append((time.process_time() - begun) / job.batch_size)
    return min(taken[1:])


def times(n_elements: int) -> str:
    """Time flips and permutations, voxelwise, with few and with many rows missing."""
    lines = ["| shuffle, 100 people | complete | 5 rows missing | 15 rows missing |", "|---|---|---|---|"]
    covariates = np.column_stack([np.ones(100), np.repeat([0.0, 1.0], 50)])
    for name, matrix in (("sign flip", np.ones((100, 1))), ("permutation", covariates)):
        scheme = Scheme(name=name, matrix=matrix, weights=np.eye(matrix.shape[1])[-1:])
        whole, few, many = (seconds_of_shuffle(scheme, n_elements, missing) for missing in (0, 5, 15))
        cells = [
            f"{1e3 * whole:.2f} ms",
            *(f"{1e3 * one:.2f} ms ({one / whole:.1f} ×)" for one in (few, many)),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-datasets", type=int, default=1000)
    parser.add_argument("--nprocs", type=int, default=1)
    parser.add_argument("--n-elements", type=int, default=64_000)
    given = parser.parse_args()
    with threadpool_limits(1):
        print(f"{times(given.n_elements)}\n", flush=True)
        print(f"\n{errors(given.n_datasets, given.nprocs)}")


if __name__ == "__main__":
    main()
