"""Formulas: what is read, what is refused, and that nothing is ever evaluated."""

import pytest
from formulaic import Formula as FormulaicFormula

from bids_group.errors import FormulaError, UsageError
from bids_group.model import needed_variables
from bids_group.model.formula.parser import read_formula

COLUMNS = ("age", "group", "sex", "site", "my col", "C", "log", "a.b", "n_cigs", "groupe", "1st", "2*age")

HOSTILE = [
    "~ {__import__('os').system('touch hacked')}",
    "~ {age}",
    "~ __import__('os').system('touch hacked')",
    "~ I(__import__('os').system('touch hacked'))",
    "~ eval('1')",
    "~ exec('x=1')",
    "~ open('/etc/passwd')",
    "~ I(open('/etc/passwd').read())",
    "~ I(age.__class__)",
    "~ age.__class__.__mro__",
    "~ I(().__class__.__bases__[0].__subclasses__())",
    "~ I((lambda: age)())",
    "~ I([x for x in age])",
    "~ I((yield age))",
    "~ I(age if age else age)",
    "~ I(age := 3)",
    "~ I(f'{age}')",
    "~ I(age[0])",
    "~ np.load('secret.npy')",
    "~ np.fromfile(age)",
    "~ np.log.__self__(age)",
    "~ I(np.log)",
    "~ log(*age)",
    "~ log(age, **age)",
    "~ poly(age, 2, raw=open('x'))",
    "~ C(group, contr.custom({}))",
    "~ C(group, eval)",
    "~ C(group, levels=open('x').read())",
    "~ hashed(age)",
    "~ lag(age)",
    "~ Q('age')",
    "~ standardize(age)",
    "~ I(9**9**9**9)",
    "~ I(age**999999999)",
    "~ I((2**20)**20)",
    "~ I(age << 3)",
    "~ I(age @ age)",
    "~ I('a' * 99999999)",
    "~ I(age & 1)",
    "~ I(age == 3)",
    "~ I(age; import os)",
    "~ " + "(" * 200 + "age" + ")" * 200,
    "~ I(" + "-" * 5000 + "age)",
    "~ (age + group + sex + site + n_cigs + C + log + groupe)**9:(age + sex + site + C)**4",
    "~ age + " * 3000 + "age",
    "~ $age",
    "~ age; sex",
    "~ \x00age",
    "~ .",
    "~ age | group",
]  # fmt: skip


@pytest.mark.parametrize("formula", HOSTILE, ids=[text[:40] for text in HOSTILE])
def test_hostile_formulas_are_refused_and_nothing_runs(formula, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormulaError) as caught:
        needed_variables(formula, COLUMNS)
    assert caught.value.exit_code == 64
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "formula",
    [
        "age",
        "~ 1",
        "~ 0 + group",
        "~ group - 1",
        "~ group*sex",
        "~ group*sex*site",
        "~ (group + sex + site)**2",
        "~ (group + sex + site)^3",
        "~ group/sex",
        "~ (group + sex)/site",
        "~ group/sex/site",
        "~ sex %in% group",
        "~ group:(sex + site)",
        "~ group*sex - group:sex",
        "~ group*sex - sex",
        "~ age + group:sex + sex",
        "~ -1 + group",
        "~ group + 0 + age",
        "~ (group + sex)*(age + site) - group:site",
        "~ (age + group):(age + sex)",
        "~ sex:group + group:sex",
        "~ group + (sex + site):age",
        "~ 1 + group",
    ],
)
def test_terms_are_those_of_formulaics_own_parser(formula):
    ours = read_formula(formula, COLUMNS)
    theirs = list(FormulaicFormula(formula))
    assert [{factor.text for factor in term.factors} for term in ours.terms] == [
        {str(factor) for factor in term.factors} - {"1"} for term in theirs
    ]


@pytest.mark.parametrize(
    ("formula", "columns"),
    [
        ("~ 1", ()),
        ("~ group*age", ("group", "age")),
        ("~ C(site, contr.sum) + np.log(age)", ("site", "age")),
        ("~ `my col` + I(`my col`**2)", ("my col",)),
        ("~ C(C) + log(log)", ("C", "log")),
        ("~ `a.b`:`2*age` + `1st`", ("1st", "a.b", "2*age")),
        ("~ bs(age, df=4, degree=3, include_intercept=False)", ("age",)),
        ("~ C(group, contr.treatment(base='patient'))", ("group",)),
        ("~ C(group, Treatment(reference='patient'))", ("group",)),
        ("~ cr(age, knots=[30, 40, 50])", ("age",)),
        ("~ I(-age/2 + n_cigs**2)", ("age", "n_cigs")),
        ("~ I(log(age) * sqrt(n_cigs))", ("age", "n_cigs")),
    ],
)
def test_columns_of_a_formula_are_named_in_the_order_of_its_terms(formula, columns):
    assert needed_variables(formula, COLUMNS) == columns


def test_factor_of_centring_is_needed_only_where_the_formula_has_columns():
    assert needed_variables("~ age", COLUMNS, centering="within:group") == ("age", "group")
    assert needed_variables("~ group*age", COLUMNS, centering="within:group") == ("group", "age")
    assert needed_variables("~ 1", COLUMNS, centering="within:group") == ()


def test_unknown_centring_is_refused_with_the_closest_column():
    with pytest.raises(UsageError, match="'within:grup'") as caught:
        needed_variables("~ age", COLUMNS, centering="within:grup")
    assert caught.value.fix == "Did you mean 'group'?"
    with pytest.raises(UsageError, match="'mean' is not known"):
        needed_variables("~ age", COLUMNS, centering="mean")


def test_caret_stands_under_the_culprit_in_the_printed_error():
    with pytest.raises(FormulaError) as caught:
        needed_variables("~ group + agee*sex", COLUMNS)
    found, caret = str(caught.value).splitlines()[1:3]
    assert found[caret.index("^") :].startswith("agee")
    assert caught.value.fix == "Did you mean 'age'?"


def test_sessions_that_are_pooled_are_no_column_and_the_fix_says_so():
    for formula, centering in (("~ session", "grand"), ("~ age", "within:session")):
        with pytest.raises(UsageError, match="'session', which does not exist") as caught:
            needed_variables(formula, COLUMNS, centering=centering)
        assert caught.value.fix.startswith("Sessions are pooled; add --pooling none to keep them as rows")


@pytest.mark.parametrize("typed", ["participant_id", "sub", "Participant"])
def test_the_column_of_participants_is_named_by_its_own_name(typed):
    with pytest.raises(FormulaError) as caught:
        needed_variables(f"~ age + (1 | {typed})", (*COLUMNS, "subject"))
    assert caught.value.fix.startswith("Write subject:")
    with pytest.raises(FormulaError) as caught:
        needed_variables("~ session_id", COLUMNS)
    assert "--pooling none" in caught.value.fix


@pytest.mark.parametrize("columns", [("subject",), ("subject", "session")])
def test_no_table_of_covariates_is_said(columns):
    with pytest.raises(FormulaError) as caught:
        needed_variables("~ age", columns)
    assert caught.value.expected.endswith("(there is no participants.tsv, or it has no columns)")


def test_column_called_like_a_function_does_not_shadow_it(people, design_of):
    people["log"] = people["age"]
    people["C"] = people["group"]
    people["np"] = people["n_cigs"]
    design = design_of(people, "~ C(C, contr.sum) + log(log) + np.sqrt(np)", "slope(log)")
    plain = design_of(people, "~ C(group, contr.sum) + log(age) + np.sqrt(n_cigs)", "slope(age)")
    assert (design.matrix.to_numpy() == plain.matrix.to_numpy()).all()
    assert list(design.matrix) == [
        "Intercept", "C(C, contr.sum)[S.control]", "C(C, contr.sum)[S.patient]", "log(log)", "np.sqrt(np)"
    ]  # fmt: skip


def test_column_names_are_those_of_formulaic(people, design_of):
    people["my col"] = people["age"]
    formula = "~ 0 + group*`my col` + C(sex, contr.sum):age + I(age**2) + poly(n_cigs, 2) + C(`site`)"
    design = design_of(people, formula)
    theirs = FormulaicFormula(formula).get_model_matrix(people)
    assert [name.replace("`", "") for name in design.matrix] == [name.replace("`", "") for name in theirs]


def test_power_of_a_column_outside_i_is_refused_with_the_fix():
    for formula in ("~ age**2", "~ age^2", "~ `my col`**2", "~ group + C(site)**2"):
        with pytest.raises(FormulaError, match="would silently mean") as caught:
            needed_variables(formula, COLUMNS)
        assert caught.value.fix.startswith("Write I(")


@pytest.mark.parametrize("formula", ["~ age*age", "~ group + age:age", "~ `my col`:`my col`", "~ age/age"])
def test_a_column_times_itself_is_refused_as_its_power_is(formula):
    with pytest.raises(FormulaError, match="would silently mean") as caught:
        needed_variables(formula, COLUMNS)
    assert "**2) for the square of a number." in caught.value.fix


@pytest.mark.parametrize(
    ("formula", "fix"),
    [
        ("~ factor(group)", "Write C(group)."),
        ("~ as.factor(group)", "Write C(group)."),
        ("~ ns(age, 3)", "Write cr(age, df=3), a natural cubic spline."),
    ],
)
def test_functions_of_other_languages_are_answered_with_their_names_here(formula, fix):
    with pytest.raises(FormulaError) as caught:
        needed_variables(formula, COLUMNS)
    assert caught.value.fix == fix


def test_formula_never_sees_the_callers_variables(people, design_of):
    secret = [1.0] * len(people)
    with pytest.raises(FormulaError, match="'secret'"):
        design_of(people, "~ secret")
    assert secret
