"""The sandwich against clubSandwich (``validation/r``), and by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_group.config.estimators import SANDWICH
from bids_group.errors import DataError
from bids_group.model import fit_group
from bids_group.model.fitting import sandwich
from bids_group.model.fitting.homogeneous import name_cells
from bids_group.model.fitting.least_squares import orthonormal_basis
from bids_group.robust_variance import robust_weights
from tests.groups import make_contrast, make_design, make_group

R = Path(__file__).parents[2] / "validation" / "r"
ROWS, ANSWERS = pd.read_csv(R / "sandwich_rows.csv"), pd.read_csv(R / "sandwich.csv")
VARIANTS = ("CR0", "CR1", "CR2", "CR3")


def make_data(matrix, values, contrasts, units, variant="CR2", **more):
    """Group data whose clusters are ``units``; ``factors``: columns of the formula."""
    design = make_design(matrix, contrasts)
    design = replace(design, variables=pd.DataFrame(more.pop("factors", {}), index=design.matrix.index))
    estimator, is_complete = replace(SANDWICH, variant=variant), not np.isnan(values).any()
    units = None if units is None else pd.Series(list(units), index=design.matrix.index, name="unit")
    return make_group(design, values, estimator=estimator, is_complete=is_complete, blocks=units, **more)


def fit(data):
    """Estimates of all elements, in float64."""
    return sandwich.prepare(data)(slice(0, data.elements.n_elements)).estimates


def build_matrix(design, rows):
    one, group, age = np.ones(len(rows)), rows["group"], rows["age"]
    second, third = (rows["visit"] == 2) * 1.0, (rows["visit"] == 3) * 1.0
    return np.column_stack(
        {
            "visits": [one, group, second, third, age, group * second, group * third],
            "sites": [one, group, age, age**2 / 100],
            "alone": [one, second, third, age, rows["own"]],
        }[design]
    )


ASKED = sorted(set(zip(ANSWERS["design"], ANSWERS["variant"], strict=True)))


@pytest.mark.parametrize("design, variant", ASKED)
def test_it_equals_clubsandwich(design, variant):
    """Effects, variances, t, HTZ and dof within 1e-9: unbalanced, very uneven, one person fitted exactly."""
    rows = ROWS[ROWS["design"] == design].sample(frac=1, random_state=3)  # clusters need not stand together
    answers = ANSWERS[(ANSWERS["design"] == design) & (ANSWERS["variant"] == variant)]
    asked = list(dict.fromkeys(answers["weights"]))
    contrasts = [make_contrast(*(row.split() for row in text.split(" | "))) for text in asked]
    data = make_data(
        build_matrix(design, rows), rows[["y1", "y2"]].to_numpy(), contrasts, rows["unit"], variant
    )
    estimates = dict(zip(asked, fit(data), strict=True))
    assert len(answers) == 2 * len(asked)
    results = fit_group(data).results
    p = [result.maps["p"] for result in results]
    assert [result.dof for result in results] == [one.dof[0] for one in estimates.values()]
    for answer in answers.itertuples():
        one, element = estimates[answer.weights], answer.element - 1
        assert one.is_estimable[element]
        assert one.statistic[element] == pytest.approx(answer.statistic, rel=1e-9)
        assert one.dof[element] == pytest.approx(answer.dof, rel=1e-9)
        assert p[asked.index(answer.weights)][element] == pytest.approx(answer.p, rel=1e-6)
        if not np.isnan(answer.se):
            assert one.effect[0, element] == pytest.approx(answer.effect, rel=1e-9)
            assert np.sqrt(one.variance[0, element]) == pytest.approx(answer.se, rel=1e-9)


def draw(n_people=14, n_visits=3, n=4, seed=0, share=0.0):
    """People in two groups with an effect each, visits in order; ``share`` of the rows is taken out."""
    random = np.random.default_rng(seed)
    person, visit = np.repeat(np.arange(n_people), n_visits), np.tile(np.arange(n_visits), n_people)
    values = random.normal(size=(n_people, n))[person] + random.normal(size=(person.size, n)) * (
        1 + visit[:, None]
    )
    kept = random.random(person.size) >= share
    return person[kept], visit[kept], (person[kept] >= n_people * 0.4) * 1, values[kept].astype(np.float32)


def test_with_complete_visits_a_group_difference_has_welch_s_variance_of_people_s_means():
    person, visit, group, values = draw()
    matrix = np.column_stack([np.ones(person.size), group, visit == 1, visit == 2])
    (one,) = fit(make_data(matrix, values, [make_contrast([0, 1, 0, 0])], person))
    means = values.reshape(14, 3, -1).mean(axis=1, dtype=float)
    first, second = means[group[::3] == 0], means[group[::3] == 1]
    np.testing.assert_allclose(one.effect[0], second.mean(axis=0) - first.mean(axis=0), rtol=1e-9)
    spread = first.var(axis=0, ddof=1) / len(first) + second.var(axis=0, ddof=1) / len(second)
    np.testing.assert_allclose(one.variance[0], spread, rtol=1e-9)


def test_with_complete_visits_the_mean_and_a_change_are_t_tests_of_people():
    person, visit, _, values = draw()
    matrix = np.column_stack([np.ones(person.size), visit == 1, visit == 2])
    mean, change = fit(
        make_data(matrix, values, [make_contrast([1, 1 / 3, 1 / 3]), make_contrast([0, 0, 1])], person)
    )
    cube = values.reshape(14, 3, -1).astype(float)
    for one, scores in ((mean, cube.mean(axis=1)), (change, cube[:, 2] - cube[:, 0])):
        t = scores.mean(axis=0) / scores.std(axis=0, ddof=1) * np.sqrt(14)
        np.testing.assert_allclose(one.statistic, t, rtol=1e-9)
        np.testing.assert_allclose(one.dof, 13, rtol=1e-9)


@pytest.mark.parametrize("variant, hc", [("CR0", "HC0"), ("CR2", "HC2"), ("CR3", "HC3")])
def test_rows_by_themselves_are_the_heteroskedastic_forms_of_statsmodels(variant, hc):
    from statsmodels.api import OLS

    random = np.random.default_rng(1)
    matrix = np.column_stack([np.ones(20), random.normal(size=20), random.exponential(size=20)])
    values = random.normal(size=(20, 3)).astype(np.float32)
    (one,) = fit(make_data(matrix, values, [make_contrast([0, 1, -1])], None, variant))
    for element in range(3):
        fitted = OLS(values[:, element].astype(float), matrix).fit(cov_type=hc)
        assert one.statistic[element] == pytest.approx(fitted.t_test([0, 1, -1]).tvalue.item(), rel=1e-9)


@pytest.mark.parametrize("variant", [*VARIANTS, "homogeneous"])
def test_elements_with_holes_are_fitted_to_the_rows_observed(variant):
    person, visit, group, values = draw(n=12, share=0.1)
    values[np.random.default_rng(2).random(values.shape) < 0.1] = np.nan
    values[:, :4] = np.nan_to_num(values[:, :4])
    values[group == 1, 11] = np.nan
    matrix = np.column_stack([1 - group, group, visit, group * visit])
    contrasts = [
        make_contrast([-1, 1, 0, 0]),
        make_contrast([0, 0, 1, 0]),
        make_contrast([0, 0, 1, 0], [0, 0, 0, 1]),
    ]
    more = {"visits": visit, "variance_groups": group} if variant == "homogeneous" else {}
    found = fit(make_data(matrix, values, contrasts, person, variant, **more))
    for element in range(11):
        here = ~np.isnan(values[:, element])
        alone = {name: given[here] for name, given in more.items()}
        by_itself = make_data(
            matrix[here], values[here][:, [element]], contrasts, person[here], variant, **alone
        )
        for one, expected in zip(found, fit(by_itself), strict=True):
            assert one.is_estimable[element]
            assert one.n_observed[element] == here.sum()
            for name in ("statistic", "dof", "effect", "variance"):
                np.testing.assert_allclose(
                    getattr(one, name)[..., element], getattr(expected, name)[..., 0], rtol=1e-8
                )
    assert [bool(one.is_determined[11]) for one in found] == [False, True, False]
    assert found[0].effect[0, 11] == found[0].variance[0, 11] == found[0].statistic[11] == 0


def test_neither_coding_nor_scale_nor_a_column_too_many_matters():
    person, visit, group, values = draw(share=0.15)
    random = np.random.default_rng(3)
    age = random.normal(40, 9, 14)[person]
    treatment = np.column_stack([np.ones(person.size), group, visit, age])
    too_many = np.column_stack([1 - group, group, np.ones(person.size), 1e6 * visit, 1e-5 * (age - 40)])
    joint = make_contrast([0, 0, 1, 0], [0, 1, 0, 0])
    first = fit(make_data(treatment, values, [make_contrast([0, 1, 0, 0]), joint], person))
    contrasts = [make_contrast([-1, 1, 0, 0, 0]), make_contrast([-2, 2, 0, 1e6, 0], [1, -1, 0, 1e6, 0])]
    for left, right in zip(first, fit(make_data(too_many, values, contrasts, person)), strict=True):
        np.testing.assert_allclose(left.statistic, right.statistic, rtol=1e-8)
        np.testing.assert_allclose(left.dof, right.dof, rtol=1e-8)


def test_an_element_without_residuals_is_not_tested():
    person, _, group, values = draw(share=0.1)
    values[:, 1] = 1e3
    values[:, 2] = np.where(group == 1, 7, values[:, 2])  # one of the two groups does not vary
    matrix = np.column_stack([1 - group, group])
    results = fit_group(
        make_data(matrix, values, [make_contrast([1, 0]), make_contrast([0, 1])], person)
    ).results
    assert [one.maps["p"][1] for one in results] == [1, 1]
    assert results[0].maps["p"][2] < 1
    assert results[1].maps["p"][2] == 1
    assert "fitted exactly" in results[1].notices[0].sentence
    assert results[1].maps["variance"][2] == 0


def by_hand(matrix, values, person, visit, group, weights):
    """Covariance of contrasts by SwE's homogeneous form, in loops; and η from matrices of rows by rows."""
    inverse = np.linalg.inv(matrix.T @ matrix)
    hat = matrix @ inverse @ matrix.T
    rest = np.eye(len(matrix)) - hat
    adjusted = (rest @ values) / np.sqrt(1 - np.diag(hat))
    loadings = np.atleast_2d(weights) @ inverse @ matrix.T  # (q, rows)
    q, n_visits = len(loadings), visit.max() + 1
    forms = np.zeros((q, q, len(matrix), len(matrix)))
    covariance = {}
    for g in np.unique(group):
        of = {(person[row], visit[row]): row for row in np.flatnonzero(group == g)}
        people = {who for who, _ in of}
        V = np.zeros((n_visits, n_visits))
        for k in range(n_visits):
            V[k, k] = np.mean([adjusted[of[who, k]] ** 2 for who in people if (who, k) in of])
        for k in range(n_visits):
            for j in range(n_visits):
                both = [(of[who, k], of[who, j]) for who in people if (who, k) in of and (who, j) in of]
                a, b = (adjusted[[pair[side] for pair in both]] for side in (0, 1))
                if k != j:
                    V[k, j] = (a @ b) / np.sqrt((a @ a) * (b @ b)) * np.sqrt(V[k, k] * V[j, j])
                for left, right in both:
                    for one, other in both:
                        part = np.outer(loadings[:, left], loadings[:, right]) / len(both)
                        scale = np.sqrt((1 - hat[one, one]) * (1 - hat[other, other]))
                        forms[:, :, one, other] += part / scale
        sizes, vectors = np.linalg.eigh(V)
        covariance[g] = vectors @ np.diag(np.maximum(sizes, 0)) @ vectors.T
    found = np.zeros((q, q))
    for left in range(len(matrix)):
        for right in range(len(matrix)):
            if person[left] == person[right]:
                entry = covariance[group[left]][visit[left], visit[right]]
                found += np.outer(loadings[:, left], loadings[:, right]) * entry
    forms = (forms + forms.transpose(1, 0, 2, 3)) / 2
    forms = (forms + forms.transpose(0, 1, 3, 2)) / 2
    mean = np.einsum("stij,ji->st", forms, rest)
    half = np.linalg.inv(np.linalg.cholesky(mean))
    forms = np.einsum("su,uvij,tv->stij", half, forms, half)
    moved = np.einsum("ij,stjk->stik", rest, forms)
    return found, q * (q + 1) / (2 * np.einsum("stij,stji->", moved, moved))


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_the_homogeneous_form_equals_swe_s_by_hand(share):
    person, visit, group, values = draw(n=40, share=share, seed=5)
    matrix = np.column_stack(
        [np.ones(person.size), group, visit == 1, visit == 2, group * (visit == 2)]
    ).astype(float)
    rows = ([0, 1, 0, 0, 0], [0, 0, 0, 1, 0.4]), ([0, 0, 1, 0, 0], [0, 0, 0, 1, 0])
    contrasts = [make_contrast(rows[0][0]), make_contrast(rows[0][1]), make_contrast(*rows[1])]
    factors = {"group": pd.Categorical(np.where(group == 1, "b", "a"))}
    data = make_data(matrix, values, contrasts, person, "homogeneous", visits=visit, factors=factors)
    for one, asked in zip(fit(data), [*map(np.atleast_2d, rows[0]), np.array(rows[1])], strict=True):
        for element in range(40):
            covariance, eta = by_hand(matrix, values[:, element].astype(float), person, visit, group, asked)
            q, effect = len(asked), one.effect[:, element]
            np.testing.assert_allclose(one.variance[:, element], np.diag(covariance), rtol=1e-8)
            assert one.dof[element] == pytest.approx(eta - q + 1, rel=1e-8)
            squared = effect @ np.linalg.solve(covariance, effect)
            expected = (eta - q + 1) / (eta * q) * squared if q > 1 else np.sqrt(squared) * np.sign(effect[0])
            assert one.statistic[element] == pytest.approx(expected, rel=1e-8)


def check(data):
    return sandwich.check_clusters(
        data.design,
        data.estimator.variant,
        data.blocks,
        visits=data.visits,
        variance_groups=data.variance_groups,
    )


def test_few_clusters_and_few_degrees_of_freedom_are_told():
    person, visit, group, values = draw()
    matrix = np.column_stack([np.ones(person.size), group])
    factors = {"group": pd.Categorical(np.where(group == 1, "patient", "control"))}
    (notice,) = check(make_data(matrix, values, [make_contrast([0, 1])], person, factors=factors))
    assert "6 with group control" in notice.sentence
    assert "patient" not in notice.sentence
    few = check(make_data(matrix[:18], values[:18], [make_contrast([1, 0])], person[:18]))
    assert "6 in all" in few[0].sentence
    lone = (person == 0) * 1.0
    told = check(
        make_data(
            np.column_stack([np.ones(person.size), lone, visit]), values, [make_contrast([0, 0, 1])], person
        )
    )
    assert told == ()


def test_more_rows_than_degrees_of_freedom_are_refused():
    random = np.random.default_rng(4)
    person = np.repeat(np.arange(4), 6)
    matrix = np.column_stack([np.ones(24), random.normal(size=(24, 4))])
    joint = make_contrast(*np.eye(5)[1:])
    data = make_data(matrix, random.normal(size=(24, 2)), [joint], person)
    with pytest.raises(DataError, match="too few clusters") as raised:
        check(data)
    assert "η = " in raised.value.found
    assert raised.value.fix
    (one,) = fit(data)
    assert not one.is_determined.any()


def test_what_tells_clusters_apart_leaves_no_variance_between_them():
    person, visit, group, values = draw()
    dummies = np.eye(14)[person]
    matrix = np.column_stack([dummies, visit])
    between = np.r_[np.where(group[::3] == 1, 1 / 8, -1 / 6), 0]
    data = make_data(matrix, values, [make_contrast(between)], person)
    with pytest.raises(DataError, match="no variance"):
        check(data)
    assert not fit(data)[0].is_determined.any()
    within = make_data(matrix, values, [make_contrast(np.r_[np.zeros(14), 1])], person)
    assert check(within) == ()


def test_a_group_of_one_person_is_said_to_be_missing_from_the_variance():
    person, visit, group, values = draw(n_people=16)
    third = person == 0
    matrix = np.column_stack([~third & (group == 0), group, third, visit])
    contrast = make_contrast([0.5, -1, 0.05, 0])
    notices = check(make_data(matrix, values, [contrast], person))
    assert any("fits exactly" in one.sentence for one in notices)


@pytest.mark.parametrize(
    "change, match",
    [({"visits": "same"}, "one row for each visit"), ({"variance_groups": "alone"}, "several clusters")],
)
def test_the_homogeneous_form_needs_visits_and_groups(change, match):
    person, visit, group, values = draw()
    more = {"visits": visit, "variance_groups": group}
    more |= {name: np.zeros_like(visit) if kind == "same" else person for name, kind in change.items()}
    with pytest.raises(DataError, match=match) as raised:
        check(
            make_data(np.ones((person.size, 1)), values, [make_contrast([1])], person, "homogeneous", **more)
        )
    assert raised.value.fix


def test_elements_where_holes_leave_a_group_of_one_person_are_told():
    """Two patients, of whom one is missing at three elements: what is left is fitted exactly there."""
    person, visit, group, values = draw(n_people=16)
    group = (person < 2).astype(int)
    matrix = np.column_stack([1 - group, group, visit])
    asked = [make_contrast([0.9, 0.1, 0])]  # the patients count little
    values[:, 2:] += 0.1
    whole = fit_group(make_data(matrix, values, asked, person))
    assert not any("exactly" in one.sentence for one in whole.notices)
    values[person == 1, :3] = np.nan
    found = fit_group(make_data(matrix, values, asked, person))
    (told,) = [one.sentence for one in found.notices if "exactly" in one.sentence]
    assert f"At 3 of {values.shape[1]} elements" in told


def test_groups_that_are_written_as_numbers_are_groups():
    person, visit, group, values = draw(n_people=20)
    group = (person < 5).astype(int)
    matrix, asked = np.column_stack([1 - group, group, visit]), [make_contrast([-1, 1, 0])]
    said, found = [], []
    for codes in (group, np.where(group == 1, "b", "a")):
        made = {"factors": {"code": codes, "age": person * 1.5, "visit": visit}, "visits": visit}
        found.append(fit(make_data(matrix, values, asked, person, "homogeneous", **made))[0].statistic)
        said.append(" ".join(one.sentence for one in check(make_data(matrix, values, asked, person, **made))))
    np.testing.assert_array_equal(*found)
    assert "5 with code 1" in said[0]
    assert "5 with code b" in said[1]


def test_rows_without_a_session_are_a_visit_of_their_own():
    design = make_data(np.ones((6, 1)), np.zeros((6, 1)), [make_contrast([1])], None).design
    visits = pd.Series(["1", "2", None, "1", "2", None], index=design.matrix.index)
    found, _ = name_cells(design, np.repeat([0, 1], 3), visits, None)
    assert list(found) == [0, 1, 2, 0, 1, 2]


def test_thousands_of_clusters_need_no_matrix_of_rows_by_rows():
    import tracemalloc

    person = np.repeat(np.arange(6_000), 2)
    matrix = np.column_stack([np.ones(12_000), person % 2, np.tile([0.0, 1.0], 6_000)])
    data = make_data(
        matrix, np.zeros((12_000, 1)), [make_contrast([0, 1, 0]), make_contrast([0, 1, 0], [0, 0, 1])], person
    )
    basis = orthonormal_basis(data.design)
    tracemalloc.start()
    made = robust_weights(basis.columns, basis.directions, data.clusters, "CR2")
    assert tracemalloc.get_traced_memory()[1] < 3e8
    tracemalloc.stop()
    assert made[0].moment == pytest.approx(
        5_998, rel=1e-6
    )  # two groups of 3,000: n - 1 of each, equal shares
    assert made[1].moment == pytest.approx(5_998.5, rel=1e-3)


def test_with_complete_visits_the_homogeneous_form_is_cr2():
    """Of group by visit, also its degrees of freedom: the bootstrap, which is CR2's, lacks nothing there."""
    person, visit = np.divmod(np.arange(36), 3)
    group = (person >= 5) * 1.0
    second, third = visit == 1, visit == 2
    matrix = np.column_stack([np.ones(36), group, second, third, group * second, group * third])
    asked = [make_contrast([0, 1, 0, 0, 1 / 3, 1 / 3]), make_contrast(*np.eye(6)[4:])]
    values = np.random.default_rng(5).normal(size=(36, 7))
    more = {"visits": visit, "variance_groups": group}
    own = fit(make_data(matrix, values, asked, person, "homogeneous", **more))
    for one, other in zip(own, fit(make_data(matrix, values, asked, person, **more)), strict=True):
        np.testing.assert_allclose(one.statistic, other.statistic, rtol=1e-12)
        np.testing.assert_allclose(one.dof, other.dof, rtol=1e-12)
