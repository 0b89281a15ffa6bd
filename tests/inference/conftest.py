"""Group data with a known design, and its fit in closed form."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import pytest
from scipy.ndimage import gaussian_filter
from scipy.stats import binom

from bids_group.distributions import f_p, f_to_z, t_p, t_to_z
from bids_group.elements import Elements, Grid
from bids_group.records import ContrastResult, GroupData
from tests.groups import make_contrast, make_design, make_group

Problem = tuple[GroupData, tuple[ContrastResult, ...]]


def smooth_maps(n_rows: int, shape: tuple[int, int, int], seed: int, sigma: float = 1.0) -> np.ndarray:
    """Smooth noise of unit variance, ``(n_rows, n_elements)`` float32."""
    random = np.random.default_rng(seed)
    noise = np.stack([gaussian_filter(random.normal(size=shape), sigma) for _ in range(n_rows)])
    return (noise / noise.std()).reshape(n_rows, -1).astype(np.float32)


def least_squares(data: GroupData, is_two_sided: bool = True) -> tuple[ContrastResult, ...]:
    """Fit every contrast by the pseudo-inverse."""
    matrix = data.design.matrix.to_numpy(dtype=np.float64)
    maps, inverse, dof = data.stack.data.astype(np.float64), np.linalg.pinv(matrix), data.design.dof
    beta = inverse @ maps
    variance = ((maps - matrix @ beta) ** 2).sum(axis=0) / dof
    results = []
    for contrast in data.design.contrasts:
        effect = contrast.weights @ beta
        spread = contrast.weights @ inverse @ inverse.T @ contrast.weights.T
        q = int(np.linalg.matrix_rank(contrast.weights))
        with np.errstate(invalid="ignore"):  # an element that is the same in everybody
            f = np.einsum("iv,ij,jv->v", effect, np.linalg.pinv(spread), effect) / q / variance
        if contrast.test == "t":
            t = np.copysign(np.sqrt(f), effect[0])
            maps_by_stat = {
                "t": t, "z": t_to_z(t, dof), "p": t_p(t, dof, is_two_sided), "effect": effect[0], "g": t / 10
            }  # fmt: skip
        else:
            maps_by_stat = {"F": f, "z": f_to_z(f, q, dof), "p": f_p(f, q, dof), "effect": effect}
        rows = {stat: values.astype(np.float32) for stat, values in maps_by_stat.items()}
        results.append(ContrastResult(contrast=contrast, dof=dof, dof_numerator=q, maps=rows))
    return tuple(results)


def build_problem(
    matrix: np.ndarray,
    contrasts: Sequence[tuple[str, object]],
    *,
    maps: np.ndarray | None = None,
    shape: tuple[int, int, int] = (8, 7, 6),
    blocks: Sequence[object] | None = None,
    groups: Sequence[object] | None = None,
    labels: Sequence[str] | None = None,
    subjects: Sequence[str] | None = None,
    seed: int = 0,
) -> Problem:
    """Group data of a design and its fit; contrasts are (test, weights), named c0, c1 …"""
    matrix = np.asarray(matrix, dtype=float)
    rows = tuple(labels or (f"sub-{number:02d}" for number in range(len(matrix))))
    if maps is None:
        maps = smooth_maps(len(matrix), shape, seed)
    made = [
        make_contrast(*np.atleast_2d(np.asarray(weights, dtype=float)), test=test, name=f"c{number}")
        for number, (test, weights) in enumerate(contrasts)
    ]
    design = make_design(matrix, made, labels=rows, variables=pd.DataFrame(index=list(rows)))
    grid = Grid(shape=shape, affine=np.diag([2.0, 2.0, 2.0, 1.0]))
    data = make_group(
        design,
        maps,
        elements=Elements.from_mask(grid, np.ones(shape, dtype=bool)),
        blocks=None if blocks is None else pd.Series(blocks, index=list(rows), name="family"),
        variance_groups=None if groups is None else pd.Series(groups, index=list(rows), name="scanner"),
        subjects=subjects,
    )
    return data, least_squares(data)


def check_rarity(p: np.ndarray, is_exact: Sequence[int] = ()) -> None:
    """Of data where nothing is, the smallest p of each correction is below alpha as often as alpha says.

    ``p`` ``(n_datasets, n_corrections)``. At 0.2 and 0.5 too: there few datasets tell more. Not more
    often is asked of all corrections, not less often of those that ``is_exact`` names (others have ties).
    """
    alphas = np.array([0.05, 0.2, 0.5])
    found = (p[:, :, None] <= alphas + 1e-6).sum(axis=0)
    low, high = binom.ppf([[0.0005], [0.9995]], len(p), alphas)
    assert (found <= high).all(), found
    assert (found[list(is_exact)] >= low).all(), found


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    return build_problem


@pytest.fixture
def make_maps() -> Callable[..., np.ndarray]:
    return smooth_maps


@pytest.fixture
def fit_by_hand() -> Callable[..., tuple[ContrastResult, ...]]:
    return least_squares


@pytest.fixture
def check_rare() -> Callable[..., None]:
    return check_rarity
