"""Tests of equivalence and Bayes factors: against R (``validation/r``), by quadrature, by simulation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import integrate, stats

from bids_group.config.typed import parse_contrast
from bids_group.elements import Elements, Grid
from bids_group.errors import ContrastError
from bids_group.model import build_design, fit_group
from bids_group.model.fitting import evidence
from bids_group.model.fitting.evidence import bayes_factor
from bids_group.records import GroupData, MapStack

R = Path(__file__).parents[2] / "validation" / "r"
EFFECTS = {
    "mean": ("~ 1", "mean()"),
    "groups": ("~ group", "mean(group=b) - mean(group=a)"),
    "slope": ("~ age", "slope(age)"),
}


@pytest.fixture
def ask(analyse):
    """Make a GroupAnalysis of what is typed, with names: ``ask(rows, "~ 1", "a = mean()")``."""
    return lambda rows, formula, *texts: analyse(rows, formula, *map(parse_contrast, texts))


def fit(analysis, maps, **options):
    """Fit maps ``(n_obs, n_elements)``; returns the design, and results by the name of the contrast."""
    design = build_design(analysis)
    grid = Grid(shape=(maps.shape[1], 1, 1), affine=np.eye(4))
    data = GroupData(
        design=design,
        stack=MapStack(labels=tuple(design.matrix.index), data=np.asarray(maps, dtype=np.float32)),
        elements=Elements.from_mask(grid, np.ones(grid.shape, dtype=bool)),
        is_complete=bool(np.isfinite(maps).all()),
    )
    results = fit_group(data, **options).results
    return design, {one.contrast.name: one for one in results}


@pytest.fixture(scope="module")
def answers():
    return pd.read_csv(R / "evidence.csv")


@pytest.mark.parametrize("name", EFFECTS)
def test_equivalence_and_bayes_factors_are_those_of_r(answers, ask, name):
    people = pd.read_csv(R / "people.csv", dtype={"participant_id": str})
    people["subject"] = people["participant_id"].str.removeprefix("sub-")
    if name == "groups":
        people = people[people["group"] != "c"]
    formula, effect = EFFECTS[name]
    own = answers[answers["design"] == name]
    asked = own[["lower", "upper", "unit"]].drop_duplicates()
    unit = {"raw": "", "g": " g"}
    texts = {
        f"e{number}": f"equivalent({effect}, {low!r}{unit[kind]}, {high!r}{unit[kind]})"
        for number, (low, high, kind) in enumerate(asked.itertuples(index=False))
    }
    elements = [f"y{number}" for number in range(1, 6)]
    rows = people[["subject", "group", "age"]].reset_index(drop=True)
    analysis = ask(rows, formula, *(f"{key} = {text}" for key, text in texts.items()))
    _, results = fit(analysis, people[elements].to_numpy(), has_bayes_factor=True)
    for key, (low, high, kind) in zip(texts, asked.itertuples(index=False), strict=True):
        expected = own[(own["lower"] == low) & (own["upper"] == high) & (own["unit"] == kind)]
        maps = results[key].maps
        assert expected["element"].tolist() == elements
        np.testing.assert_allclose(maps["p"], expected["p"], rtol=1e-6)
        np.testing.assert_allclose(maps["z"], stats.norm.isf(expected["p"]), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(
            maps["t"], stats.t.isf(expected["p"], expected["dof"]), rtol=1e-5, atol=1e-6
        )
        np.testing.assert_allclose(maps["effect"], expected["effect"], rtol=1e-6)
        np.testing.assert_allclose(maps["bf10"], expected["bf10"], rtol=1e-5)


def test_bounds_stand_for_both_sides_and_names_for_contrasts(people, ask):
    asked = ["a = slope(age)", "b = equivalent(a, 0.3)", "c = equivalent(slope(age), -.3, 3e-1)"]
    design = build_design(ask(people, "~ age + group", *asked, "equivalent(mean(), 0.5g)"))
    one, named, spelled, standardised = design.contrasts
    assert one.bounds is None
    assert one.has_two_tails
    assert named.bounds == spelled.bounds
    assert (named.bounds.lower, named.bounds.upper, named.bounds.is_standardised) == (-0.3, 0.3, False)
    np.testing.assert_array_equal(named.weights, one.weights)
    assert not named.has_two_tails
    assert standardised.bounds.is_standardised
    assert "between -0.3 and 0.3 in units of the effect" in named.words
    assert standardised.label == "EquivalentMean05g"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("equivalent(mean())", "bounds"),
        ("equivalent(mean(), 0.5, 0.2)", "lower bound first"),
        ("equivalent(mean(), -0.2 g, 0.5)", "bounds"),
        ("equivalent(mean(), 0)", "bounds"),
        ("equivalent(mean(), a)", "bounds"),
        ("equivalent(mean(), 1e999)", "bounds"),
        ("equivalent(mean(), 0.3) - mean()", "stands alone"),
        ("equivalent(mean(), 0.3", "stands alone"),
        ("equivalent(test(site), 0.3)", "joint test"),
        ("equivalent(equivalent(mean(), 0.3), 0.3)", "has parts or bounds itself"),
        ("equivalent(nobody, 0.3)", "nobody"),
        ("conjunction(mean())", "one part only"),
        ("conjunction(mean(), mean())", "one part only"),
        ("conjunction(mean(), test(site))", "no direction"),
        ("conjunction(mean(), equivalent(mean(), 1))", "no direction"),
        ("conjunction(mean(), conjunction(mean(), slope(age)))", "has parts or bounds itself"),
    ],
)
def test_what_cannot_be_meant_is_refused(people, ask, text, said):
    with pytest.raises(ContrastError) as caught:
        build_design(ask(people, "~ site + age", text))
    assert said in f"{caught.value} {caught.value.expected} {caught.value.sentence}"


def test_parts_of_a_conjunction_become_contrasts_unless_they_are_there(people, ask):
    asked = ["both = conjunction(old, mean(group=patient), mean( group = control ))", "old = slope(age)"]
    design = build_design(ask(people, "~ age + group", *asked, "young = mean(group=control)"))
    assert [one.name for one in design.contrasts] == ["old", "young", "mean(group=patient)"]
    (both,) = design.conjunctions
    assert both.parts == ("old", "mean(group=patient)", "young")
    assert both.weights.shape == (3, 4)


def simulate(lower, upper, truth, *, n=20, n_maps=40_000):
    """Share of equivalences at p ≤ 0.05 in one sample of true standardised mean ``truth``."""
    from types import SimpleNamespace

    from bids_group.model.fitting.evidence import judge_equivalence
    from bids_group.records import Bounds

    values = np.random.default_rng(4).normal(truth, 1, (n, n_maps))
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    estimate = SimpleNamespace(
        effect=values.mean(axis=0)[None],
        variance=error[None] ** 2,
        statistic=values.mean(axis=0) / error,
        spread=np.full((1, n_maps), 1 / n),
    )
    bounds = Bounds(lower=lower, upper=upper, is_standardised=True)
    return float((judge_equivalence(estimate, float(n - 1), bounds)[2] <= 0.05).mean())


@pytest.mark.parametrize(
    ("n", "bound", "size"),
    [
        (20, 1.0, 0.05),
        (60, 0.5, 0.05),
        # the bounds are too near to each other for so few people: never more, here less
        (10, 0.5, 0.0),
    ],
)
def test_bounds_in_residual_sds_have_the_size_that_is_said(n, bound, size):
    found = [simulate(-bound, bound, at, n=n) for at in (-bound, bound)]
    assert found == pytest.approx([size, size], abs=3 * np.sqrt(0.05 * 0.95 / 40_000))
    if size:
        assert simulate(-bound, bound, 0, n=n) > 0.5


def test_an_sd_that_is_plugged_in_would_err():
    """What the non-central t is for: bounds times the observed SD make 7 % errors of 5 % ones."""
    n, bound = 60, 1.5
    values = np.random.default_rng(4).normal(bound, 1, (n, 40_000))
    t = (values.mean(axis=0) - bound * values.std(axis=0, ddof=1)) / values.std(axis=0, ddof=1) * np.sqrt(n)
    assert (stats.t.cdf(t, n - 1) <= 0.05).mean() > 0.06
    assert simulate(-bound, bound, bound, n=n) == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize(("dof", "size"), [(1, 2), (19, 20), (38, 10), (98, 25.0), (98, 0.5)])
def test_bayes_factors_are_the_integral_over_the_effect(dof, size):
    """The other way to the same number: the non-central t over a Cauchy prior, per element and by table."""
    t = np.array([0.0, -0.7, 2.0, -4.5])

    def average(value):
        points = sorted({0.0, *(value / np.sqrt(size) + step / np.sqrt(size) for step in (-3, 0, 3))})
        pieces = zip([-np.inf, *points], [*points, np.inf], strict=True)

        def density(effect):
            prior = stats.cauchy.pdf(effect, 0, np.sqrt(2) / 2)
            return prior * stats.nct.pdf(value, dof, effect * np.sqrt(size))

        whole = sum(integrate.quad(density, *piece, epsrel=1e-10, limit=400)[0] for piece in pieces)
        return whole / stats.t.pdf(value, dof)

    expected = [average(value) for value in t]
    np.testing.assert_allclose(bayes_factor(t, dof, size), expected, rtol=1e-8)
    many = np.concatenate([t, np.linspace(-30, 30, 1000)])  # by the table
    np.testing.assert_allclose(bayes_factor(many, dof, size)[:4], expected, rtol=1e-6)
    mixed = bayes_factor(t, np.array([dof, dof, 7.0, 7.0]), np.array([size, 3.0, 3.0, size]))
    assert mixed[0] == pytest.approx(expected[0])
    assert mixed[2] == pytest.approx(bayes_factor(t[2:3], 7.0, 3.0)[0])


@pytest.mark.parametrize(("dof", "size"), [(1.0, 2.0), (30.0, 1e-6), (30.0, 1e6), (2000.0, 500.0)])
def test_the_table_of_bayes_factors_is_as_exact_as_it_says(dof, size):
    t = np.sinh(np.linspace(0, np.arcsinh(120), 1501))
    logs = evidence.integrate(t, dof, size)
    shown = logs < np.log(np.finfo(np.float32).max)
    assert np.abs(np.log(bayes_factor(t, dof, size)) - logs)[shown].max() < 1e-6
    assert bayes_factor(np.full(400, 1e6), 300.0, 20.0).max() <= np.finfo(np.float32).max


def test_slopes_are_per_sd_of_their_covariate_whatever_its_unit(people, ask):
    maps = np.random.default_rng(0).normal(size=(len(people), 6))
    months = people.assign(age=12 * people["age"])
    asked = "slope(age)", "age", "test(age)", "slope(age, group=patient)", "mean()", "[0, 0, 0, 1, 0]"
    found = []
    for rows in (people, months):
        design, results = fit(
            ask(rows, "~ group + age + n_cigs", *(f"c{k} = {a}" for k, a in enumerate(asked))),
            maps,
            has_bayes_factor=True,
        )
        found.append(np.array([one.maps["bf10"] for one in results.values()]))
        sizes = [one.effective_size for one in results.values()]
        X, sd = design.matrix.to_numpy(), rows["age"].std(ddof=0)
        spread = np.linalg.pinv(X.T @ X)[3, 3]
        assert sizes[:4] == pytest.approx([1 / (spread * sd**2)] * 4)
        assert design.contrasts[0].slope.covariate == "age"
        assert design.contrasts[4].slope is None
    np.testing.assert_allclose(*found, rtol=1e-5)


def test_what_has_no_unit_of_its_own_has_no_bayes_factor(people, ask):
    asked = [
        "curve = age + n_cigs",
        "mixed = mean() + slope(age)",
        "joint = test(group)",
        "fine = log(volume)",
    ]
    design, results = fit(
        ask(people, "~ group + age + n_cigs + log(volume)", *asked),
        np.random.default_rng(0).normal(size=(len(people), 3)),
        has_bayes_factor=True,
    )
    assert [name for name, one in results.items() if "bf10" in one.maps] == ["fine"]
    assert design.contrasts[3].slope.sd == pytest.approx(np.log(people["volume"]).std(ddof=0))


def test_elements_with_people_missing_have_their_own_sizes(people, ask):
    """Where rows are missing, Bayes factors and p are those of the people observed there."""
    maps = np.random.default_rng(0).normal(size=(len(people), 3)).astype(np.float32)
    maps[:9, 1] = np.nan
    asked = ["e = equivalent(mean(), 0.4 g)", "r = equivalent(mean(), 0.4)"]
    _, results = fit(ask(people, "~ 1", *asked), maps, has_bayes_factor=True)
    assert results["e"].effective_size is None
    rest = replace(ask(people.iloc[9:], "~ 1", *asked))
    _, alone = fit(rest, maps[9:, 1:2], has_bayes_factor=True)
    for name in ("e", "r"):
        for stat in ("p", "t", "z", "bf10", "g"):
            assert results[name].maps[stat][1] == pytest.approx(alone[name].maps[stat][0], rel=1e-5), stat


def test_an_element_without_variance_is_no_evidence(people, ask):
    maps = np.random.default_rng(0).normal(size=(len(people), 3))
    maps[:, 1] = 0.1
    for text in ("equivalent(mean(), 0.4 g)", "equivalent(mean(), 0.4)"):
        _, results = fit(ask(people, "~ 1", f"e = {text}"), maps, has_bayes_factor=True)
        maps_of = results["e"].maps
        assert results["e"].effective_size == pytest.approx(len(people))
        assert (maps_of["t"][1], maps_of["z"][1], maps_of["p"][1], maps_of["bf10"][1]) == (0, 0, 1, 1)
