"""Random terms of a formula: what is read, what is refused, and what the rows must have."""

import numpy as np
import pandas as pd
import pytest

from bids_group.config import AnalysisSpec
from bids_group.config.estimators import ESTIMATORS, MIXED
from bids_group.config.stats_model import Node, split_random
from bids_group.errors import BidsGroupError, DesignError, FormulaError, UsageError
from bids_group.model.formula.parser import needed_variables, read_formula
from bids_group.model.planning.estimators import choose_estimator

COLUMNS = ("subject", "session", "group", "age", "time", "family", "site", "my/site")


@pytest.fixture
def visits(pairs):
    months = (pairs["session"] == "post").astype(float) * 6 + np.arange(len(pairs)) % 3
    site = pd.Categorical(pairs["subject"].map(lambda subject: "abcdefg"[int(subject) % 7]))
    pairs = pairs.assign(time=months, site=site)
    rows = pd.concat([pairs, pairs[pairs["session"] == "post"].assign(session="late", time=20.0)])
    rows = rows.sort_values("subject", kind="stable").reset_index(drop=True)
    return rows.assign(session=pd.Categorical(rows["session"], categories=["pre", "post", "late"]))


@pytest.mark.parametrize(
    ("text", "has_intercept", "slopes", "group", "fixed"),
    [
        ("~ age + (1 | subject)", True, (), "subject", "~ age"),
        ("~ (1|family) + age", True, (), "family", "~ 1 + age"),
        ("~ (1|subject)", True, (), "subject", "~ 1"),
        ("~ time + ( 1 + time|subject )", True, ("time",), "subject", "~ time"),
        ("~ time + (time | subject)", True, ("time",), "subject", "~ time"),
        ("~ time + (1 + time || subject)", True, ("time",), "subject", "~ time"),
        ("~ time + (0 + time | subject) + age", False, ("time",), "subject", "~ time + age"),
    ],
)
def test_a_random_term_is_read_and_parted_from_the_fixed_terms(text, has_intercept, slopes, group, fixed):
    formula = read_formula(text, COLUMNS)
    assert formula.random is not None
    assert formula.random.outer is None
    assert formula.random[1:4] == (has_intercept, slopes, group)
    assert formula.random.is_correlated == ("||" not in text)
    assert formula.columns == read_formula(fixed, COLUMNS).columns
    assert split_random(text)[0] == fixed
    assert set(needed_variables(text, COLUMNS)) == {*formula.columns, *slopes, group}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("~ age + 1 | subject", r"without parentheses.*Write \(1 \| subject\)"),
        ("~ age + (1 | family:subject)", r"without its outer groups.*\(1 \| family/subject\)"),
        ("~ age + (1 | site/family/subject)", "more than two levels"),
        ("~ age + (1 + time | family/subject)", r"slopes of groups within groups.*\(1 \| family/subject\)"),
        ("~ age + (1 | family/subject) + (1 | session)", "cannot be fitted together"),
        ("~ age + (1 | subject) + (1 | family) + (1 | session)", "cannot be fitted together.*blocks"),
        ("~ age + (1 | session) + (1 | family:subject)", "cannot be fitted together"),
        ("~ age + (time | subject) + (1 | family)", "cannot be fitted together"),
        ("~ age + (1 | subject) + (0 + time | subject)", "cannot be fitted together.*1 [+] time"),
        ("~ age - (1 | subject)", "cannot be taken away"),
        ("~ age * (time + (1 | subject))", "stands inside parentheses"),
        ("~ age + (I(time**2) | subject)", "bare columns"),
        ("~ age + (age:time | subject)", "bare columns"),
        ("~ age + ( | subject)", "no effect before the bar"),
        ("~ age + (1 | subjects)", "'subjects', which does not exist"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(text, words):
    with pytest.raises(FormulaError) as caught:
        read_formula(text, COLUMNS)
    assert pd.Series(" ".join(str(caught.value).split())).str.contains(words).all()


@pytest.mark.parametrize(
    ("bars", "outer", "group", "is_found"),
    [
        ("(1 | family/subject)", "family", "subject", False),
        ("(1|`my/site` / subject)", "my/site", "subject", False),
        ("(1 | family) + (1 | family:subject)", "family", "subject", False),
        ("(1 | subject:family) + (1 | family)", "family", "subject", False),
        ("(1 | family) + (1 | subject)", "family", "subject", True),
        ("(1 | subject) + (1 | family)", "subject", "family", True),  # the rows show which holds which
    ],
)
def test_groups_within_groups_are_read_in_all_their_spellings(bars, outer, group, is_found):
    formula = read_formula(f"~ age + {bars}", COLUMNS)
    assert formula.random is not None
    assert (formula.random.outer, formula.random.group, formula.random.is_found) == (outer, group, is_found)
    assert set(formula.all_columns) == {"age", outer, group}
    assert " + ".join(split_random(f"~ age + {bars}")[1]).replace(" ", "") == bars.replace(" ", "")


@pytest.fixture
def families(visits):
    """Seven sites with two people each, who have three visits each; people are numbered within sites too."""
    within = visits.groupby("site", observed=True)["subject"].transform(lambda one: pd.factorize(one)[0] + 1)
    return visits.assign(own=pd.Categorical(within.map("p{}".format)))


@pytest.mark.parametrize(
    ("bars", "text"),
    [
        ("(1 | site/subject)", "(1 | site/subject)"),
        ("(1 | site) + (1 | site:subject)", "(1 | site/subject)"),
        ("(1 | subject) + (1 | site)", "(1 | site/subject)"),
        ("(1 | site/own)", "(1 | site/own)"),
    ],
)
def test_the_groups_of_each_row_are_those_of_both_columns(bars, text, families, design_of):
    term = design_of(families, f"~ session + {bars}", estimator=MIXED).random
    assert term is not None
    assert (term.text, term.outer) == (text, "site")
    assert list(term.outer_groups) == list(families["site"])
    assert (pd.factorize(term.groups)[0] == pd.factorize(families["subject"])[0]).all()
    assert list(term.effects) == ["Intercept"]


@pytest.mark.parametrize(
    ("bars", "change", "words"),
    [
        ("(1 | group/subject)", {}, r"too few groups.*2 levels of group.*'\+ group \+ \(1 \| subject\)'"),
        ("(1 | site/subject)", {"session": ["post"]}, r"as many effects.*14 levels.*\(1 \| site\)"),
        ("(1 | subject/site)", {}, r"one site in every subject.*Write \(1 \| site\)"),
        ("(1 | site) + (1 | session)", {}, "cross each other"),
        ("(1 | session/subject)", {}, "cross each other.*in 3 levels of session"),
        ("site + (1 | site/subject)", {}, "'site' is both a fixed term and the group"),
        ("subject + (1 | site/subject)", {}, "'subject' is both a fixed term and the group"),
    ],
)
def test_groups_within_groups_that_the_rows_cannot_tell_apart_are_refused(
    bars, change, words, families, design_of
):
    rows = families
    for name, levels in change.items():
        rows = rows[rows[name].isin(levels)].drop(columns=name)
    with pytest.raises(BidsGroupError) as caught:
        design_of(rows, f"~ 1 + {bars}", estimator=MIXED)
    said = " ".join(f"{caught.value} {caught.value.found} {caught.value.fix}".split())
    assert pd.Series(said).str.contains(words).all(), said
    assert caught.value.exit_code in (64, 65)


def test_few_outer_groups_are_warned_of_and_symmetry_within_people_is_told(families, design_of):
    notices = design_of(families, "~ time + (1 | site/subject)", estimator=MIXED).notices
    said = {one.sentence: one.fix for one in notices if one.severity == "warning" and one.topic == "random"}
    [few] = (sentence for sentence in said if "outer groups" in sentence)
    assert "(1 | site/subject) has 7 outer groups" in few
    assert "'site' as a fixed factor" in said[few]
    [alike] = (sentence for sentence in said if "equally alike" in sentence)
    assert "--estimator sandwich" in said[alike]
    assert "--exchangeability-blocks site" in said[alike]
    assert "(1 + time" not in said[alike]
    assert len(said) == 2
    alone = families[(families["site"] != "a") | (families["own"] == "p1")]
    notices = design_of(alone, "~ time + (1 | site/subject)", estimator=MIXED).notices
    assert not [one for one in notices if "one person is no group" in one.sentence]


def test_the_design_has_the_random_term_with_slopes_centred_as_the_design(visits, design_of):
    design = design_of(visits, "~ group * time + (1 + time | subject)", estimator=MIXED)
    assert design.random is not None
    np.testing.assert_allclose(design.random.effects["time"], visits["time"] - visits["time"].mean())
    assert (design.random.effects["Intercept"] == 1).all()
    assert list(design.random.groups) == list(visits["subject"])
    assert [contrast.name for contrast in design.contrasts] == [
        "mean", "test(group)", "test(time)", "test(group:time)",
    ]  # fmt: skip
    raw = design_of(visits, "~ group * time + (1 + time | subject)", estimator=MIXED, centering="none")
    assert raw.random is not None
    np.testing.assert_allclose(raw.random.effects["time"], visits["time"])


@pytest.mark.parametrize(
    ("formula", "keep", "words"),
    [
        ("~ subject + (1 | subject)", None, "both a fixed term and the group"),
        ("~ group + (1 | subject)", "post", "as many effects as there are rows.*pooling none"),
        ("~ time + (1 + time | subject)", "post", "as many effects"),
        ("~ time + (1 | group)", None, "too few groups"),
        ("~ session + (1 + session | site)", None, "holds categories"),
        ("~ age + (1 + age | subject)", None, "constant in each group"),
        (
            "~ time + (1 + time + n_cigs | subject)",
            None,
            "more effects than can be fitted.*intercept, a slope",
        ),
    ],
)
def test_rows_that_cannot_estimate_it_are_refused(formula, keep, words, visits, design_of):
    rows = visits if keep is None else visits[visits["session"] == keep].drop(columns="session")
    with pytest.raises(BidsGroupError) as caught:
        design_of(rows, formula, estimator=MIXED)
    assert pd.Series(" ".join(f"{caught.value} {caught.value.fix}".split())).str.contains(words).all()
    assert caught.value.exit_code in (64, 65)


def test_few_groups_and_groups_that_are_not_people_are_warned_of(visits, design_of):
    notices = design_of(visits, "~ session + (1 | site)", estimator=MIXED).notices
    said = " ".join(one.sentence for one in notices if one.severity == "warning" and one.topic == "random")
    assert "has 7 groups" in said
    assert "People have several rows" in said


@pytest.mark.parametrize(
    ("formula", "tests", "fix"),
    [
        ("~ group * time + (1 | subject)", "time", "(1 + time | subject), or with --estimator sandwich"),
        ("~ group * session + (1 | subject)", "session", "with --estimator sandwich"),
        ("~ group + (1 | subject)", None, ""),  # nothing changes within people
        ("~ group * time + (1 + time | subject)", None, ""),
        ("~ time + (1 | site)", None, ""),  # told otherwise
    ],
)
def test_compound_symmetry_is_told_where_tests_lean_on_it(formula, tests, fix, visits, design_of):
    def told(rows):
        notices = design_of(rows, formula, estimator=MIXED).notices
        return [one for one in notices if one.severity == "warning" and "equally alike" in one.sentence]

    found = told(visits)
    assert len(found) == (tests is not None)
    if tests:
        assert f"tests of {tests} err" in found[0].sentence
        assert fix in found[0].fix
        two = visits[visits["session"] != "late"]
        assert not told(two.assign(session=two["session"].cat.remove_unused_categories()))


def test_who_missed_a_visit_is_tabulated_with_what_each_estimator_assumes(visits, design_of):
    rows = visits.drop(index=visits.index[(visits["session"] == "post") & (visits["subject"] < "06")])
    for estimator, formula in ((MIXED, "~ group * session + (1 | subject)"), (None, "~ group * session")):
        chosen = ESTIMATORS["sandwich"] if estimator is None else estimator
        [said] = [one for one in design_of(rows, formula, estimator=chosen).notices if one.topic == "missed"]
        assert "ses-post: 3 of 7 control, 2 of 7 patient" in said.sentence
        assert "5 of 14 people" in said.sentence
        assert "completely at random" in said.sentence
        assert "mixed" in said.fix


def test_a_contrast_between_people_names_both_ways_in_the_users_own_formula(visits, design_of):
    with pytest.raises(DesignError) as caught:
        design_of(visits, "~ group * session + subject", "mean(group=patient) - mean(group=control)")
    assert '"~ group * session + (1 | subject)"' in caught.value.fix
    assert '"~ group * session" --estimator sandwich' in caught.value.fix


def node(formula, type_="glm", **settings):
    return Node(name="group", level="dataset", type=type_, formula=formula, settings=settings)


@pytest.mark.parametrize(
    ("formula", "asked", "name", "variant"),
    [
        ("~ age", {}, "ols", ""),
        ("~ age + (1 | subject)", {}, "mixed", "satterthwaite"),
        ("~ age + (1 | subject)", {"estimator": "mixed", "dof": "kenward-roger"}, "mixed", "kenward-roger"),
        ("~ age", {"estimator": "sandwich"}, "sandwich", "CR2"),
        ("~ age", {"estimator": "sandwich", "sandwich": "CR3"}, "sandwich", "CR3"),
        ("~ age", {"estimator": "weighted"}, "weighted", ""),
    ],
)
def test_the_estimator_follows_from_formula_and_option(formula, asked, name, variant):
    chosen = choose_estimator(node(formula), AnalysisSpec(formula=formula, **asked))
    assert (chosen.name, chosen.variant) == (name, variant)


def test_random_terms_among_the_settings_of_a_node_count():
    one = node("~ age", random_terms=["(1 | subject)"])
    assert choose_estimator(one, AnalysisSpec()) == MIXED


@pytest.mark.parametrize(
    ("formula", "type_", "asked"),
    [
        ("~ age + (1 | subject)", "glm", {"estimator": "ols"}),
        ("~ age + (1 | subject)", "glm", {"estimator": "sandwich"}),
        ("~ age + (1 | subject)", "glm", {"estimator": "weighted"}),
        ("~ age + (1 | subject)", "meta", {}),
        ("~ age", "meta", {"estimator": "sandwich"}),
        ("~ age", "glm", {"estimator": "mixed"}),
        ("~ age", "glm", {"dof": "kenward-roger"}),
        ("~ age", "glm", {"sandwich": "CR1"}),
        ("~ age + (1 | subject)", "glm", {"sandwich": "CR1"}),
    ],
)
def test_contradictions_of_estimator_formula_and_node_are_refused(formula, type_, asked):
    with pytest.raises(UsageError) as caught:
        choose_estimator(node(formula, type_), AnalysisSpec(formula=formula, **asked))
    assert caught.value.fix


@pytest.mark.parametrize("bars", ["|", "||"])
def test_effects_apart_are_told_where_they_are_uncorrelated(bars, visits, design_of):
    design = design_of(visits, f"~ time + (1 + time {bars} subject)", estimator=MIXED)
    assert design.random is not None
    assert design.random.is_correlated == (bars == "|")
    said = " ".join(one.sentence for one in design.notices if one.topic == "random")
    assert "variance of the intercept" in said
    assert ("uncorrelated" in said) == (bars == "||")
