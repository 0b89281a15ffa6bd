"""Marginal means and slopes against statsmodels: predictions on reference grids, averaged by hand."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from scipy.interpolate import BSpline

from bids_group.config import ContrastRequest

CODINGS = ["{}", "C({}, contr.sum)", "C({}, contr.helmert)", "C({}, contr.diff)"]

# formula of this program, the same model for statsmodels (patsy), factors, covariates
DESIGNS = {
    "one factor": ("~ GROUP", "y ~ group", ["group"], []),
    "cell means": ("~ 0 + GROUP", "y ~ 0 + group", ["group"], []),
    "two factors": ("~ GROUP + SEX", "y ~ group + sex", ["group", "sex"], []),
    "factorial": ("~ GROUP*SEX", "y ~ group*sex", ["group", "sex"], []),
    "three factors": ("~ GROUP*SEX + SITE", "y ~ group*sex + site", ["group", "sex", "site"], []),
    "cells of two factors": ("~ 0 + GROUP:SEX", "y ~ 0 + group:sex", ["group", "sex"], []),
    "one covariate": ("~ age", "y ~ age", [], ["age"]),
    "adjusted": ("~ GROUP + age", "y ~ group + age", ["group"], ["age"]),
    "slopes": ("~ GROUP*n_cigs + age", "y ~ group*n_cigs + age", ["group"], ["n_cigs", "age"]),
    "slopes by group": ("~ 0 + GROUP + GROUP:n_cigs", "y ~ 0 + group + group:n_cigs", ["group"], ["n_cigs"]),
    "covariates interact": (
        "~ GROUP*SEX*age + age:n_cigs + n_cigs",
        "y ~ group*sex*age + age:n_cigs + n_cigs",
        ["group", "sex"],
        ["age", "n_cigs"],
    ),
    "square": ("~ GROUP*age + I(age**2)", "y ~ group*age + I(age**2)", ["group"], ["age"]),
    "cubic": ("~ GROUP + poly(age, 3)", "y ~ group + age + I(age**2) + I(age**3)", ["group"], ["age"]),
    "logarithm": ("~ GROUP*np.log(age)", "y ~ group*np.log(age)", ["group"], ["age"]),
    "scaled": ("~ GROUP*scale(age) + center(n_cigs)", "y ~ group*age + n_cigs", ["group"], ["age", "n_cigs"]),
    "spline": ("~ GROUP + bs(age, df=5)", "y ~ group + bs(age, df=5)", ["group"], ["age"]),
    "large numbers": (
        "~ SEX*volume + I(volume**2)",
        "y ~ sex*I(volume/1e6) + I((volume/1e6)**2)",
        ["sex"],
        ["volume"],
    ),
}
LEVELS = {"group": ["control", "patient", "relative"], "sex": ["F", "M"], "site": list("abcd")}


def response(people: pd.DataFrame) -> np.ndarray:
    return np.random.default_rng(7).normal(size=len(people)) + 0.1 * people["age"].to_numpy()


def ours(design_of, people, formula: str, expression: str, coding: str, centering: str) -> float:
    for name in ("group", "sex", "site"):
        formula = formula.replace(name.upper(), coding.format(name))
    design = design_of(people, formula, expression, centering=centering)
    X = design.matrix.to_numpy()
    norms = np.linalg.norm(X, axis=0)
    beta = np.linalg.lstsq(X / norms, response(people), rcond=None)[0] / norms
    return float(design.contrasts[0].weights[0] @ beta)


def grid(people, factors, covariates, fixed) -> pd.DataFrame:
    choices = [[fixed[name]] if name in fixed else LEVELS[name] for name in factors]
    rows = pd.DataFrame(list(itertools.product(*choices)), columns=factors)
    for name in covariates:
        rows[name] = fixed.get(name, people[name].mean())
    return rows if len(rows.columns) else pd.DataFrame(index=[0])


def fit_model(people, model):
    return smf.ols(model, people.assign(y=response(people))).fit()


def predicted_mean(people, fit, factors, covariates, fixed) -> float:
    return float(fit.predict(grid(people, factors, covariates, fixed)).mean())


def predicted_slope(people, fit, factors, covariates, fixed, covariate) -> float:
    """Exact for cubics: central differences of fourth order of the predictions, in large steps."""
    at = fixed.get(covariate, people[covariate].mean())
    step = people[covariate].std() / 8
    mean = [
        predicted_mean(people, fit, factors, covariates, {**fixed, covariate: at + k * step})
        for k in (-2, -1, 1, 2)
    ]
    return (mean[0] - 8 * mean[1] + 8 * mean[2] - mean[3]) / (12 * step)


@pytest.mark.parametrize(("coding", "centering"), list(zip(CODINGS, ["grand", "none"] * 2, strict=True)))
@pytest.mark.parametrize("name", DESIGNS)
def test_marginal_means_equal_averaged_predictions_under_every_coding(
    name, coding, centering, people, design_of
):
    formula, model, factors, covariates = DESIGNS[name]
    fixed = {"group": "patient"} if "group" in factors else {}
    expression = "mean(group=patient)" if fixed else "mean()"
    fit = fit_model(people, model)
    expected = predicted_mean(people, fit, factors, covariates, fixed)
    assert ours(design_of, people, formula, expression, coding, centering) == pytest.approx(
        expected, abs=1e-8
    )
    if factors:
        expected = predicted_mean(people, fit, factors, covariates, {})
        assert ours(design_of, people, formula, "mean()", coding, centering) == pytest.approx(
            expected, abs=1e-8
        )


@pytest.mark.parametrize(
    ("coding", "centering"), list(zip(CODINGS[:3], ["none", "grand", "none"], strict=True))
)
@pytest.mark.parametrize("name", [n for n, d in DESIGNS.items() if d[3] and n not in ("spline", "logarithm")])
def test_slopes_are_differences_of_predictions_under_every_coding(name, coding, centering, people, design_of):
    formula, model, factors, covariates = DESIGNS[name]
    covariate, fit = covariates[0], fit_model(people, model)
    place = {"group": "relative"} if "group" in factors else {}
    place_text = "".join(f", {key}={value}" for key, value in place.items())
    for at in ({}, {covariate: float(people[covariate].quantile(0.3))}):
        text = f"slope({covariate}{place_text}{''.join(f', {k}={v!r}' for k, v in at.items())})"
        expected = predicted_slope(people, fit, factors, covariates, {**place, **at}, covariate)
        value = ours(design_of, people, formula, text, coding, centering)
        assert value == pytest.approx(expected, rel=1e-8, abs=1e-12)


@pytest.mark.parametrize("coding", CODINGS[:3])
def test_difference_of_slopes_is_the_same_under_every_coding_and_centring(coding, people, design_of):
    expected = smf.ols("y ~ group*n_cigs + age", people.assign(y=response(people))).fit()
    text = "slope(n_cigs, group=patient) - slope(n_cigs, group=control)"
    for formula in ("~ GROUP*n_cigs + age", "~ 0 + GROUP + GROUP:n_cigs + age", "~ GROUP/n_cigs + age"):
        for centering in ("grand", "none", "within:group", "within:sex"):
            value = ours(design_of, people, formula, text, coding, centering)
            if centering != "within:sex":
                assert value == pytest.approx(expected.params["group[T.patient]:n_cigs"], abs=1e-8)


@pytest.mark.parametrize("expression", ["slope(volume)", "slope(volume, sex=M)", "mean(sex=M)", "mean()"])
def test_centring_within_a_factor_of_the_formula_changes_no_mean_and_no_slope(expression, people, design_of):
    formula = DESIGNS["large numbers"][0]
    grand = ours(design_of, people, formula, expression, "{}", "grand")
    assert ours(design_of, people, formula, expression, "{}", "within:sex") == pytest.approx(grand, rel=1e-8)


def test_slope_of_a_logarithm_is_its_coefficient_over_the_mean(people, design_of):
    fit = smf.ols("y ~ group*np.log(age)", people.assign(y=response(people))).fit().params
    mean = people["age"].mean()
    expected = (fit["np.log(age)"] + fit["group[T.patient]:np.log(age)"]) / mean
    value = ours(design_of, people, "~ GROUP*np.log(age)", "slope(age, group=patient)", "{}", "grand")
    assert value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("at", [None, 37.0, 45.5])
def test_slope_of_a_spline_equals_the_derivative_of_scipys_spline(at, people, design_of):
    """Same space of cubic splines, fitted and differentiated by scipy."""
    age, y = people["age"].to_numpy(), response(people)
    knots = np.r_[[age.min()] * 4, np.quantile(age, [1 / 3, 2 / 3]), [age.max()] * 4]
    basis = BSpline.design_matrix(age, knots, 3).toarray()
    coefficients = np.linalg.lstsq(basis, y, rcond=None)[0]
    point = age.mean() if at is None else at
    expected = BSpline(knots, coefficients, 3).derivative()(point)
    text = "slope(age)" if at is None else f"slope(age, age={at})"
    assert ours(design_of, people, "~ bs(age, df=5)", text, "{}", "none") == pytest.approx(expected, rel=1e-8)


def test_covariates_can_be_held_anywhere_in_a_mean(people, design_of):
    formula, model, factors, covariates = DESIGNS["square"]
    fixed = {"group": "patient", "age": 33.0}
    expected = predicted_mean(people, fit_model(people, model), factors, covariates, fixed)
    value = ours(design_of, people, formula, "mean(group=patient, age=33)", "{}", "grand")
    assert value == pytest.approx(expected, abs=1e-8)


def test_centring_within_a_factor_that_the_formula_lacks_compares_at_its_own_means(people, design_of):
    """The covariate is then its deviation from the mean of its level, and a mean is at deviation zero."""
    deviations = people["age"] - people.groupby("sex", observed=True)["age"].transform("mean")
    data = people.assign(y=response(people), deviation=deviations)
    fit = smf.ols("y ~ group*deviation", data).fit()
    rows = pd.DataFrame({"group": ["patient"], "deviation": [0.0]})
    value = ours(design_of, people, "~ GROUP*age", "mean(group=patient)", "{}", "within:sex")
    assert value == pytest.approx(float(fit.predict(rows).iloc[0]), abs=1e-10)
    slope = ours(design_of, people, "~ GROUP*age", "slope(age, group=patient)", "{}", "within:sex")
    expected = fit.params["deviation"] + fit.params["group[T.patient]:deviation"]
    assert slope == pytest.approx(expected, abs=1e-10)


def test_slope_at_a_corner_is_refused(people, design_of):
    from bids_group.errors import ContrastError

    people = people.assign(age=np.linspace(20, 60, len(people)))
    request = ContrastRequest(expression="slope(age, age=40)")
    with pytest.raises(ContrastError, match="corner at age = 40"):
        design_of(people, "~ I(abs(age - 40))", request)


@pytest.mark.parametrize("formula", ["~ I(abs(age - 40))", "~ bs(age, degree=1, knots=[40])"])
def test_a_corner_beside_the_point_leaves_the_slope_right_or_is_refused(formula, people, design_of):
    """The derivative is a difference over four steps of a thousandth of an SD to either side."""
    from bids_group.errors import ContrastError

    people = people.assign(age=np.linspace(20, 60.5, len(people)))
    step = float(people["age"].std()) / 1000
    left, right = (ours(design_of, people, formula, f"slope(age, age={at})", "{}", "none") for at in (39, 41))
    for steps in (0.3, 0.8, 1, 1.7, 2.5, 3.5, 4.5):
        for sign, expected in ((-1, left), (1, right)):
            text = f"slope(age, age={40 + sign * steps * step!r})"
            if steps < 4:
                with pytest.raises(ContrastError, match="has a corner at age"):
                    ours(design_of, people, formula, text, "{}", "none")
            else:
                value = ours(design_of, people, formula, text, "{}", "none")
                assert value == pytest.approx(expected, abs=1e-3 * abs(right - left))


@pytest.mark.parametrize("at", [25.0, 38.7, 40.0, 40.0001, 50.5])
@pytest.mark.parametrize(
    "formula",
    [
        "~ I(age**2)",
        "~ bs(age, knots=[40])",
        "~ bs(age, degree=2, knots=[30, 40, 50])",
        "~ poly(age, 3)",
        "~ cr(age, df=4)",
    ],
)
def test_the_slope_of_a_smooth_curve_is_not_taken_for_a_corner(formula, at, people, design_of):
    people = people.assign(age=np.linspace(20, 60, len(people)))
    ours(design_of, people, formula, f"slope(age, age={at})", "{}", "none")


def test_mean_does_not_depend_on_how_many_people_a_level_has(people, design_of):
    """Equal weights for levels, not for people: the two differ in these unbalanced rows."""
    design = design_of(people, "~ 0 + group", "mean()")
    assert design.contrasts[0].weights == pytest.approx(np.full((1, 3), 1 / 3))


@pytest.mark.parametrize(
    "coding",
    [
        *(
            "contr.treatment",
            "contr.treatment('patient')",
            "contr.treatment(base='relative')",
            "contr.sum",
            "contr.SAS",
        ),
        *(
            "contr.helmert",
            "contr.diff",
            "contr.poly",
            "Treatment",
            "Treatment(reference='patient')",
            "Sum",
            "Poly",
        ),
        *("Helmert", "Diff", "contr.sum()", "Sum()"),
    ],
)
def test_every_coding_that_may_be_named_gives_the_same_difference(coding, people, design_of):
    fit = smf.ols(
        "y ~ group*age", people.assign(y=response(people), age=people["age"] - people["age"].mean())
    ).fit()
    text = "mean(group=patient) - mean(group=control)"
    value = ours(design_of, people, f"~ C(group, {coding})*age", text, "{}", "grand")
    assert value == pytest.approx(fit.params["group[T.patient]"], abs=1e-8)
