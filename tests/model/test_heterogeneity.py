"""Fixed effects across people are warned of, with Q and I² as statsmodels has them."""

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from bids_group.config import InferenceSpec
from bids_group.config.estimators import FIXED_EFFECTS
from bids_group.inference import check_inference
from bids_group.model import tell_heterogeneity
from bids_group.model.fitting.known_variances import heterogeneity
from bids_group.model.fitting.least_squares import orthonormal_basis
from bids_group.records import LEAST_SQUARES
from tests.groups import make_design, make_group


def make(values, variances, columns, estimator=FIXED_EFFECTS):
    return make_group(make_design(columns), values, variance=variances, estimator=estimator)


def numbers(tau2, n=12, n_elements=40, seed=0):
    rng = np.random.default_rng(seed)
    variances = rng.uniform(0.2, 3, (n, n_elements)).astype(np.float32)
    values = 1 + rng.normal(size=(n, n_elements)) * np.sqrt(variances + tau2)
    return values.astype(np.float32), variances


def test_q_of_a_mean_and_of_a_regression():
    values, variances = numbers(1.0)
    values[3, 5] = np.nan
    X = np.column_stack([np.ones(12), np.arange(12) - 5.0])
    q, dof = heterogeneity(values, variances, orthonormal_basis(make(values, variances, X).design))
    of_mean, _ = heterogeneity(values, variances, orthonormal_basis(make(values, variances, X[:, :1]).design))
    for element in range(10):
        here = np.isfinite(values[:, element])
        y, w = values[here, element].astype(float), 1 / variances[here, element].astype(float)
        fitted = sm.WLS(y, X[here], weights=w).fit()
        assert q[element] == pytest.approx((w * fitted.resid**2).sum(), rel=1e-8)
        assert dof[element] == here.sum() - 2
        theirs = combine_effects(y, 1 / w)
        assert of_mean[element] == pytest.approx(theirs.q, rel=1e-8)


def test_the_warning_names_q_and_i2():
    values, variances = numbers(1.0)
    data = make(values, variances, np.ones((12, 1)))
    (told,) = tell_heterogeneity(data)
    q = np.array(
        [
            combine_effects(*pair).q
            for pair in zip(values.T.astype(float), variances.T.astype(float), strict=True)
        ]
    )
    assert told.severity == "warning"
    assert f"Q is {np.median(q):.3g} on 11 degrees of freedom" in told.sentence
    assert f"at {(stats.chi2.sf(q, 11) < 0.05).mean():.0%} of the elements" in told.sentence
    assert f"I² is {np.median(np.maximum(0, 1 - 11 / q)):.0%}" in told.sentence
    assert '"Type": "glm"' in told.fix
    assert tell_heterogeneity(make(values, variances, np.ones((12, 1)), estimator=LEAST_SQUARES)) == ()


def test_one_person_has_no_heterogeneity_to_tell():
    values, variances = numbers(0, n=1)
    assert tell_heterogeneity(make(values, variances, np.ones((1, 1)))) == ()


def test_the_dry_run_says_what_such_a_model_cannot_say():
    values, variances = numbers(0)
    design = make(values, variances, np.ones((12, 1))).design
    (told,), _ = check_inference(design, InferenceSpec(), estimator=FIXED_EFFECTS)
    assert "no variance between people" in told.sentence
    assert told.severity == "warning"
