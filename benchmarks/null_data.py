"""Designs, maps without any effect and surfaces, for the simulations and times beside this file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.ndimage import gaussian_filter
from scipy.spatial import ConvexHull
from scipy.stats import binom

from bids_group.distributions import f_p, f_to_z, t_p, t_to_z
from bids_group.elements import Elements, Grid, Mesh
from bids_group.elements.geometry import Geometry
from bids_group.records import Contrast, ContrastResult, Design, GroupData, MapStack

Doubles = npt.NDArray[np.float64]

SHAPE = (12, 12, 10)
ALPHA = 0.05


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scheme:
    """A design under the null.

    ``scale``: standard deviation of each row; ``block_share``: share of the variance that rows of a block
    have in common.
    """

    name: str
    matrix: Doubles
    weights: Doubles
    test: str = "t"
    scale: Doubles | None = None
    is_skewed: bool = False
    block_share: float = 0.0
    blocks: tuple[int, ...] | None = None
    block_scheme: str | None = None
    groups: tuple[int, ...] | None = None
    shape: tuple[int, int, int] = SHAPE


def schemes() -> Iterator[Scheme]:
    """Yield the designs whose family-wise error is measured."""
    random = np.random.default_rng(2024)
    yield Scheme(name="one sample, 16 people", matrix=np.ones((16, 1)), weights=np.array([[1.0]]))
    unequal = np.repeat([0.0, 1.0], (8, 20))
    two_groups = np.column_stack([np.ones(28), unequal])
    yield Scheme(name="two samples, 8 and 20", matrix=two_groups, weights=np.array([[0.0, 1.0]]))
    yield Scheme(
        name="two samples, 8 and 20, SD 3 : 1, variance groups",
        matrix=two_groups,
        weights=np.array([[0.0, 1.0]]),
        scale=np.where(unequal == 0, 3.0, 1.0),
        groups=tuple(unequal.astype(int)),
    )
    skewed = random.exponential(size=20)
    yield Scheme(
        name="covariate with intercept, skewed covariate and errors",
        matrix=np.column_stack([np.ones(20), skewed]),
        weights=np.array([[0.0, 1.0]]),
        is_skewed=True,
    )
    group, covariate = np.repeat([0.0, 1.0], 12), random.normal(size=24)
    yield Scheme(
        name="difference of slopes, two groups of 12",
        matrix=np.column_stack([1 - group, group, (1 - group) * covariate, group * covariate]),
        weights=np.array([[0.0, 0, 1, -1]]),
    )
    three = np.eye(3)[np.repeat([0, 1, 2], (6, 8, 10))]
    yield Scheme(
        name="three groups (6, 8, 10), F",
        matrix=three,
        weights=np.array([[1.0, -1, 0], [0, 1, -1]]),
        test="F",
    )
    people = np.repeat(np.arange(12), 2)
    session = np.tile([0.0, 1.0], 12)
    yield Scheme(
        name="paired, 12 people, within blocks",
        matrix=np.column_stack([np.eye(12)[people], session]),
        weights=np.eye(13)[12:],
        block_share=0.7,
        blocks=tuple(people),
    )
    families = np.repeat(np.arange(14), 3)
    yield Scheme(
        name="covariate of 14 families of 3, whole blocks",
        matrix=np.column_stack([np.ones(42), random.normal(size=14)[families]]),
        weights=np.array([[0.0, 1.0]]),
        block_share=0.7,
        blocks=tuple(families),
        block_scheme="whole",
    )
    yield Scheme(
        name="mean of 14 families of 3, whole blocks flipped",
        matrix=np.ones((42, 1)),
        weights=np.array([[1.0]]),
        block_share=0.7,
        blocks=tuple(families),
        block_scheme="whole",
    )
    yield Scheme(
        name="mean beside a covariate, 16 people",
        matrix=np.column_stack([np.ones(16), (age := random.normal(size=16)) - age.mean()]),
        weights=np.array([[1.0, 0.0]]),
    )


def uneven_schemes() -> Iterator[Scheme]:
    """Yield designs of 6 against 24 people, SD 3 : 1, judged with variance groups."""
    group = np.repeat([0.0, 1.0], (6, 24))
    covariate = np.random.default_rng(2025).normal(size=30)
    matrix = np.column_stack([np.ones(30), group, covariate - covariate.mean()])
    for name, columns in (("difference of groups", 2), ("slope of a shared covariate", 3)):
        yield Scheme(
            name=name,
            matrix=matrix[:, :columns],
            weights=np.eye(columns)[-1:],
            scale=np.where(group == 0, 3.0, 1.0),
            groups=tuple(group.astype(int)),
            shape=(8, 7, 6),
        )


def draw_maps(scheme: Scheme, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Smooth noise without any effect, ``(n_obs, n_elements)``; rows of a block share a part of it."""
    own = smooth_noise(len(scheme.matrix), scheme, random)
    if scheme.blocks is not None:
        codes = np.asarray(scheme.blocks)
        shared = smooth_noise(codes.max() + 1, scheme, random)[codes]
        own = np.sqrt(1 - scheme.block_share) * own + np.sqrt(scheme.block_share) * shared
    if scheme.scale is not None:
        own *= scheme.scale[:, None]
    return own.astype(np.float32)


def smooth_noise(n_rows: int, scheme: Scheme, random: np.random.Generator) -> Doubles:
    """Gaussian (or exponentially skewed) noise with a smoothness of 2.4 voxels, unit variance."""
    noise = np.stack([gaussian_filter(random.normal(size=scheme.shape), 1.0) for _ in range(n_rows)])
    rows = (noise / noise.std()).reshape(n_rows, -1)
    return np.expm1(rows) if scheme.is_skewed else rows


def make_sphere(n_vertices: int, radius_mm: float, bumps_mm: float = 0.0) -> Mesh:
    """Spread vertices evenly (a Fibonacci spiral) over a sphere, which may have bumps."""
    number = np.arange(n_vertices) + 0.5
    height, turn = 1 - 2 * number / n_vertices, np.pi * (1 + 5**0.5) * number
    around = np.sqrt(1 - height**2)
    points = np.stack([around * np.cos(turn), around * np.sin(turn), height], axis=1)
    radii = radius_mm + bumps_mm * np.sin(5 * points).sum(axis=1, keepdims=True)
    return Mesh(points=points * radii, triangles=ConvexHull(points).simplices.astype(np.int32))


def as_group_data(
    scheme: Scheme, maps: npt.NDArray[np.float32], geometry: Geometry | None = None
) -> GroupData:
    """Wrap maps and design as the tool has them."""
    labels = tuple(f"sub-{number:03d}" for number in range(len(maps)))
    matrix = pd.DataFrame(
        scheme.matrix, index=list(labels), columns=[f"x{i}" for i in range(scheme.matrix.shape[1])]
    )
    contrast = Contrast(
        name="c", label="C", weights=scheme.weights, test=scheme.test, expression="", words=""
    )
    design = Design(
        matrix=matrix,
        contrasts=(contrast,),
        formula="",
        terms={},
        variables=pd.DataFrame(index=matrix.index),
        centering="none",
        centers={},
        rank=int(np.linalg.matrix_rank(scheme.matrix)),
        details={},
    )
    grid = Grid(shape=scheme.shape, affine=np.diag([2.0, 2, 2, 1]))
    return GroupData(
        design=design,
        stack=MapStack(labels=labels, data=maps),
        elements=Elements.from_mask(grid, np.ones(scheme.shape, dtype=bool)),
        blocks=None if scheme.blocks is None else pd.Series(scheme.blocks, index=matrix.index, name="block"),
        variance_groups=None
        if scheme.groups is None
        else pd.Series(scheme.groups, index=matrix.index, name="group"),
        geometry=geometry,
    )


def fit(data: GroupData) -> ContrastResult:
    """Least squares in closed form."""
    contrast, matrix = data.design.contrasts[0], data.design.matrix.to_numpy()
    inverse = np.linalg.pinv(matrix)
    maps = data.stack.data.astype(np.float64)
    beta = inverse @ maps
    dof = data.design.dof
    variance = ((maps - matrix @ beta) ** 2).sum(axis=0) / dof
    effect, spread = contrast.weights @ beta, contrast.weights @ inverse @ inverse.T @ contrast.weights.T
    q = len(effect)
    squared = np.einsum("iv,ij,jv->v", effect, np.linalg.inv(spread), effect) / q / variance
    if contrast.test == "F":
        maps_by_stat = {"F": squared, "z": f_to_z(squared, q, dof), "p": f_p(squared, q, dof)}
    else:
        t = np.copysign(np.sqrt(squared), effect[0])
        maps_by_stat = {"t": t, "z": t_to_z(t, dof), "p": t_p(t, dof, True), "effect": effect[0]}
    rows = {stat: values.astype(np.float32) for stat, values in maps_by_stat.items()}
    return ContrastResult(contrast=contrast, dof=dof, dof_numerator=q, maps=rows)


def interval(n_datasets: int) -> tuple[float, float]:
    """99.9 % binomial interval of the share of findings at alpha."""
    low, high = binom.interval(0.999, n_datasets, ALPHA)
    return low / n_datasets, high / n_datasets
