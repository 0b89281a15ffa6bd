"""Default contrasts that cannot be estimated are left out; else what rows settle of a term is tested."""

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf

from bids_group.errors import DesignError


def f_value(design, contrast, y) -> float:
    X, C = design.matrix.to_numpy(), contrast.weights
    inverse = np.linalg.pinv(X)
    beta = inverse @ y
    sigma2 = ((y - X @ beta) ** 2).sum() / design.dof
    value = C @ beta
    return float(value @ np.linalg.solve(C @ inverse @ inverse.T @ C.T, value) / len(C) / sigma2)


def test_one_person_in_a_level_leaves_the_other_levels_to_be_compared(people, design_of):
    """Sexes D, F, M with one F and a slope for each: means and slopes of D and M are what can be compared."""
    rows = people.assign(kind=pd.Categorical(["F"] + ["D", "M", "M"] * 11 + ["D", "D"]))
    design = design_of(rows, "~ age * kind")
    assert [contrast.name for contrast in design.contrasts] == ["test(kind)", "test(age:kind)"]
    y = np.random.default_rng(0).normal(size=len(rows))
    data = rows.assign(y=y, age=rows["age"] - rows["age"].mean())
    data = data[data["kind"] != "F"].assign(kind=lambda d: d["kind"].astype(str))
    fit = smf.ols("y ~ age * kind", data).fit()
    for contrast, name in zip(design.contrasts, ("kind[T.M]", "age:kind[T.M]"), strict=True):
        assert f_value(design, contrast, y) == pytest.approx(fit.tvalues[name] ** 2, rel=1e-8)
        assert "1 of 2 degrees of freedom" in contrast.words
    said = [notice.sentence for notice in design.notices if notice.topic == "contrasts"]
    assert any("'mean' is left out" in sentence for sentence in said)
    assert sum("1 of 2 degrees of freedom" in sentence for sentence in said) == 2


@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")
def test_an_empty_cell_leaves_three_of_four_degrees_of_freedom(people, design_of):
    rows = people.assign(other=pd.Categorical([["x", "y", "z"][i % 3] for i in range(len(people))]))
    rows = rows[~((rows["group"] == "relative") & (rows["other"] == "z"))].reset_index(drop=True)
    with pytest.raises(DesignError) as caught:
        design_of(rows, "~ group * other", "test(group:other)")
    assert "3 of its 4 degrees of freedom" in caught.value.fix
    design = design_of(rows, "~ group * other")
    y = np.random.default_rng(0).normal(size=len(rows))
    full, small = (  # statsmodels warns of the empty cell
        smf.ols(f"y ~ {model}", rows.assign(y=y)).fit() for model in ("C(group):C(other)", "group + other")
    )
    [contrast] = [one for one in design.contrasts if one.name == "test(group:other)"]
    dof = design.dof
    expected = ((small.ssr - full.ssr) / 3) / (full.ssr / dof)
    assert f_value(design, contrast, y) == pytest.approx(expected, rel=1e-8)


def test_what_compares_people_shows_its_weights_and_where_they_fall(pairs, design_of):
    design = design_of(pairs, "~ 0 + session:group + subject", "mean(session=post) - mean(session=pre)")
    n_columns = design.matrix.shape[1]
    vector = [1, -1] + [0] * (n_columns - 2)
    with pytest.raises(DesignError, match="compares people") as caught:
        design_of(pairs, "~ 0 + session:group + subject", str(vector))
    assert "coefficient subject[" in caught.value.found
    assert "fall on columns of subject" in caught.value.fix
