"""Several rows per person: what is within people is tested, what compares people is refused."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_group.errors import DesignError
from tests.groups import statistics_by_hand


def t_value(design, y) -> float:
    return statistics_by_hand(design.matrix.to_numpy(), design.contrasts[0].weights, y[:, None], "t").item()


def test_paired_design_equals_the_paired_t_test(pairs, design_of):
    y = np.random.default_rng(2).normal(size=len(pairs)) + 0.4 * (pairs["session"] == "post")
    design = design_of(pairs, "~ session + subject", "mean(session=post) - mean(session=pre)")
    post, pre = (y[pairs["session"].to_numpy() == level] for level in ("post", "pre"))
    assert t_value(design, y.to_numpy()) == pytest.approx(stats.ttest_rel(post, pre).statistic, abs=1e-9)


def test_mixed_design_equals_the_t_test_of_differences_between_groups(pairs, design_of):
    y = np.random.default_rng(3).normal(size=len(pairs))
    text = (
        "(mean(session=post, group=patient) - mean(session=pre, group=patient))"
        " - (mean(session=post, group=control) - mean(session=pre, group=control))"
    )
    design = design_of(pairs, "~ session*group + subject", text)
    values = pairs.assign(y=y).set_index(["subject", "group", "session"])["y"]
    change = values.xs("post", level="session") - values.xs("pre", level="session")
    is_patient = change.index.get_level_values("group") == "patient"
    expected = stats.ttest_ind(change[is_patient], change[~is_patient]).statistic
    assert t_value(design, y) == pytest.approx(expected, abs=1e-9)
    by_term = design_of(pairs, "~ session*group + subject", "test(group:session)")
    assert t_value(by_term, y) == pytest.approx(expected, abs=1e-9)


def test_columns_of_people_are_counted_and_not_listed(pairs, design_of):
    design = design_of(pairs, "~ session*group + subject")
    [notice] = [notice for notice in design.notices if notice.topic == "rank"]
    assert notice.sentence == (
        "The design has 17 columns but rank 16: group[T.patient], 7 of the 13 columns of subject depend on "
        "each other."
    )
    few = design_of(pairs[:8], "~ session*group + subject")
    [notice] = [notice for notice in few.notices if notice.topic == "rank"]
    assert "group[T.patient], subject[T.02], subject[T.04] depend" in notice.sentence
    copied = pairs.assign(copy=pairs["n_cigs"])
    with pytest.raises(DesignError) as caught:
        design_of(copied, "~ session*group + n_cigs + copy + subject", "slope(copy)")
    assert "7 of the 13 columns of subject depend on each other" in str(caught.value.found)


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        ("~ session + subject", "mean()"),
        ("~ session + subject", "mean(session=post)"),
        ("~ session * group + subject", "mean(group=control)"),
        ("~ session * group + subject", "mean(group=patient) - mean(group=control)"),
        ("~ session * group + subject", "mean()"),
        ("~ session + group", "mean(group=patient) - mean(group=control)"),
        ("~ session*group", "test(group)"),
        ("~ session*group", "group[T.patient]"),
        ("~ age", "slope(age)"),
        ("~ 1", "mean()"),
        ("~ session + age", "[slope(age), mean(session=post) - mean(session=pre)]"),
    ],
)
def test_contrast_between_people_is_refused_with_the_reason(formula, text, pairs, design_of):
    with pytest.raises(DesignError, match="compares people, but 14 people have several rows") as caught:
        design_of(pairs, formula, text)
    assert "--pooling precision" in caught.value.fix


def test_change_within_a_cell_without_rows_cannot_be_estimated_and_does_not_compare_people(pairs, design_of):
    lacking = pairs[(pairs["group"] != "patient") | (pairs["session"] != "post")]
    text = "mean(session=post, group=patient) - mean(session=pre, group=patient)"
    with pytest.raises(DesignError, match="cannot be estimated"):
        design_of(lacking, "~ session*group + subject", text)


def test_covariate_that_changes_within_people_is_tested_beside_subjects(pairs, design_of):
    design = design_of(pairs, "~ subject + n_cigs", "slope(n_cigs)")
    y = np.random.default_rng(4).normal(size=len(pairs))
    within = (
        pd.DataFrame({"y": y, "x": pairs["n_cigs"]})
        .groupby(pairs["subject"])
        .transform(lambda v: v - v.mean())
    )
    slope = (within["x"] @ within["y"]) / (within["x"] @ within["x"])
    beta = np.linalg.pinv(design.matrix.to_numpy()) @ y
    assert design.contrasts[0].weights[0] @ beta == pytest.approx(slope, abs=1e-9)
    with pytest.raises(DesignError, match="compares people"):
        design_of(pairs, "~ n_cigs", "slope(n_cigs)")


def test_uneven_sessions_without_subjects_mix_people_and_are_refused(pairs, design_of):
    uneven = pairs.drop(index=[1, 4])
    with pytest.raises(DesignError, match="compares people") as caught:
        design_of(uneven, "~ session", "test(session)")
    assert "'+ subject'" in caught.value.fix
    assert design_of(uneven, "~ session + subject", "test(session)").contrasts


def test_defaults_are_what_changes_within_people_and_the_rest_is_named(pairs, design_of):
    design = design_of(pairs, "~ session*group + subject + n_cigs")
    names = ["test(session)", "test(n_cigs)", "test(session:group)"]
    assert [contrast.name for contrast in design.contrasts] == names
    assert design.details["within_terms"] == names
    [notice] = [notice for notice in design.notices if notice.topic == "within"]
    assert notice.sentence.endswith(
        "Left out, because they compare people: mean, test(group), test(subject)."
    )


def test_nothing_to_test_within_people_is_refused(pairs, design_of):
    with pytest.raises(DesignError, match="no term changes within people"):
        design_of(pairs, "~ group")


def test_sessions_without_subjects_are_warned_about_with_what_is_wrong_and_what_to_type(pairs, design_of):
    design = design_of(pairs, "~ session + group")
    [notice] = [notice for notice in design.notices if notice.topic == "subjects"]
    assert notice.severity == "warning"
    assert notice.sentence == (
        "People have several rows, but the formula has no term for the person: rows of one person are "
        "treated as independent. p without shuffling is too large where a person's rows are alike, and too "
        "small where they are opposed."
    )
    assert notice.fix == 'Write the formula as "~ session + group + subject".'
    beside = design_of(pairs, "~ session + subject")
    assert not [notice for notice in beside.notices if notice.topic == "subjects"]


def test_without_subjects_the_same_change_is_judged_against_another_noise(pairs, design_of):
    """What the warning says: people who differ make the p of a change too large, opposed rows too small."""
    draw = np.random.default_rng(5)
    person = pd.Series(draw.normal(size=14), index=pairs["subject"].unique()).reindex(pairs["subject"])
    change = np.where(pairs["session"] == "post", 0.5, -0.5)
    noise = draw.normal(size=len(pairs))
    text = "mean(session=post) - mean(session=pre)"
    alone, beside = (design_of(pairs, f, text) for f in ("~ session", "~ session + subject"))
    alike = 3 * person.to_numpy() + change + 0.5 * noise
    assert abs(t_value(alone, alike)) < abs(t_value(beside, alike))
    opposed = 3 * person.to_numpy() * 2 * change + change + 0.5 * noise
    assert abs(t_value(alone, opposed)) > abs(t_value(beside, opposed))


def test_what_was_left_out_of_the_defaults_is_said_with_how_to_get_it(pairs, design_of):
    [notice] = [n for n in design_of(pairs, "~ session + group").notices if n.topic == "within"]
    assert notice.sentence == (
        "People have several rows: only what changes within people is tested. "
        "Left out, because they compare people: mean, test(group)."
    )
    assert notice.fix == (
        'To compare people: --formula "~ session + group + (1 | subject)" (a mixed model), or --formula '
        '"~ session + group" --estimator sandwich; or give everybody one row (leave out --pooling none).'
    )
