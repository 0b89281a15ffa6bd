"""What a formula makes zero is refused with the formula that answers it; all else is tested as it is."""

import itertools

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from bids_group.errors import BidsGroupError, ContrastError

CODINGS = ["{}", "C({}, contr.sum)", "C({}, contr.helmert)", "C({}, contr.diff)", "C({}, contr.poly)"]
CENTRINGS = ["grand", "none", "within:sex", "within:group"]
CURVES = ["{}", "{} + I({}**2)", "poly({}, 3)", "bs({}, df=5)", "cr({}, df=4)", "log({})", "scale({})"]
DIFFERENCES = [
    "slope(COV, group=patient) - slope(COV, group=control)",
    "slope(COV, group=relative) - slope(COV)",
    "slope(COV, sex=M, group=patient) - slope(COV, sex=F, group=control)",
    "slope(COV, other=30) - slope(COV, other=50)",
    "1/3*slope(COV, group=patient) + 2/3*slope(COV, group=relative) - slope(COV, group=control)",
    "(mean(group=patient, COV=AT) - mean(group=control, COV=AT))"
    " - (mean(group=patient, COV=AT2) - mean(group=control, COV=AT2))",
    "(mean(group=patient, sex=F) - mean(group=control, sex=F))"
    " - (mean(group=patient, sex=M) - mean(group=control, sex=M))",
    "0.1*mean(sex=F) + 0.2*mean(sex=F) - 0.3*mean(sex=F)",
]


def t_value(design, y) -> float:
    X, c = design.matrix.to_numpy(), design.contrasts[0].weights[0]
    norms = np.linalg.norm(X, axis=0)
    inverse = np.linalg.pinv(X / norms) / norms[:, None]
    beta = inverse @ y
    sigma2 = ((y - X @ beta) ** 2).sum() / design.dof
    return float(c @ beta / np.sqrt(sigma2 * c @ inverse @ inverse.T @ c))


def additive(draw, covariate: str, other: str, centering: str) -> str:
    """Draw a formula without any interaction (a curve centred within groups is shifted between them)."""
    coding = str(draw.choice(CODINGS))
    curves = CURVES[:1] + CURVES[3:] if centering.startswith("within") else CURVES
    curve = str(draw.choice(curves)).replace("{}", covariate)
    terms = [coding.format("group"), coding.format("sex"), curve, other]
    return f"~ {draw.choice(['', '0 + '])}" + " + ".join(str(term) for term in draw.permutation(terms))


@pytest.mark.parametrize("seed", range(40))
def test_a_difference_that_an_additive_formula_lacks_is_refused_and_answered(seed, people, design_of):
    draw = np.random.default_rng(seed)
    covariate, other = draw.permutation(["age", "n_cigs"]) if seed % 3 else ("volume", "age")
    centering = str(draw.choice(CENTRINGS))
    formula = additive(draw, covariate, other, centering)
    low, high = people[covariate].quantile([0.3, 0.7])
    text = DIFFERENCES[seed % len(DIFFERENCES)].replace("COV", covariate).replace("other", other)
    text = text.replace("AT2", f"{high:.6g}").replace("AT", f"{low:.6g}")
    with pytest.raises(ContrastError) as caught:
        design_of(people, formula, text, centering=centering)
    if "0.1*mean" in text:
        assert "cancel each other" in caught.value.fix
        return
    assert "is always 0" in caught.value.sentence
    answer = caught.value.fix.split('--formula "')[1].rstrip('".')
    assert answer.startswith(formula)
    design = design_of(people, answer, text, centering=centering)
    y = np.random.default_rng(1).normal(size=len(people))
    assert np.isfinite(t_value(design, y))


@pytest.mark.parametrize(
    ("formula", "text", "said", "answer"),
    [
        (
            "~ group + age + n_cigs",
            "slope(n_cigs, group=patient) - slope(n_cigs, group=control)",
            "this formula gives both patient and control the same slope of n_cigs",
            'Write group * n_cigs: --formula "~ group + age + n_cigs + group:n_cigs".',
        ),
        (
            "~ age",
            "slope(age, age=30) - slope(age, age=50)",
            "this formula gives both age 30 and age 50 the same slope of age",
            'Write I(age ** 2): --formula "~ age + I(age ** 2)".',
        ),
        (
            "~ group * age",
            "(slope(age, age=30, group=patient) - slope(age, age=50, group=patient))"
            " - (slope(age, age=30, group=control) - slope(age, age=50, group=control))",
            "this formula has no interaction of group and age, and so the same slope everywhere",
            'Write group * I(age ** 2): --formula "~ group * age + I(age ** 2) + group:I(age ** 2)".',
        ),
        (
            "~ 0 + age",
            "mean()",
            "this formula leaves no room for the mean that it asks for",
            'Write the constant: --formula "~ 0 + age + 1".',
        ),
        (
            "~ 0 + group:age",
            "mean(group=patient) - mean(group=control)",
            "this formula gives both patient and control the same mean",
            'Write group: --formula "~ 0 + group:age + group".',
        ),
        (
            "~ group + log(age)",
            "slope(age, group=patient) - slope(age, group=control)",
            "this formula gives both patient and control the same slope of age",
            'Write group * log(age): --formula "~ group + log(age) + group:log(age)".',
        ),
    ],
)
def test_the_refusal_says_why_and_shows_the_formula(formula, text, said, answer, people, design_of):
    with pytest.raises(ContrastError) as caught:
        design_of(people, formula, text)
    assert said in caught.value.sentence
    assert caught.value.fix == answer


def test_a_zero_row_of_a_joint_test_is_named(people, design_of):
    zero = "slope(age, group=patient) - slope(age, group=control)"
    cases = {f"[slope(age), {zero}]": 2, f"[{zero}, slope(age)]": 1, "[[0, 0, 0, 1], [0, 0, 0, 0]]": 2}
    for text, number in cases.items():
        with pytest.raises(ContrastError, match=f"^Row {number} of the contrast"):
            design_of(people, "~ group + age", text)


@pytest.mark.parametrize("seed", range(20))
def test_what_an_interaction_lets_differ_has_the_t_of_statsmodels(seed, people, design_of):
    draw = np.random.default_rng(100 + seed)
    coding, centering = str(draw.choice(CODINGS)), str(draw.choice(CENTRINGS[:2]))
    group, covariate = coding.format("group"), str(draw.choice(["age", "n_cigs", "volume"]))
    shapes = [f"{group}*{covariate}", f"{group}/{covariate}", f"0 + {group} + {group}:{covariate}"]
    formula = f"~ {draw.choice(shapes)} + sex"
    data = people.assign(y=draw.normal(size=len(people)), x=people[covariate] / people[covariate].std())
    fit = smf.ols("y ~ group*x + sex", data).fit()
    text = f"slope({covariate}, group=patient) - slope({covariate}, group=control)"
    design = design_of(people, formula, text, centering=centering)
    assert t_value(design, data["y"].to_numpy()) == pytest.approx(fit.tvalues["group[T.patient]:x"], abs=1e-8)
    weights = np.abs(design.contrasts[0].weights[0])
    assert weights[weights > 0].min() > 1e-9


@pytest.mark.parametrize("unit", [1e-12, 1e-9, 1e9, 1e12])
@pytest.mark.parametrize("formula", ["~ group*x", "~ group*x + I(x**2)", "~ 0 + group + group:x + I(x**2)"])
def test_small_weights_of_large_units_are_no_noise(unit, formula, people, design_of):
    """Columns in units of a billion, and their squares, beside columns of ones."""
    people = people.assign(x=people["age"] * unit)
    y = np.random.default_rng(5).normal(size=len(people))
    model = "y ~ group*age" + (" + I(age**2)" if "**" in formula else "")
    fit = smf.ols(model, people.assign(y=y, age=people["age"] - people["age"].mean())).fit()
    mean = float(people["age"].mean())
    texts = {
        "slope(x, group=patient) - slope(x, group=control)": fit.tvalues["group[T.patient]:age"],
        f"mean(group=patient, x={(mean + 3) * unit!r}) - mean(group=control, x={(mean - 2) * unit!r})": None,
    }
    if "**" in formula:
        texts[f"slope(x, x={mean * unit * 1.001!r}) - slope(x, x={mean * unit!r})"] = fit.tvalues[
            "I(age ** 2)"
        ]
    for (text, expected), centering in itertools.product(texts.items(), ("grand", "none")):
        value = t_value(design_of(people, formula, text, centering=centering), y)
        if expected is None:
            row = np.zeros(len(fit.params))
            names = list(fit.params.index)
            row[names.index("group[T.patient]")] = 1
            row[names.index("age")], row[names.index("group[T.patient]:age")] = 5, 3
            if "**" in formula:
                row[names.index("I(age ** 2)")] = 9 - 4
            expected = float(fit.t_test(row).tvalue.item())
        assert value == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 2000.0, 1.7e9])
def test_a_covariate_far_from_zero_keeps_its_slopes_and_loses_its_noise(offset, people, design_of):
    people = people.assign(x=people["age"] + offset)
    y = np.random.default_rng(6).normal(size=len(people))
    data = people.assign(y=y, age=people["age"] - people["age"].mean())
    expected = smf.ols("y ~ group*age", data).fit().tvalues["group[T.patient]:age"]
    text = "slope(x, group=patient) - slope(x, group=control)"
    for centering in ("grand", "within:group"):
        design = design_of(people, "~ group*x", text, centering=centering)
        assert np.count_nonzero(design.contrasts[0].weights) == 1
        assert t_value(design, y) == pytest.approx(expected, rel=1e-5)
        with pytest.raises(ContrastError, match="the same slope of x"):
            design_of(people, "~ group + x", text, centering=centering)


@pytest.mark.parametrize(
    "formula",
    ["~ group*age + sex", "~ 0 + group + sex:age", "~ group*sex*n_cigs + age", "~ 0 + group/volume + sex"],
)
@pytest.mark.parametrize("centering", CENTRINGS)
def test_no_weight_of_rounding_size_stands_in_a_contrast(formula, centering, people, design_of):
    """Beside the largest share that any column has in a contrast, nothing of 1e-9 and less."""
    covariate = next(name for name in ("n_cigs", "volume", "age") if name in formula)
    texts = [
        "mean()",
        "mean(group=patient) - mean(group=control)",
        f"slope({covariate})",
        f"slope({covariate}, group=patient)",
        f"slope({covariate}, sex=M) - slope({covariate}, sex=F)",
        "test(sex)",
        "test(group)",
        f"test(group:{covariate})",
    ]
    if covariate == "volume" and centering != "grand":
        texts = texts[2:4] + texts[-1:]  # what holds a mean of a million holds its square beside a one
    for text in texts:
        try:
            design = design_of(people, formula, text, centering=centering)
        except BidsGroupError:
            continue
        for contrast in design.contrasts:
            shares = np.abs(contrast.weights) * np.abs(design.matrix.to_numpy()).max(axis=0)
            present = shares[shares > 0]
            assert present.min() > 1e-9 * present.max()


def test_the_test_of_a_term_that_says_the_same_as_another_is_refused(people, design_of):
    twin = people.assign(
        site=people["group"].cat.rename_categories({"control": "x"}), copy=3 * people["age"] - 7
    )
    for formula, text in (
        ("~ group + site", "test(site)"),
        ("~ group*age + copy", "test(copy)"),
        ("~ group + site + age", "mean(site=x) - mean(site=patient)"),
        ("~ age + copy", "slope(copy)"),
    ):
        with pytest.raises(BidsGroupError) as caught:
            design_of(twin, formula, text)
        assert caught.value.exit_code == 65


def test_a_slope_by_differences_is_exact_to_twelve_digits(people, design_of):
    """Weights of curves against their derivatives by hand."""
    mean = float(people["age"].mean())
    cases = {
        "log(age)": lambda at: 1 / at,
        "I(age**3)": lambda at: 3 * at**2,
        "exp(age)": np.exp,
        "sqrt(age)": lambda at: 0.5 / np.sqrt(at),
        "I(1/age)": lambda at: -1 / at**2,
    }
    for (function, derivative), at in itertools.product(cases.items(), (mean, 35.0, 48.25)):
        design = design_of(people, f"~ {function}", f"slope(age, age={at!r})", centering="none")
        weights = pd.Series(design.contrasts[0].weights[0], index=design.matrix.columns)
        assert weights.iloc[1] == pytest.approx(derivative(at), rel=1e-8 if function == "exp(age)" else 1e-11)
        assert weights.iloc[0] == 0


@pytest.mark.parametrize("curve", ["I(n_cigs**2)", "n_cigs + I(n_cigs**2)", "poly(n_cigs, 3)"])
@pytest.mark.parametrize("number", [0, 1, 4, 5])
def test_a_curve_that_centring_shifts_between_groups_is_no_interaction(curve, number, people, design_of):
    text = DIFFERENCES[number].replace("COV", "n_cigs").replace("AT2", "12").replace("AT", "6")
    with pytest.raises(ContrastError, match="the same") as caught:
        design_of(people, f"~ group + age + {curve}", text, centering="within:group")
    assert "within:group only shifts its curve" in caught.value.found
    formula = caught.value.fix.split('"')[1]
    assert design_of(people, formula, text, centering="within:group").contrasts


def test_a_difference_on_the_flat_end_of_a_curve_is_no_rounding(people, design_of):
    people = people.assign(volume=np.linspace(20.0, 80.0, len(people)))
    text = "mean(volume=79) - mean(volume=70)"
    design = design_of(people, "~ group + exp(-volume)", text)
    (row,) = design.contrasts[0].weights
    column = list(design.matrix.columns).index("exp(-volume)")
    np.testing.assert_allclose(row[column], np.exp(-79.0) - np.exp(-70.0), rtol=1e-9)
    assert np.flatnonzero(row).tolist() == [column]
