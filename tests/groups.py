"""Contrasts, designs and group data made of arrays, and fits by hand, for tests of several packages."""

import numpy as np
import pandas as pd

from bids_group.elements import Elements, Grid
from bids_group.records import Contrast, Design, GroupData, MapStack

OF_ROWS = ("blocks", "variance_groups", "subjects", "visits")


def make_contrast(*rows, test=None, name="c"):
    weights = np.atleast_2d(np.array(rows, dtype=float))
    kind = test or ("t" if len(weights) == 1 else "F")
    return Contrast(name=name, label=name.upper(), weights=weights, test=kind, expression="", words="")


def make_design(matrix, contrasts=(), *, labels=None, **more):
    """Columns x0, x1 … of rows sub-000 …, where the matrix is no table; ``more``: fields of `Design`."""
    if not isinstance(matrix, pd.DataFrame):
        labels = [f"sub-{k:03d}" for k in range(len(matrix))] if labels is None else list(labels)
        names = [f"x{k}" for k in range(np.shape(matrix)[1])]
        matrix = pd.DataFrame(np.asarray(matrix, dtype=float), index=labels, columns=names)
    norms = np.linalg.norm(matrix, axis=0)
    made = {
        "matrix": matrix, "contrasts": tuple(contrasts), "formula": "~ x", "terms": {}, "variables": matrix,
        "centering": "none", "centers": {}, "details": {},
        "rank": int(np.linalg.matrix_rank(matrix / np.where(norms == 0, 1, norms))),
    }  # fmt: skip
    return Design(**made | more)


def make_group(design, values, *, variance=None, elements=None, dtype=np.float32, **more):
    """Maps ``(n_rows, n)`` over n voxels in a row; ``more``: fields of `GroupData`, by row as lists."""
    values, index = np.asarray(values, dtype=dtype), design.matrix.index
    n = values.shape[1]
    for name in OF_ROWS:
        if more.get(name) is not None and not isinstance(more[name], pd.Series):
            more[name] = pd.Series(list(more[name]), index=index, name=name)
    return GroupData(
        design=design,
        stack=MapStack(
            labels=tuple(index), data=values, variance=None if variance is None else variance.astype(dtype)
        ),
        elements=elements
        or Elements(space=Grid(shape=(n, 1, 1), affine=np.diag([2.0, 2, 2, 1])), indices=np.arange(n)),
        **more,
    )


def statistics_by_hand(X, weights, maps, test):
    """t or F of every column of ``maps`` by least squares."""
    beta = np.linalg.lstsq(X, maps, rcond=None)[0]
    variance = ((maps - X @ beta) ** 2).sum(axis=0) / (len(X) - np.linalg.matrix_rank(X))
    effect, spread = weights @ beta, weights @ np.linalg.pinv(X.T @ X) @ weights.T
    if test == "t":
        return effect[0] / np.sqrt(variance * spread[0, 0])
    return np.einsum("iv,ij,jv->v", effect, np.linalg.inv(spread), effect) / len(weights) / variance
