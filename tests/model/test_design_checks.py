"""Checks before fitting: each finding a sentence with a fix, and silence where there is nothing to say."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf
from statsmodels.stats.outliers_influence import variance_inflation_factor

from bids_group.config.estimators import FIXED_EFFECTS
from bids_group.errors import DesignError
from bids_group.records import Column


def sentences(design, topic: str) -> list[str]:
    return [notice.sentence for notice in design.notices if notice.topic == topic]


def test_sound_design_has_nothing_to_say(people, design_of):
    rows = people.assign(age=np.random.default_rng(1).normal(40, 9, len(people)))
    design = design_of(rows, "~ sex + age", "slope(age)", "mean(sex=M) - mean(sex=F)")
    assert design.notices == ()


def test_empty_cells_and_cells_of_one_row_are_named(people, design_of):
    is_out = (people["group"] == "relative") & (people["sex"] == "M")
    design = design_of(people[~is_out], "~ group*sex", "mean(group=patient, sex=M)")
    assert sentences(design, "cells") == ["There is no row with group = relative, sex = M."]
    one = people[~is_out | (is_out.cumsum() == 1)]
    design = design_of(one, "~ group*sex", "mean(group=patient, sex=M)")
    assert sentences(design, "cells") == ["There is one row only with group = relative, sex = M."]


def test_covariate_constant_in_a_group_is_named(people, design_of):
    rows = people.assign(n_cigs=people["n_cigs"].where(people["group"] != "control", 0.0))
    design = design_of(rows, "~ group + n_cigs", "slope(n_cigs)")
    assert sentences(design, "constant") == [
        "The covariate 'n_cigs' is 0 for everyone with group = control: there is no slope in that group."
    ]
    rows = people.assign(n_cigs=3.0)
    design = design_of(rows, "~ group + n_cigs", "mean(group=patient) - mean(group=control)")
    assert sentences(design, "constant") == ["The covariate 'n_cigs' is 3 in every row."]


def test_covariate_that_differs_between_groups_is_shown_with_its_means(people, design_of):
    ages = people["age"] - people.groupby("sex", observed=True)["age"].transform("mean")
    rows = people.assign(age=30 + ages + 20 * (people["sex"] == "M"))
    [sentence] = sentences(design_of(rows, "~ sex + age", "slope(age)"), "confounding")
    assert sentence.startswith("The covariate 'age' differs between the levels of 'sex' (means: F 30, M 50; ")


def test_collinear_terms_are_named_with_their_inflation(people, design_of):
    rows = people.assign(twin=people["age"] + np.random.default_rng(0).normal(0, 0.5, len(people)))
    design = design_of(rows, "~ age + twin", "slope(age)")
    [sentence] = sentences(design, "collinearity")
    assert sentence.startswith("Terms are nearly told by the others (variance inflation: age ")
    X = sm.add_constant(rows[["age", "twin"]].to_numpy())
    assert design.details["vif"]["age"] == pytest.approx(variance_inflation_factor(X, 1), rel=1e-8)


def test_uncentred_square_is_warned_about_by_its_inflation_and_not_when_centred(people, design_of):
    raw = design_of(people, "~ volume + I(volume**2)", "slope(volume)", centering="none")
    assert raw.rank == 3
    assert raw.details["condition_number"] > 100
    centred = design_of(people, "~ volume + I(volume**2)", "slope(volume)")
    assert not sentences(centred, "collinearity")


def test_few_degrees_of_freedom_are_warned_about_and_none_refused(people, design_of):
    design = design_of(people[:6], "~ age", "slope(age)")
    assert sentences(design, "dof") == ["Only 4 degrees of freedom are left (6 rows, rank 2)."]
    with pytest.raises(DesignError, match="as many independent columns as rows"):
        design_of(people[:2], "~ age", "slope(age)")
    with pytest.raises(DesignError, match="as many independent columns as rows"):
        design_of(people, "~ subject")


def test_factor_with_one_level_is_refused_and_absent_levels_are_noted(people, design_of):
    with pytest.raises(DesignError, match="'group' has one level") as caught:
        design_of(people[people["group"] == "patient"], "~ group")
    assert "Leave 'group' out" in caught.value.fix
    two = people[people["group"] != "relative"]
    design = design_of(two, "~ group")
    assert list(design.matrix) == ["Intercept", "group[T.patient]"]
    assert sentences(design, "levels") == ["No analysed row has group = relative: it has no column."]


def test_whole_numbers_that_look_like_codes_are_asked_about(people, design_of):
    design = design_of(people, "~ scanner", "slope(scanner)")
    [notice] = [notice for notice in design.notices if notice.topic == "codes"]
    assert (
        notice.sentence == "The column 'scanner' holds few whole numbers (1, 2, 3) and is used as a number."
    )
    assert notice.fix == "If they are codes of groups, say --categorical scanner."
    assert not sentences(design_of(people, "~ C(scanner)"), "codes")
    told = {
        "scanner": Column(
            name="scanner", kind="numeric", kind_source="--numeric", source=Path("participants.tsv")
        )
    }
    settled = design_of(people, "~ scanner", "slope(scanner)", columns=told)
    assert not sentences(settled, "codes")


def told(name, kind_source):
    source = Path("participants.tsv")
    return {name: Column(name=name, kind="numeric", kind_source=kind_source, source=source)}


@pytest.mark.parametrize(
    "name, is_asked",
    [
        *(("site", True), ("study_site", True), ("siteID", True), ("scanner_no", True), ("family", True)),
        *(("age_group", True), ("number_of_site", True), ("n_cigs", False), ("group_size", False)),
        *(("opposite", False), ("n_samples", False), ("years_in_family", False), ("dose_by_arm", False)),
    ],
)
def test_many_whole_numbers_are_asked_about_where_the_name_is_of_groups(people, design_of, name, is_asked):
    rows = people.assign(**{name: np.arange(len(people)) % 12 + 1.0})
    said = sentences(design_of(rows, f"~ {name}"), "codes")
    assert [one.startswith(f"The column '{name}' holds whole numbers (1, 2, 3, ") for one in said] == (
        [True] * is_asked
    )


def test_dates_written_as_numbers_are_no_amounts(people, design_of):
    days = pd.Timestamp("2024-01-20") + pd.to_timedelta(np.arange(len(people)) * 3, "D")
    rows = people.assign(scanned=days.strftime("%Y%m%d").astype(float))
    assert sentences(design_of(rows, "~ scanned"), "codes") == [
        "The column 'scanned' holds dates as numbers (20240120): no amounts."
    ]
    amounts = people.assign(scanned=20240120.0 + np.arange(len(people)) * 3)
    assert not sentences(design_of(amounts, "~ scanned"), "codes")


@pytest.mark.parametrize("codes", [(0, 1), (1, 2), (-1, 1)])
def test_two_whole_numbers_that_may_be_codes_get_a_note(people, design_of, codes):
    rows = people.assign(sex=np.where(people["sex"] == "M", *codes).astype(float))
    columns = told("sex", "every value is a number")
    design = design_of(rows, "~ sex + age", "slope(age)", columns=columns)
    [notice] = [notice for notice in design.notices if notice.topic == "codes"]
    assert notice.severity == "note"
    low, high = sorted(codes)
    assert notice.sentence == (
        f"The column 'sex' holds two numbers ({low}, {high}) and is used as a number, without levels: "
        f"mean() is taken at its average, {rows['sex'].mean():.4g}."
    )
    said = "If they are codes of two groups, say --categorical sex, or write their Levels into "
    assert notice.fix == f"{said}participants.json."


@pytest.mark.parametrize(
    "kind_source", ["--numeric", "Units in participants.json", "--categorical", "Levels in participants.json"]
)
def test_two_numbers_are_no_question_where_it_is_settled(people, design_of, kind_source):
    rows = people.assign(sex=(people["sex"] == "M").astype(float))
    design = design_of(rows, "~ sex", "slope(sex)", columns=told("sex", kind_source))
    assert not sentences(design, "codes")


def test_two_numbers_are_no_question_where_they_are_made_by_a_model_or_far_apart(people, design_of):
    dummy = people.assign(sex=(people["sex"] == "M").astype(float))
    assert not sentences(design_of(dummy, "~ sex", "slope(sex)"), "codes")
    made = told("sex", "made by the transformation Factor of the model")  # as rows of a node have it
    assert not sentences(design_of(dummy, "~ sex", "slope(sex)", columns=made), "codes")
    dose = people.assign(dose=np.where(people["sex"] == "M", 10.0, 20.0))
    columns = told("dose", "every value is a number")
    assert not sentences(design_of(dose, "~ dose", "slope(dose)", columns=columns), "codes")


def test_row_that_settles_the_fit_by_itself_is_named(people, design_of):
    ages = people["age"].to_numpy().copy()
    ages[4] = 420.0
    design = design_of(people.assign(age=ages), "~ age", "slope(age)")
    [sentence] = sentences(design, "leverage")
    assert "sub-05 0." in sentence
    assert design.details["leverage"]["sub-05"] > 0.9


def test_missing_values_are_refused_by_name(people, design_of):
    ages = people["age"].to_numpy().copy()
    ages[[2, 7]] = np.nan
    with pytest.raises(DesignError, match="'age' has no value for sub-03, sub-08"):
        design_of(people.assign(age=ages), "~ age")
    ages[[2, 7]] = np.inf
    with pytest.raises(DesignError, match="'age' has no value for sub-03, sub-08"):
        design_of(people.assign(age=ages), "~ age")


def test_details_agree_with_statsmodels_and_are_json(people, design_of):
    design = design_of(people, "~ group*sex + age", "slope(age)")
    fit = smf.ols("y ~ group*sex + age", people.assign(y=people["n_cigs"])).fit()
    details = json.loads(json.dumps(design.details, allow_nan=False))
    assert list(details["leverage"].values()) == pytest.approx(fit.get_influence().hat_matrix_diag, abs=1e-9)
    X = design.matrix.to_numpy()
    assert details["condition_number"] == pytest.approx(
        np.linalg.cond(X / np.linalg.norm(X, axis=0)), rel=1e-9
    )
    assert (details["rank"], details["n_rows"], details["n_regressors"]) == (7, 36, 7)
    counts = people.groupby(["group", "sex"], observed=False).size()
    assert {(cell["group"], cell["sex"]): cell["n"] for cell in details["n_per_cell"]} == counts.to_dict()
    men = next(entry for entry in details["covariates"] if entry["group"] == {"sex": "M"})
    assert men["mean"] == pytest.approx(people.loc[people["sex"] == "M", "age"].mean())
    table = design.matrix.drop(columns="Intercept").corr().to_numpy()
    assert np.array(details["correlations"]["matrix"]) == pytest.approx(table, abs=1e-9)


def test_generalised_inflation_is_that_of_fox_and_monette_and_free_of_the_coding(people, design_of):
    centred = people.assign(age=people["age"] - people["age"].mean())
    X = smf.ols("n_cigs ~ C(group, Sum) + C(sex, Sum) + age", centred).fit().model.exog[:, 1:]
    R = np.corrcoef(X.T)
    expected = np.linalg.det(R[:2, :2]) * np.linalg.det(R[2:, 2:]) / np.linalg.det(R)
    for formula in ("~ group + sex + age", "~ 0 + C(group, contr.helmert) + sex + age"):
        vif = design_of(people, formula, "slope(age)").details["vif"]
        assert next(iter(vif.values())) == pytest.approx(expected, rel=1e-9)


def test_centres_are_reported_in_the_units_of_the_column(people, design_of):
    grand = design_of(people, "~ age + log(n_cigs)", "slope(age)")
    assert grand.centers == {"age": float(people["age"].to_numpy().mean())}  # every digit
    assert grand.matrix["age"].mean() == pytest.approx(0, abs=1e-9)
    within = design_of(people, "~ sex + age", "slope(age)", centering="within:sex")
    assert within.centers["age"]["M"] == float(people.loc[people["sex"] == "M", "age"].mean())
    assert within.matrix["age"].groupby(people["sex"].to_numpy()).mean().to_numpy() == pytest.approx(
        0, abs=1e-9
    )
    none = design_of(people, "~ sex + age", "slope(age)", centering="none")
    assert none.centers == {}
    assert none.matrix["age"].to_numpy() == pytest.approx(people["age"].to_numpy())


def test_centring_within_a_factor_of_the_formula_says_what_it_does_not_change(people, design_of):
    design = design_of(people, "~ sex*age", "test(sex)", centering="within:sex")
    [sentence] = sentences(design, "centering")
    assert "hold age at the same value for everyone" in sentence
    grand = design_of(people, "~ sex*age", "test(sex)")
    assert not sentences(grand, "centering")


def test_known_variances_need_no_degrees_of_freedom(people, design_of):
    two = people[:2].assign(sex=pd.Categorical(["F", "M"]))
    assert design_of(two, "~ sex", "sex[T.M]", estimator=FIXED_EFFECTS).dof == 0


def test_centring_reaches_bare_columns_i_and_poly_but_no_other_function(people, design_of):
    design = design_of(people, "~ age + I(age**2) + log(age) + scale(age)", "slope(age)")
    age = people["age"].to_numpy()
    deviation = age - age.mean()
    assert design.matrix["I(age ** 2)"].to_numpy() == pytest.approx(deviation**2)
    assert design.matrix["log(age)"].to_numpy() == pytest.approx(np.log(age))
    assert design.matrix["scale(age)"].to_numpy() == pytest.approx(deviation / age.std(ddof=1))


def test_rows_keep_their_order_and_their_labels(people, design_of):
    design = design_of(people[::-1], "~ group*age")
    assert list(design.matrix.index) == [f"sub-{subject}" for subject in people["subject"][::-1]]
    forward = design_of(people, "~ group*age")
    assert design.matrix.sort_index().to_numpy() == pytest.approx(
        forward.matrix.sort_index().to_numpy(), abs=1e-12
    )


def test_coefficients_of_groups_centred_within_compare_each_at_its_own_mean(people, design_of):
    y = np.random.default_rng(6).normal(size=len(people)) + 0.2 * people["age"].to_numpy()
    design = design_of(people, "~ 0 + sex + age", "sex[M] - sex[F]", centering="within:sex")
    beta = np.linalg.pinv(design.matrix.to_numpy()) @ y
    means = pd.Series(y).groupby(people["sex"].to_numpy()).mean()
    assert design.contrasts[0].weights[0] @ beta == pytest.approx(means["M"] - means["F"], abs=1e-9)
    text = "mean(sex=M) - mean(sex=F)"
    same_age = design_of(people, "~ 0 + sex + age", text, centering="within:sex")
    fit = smf.ols("y ~ sex + age", people.assign(y=y)).fit()
    assert same_age.contrasts[0].weights[0] @ beta == pytest.approx(fit.params["sex[T.M]"], abs=1e-9)
