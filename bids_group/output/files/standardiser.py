"""What Hedges' g of a contrast is in units of."""

from __future__ import annotations

import re

import numpy as np
from pandas.api.types import is_numeric_dtype

from bids_group.records import Contrast, Design, GroupData

PLAIN = "residual SD"


def name_standardiser(data: GroupData, contrast: Contrast) -> str:
    """Name it: a slope's is per unit of its covariate; within people it is that of a person's rows.

    A paired difference has g = √2 · J · d_z, d_z the mean difference in SDs of the differences.
    """
    unit = PLAIN
    if data.subjects is not None and "subject" in data.design.terms:
        unit = "residual SD within people (of a paired difference g is sqrt(2) * J * d_z)"
    elif data.subjects is not None:
        unit = "residual SD of single rows, within and between people"
    covariates = _covariates(data.design, contrast)
    return f"{unit} per unit of {' and of '.join(covariates)}" if covariates else unit


def _covariates(design: Design, contrast: Contrast) -> list[str]:
    """Covariates in every term that the contrast weighs: it is a slope of these."""
    sizes = np.abs(np.atleast_2d(contrast.weights)).max(axis=0)
    is_weighed = sizes > 1e-10 * sizes.max()
    weighed = {str(name) for name, is_so in zip(design.matrix.columns, is_weighed, strict=True) if is_so}
    terms = [term for term, columns in design.terms.items() if weighed & set(columns)]
    named = [_numbers_in(term, design) for term in terms]
    return sorted(set.intersection(*named)) if named else []


def _numbers_in(term: str, design: Design) -> set[str]:
    coded = {name for cell in design.details.get("n_per_cell") or () for name in cell}
    words = {word for pair in re.findall(r"`([^`]+)`|([A-Za-z_]\w*)", term) for word in pair}
    names = [str(name) for name in design.variables.columns]
    return {
        name
        for name in names
        if name in words and name not in coded and is_numeric_dtype(design.variables[name])
    }
