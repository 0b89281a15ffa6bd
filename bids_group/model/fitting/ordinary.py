"""Ordinary least squares: nilearn's ``SecondLevelModel`` wherever everybody is observed."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from types import SimpleNamespace
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pandas as pd

from bids_group.model.fitting.least_squares import (
    Basis,
    Doubles,
    Estimate,
    TileFit,
    fit_by_pattern,
    fit_group_variances,
    orthonormal_basis,
    residual_variance,
)
from bids_group.records import Contrast, GroupData
from bids_group.work_files import read_columns

if TYPE_CHECKING:
    from nilearn.glm.second_level import SecondLevelModel


def prepare(data: GroupData) -> Callable[[slice], TileFit]:
    """Choose how tiles are fitted: with people missing, those observed; with variance groups, one for each.

    t = cβ / √(σ² c(X'X)⁻c'), F = (Cβ)'[C(X'X)⁻C']⁻¹(Cβ)/(qσ²), dof = N − rank(X).
    """
    basis, maps, contrasts = orthonormal_basis(data.design), data.stack.data, data.design.contrasts
    subjects = None if data.subjects is None or data.is_complete else pd.factorize(data.subjects)[0]
    if data.has_group_variances:
        assert data.variance_groups is not None
        groups = pd.factorize(data.variance_groups.reindex(data.design.matrix.index), sort=True)[0]
        return lambda tile: TileFit(
            fit_group_variances(read_columns(maps, tile), basis, contrasts, groups, subjects)
        )
    if not data.is_complete:
        return lambda tile: TileFit(
            fit_by_pattern(read_columns(maps, tile), basis, contrasts, subjects).estimates
        )
    model = second_level_model(basis)
    return lambda tile: TileFit(
        fit_second_level(model, np.ascontiguousarray(read_columns(maps, tile), np.float64), basis, contrasts)
    )


class PackedMasker:
    """Takes the place of a fitted masker: its images are the rows of a tile, ``(n_obs, n)``."""

    def __init__(self, rows: Doubles) -> None:
        self.rows = rows

    def transform(self, _: object) -> Doubles:
        """Hand over the rows, whatever the images."""
        return self.rows

    def inverse_transform(self, values: Doubles) -> SimpleNamespace:
        """Give numbers with a header, as ``SecondLevelModel`` expects of an image."""
        return SimpleNamespace(values=values, header={})


def second_level_model(basis: Basis) -> SecondLevelModel:
    """Fit a ``SecondLevelModel`` of the design's basis on images of one voxel, ready for `fit_second_level`.

    A masker of one's own given as ``mask_img`` is silently replaced: `fit_second_level` sets it later. Images
    in a table are not averaged (4 ms an image); from then on the model looks only at how many there are.
    """
    from nilearn.glm.second_level import SecondLevelModel

    images = [nib.Nifti1Image(np.ones((1, 1, 1), np.uint8), np.eye(4))] * len(basis.columns)
    table = pd.DataFrame({"subject_label": "", "map_name": "", "effects_map_path": images})
    names = [f"direction{number}" for number in range(basis.columns.shape[1])]
    model = SecondLevelModel(mask_img=images[0], minimize_memory=False)
    model.fit(table, design_matrix=pd.DataFrame(basis.columns, columns=names))
    model.second_level_input_ = images
    return model


def fit_second_level(
    model: SecondLevelModel, values: Doubles, basis: Basis, contrasts: tuple[Contrast, ...]
) -> list[Estimate]:
    """Fit a tile by one ``compute_contrast`` of the model, and read every contrast from that fit.

    ``values``: ``(n_obs, n)``, finite, widened once (nilearn would do so at each step). A copy of the model
    is fitted: tiles can be fitted side by side.
    """
    from nilearn.glm import compute_contrast

    model = copy(model)
    model.masker_ = PackedMasker(values)
    with np.errstate(divide="ignore"):  # where there is no residual variance
        model.compute_contrast(basis.directions[0][0], output_type="effect_size")
    (fitted,) = model.results_.values()
    scale = np.einsum("ij,ij->j", values, values)
    n_obs, n = values.shape
    dof = np.full(n, float(fitted.df_residuals))
    variance = residual_variance(fitted.dispersion * dof, dof, scale)
    is_estimable = variance > 0
    estimates = []
    for contrast, weights, directions in zip(contrasts, basis.weights, basis.directions, strict=True):
        rows = directions[0] if contrast.test == "t" else directions
        with np.errstate(divide="ignore", invalid="ignore"):
            tested = compute_contrast(model.labels_, model.results_, rows, contrast.test)
            tested.tiny = 0.0  # nilearn takes variances below 1e-50 for 1e-50: effects in units such as T²
            statistic = tested.stat()
        spread = np.einsum("qi,ij,qj->q", weights, fitted.cov, weights)[:, None]
        one = Estimate(
            effect=weights @ fitted.theta,
            variance=spread * variance,
            statistic=np.where(is_estimable, statistic, 0.0),
            spread=np.broadcast_to(spread, (len(weights), n)),
            dof=dof,
            n_observed=np.full(n, float(n_obs)),
            is_estimable=is_estimable,
            is_determined=np.ones(n, dtype=bool),
            compares_people=np.zeros(n, dtype=bool),
        )
        estimates.append(one)
    return estimates
