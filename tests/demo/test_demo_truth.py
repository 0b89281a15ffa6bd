"""The demo's truth: what the dataset says is in the maps is in the maps."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_group.cli import main
from bids_group.demo import KINDS, DemoTruth, write_demo
from bids_group.demo.effects import build_grid, build_sphere, draw_noise
from bids_group.elements import read_fsaverage5
from bids_group.errors import OutputError, UsageError
from bids_group.output.results import Results


@pytest.fixture(scope="module")
def slopes(tmp_path_factory: pytest.TempPathFactory) -> DemoTruth:
    return write_demo(tmp_path_factory.mktemp("slopes"))


def read(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj, dtype=np.float64)


def read_person(truth: DemoTruth, subject: str) -> tuple[np.ndarray, np.ndarray]:
    """Effects and variances of a person, (n_maps, x, y, z); unobserved voxels are NaN."""
    effects = sorted((truth.derivative_dir / f"sub-{subject}").rglob("*_stat-effect_statmap.nii.gz"))
    effect = np.stack([read(path) for path in effects])
    variance = np.stack([read(Path(str(path).replace("stat-effect", "stat-variance"))) for path in effects])
    return np.where(variance > 0, effect, np.nan), np.where(variance > 0, variance, np.nan)


def read_table(truth: DemoTruth) -> pd.DataFrame:
    table = pd.read_csv(
        truth.bids_dir / "participants.tsv", sep="\t", na_values=["n/a"], keep_default_na=False
    )
    return table.set_index(table["participant_id"].str.removeprefix("sub-"))


def fit_t(design: np.ndarray, weights: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Effect and t of one contrast by least squares at every voxel (numpy alone); residual dof."""
    inverse = np.linalg.inv(design.T @ design)
    beta = np.tensordot(inverse @ design.T, maps, axes=1)
    dof = len(design) - design.shape[1]
    residual = maps - np.tensordot(design, beta, axes=1)
    scale = (residual**2).sum(axis=0) / dof * (weights @ inverse @ weights)
    effect = np.tensordot(weights, beta, axes=1)
    with np.errstate(invalid="ignore"):
        return effect, effect / np.sqrt(scale), dof


def pool(effects: np.ndarray, variances: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.nansum(effects / variances, axis=0) / np.nansum(1 / variances, axis=0)


def test_the_three_effects_of_slopes_are_found_where_they_were_put_and_nowhere_else(
    slopes: DemoTruth,
) -> None:
    table = read_table(slopes)
    people = [label for label in slopes.subjects if not np.isnan(table.loc[label, "n_cigs"])]
    rows = table.loc[people]
    maps = np.stack([pool(*read_person(slopes, label)) for label in people])
    mask = np.isfinite(maps).all(axis=0)
    half = np.where(rows["group"] == "patient", 0.5, -0.5)
    cigs = rows["n_cigs"].to_numpy() - rows["n_cigs"].mean()
    age = rows["age"].to_numpy() - rows["age"].mean()
    design = np.column_stack([np.ones(len(people)), half, cigs, half * cigs, age])
    for place, column in zip(slopes.places, (0, 1, 3), strict=True):
        effect, t, dof = fit_t(design, np.eye(5)[column], np.where(mask, maps, 0.0))
        inside = build_sphere(build_grid(5), place.centre_mm, place.radius_mm)
        assert inside[~mask].sum() == 0
        threshold = stats.t.isf(0.05 / 2 / mask.sum(), dof)
        assert (t[inside] > threshold).mean() > 0.9
        assert (np.abs(t[mask & ~inside]) > threshold).sum() == 0
        assert effect[inside].mean() == pytest.approx(place.value, rel=0.15)


def test_noise_has_the_variance_that_the_variance_map_says(slopes: DemoTruth) -> None:
    """The difference of two maps of one person holds noise alone: its square over v₁ + v₂ averages to 1."""
    ratios = []
    for label in slopes.subjects:
        effects, variances = read_person(slopes, label)
        for i in range(0, len(effects) - 1, 2):
            ratios.append((effects[i] - effects[i + 1]) ** 2 / (variances[i] + variances[i + 1]))
    assert np.nanmean(ratios) == pytest.approx(1.0, abs=0.03)
    assert np.nanmean(np.array(ratios)[..., :5]) == pytest.approx(1.0, abs=0.1)


def test_noise_has_unit_variance_at_the_border_of_the_grid_too() -> None:
    rng = np.random.default_rng(1)
    grid = build_grid(10)
    squares = np.mean([draw_noise(rng, grid, 20.0) ** 2 for _ in range(2000)], axis=0)
    assert squares.min() > 0.8
    assert squares.max() < 1.25
    assert squares[0, 0, 0] == pytest.approx(1.0, abs=0.15)


def test_irregular_people_are_as_the_truth_says(slopes: DemoTruth) -> None:
    table = read_table(slopes)
    by_what = {odd.what: odd.subject for odd in slopes.irregular}
    counts = {label: len(read_person(slopes, label)[0]) for label in slopes.subjects}
    assert [label for label, count in counts.items() if count != 4] == [by_what["missing run"]]
    assert counts[by_what["missing run"]] == 3
    assert list(table.index[table["n_cigs"].isna()]) == [by_what["missing value"]]
    assert set(table.index) - set(slopes.subjects) == {by_what["no maps"]}
    assert len(table) == slopes.n_rows == 25
    n_observed = {
        label: np.isfinite(read_person(slopes, label)[0]).sum(axis=(1, 2, 3)) for label in slopes.subjects
    }
    odd = {label for label, n_voxels in n_observed.items() if n_voxels.min() != slopes.n_mask_voxels}
    assert odd == {by_what["reduced coverage"]}


def test_the_truth_is_written_into_the_dataset(slopes: DemoTruth) -> None:
    truth = json.loads((slopes.bids_dir / "code" / "truth.json").read_text(encoding="utf-8"))
    readme = (slopes.bids_dir / "README.md").read_text(encoding="utf-8")
    assert [place["name"] for place in truth["places"]] == ["mean", "groupDifference", "slopeDifference"]
    assert truth["places"][0]["centre_mm"] == list(slopes.places[0].centre_mm)
    for odd in slopes.irregular:
        assert f"sub-{odd.subject} {odd.words}" in readme
    for place in slopes.places:
        assert f"`{place.contrast}`" in readme


def test_the_same_arguments_write_the_same_bytes(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "other-seed")]
    for folder, seed in zip(folders, (3, 3, 4), strict=True):
        write_demo(folder, kind="one-sample", seed=seed)
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in folders
    ]
    assert contents[0] == contents[1]
    assert contents[0] != contents[2]


def test_a_folder_that_is_not_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(OutputError, match="not empty"):
        write_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_an_unknown_kind_is_refused_with_the_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        write_demo(tmp_path / "demo", kind="slope")
    assert "slopes" in str(caught.value)
    assert not (tmp_path / "demo").exists()


OTHERS = ("slopes", "vbm", "association", "surface", "regions")


@pytest.mark.parametrize("kind", [name for name in KINDS if name not in OTHERS])
def test_effects_of_the_small_kinds_lie_in_their_places(kind: str, tmp_path: Path) -> None:
    """Contrasts by cell means: the value inside the place, no more than noise outside."""
    truth = write_demo(tmp_path, kind=kind)
    table = read_table(truth).loc[list(truth.subjects)]
    maps = np.stack([read_person(truth, label)[0] for label in truth.subjects])  # (people, sessions, …)
    group = table["group"].to_numpy() if "group" in table else np.full(len(table), "")
    treated = np.isin(group, ["patient", "treated"])
    men = table["sex"].to_numpy() == "M" if "sex" in table else np.ones(len(table), bool)
    person = maps.mean(axis=1)
    change = maps[:, -1] - maps[:, 0]
    estimates = {"mean": person.mean(axis=0), "change": change.mean(axis=0)}
    if treated.any():
        estimates["groupDifference"] = person[treated].mean(axis=0) - person[~treated].mean(axis=0)
        estimates["changeDifference"] = change[treated].mean(axis=0) - change[~treated].mean(axis=0)
    if kind == "factorial":
        estimates["sexDifference"] = person[men].mean(axis=0) - person[~men].mean(axis=0)
        cells = {(g, m): person[(treated == g) & (men == m)].mean(axis=0) for g in (0, 1) for m in (0, 1)}
        estimates["interaction"] = cells[1, 1] - cells[0, 1] - cells[1, 0] + cells[0, 0]
    for place in truth.places:
        inside = build_sphere(build_grid(8), place.centre_mm, place.radius_mm)
        assert inside.sum() > 10
        assert estimates[place.name][inside].mean() == pytest.approx(place.value, rel=0.15)
        outside = np.isfinite(estimates[place.name]) & ~inside
        assert abs(estimates[place.name][outside].mean()) < 0.1 * place.value


def test_the_default_test_of_sessions_is_the_later_minus_the_earlier(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reference is the session whose label sorts first: labels of a demo sort in the order of time."""
    truth = write_demo(tmp_path / "demo", kind="paired", size_mm=20)
    job = [str(truth.bids_dir), str(tmp_path / "out"), "group", "--formula", "~ session + subject"]
    assert main([*job, "--pooling", "none", "--dry-run", "--output-format", "json", "-q"]) == 0
    (contrast,) = json.loads(capsys.readouterr().out)["Analyses"][0]["Contrasts"]
    assert contrast["Words"] == "mean in followup minus mean in baseline, averaged over subject"
    assert all(kind.sessions == tuple(sorted(kind.sessions)) for kind in KINDS.values())


def test_fewer_people_keep_the_shape_of_the_kind(tmp_path: Path) -> None:
    truth = write_demo(tmp_path, n_people=6, size_mm=12)
    assert len(truth.subjects) == 6
    assert {odd.what: odd.subject for odd in truth.irregular} == {"missing run": "05", "no maps": "07"}
    assert truth.res == "12mm"


@pytest.mark.parametrize("kind", ["surface", "regions"])
def test_other_kinds_of_maps_give_back_what_was_planted(kind: str, tmp_path: Path) -> None:
    truth = write_demo(tmp_path / "data", kind=kind)
    (place,) = truth.places
    options = [*truth.options, "-q", "--no-report", "--correction", "bonferroni", "--no-sensitivity"]
    assert main([str(truth.bids_dir), str(tmp_path / "out"), "group", *options]) == 0
    results = Results(output_dir=tmp_path / "out")
    effect = results.image("mean", "effect")
    if kind == "regions":
        row = effect.set_index("region")["effect"]
        assert len(row) == 8
        assert row.idxmax() == "left_parietal"
        assert row.max() == pytest.approx(place.value, rel=0.15)
        assert row.drop("left_parietal").abs().max() < 0.5
        found = results.clusters("mean", "bonferroni")
        assert found["region"].tolist() == ["left_parietal"]
        return
    left, right = (one.darrays[0].data for one in effect)
    gaps = np.linalg.norm(read_fsaverage5()["CORTEX_LEFT"].points - place.centre_mm, axis=1)
    assert (gaps < 10).sum() > 10
    assert left[gaps < 9].mean() == pytest.approx(place.value, rel=0.2)
    assert abs(left[gaps > 25].mean()) < 0.3
    assert abs(right.mean()) < 0.3
