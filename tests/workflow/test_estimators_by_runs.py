"""Whole runs of people with several visits, and of first levels with variances, by each estimator."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, stats

from bids_group.cli import main
from tests.visits import design_of, image, sidecar_of, write_visits

SHAPE = (3, 3, 2)
FORMULA = "~ group * months"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Twenty people in two groups, three visits, some of them missed; the rows as a table, and their maps."""
    root = tmp_path_factory.mktemp("visits") / "data"
    draw = np.random.default_rng(20)
    people = pd.DataFrame({"participant_id": [f"sub-{n:02d}" for n in range(1, 21)]})
    people["group"] = ["control", "patient"] * 10
    rows, values = [], []
    for number, (person, group) in enumerate(people.itertuples(index=False)):
        own, slope = draw.normal(0, 1, SHAPE), draw.normal(0, 0.05, SHAPE)
        visits = [visit for visit in (1, 2, 3) if (number + visit) % 7 != 3]
        for visit in visits:
            months = 6.0 * (visit - 1) + number % 3
            mean = 0.5 + 0.8 * (group == "patient") + 0.02 * months
            effect = (mean + own + slope * months + draw.normal(0, 0.6, SHAPE)).astype(np.float32)
            variance = draw.gamma(3, 0.1, SHAPE).astype(np.float32)
            rows.append(
                {"participant_id": person, "session_id": f"ses-{visit}", "group": group, "months": months}
            )
            values.append((effect, variance))
    table, maps = pd.DataFrame(rows), [np.array(each) for each in zip(*values, strict=True)]
    write_visits(root, table, dict(zip(("effect", "variance"), maps, strict=True)))
    return root, table, *(each.reshape(len(rows), -1).astype(np.float64) for each in maps)


def run(study, folder, *options, code=0):
    done = main([str(study[0]), str(folder), "group", "--no-report", *options])
    assert done == code
    return folder / "group"


def component(group, name):
    return image(group, "variance", desc=f"_desc-{name}")


@pytest.fixture(scope="module")
def mixed(study, tmp_path_factory):
    formula = f"{FORMULA} + (1 | subject)"
    return run(study, tmp_path_factory.mktemp("mixed") / "out", "--pooling", "none", "--formula", formula)


def test_a_random_intercept_gives_the_numbers_of_the_definition(study, mixed):
    _, table, effects, _ = study
    X, people = design_of(table), pd.get_dummies(table["participant_id"]).to_numpy(dtype=float)
    n, p = X.shape
    for element in (0, 7, 11):
        y = effects[:, element]

        def solve(ratio, y=y):
            """Generalised least squares with V = I + ratio·ZZ', and the REML deviance."""
            inverse = np.linalg.inv(np.eye(n) + ratio * people @ people.T)
            A = X.T @ inverse @ X
            beta = np.linalg.solve(A, X.T @ inverse @ y)
            squares = (y - X @ beta) @ inverse @ (y - X @ beta)
            deviance = np.linalg.slogdet(A)[1] - np.linalg.slogdet(inverse)[1] + (n - p) * np.log(squares)
            return deviance, beta, A, squares / (n - p)

        ratio = optimize.minimize_scalar(
            lambda one: solve(one)[0], bounds=(0, 50), method="bounded", options={"xatol": 1e-10}
        ).x
        _, beta, A, within = solve(ratio)
        t = beta[3] / np.sqrt(within * np.linalg.inv(A)[3, 3])
        assert image(mixed, "effect", "GroupByMonths")[element] == pytest.approx(beta[3], rel=1e-4)
        assert image(mixed, "t", "GroupByMonths")[element] == pytest.approx(t, rel=1e-4)
        assert image(mixed, "icc")[element] == pytest.approx(ratio / (1 + ratio), rel=1e-4)
        assert component(mixed, "residual")[element] == pytest.approx(within, rel=1e-4)
        assert component(mixed, "subjectIntercept")[element] == pytest.approx(ratio * within, rel=1e-4)


def test_p_and_z_of_a_mixed_model_come_from_its_own_dof_map(study, mixed):
    t, dof = image(mixed, "t", "Group"), image(mixed, "dof", "Group")
    np.testing.assert_allclose(image(mixed, "p", "Group"), 2 * stats.t.sf(np.abs(t), dof), rtol=1e-4)
    assert 15 < np.median(dof) < 22  # people, not rows
    assert np.median(image(mixed, "dof", "GroupByMonths")) > 30  # rows within people
    said = sidecar_of(mixed, "t", "Group")
    assert (said["Estimator"], said["RandomTerms"]) == ("mixed", "(1 | subject)")
    assert said["DegreesOfFreedom"] == "differs between elements: see stat-dof"
    total = np.sqrt(
        sum(image(mixed, "variance", desc=f"_desc-{one}") for one in ("residual", "subjectIntercept"))
    )
    np.testing.assert_allclose(
        image(mixed, "dTotal", "Group"), image(mixed, "effect", "Group") / total, rtol=1e-5
    )
    assert not list(mixed.glob("*_stat-g_*"))


def test_the_model_file_of_a_mixed_run_gives_the_same_maps_again(study, mixed, tmp_path):
    written = next((mixed.parent / "code").glob("model-*_smdl.json"))
    settings = json.loads(written.read_text())["Nodes"][-1]["Model"]
    assert settings["Software"]["bids_group"]["random_terms"] == ["(1 | subject)"]
    assert "|" not in settings["Formula"]
    model = shutil.copy(written, tmp_path / "model.json")
    assert main([str(study[0]), str(tmp_path / "out"), "group", "--no-report", "--model", str(model)]) == 0
    for path in mixed.glob("*_statmap.nii.gz"):
        assert (tmp_path / "out" / "group" / path.name).read_bytes() == path.read_bytes()


def test_a_random_slope_has_a_variance_map_of_each_effect(study, tmp_path):
    formula = f"{FORMULA} + (1 + months | subject)"
    group = run(study, tmp_path / "out", "--pooling", "none", "--formula", formula)
    for name in ("subjectIntercept", "subjectMonths", "residual"):
        assert (image(group, "variance", desc=f"_desc-{name}") >= 0).all()
    assert not list(group.glob("*_stat-dTotal_*"))  # which variance of a row depends on its months


def test_the_sandwich_is_that_of_the_definition(study, tmp_path):
    _, table, effects, _ = study
    options = ("--pooling", "none", "--formula", FORMULA, "--estimator", "sandwich", "--sandwich", "CR1")
    group = run(study, tmp_path / "out", *options)
    X, c = design_of(table), np.array([0, 0, 0, 1.0])
    inverse = np.linalg.inv(X.T @ X)
    residuals = effects - X @ (inverse @ X.T @ effects)
    people = table["participant_id"].to_numpy()
    n_people = len(set(people))
    parts = [
        (c @ inverse @ X[people == one].T @ residuals[people == one]) ** 2 for one in sorted(set(people))
    ]
    variance = n_people / (n_people - 1) * np.sum(parts, axis=0)
    t = (c @ inverse @ X.T @ effects) / np.sqrt(variance)
    np.testing.assert_allclose(image(group, "t", "GroupByMonths"), t, rtol=1e-5)
    assert np.ptp(image(group, "dof", "GroupByMonths")) == 0
    assert sidecar_of(group, "t", "GroupByMonths")["EstimatorVariant"] == "CR1"


def test_known_variances_give_the_reml_estimate_and_knapp_hartungs_t(study, tmp_path):
    _, table, effects, variances = study
    options = ("--session-label", "1", "--formula", "~ group", "--estimator", "weighted")
    group = run(study, tmp_path / "out", *options)
    first = (table["session_id"] == "ses-1").to_numpy()
    y, v = effects[first], variances[first]
    X = np.column_stack([np.ones(len(y)), table.loc[first, "group"] == "patient"]).astype(float)
    for element in (0, 5, 17):

        def deviance(tau2, at=element):
            w = 1 / (v[:, at] + tau2)
            A = X.T @ (w[:, None] * X)
            residual = y[:, at] - X @ np.linalg.solve(A, X.T @ (w * y[:, at]))
            return -np.log(w).sum() + np.linalg.slogdet(A)[1] + (w * residual**2).sum()

        tau2 = optimize.minimize_scalar(deviance, bounds=(0, 20), method="bounded", options={"xatol": 1e-9}).x
        w = 1 / (v[:, element] + tau2)
        A = X.T @ (w[:, None] * X)
        beta = np.linalg.solve(A, X.T @ (w * y[:, element]))
        scale = (w * (y[:, element] - X @ beta) ** 2).sum() / (len(y) - 2)
        t = beta[1] / np.sqrt(scale * np.linalg.inv(A)[1, 1])
        assert image(group, "t", "Group")[element] == pytest.approx(t, rel=1e-4)
        assert image(group, "tau2")[element] == pytest.approx(tau2, abs=1e-4)
    assert ((image(group, "I2") >= 0) & (image(group, "I2") <= 100)).all()
    assert sidecar_of(group, "t", "Group")["DegreesOfFreedom"] == len(y) - 2


def test_weighted_rows_are_shuffled_by_signs_and_the_statistic_has_a_map_of_its_own(study, tmp_path):
    options = ("--session-label", "1", "--formula", "~ group", "--estimator", "weighted")
    shuffled = ("--correction", "fwe-voxel", "fwe-tfce", "--n-permutations", "63")
    group = run(study, tmp_path / "out", *options, *shuffled)
    own, fitted = image(group, "z", "Group", "_desc-weightedFlips"), image(group, "z", "Group")
    assert not np.allclose(own, fitted, atol=1e-3)
    assert np.corrcoef(own, fitted)[0, 1] > 0.98
    (path,) = group.glob("*Group_stat-z_desc-weightedFlips_statmap.json")
    assert "1 / (v + tau2)" in json.loads(path.read_text())["Description"]
    (path,) = group.glob("*Group_stat-p_desc-fweVoxel_statmap.json")
    corrected = json.loads(path.read_text())
    assert corrected["Shuffling"] == "sign flips of weighted residuals (approximate)"
    assert corrected["ThresholdStatistic"] == "z"
    assert "Knapp-Hartung" in corrected["Notices"][0]


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--pooling", "none", "--formula", "~ group"], 65, "(1 | subject)"),
        (["--formula", "~ group + (1 | subject)"], 65, "--pooling none"),
        (
            ["--pooling", "none", "--formula", "~ group + (1 | subject)", "--estimator", "ols"],
            64,
            "random term",
        ),
        (["--formula", "~ group", "--estimator", "mixed"], 64, "(1 | subject)"),
        (
            ["--pooling", "none", "--formula", "~ group + (1 | subject) + (1 | session)"],
            64,
            "cross each other",
        ),
        (["--pooling", "none", "--formula", "~ group", "--estimator", "weighted"], 65, "one row per person"),
        (["--formula", "~ 1", "--estimator", "weighted", "--smoothing-fwhm", "6"], 64, "first level"),
        (
            ["--pooling", "none", "--formula", "~ group + (1 | subject)", "--correction", "fwe-voxel"],
            64,
            "sandwich",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_before_a_map_is_read(
    study, options, code, words, tmp_path, capsys
):
    contrast = (
        [] if "(1" in " ".join(options) else ["--contrast", "d = mean(group=patient) - mean(group=control)"]
    )
    contrast = contrast if "~ group" in options else []
    run(study, tmp_path / "out", *options, *contrast, code=code)
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out" / "group").exists()


def test_maps_without_variances_are_named_where_they_must_be_known(study, tmp_path, capsys):
    root = shutil.copytree(study[0], tmp_path / "data")
    for path in root.rglob("sub-03_*stat-variance*"):
        path.unlink()
    options = [str(root), str(tmp_path / "out"), "group", "--estimator", "weighted"]
    assert main(options) == 65
    assert "sub-03" in capsys.readouterr().err
    assert main([*options, "--no-report", "--exclude-participant-label", "03"]) == 0
