"""The test of a term against statsmodels: full and reduced models, and Type III sums of squares."""

import functools

import numpy as np
import pandas as pd
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import anova_lm

from bids_group.errors import ContrastError, DesignError
from tests.groups import statistics_by_hand
from tests.model.conftest import make_people


def response(people: pd.DataFrame) -> np.ndarray:
    draw = np.random.default_rng(5)
    effect = 0.8 * (people["group"] == "patient") + 0.03 * people["age"] * (people["sex"] == "M")
    return draw.normal(size=len(people)) + effect.to_numpy()


def ours(design_of, people, formula: str, term: str, centering: str = "grand") -> tuple[float, int]:
    """F and its numerator's degrees of freedom, by the textbook formula."""
    design = design_of(people, formula, f"test({term})", centering=centering)
    X, y, C = design.matrix.to_numpy(), response(people), design.contrasts[0].weights
    norms = np.linalg.norm(X, axis=0)
    return statistics_by_hand(X / norms, C / norms, y[:, None], "F").item(), len(C)


def reduced(people, full: str, less: str) -> tuple[float, int]:
    data = people.assign(y=response(people))
    table = anova_lm(smf.ols(less, data).fit(), smf.ols(full, data).fit())
    return float(table["F"].iloc[1]), int(table["df_diff"].iloc[1])


@pytest.mark.parametrize(
    ("formula", "term", "full", "less"),
    [
        ("~ group", "group", "y ~ group", "y ~ 1"),
        ("~ age", "age", "y ~ age", "y ~ 1"),
        ("~ group + age", "group", "y ~ group + age", "y ~ age"),
        ("~ group + sex + site + age", "site", "y ~ group + sex + site + age", "y ~ group + sex + age"),
        ("~ group*sex", "group:sex", "y ~ group*sex", "y ~ group + sex"),
        ("~ group*n_cigs + age", "group:n_cigs", "y ~ group*n_cigs + age", "y ~ group + n_cigs + age"),
        ("~ group*n_cigs + age", "age", "y ~ group*n_cigs + age", "y ~ group*n_cigs"),
        ("~ group + poly(age, 3)", "poly(age, 3)", "y ~ group + age + I(age**2) + I(age**3)", "y ~ group"),
        ("~ age + I(age**2)", "I(age**2)", "y ~ age + I(age**2)", "y ~ age"),
        ("~ group + bs(age, df=5)", "bs(age, df=5)", "y ~ group + bs(age, df=5)", "y ~ group"),
        (
            "~ group + cr(age, df=4)",
            "group",
            "y ~ 0 + cr(age, df=4) + C(group, Sum)",
            "y ~ 0 + cr(age, df=4)",
        ),
        ("~ group*log(age)", "group:log(age)", "y ~ group*np.log(age)", "y ~ group + np.log(age)"),
        ("~ C(scanner) + age", "scanner", "y ~ C(scanner) + age", "y ~ age"),
        ("~ age*n_cigs", "n_cigs:age", "y ~ age*n_cigs", "y ~ age + n_cigs"),
        ("~ volume + I(volume**2)", "I(volume**2)", "y ~ I(volume/1e6) + I((volume/1e6)**2)", "y ~ volume"),
    ],
)
@pytest.mark.parametrize("centering", ["grand", "none"])
@pytest.mark.filterwarnings("ignore:The design matrix is rank-deficient")
def test_highest_terms_equal_the_comparison_with_the_model_without_them(
    formula, term, full, less, centering, people, design_of
):
    F, q = reduced(people, full, less)
    assert ours(design_of, people, formula, term, centering) == (pytest.approx(F, rel=1e-8), q)


@functools.cache
def type_three(formula: str) -> pd.DataFrame:
    """Statsmodels' table of the terms of a model of the invented people."""
    people = make_people()
    data = people.assign(y=response(people))
    data["log_age"] = np.log(data["age"])
    for name in ("age", "n_cigs", "log_age"):
        data[name] -= data[name].mean()
    return anova_lm(smf.ols(formula, data).fit(), typ=3)


FACTORIAL = "y ~ C(group, Sum)*C(sex, Sum)*age + n_cigs"
SLOPES = "y ~ C(group, Sum)*age + C(sex, Sum)"
LOGARITHM = "y ~ C(group, Sum)*log_age"
CURVE = "y ~ C(group, Sum)*(age + I(age**2))"


@pytest.mark.parametrize("centering", ["grand", "none", "within:group"])
@pytest.mark.parametrize(
    ("formula", "term", "reference", "name"),
    [
        (formula, term, reference, name)
        for formulas, reference, terms in (
            (
                (
                    "~ group*sex*age + n_cigs",
                    "~ C(group, contr.sum)*C(sex, contr.helmert)*age + n_cigs",
                    "~ 0 + group:sex + group:sex:age + n_cigs",
                    "~ 0 + group*sex*age + n_cigs",
                    "~ group/sex/age + n_cigs",
                ),
                FACTORIAL,
                (
                    ("group", "C(group, Sum)"),
                    ("sex", "C(sex, Sum)"),
                    ("sex:group", "C(group, Sum):C(sex, Sum)"),
                    ("age", "age"),
                    ("group:age", "C(group, Sum):age"),
                    ("n_cigs", "n_cigs"),
                ),
            ),
            (
                (
                    "~ group*age + sex",
                    "~ 0 + group + group:age + sex",
                    "~ C(group, Treatment('relative'))*age + sex",
                ),
                SLOPES,
                (("group", "C(group, Sum)"), ("age", "age"), ("group:age", "C(group, Sum):age")),
            ),
            (
                ("~ group*log(age)", "~ 0 + C(group, contr.helmert)/np.log(age)"),
                LOGARITHM,
                (("group", "C(group, Sum)"),),
            ),
            (
                ("~ group*(age + I(age**2))", "~ 0 + group/(age + I(age**2))"),
                CURVE,
                (("group", "C(group, Sum)"), ("age", "age"), ("group:age", "C(group, Sum):age")),
            ),
        )
        for formula in formulas
        for term, name in terms
        if not (formula.startswith("~ 0 + group/(") and term != "group")
    ],
)
def test_lower_terms_equal_type_three_under_every_coding_and_centring(
    formula, term, reference, name, centering, people, design_of
):
    F, q = type_three(reference).loc[name, ["F", "df"]]
    assert ours(design_of, people, formula, term, centering) == (pytest.approx(F, rel=1e-8), q)


@pytest.mark.parametrize(
    ("formula", "term", "lacking"),
    [
        ("~ group:age", "group:age", "group"),
        ("~ group:sex + sex", "group:nothing", None),
        ("~ sex + sex:age", "sex:age", None),
        ("~ 0 + age", "age", "Intercept"),
        ("~ sex + group:age", "group:age", "group"),
        ("~ I(age**2)", "I(age**2)", "lower powers"),
        ("~ age:n_cigs + age", "age:n_cigs", "n_cigs"),
    ],
)
def test_tests_in_formulas_without_lower_terms_are_refused_with_the_reason(
    formula, term, lacking, people, design_of
):
    if term == "group:nothing":
        with pytest.raises(ContrastError, match="names a term that the formula does not have"):
            design_of(people, formula, f"test({term})")
        return
    if lacking is None:  # the interaction with a factor holds the covariate's own column
        assert design_of(people, formula, f"test({term})").contrasts
        return
    with pytest.raises(DesignError, match="has no meaning of its own") as caught:
        design_of(people, formula, f"test({term})", centering="none")
    assert lacking in str(caught.value.found)


def test_term_of_one_degree_of_freedom_is_a_t_test_of_the_second_level_minus_the_first(people, design_of):
    design = design_of(people, "~ sex*age")
    by_name = {contrast.name: contrast for contrast in design.contrasts}
    assert by_name["test(sex)"].test == "t"
    mean = design_of(people, "~ sex*age", "mean(sex=M) - mean(sex=F)").contrasts[0]
    assert by_name["test(sex)"].weights == pytest.approx(mean.weights, abs=1e-9)
    slopes = design_of(people, "~ sex*age", "slope(age, sex=M) - slope(age, sex=F)").contrasts[0]
    assert by_name["test(sex:age)"].weights == pytest.approx(slopes.weights, abs=1e-9)
    assert by_name["test(sex:age)"].words == "slope of age in M minus slope of age in F"


def test_a_column_with_a_colon_in_its_name_is_no_interaction(people, design_of):
    rows = people.rename(columns={"n_cigs": "group:cigs"})
    design = design_of(rows, "~ sex*`group:cigs`", "test(`group:cigs`)", "test(sex:`group:cigs`)")
    expected = design_of(people, "~ sex*n_cigs", "test(n_cigs)", "test(sex:n_cigs)")
    for one, other in zip(design.contrasts, expected.contrasts, strict=True):
        assert one.weights == pytest.approx(other.weights)
    names = [one.name for one in design_of(rows, "~ sex*`group:cigs`").contrasts]
    assert names == ["mean", "test(sex)", "test(group:cigs)", "test(sex:group:cigs)"]


def test_test_in_a_factorial_with_an_empty_cell_is_refused(people, design_of):
    rows = people[~((people["group"] == "relative") & (people["sex"] == "M"))]
    with pytest.raises(DesignError, match=r"test of 'group:sex' cannot be made"):
        design_of(rows, "~ group*sex", "test(group:sex)")


def test_redundant_covariate_does_not_hinder_the_test_of_a_factor(people, design_of):
    rows = people.assign(copy=2 * people["age"] + 1)
    F, q = reduced(people, "y ~ group + age", "y ~ age")
    assert ours(design_of, rows, "~ group + age + copy", "group") == (pytest.approx(F, rel=1e-8), q)
    with pytest.raises(DesignError, match="cannot be made from these rows"):
        design_of(rows, "~ group + age + copy", "test(copy)")


def test_default_contrasts_are_the_mean_and_one_test_per_term_with_their_file_names(people, design_of):
    design = design_of(people, "~ group*n_cigs + C(scanner, contr.sum) + poly(age, 2)")
    assert [(c.name, c.label, c.test) for c in design.contrasts] == [
        ("mean", "", "t"),
        ("test(group)", "Group", "F"),
        ("test(n_cigs)", "NCigs", "t"),
        ("test(C(scanner, contr.sum))", "Scanner", "F"),
        ("test(poly(age, 2))", "PolyAge2", "F"),
        ("test(group:n_cigs)", "GroupByNCigs", "F"),
    ]
