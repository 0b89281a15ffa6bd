"""Does the inference keep what it promises? Writes docs/validation.md.

Run from the repository's root::

    python benchmarks/validation.py                      # everything, about 15 minutes on one core
    python benchmarks/validation.py --n-datasets 100     # a quick look

Family-wise error under the null for every shuffle scheme, agreement with nilearn where both test the same,
and power beside nilearn's threshold-free cluster enhancement where a weak blob stands beside a strong one.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from nilearn.image import new_img_like
from nilearn.maskers import NiftiMasker
from nilearn.mass_univariate import permuted_ols
from null_data import (
    ALPHA,
    SHAPE,
    Doubles,
    Scheme,
    as_group_data,
    draw_maps,
    fit,
    interval,
    schemes,
    uneven_schemes,
)
from scipy.ndimage import gaussian_filter

from bids_group.config import InferenceSpec
from bids_group.distributions import t_to_z
from bids_group.elements import Elements, Grid
from bids_group.inference import correct_group
from bids_group.inference.corrections.tail import fit_tail
from bids_group.model import fit_group
from bids_group.records import GroupData, MapStack

MEASURES = ("fwe-voxel", "fwe-size", "fwe-mass", "fwe-tfce")
N_SHUFFLES, N_FEW_SHUFFLES = 199, 99
TAIL_P = (0.05, 0.01, 0.005, 0.001)


def findings(job: tuple[int, int]) -> list[float]:
    """Say what is found in one data set of one scheme, where nothing is.

    Whether each measure finds anything; then the share of elements with an uncorrected p up to alpha.
    """
    position, seed = job
    scheme = list(schemes())[position]
    random = np.random.default_rng([position, seed])
    data = as_group_data(scheme, draw_maps(scheme, random))
    spec = InferenceSpec(
        alpha=ALPHA,
        corrections=MEASURES,
        n_permutations=N_SHUFFLES,
        cluster_forming_p=0.01,
        random_seed=seed,
        exchangeability_blocks=None if scheme.blocks is None else "block",
        block_scheme=scheme.block_scheme,  # type: ignore[arg-type]
        has_permutation_p=True,
    )
    verdicts = correct_group(data, [fit(data)], spec)
    assert verdicts[0].by_shuffling is not None
    uncorrected = float((verdicts[0].by_shuffling.p <= np.float32(ALPHA)).mean())
    return [*(float(verdict.is_significant.any()) for verdict in verdicts), uncorrected]


def error_rates(position: int, n_datasets: int, n_procs: int) -> list[float]:
    """Share of data sets with a finding, by measure, for one scheme; then that of single elements."""
    jobs = [(position, seed) for seed in range(n_datasets)]
    with ProcessPoolExecutor(n_procs) as processes:
        found = np.array(list(processes.map(findings, jobs, chunksize=20)))
    return [float(share) for share in found.mean(axis=0)]


def uneven_findings(job: tuple[int, int]) -> list[float]:
    """Judge one data set without effects: p ≤ alpha at an element (share), FWE, FDR, Bonferroni; pooled p."""
    position, seed = job
    scheme = list(uneven_schemes())[position]
    data = as_group_data(scheme, draw_maps(scheme, np.random.default_rng([77, position, seed])))
    (result,) = fit_group(data, is_two_sided=True).results
    spec = InferenceSpec(
        alpha=ALPHA,
        corrections=("fwe-voxel", "fdr", "bonferroni"),
        n_permutations=N_FEW_SHUFFLES,
        random_seed=seed,
        variance_groups="group",
    )
    verdicts = correct_group(data, [result], spec)
    shares = [float((maps["p"] <= np.float32(ALPHA)).mean()) for maps in (result.maps, fit(data).maps)]
    return [shares[0], *(float(one.is_significant.any()) for one in verdicts), shares[1]]


def uneven_rates(n_datasets: int, n_procs: int) -> dict[str, list[float]]:
    """Average the findings over data sets, by scheme."""
    rates = {}
    with ProcessPoolExecutor(n_procs) as processes:
        for position, scheme in enumerate(uneven_schemes()):
            jobs = [(position, seed) for seed in range(n_datasets)]
            found = np.array(list(processes.map(uneven_findings, jobs, chunksize=20)))
            rates[scheme.name] = [float(share) for share in found.mean(axis=0)]
    return rates


# --------------------------------------------------------------------------------------------
# Beside nilearn


def two_blobs(random: np.random.Generator, n_people: int = 16) -> tuple[GroupData, npt.NDArray[np.bool_]]:
    """One-sample maps with a weak wide blob beside a strong one; and where the weak one is."""
    shape = (24, 14, 14)
    noise = np.stack([gaussian_filter(random.normal(size=shape), 1.2) for _ in range(n_people)])
    noise /= noise.std()
    weak, strong = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
    weak[3:8, 4:9, 4:9], strong[15:20, 4:9, 4:9] = True, True
    maps = (noise + 0.75 * weak + 6.0 * strong).reshape(n_people, -1).astype(np.float32)
    scheme = Scheme(name="", matrix=np.ones((n_people, 1)), weights=np.array([[1.0]]))
    data = as_group_data(scheme, np.zeros((n_people, int(np.prod(SHAPE))), np.float32))
    grid = Grid(shape=shape, affine=np.diag([2.0, 2, 2, 1]))
    elements = Elements.from_mask(grid, np.ones(shape, dtype=bool))
    stack = MapStack(labels=data.stack.labels, data=maps)
    return GroupData(design=data.design, stack=stack, elements=elements), weak.reshape(-1)


def power_beside_nilearn(n_datasets: int) -> dict[str, float]:
    """Share of data sets in which the weak blob is found by exact TFCE and by nilearn's."""
    found = {"bids_group": 0, "nilearn": 0}
    for seed in range(n_datasets):
        data, weak = two_blobs(np.random.default_rng([99, seed]))
        spec = InferenceSpec(corrections=("fwe-tfce",), n_permutations=499, random_seed=seed)
        (verdict,) = correct_group(data, [fit(data)], spec)
        found["bids_group"] += bool(verdict.is_significant[weak].any())
        found["nilearn"] += bool((nilearn_tfce_p(data, 499, seed)[weak] <= ALPHA).any())
    return {name: count / n_datasets for name, count in found.items()}


def nilearn_tfce_p(data: GroupData, n_shuffles: int, seed: int) -> Doubles:
    """Two-sided family-wise p of nilearn's TFCE."""
    mask = new_img_like(
        _image(data, np.ones(data.elements.n_elements)), np.ones(data.elements.grid.shape, np.int8)
    )
    masker = NiftiMasker(mask_img=mask).fit()
    found = permuted_ols(
        data.design.matrix.to_numpy(), data.stack.data.astype(np.float64), model_intercept=False,
        n_perm=n_shuffles, two_sided_test=True, random_state=seed, n_jobs=1, masker=masker, tfce=True,
        output_type="dict",
    )  # fmt: skip
    return np.asarray(10 ** -found["logp_max_tfce"][0])


def _image(data: GroupData, row: Doubles) -> object:
    import nibabel as nib

    return nib.Nifti1Image(data.elements.unpack(row.astype(np.float32)), data.elements.grid.affine)


def agreement_with_nilearn() -> dict[str, float]:
    """Largest differences in t and in voxelwise family-wise p for a difference of two groups."""
    scheme = next(scheme for scheme in schemes() if scheme.name == "two samples, 8 and 20")
    maps = draw_maps(scheme, np.random.default_rng(5))
    maps[:, :40] += scheme.matrix[:, 1:].astype(np.float32) * 2
    data = as_group_data(scheme, maps)
    result = fit(data)
    spec = InferenceSpec(corrections=("fwe-voxel",), n_permutations=9999)
    (verdict,) = correct_group(data, [result], spec)
    theirs = permuted_ols(
        scheme.matrix[:, 1:], maps.astype(np.float64), confounding_vars=None, model_intercept=True,
        n_perm=9999, two_sided_test=True, random_state=1, n_jobs=1, output_type="dict",
    )  # fmt: skip
    assert verdict.p_corrected is not None
    difference = np.abs(10 ** -theirs["logp_max_t"][0] - verdict.p_corrected)
    return {
        "t": float(np.abs(theirs["t"][0] - result.maps["t"]).max()),
        "p": float(difference.max()),
        "standard error of p": float(np.sqrt(2 * 0.25 / 10000)),
    }


def tails_of_few(n_draws: int = 100, n_few: int = 500) -> dict[str, list[list[float]]]:
    """Tail p from few shuffles where many say p: by measure and p, quantiles 5, 50 and 95 %."""
    scheme = next(schemes())
    data = as_group_data(scheme, draw_maps(scheme, np.random.default_rng(7)))
    spec = InferenceSpec(corrections=("fwe-voxel", "fwe-mass", "fwe-tfce"), n_permutations=20_000)
    found, random = {}, np.random.default_rng(8)
    for verdict in correct_group(data, [fit(data)], spec):
        ((measure, null),) = verdict.null.items()
        maxima = null[1:].astype(np.float64)
        maxima = t_to_z(maxima, data.design.dof) if measure == "voxel" else maxima
        values = np.quantile(maxima, 1 - np.array(TAIL_P))
        drawn = [random.choice(maxima, n_few, replace=False) for _ in range(n_draws)]
        p = np.array([_tail_p(few, values) for few in drawn])
        found[measure] = np.quantile(p, [0.05, 0.5, 0.95], axis=0).T.tolist()
    return found


def _tail_p(few: Doubles, values: Doubles) -> Doubles:
    """As the tool does: the fitted tail beyond its start, else the share of shuffles."""
    counted = np.array([(1 + (few >= value).sum()) / (1 + few.size) for value in values])
    tail = fit_tail(few)
    return counted if tail is None else np.where(values > tail.start, tail.p(values), counted)


# --------------------------------------------------------------------------------------------
# The page


def page(
    errors: pd.DataFrame,
    n_datasets: int,
    power: dict[str, float],
    n_power: int,
    same: dict[str, float],
    tails: dict[str, list[list[float]]],
    uneven: dict[str, list[float]],
) -> str:
    """Write what was measured as Markdown."""
    low, high = interval(n_datasets)
    cells = errors.copy()
    for measure in MEASURES:
        cells[measure] = [
            f"{100 * share:.1f}{'' if low <= share <= high else ' (!)'}" for share in errors[measure]
        ]
    cells["element"] = [f"{100 * share:.2f}" for share in errors["element"]]
    header = "| scheme | voxel | size | mass | TFCE | one element |\n|---|---|---|---|---|---|\n"
    body = "\n".join("| " + " | ".join(map(str, row)) + " |" for row in cells.itertuples(index=False))
    return f"""# Validation of the inference

Written by `python benchmarks/validation.py`.
Several rows per person: [repeated_measures.md](repeated_measures.md).

## Family-wise error under the null

Share (%) of {n_datasets} data sets without any effect in which anything is significant at {ALPHA:g},
two-sided (F: upper tail); {N_SHUFFLES} shuffles, smooth noise on a {SHAPE[0]} × {SHAPE[1]} × {SHAPE[2]} grid,
clusters formed at p = 0.01. If the error is exactly {100 * ALPHA:g} %, 99.9 % of such shares lie between
{100 * low:.1f} and {100 * high:.1f} %; shares outside carry an exclamation mark.

{header}{body}

Where rows of a block share noise, 70 % of the variance is shared. *One element*: the mean share of elements
whose uncorrected p by the same shuffles (`--permutation-p`) is at most {ALPHA:g}.

## Groups of unequal size and variance

6 against 24 people, SD 3 : 1, with `--variance-groups`, 336 elements, {N_FEW_SHUFFLES} shuffles: share (%) of
elements with p ≤ {ALPHA:g}, and of {n_datasets} data sets with any finding. In brackets: p of the pooled fit.

{uneven_table(uneven, n_datasets)}

## Agreement with nilearn, where nilearn is right

Difference of two groups (8 and 20 people, one regressor and an intercept), 9,999 permutations each, drawn
separately: t differs by at most {same["t"]:.1e}, the family-wise p by at most {same["p"]:.3f}
(the standard error of such a difference is at most {same["standard error of p"]:.3f}).

## A weak blob beside a strong one

One sample of 16 people, a wide weak blob (0.75 SD) and a strong one (6 SD) far from it, {n_power} data sets,
499 shuffles. Exact TFCE finds the weak blob in {100 * power["bids_group"]:.0f} % of them, nilearn's TFCE
(a sum over 100 steps scaled to the maximum of each map) in {100 * power["nilearn"]:.0f} %.

## The tail approximation

16 people, one sample. Values that 20,000 shuffles give the p of the first column, judged by the Pareto tail
of 500 of them (`--tail-approximation`): the median of 100 draws, and the range of the middle 90 %.

{tail_table(tails)}

Time and memory: [performance.md](performance.md).
"""


def uneven_table(uneven: dict[str, list[float]], n_datasets: int) -> str:
    """Write the findings of uneven groups; shares above the interval carry an exclamation mark."""
    lines = ["| tested | p | FWE, voxel | any FDR | any Bonferroni |", "|---|---|---|---|---|"]
    high = interval(n_datasets)[1]
    for name, (*shares, pooled) in uneven.items():
        cells = [f"{100 * share:.1f}{'' if share <= high else ' (!)'}" for share in shares]
        lines.append(f"| {name} | {cells[0]} ({100 * pooled:.1f}) | {' | '.join(cells[1:])} |")
    return "\n".join(lines)


def tail_table(tails: dict[str, list[list[float]]]) -> str:
    """Write the tail p as a table, measures side by side."""
    lines = ["| p | " + " | ".join(tails) + " |", "|---" * (1 + len(tails)) + "|"]
    for row, p in enumerate(TAIL_P):
        cells = [f"{rows[row][1]:.2g} ({rows[row][0]:.2g} to {rows[row][2]:.2g})" for rows in tails.values()]
        lines.append(f"| {p:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measured(figures: Path, name: str, measure: Callable[[], object]) -> Any:
    """Take a figure from the file of an earlier call of this script, or measure it now and keep it there."""
    known = json.loads(figures.read_text(encoding="utf-8")) if figures.exists() else {}
    if name not in known:
        start = time.perf_counter()
        known[name] = measure()
        print(name, known[name], f"{time.perf_counter() - start:.0f} s", flush=True)
        figures.write_text(json.dumps(known, indent=1), encoding="utf-8")
    return known[name]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-datasets", type=int, default=1000)
    parser.add_argument("--n-power", type=int, default=20)
    parser.add_argument("--nprocs", type=int, default=1)
    parser.add_argument("--figures", type=Path, default=Path("build/validation.json"))
    parser.add_argument("--output", type=Path, default=Path("docs/validation.md"))
    given = parser.parse_args()
    given.figures.parent.mkdir(parents=True, exist_ok=True)
    rows = []
    for position, scheme in enumerate(schemes()):
        key = f"{scheme.name} ({given.n_datasets})"
        measure = partial(error_rates, position, given.n_datasets, given.nprocs)
        shares = measured(given.figures, key, measure)
        rows.append({"scheme": scheme.name, **dict(zip((*MEASURES, "element"), shares, strict=True))})
    same = measured(given.figures, "agreement", agreement_with_nilearn)
    power = measured(given.figures, f"power ({given.n_power})", partial(power_beside_nilearn, given.n_power))
    tails = measured(given.figures, "tails", tails_of_few)
    uneven = measured(
        given.figures,
        f"uneven groups ({given.n_datasets})",
        partial(uneven_rates, given.n_datasets, given.nprocs),
    )
    text = page(pd.DataFrame(rows), given.n_datasets, power, given.n_power, same, tails, uneven)
    given.output.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
