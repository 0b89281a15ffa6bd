"""Whole runs with ``--estimator sandwich``: several rows per person, and people within families."""

import json
import re
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.demo import write_demo
from tests.studies import inside
from tests.studies import run_group as run

PAIRED = ["--pooling", "none", "--formula", "~ group*session", "--estimator", "sandwich"]
QUICK = ["--no-report", "--n-permutations", "49"]


@pytest.fixture(scope="module")
def paired(tmp_path_factory):
    """Sixteen people in two groups and seven families, two sessions each: never write into it."""
    folder = tmp_path_factory.mktemp("paired") / "data"
    write_demo(folder, kind="paired", size_mm=16)
    path = folder / "participants.tsv"
    people = pd.read_csv(path, sep="\t")
    people["family"] = np.repeat([f"f{number}" for number in range(7)], [3, 3, 2, 2, 2, 2, 2])
    people.to_csv(path, sep="\t", index=False)
    return folder


def pooled(data):
    """Means of each person's two maps by group, ``(8, …)`` twice."""
    people = pd.read_csv(data / "participants.tsv", sep="\t").set_index("participant_id")
    means = {"control": [], "treated": []}
    for person, row in people.iterrows():
        files = sorted((data / "derivatives").rglob(f"{person}_*stat-effect_statmap.nii.gz"))
        means[row["group"]].append(np.mean([nib.load(file).get_fdata() for file in files], axis=0))
    return np.array(means["control"]), np.array(means["treated"])


def test_groups_are_compared_on_several_rows_and_judged_by_the_bootstrap(paired, tmp_path):
    out = tmp_path / "out"
    assert (
        run(paired, out, *PAIRED, "--correction", "fdr", "fwe-voxel", "fwe-mass", "--permutation-p", *QUICK)
        == 0
    )
    t, sidecar = inside(out, "HousesGroup_stat-t")
    assert sidecar["Estimator"] == "sandwich"
    assert sidecar["EstimatorVariant"] == "CR2"
    mask = nib.load(next(out.glob("group/*_desc-analysis_mask.nii.gz"))).get_fdata() > 0
    control, treated = (maps[:, mask] for maps in pooled(paired))
    spread = control.var(axis=0, ddof=1) / len(control) + treated.var(axis=0, ddof=1) / len(treated)
    np.testing.assert_allclose(t, (treated.mean(axis=0) - control.mean(axis=0)) / np.sqrt(spread), rtol=1e-4)
    dof, _ = inside(out, "HousesGroup_stat-dof")
    assert dof.min() == pytest.approx(14, rel=1e-6)  # eight people in each group
    assert sidecar["DegreesOfFreedom"] == pytest.approx(14)
    p, details = inside(out, "HousesGroupBySession_stat-p_desc-fweVoxel")
    assert details["Shuffling"] == "wild cluster bootstrap, 16 clusters"
    assert details["ExchangeabilityBlocks"] == "subject"
    assert "49 drawn at random (seed 0)" in details["ShufflingScheme"]
    assert p.min() == pytest.approx(1 / 50)
    assert inside(out, "HousesGroup_stat-p_desc-permutation")[0].min() >= 1 / 50 - 1e-6


def test_the_bootstrap_takes_part_where_rows_are_not_observed(paired, tmp_path):
    """A session whose field of view is cut: all voxels are analysed and judged, and it is said how."""
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(paired, data)
    path = sorted(data.glob("derivatives/*/sub-03/**/*stat-effect_statmap.nii.gz"))[1]
    image = nib.load(path)
    numbers = image.get_fdata().astype(np.float32)
    numbers[:, :, : numbers.shape[2] // 2] = np.nan
    nib.save(nib.Nifti1Image(numbers, image.affine), path)
    asked = ["--min-coverage", "0.9", "--correction", "fwe-voxel", "fwe-size", "--permutation-p"]
    assert run(data, out, *PAIRED, *asked, "--dry-run") == 0
    assert run(data, out, *PAIRED, *asked, *QUICK) == 0
    n, _ = inside(out, "HousesGroupBySession_stat-n")
    p, details = inside(out, "HousesGroupBySession_stat-p_desc-fweVoxel")
    assert ((n == 31) & (p < 1)).any()
    assert ((n == 32) & (p < 1)).any()
    assert details["Shuffling"].startswith("wild cluster bootstrap, 16 clusters, approximate where rows")
    assert inside(out, "HousesGroup_stat-p_desc-permutation")[0].min() >= 1 / 50 - 1e-6


def test_people_of_one_family_are_one_cluster(paired, tmp_path):
    out = tmp_path / "out"
    families = ["--exchangeability-blocks", "family", "--sandwich", "CR3", "--correction", "fwe-voxel"]
    assert run(paired, out, *PAIRED, *families, *QUICK) == 0
    _, details = inside(out, "HousesGroup_stat-p_desc-fweVoxel")
    assert details["Shuffling"] == "wild cluster bootstrap, 7 clusters"
    assert details["ExchangeabilityBlocks"] == "family"
    assert details["EstimatorVariant"] == "CR3"


def test_the_dry_run_says_that_clusters_are_few(paired, tmp_path, capsys):
    families = ["--exchangeability-blocks", "family"]
    assert run(paired, tmp_path / "out", *PAIRED, *families, "--dry-run", "--output-format", "json") == 0
    page = json.loads(capsys.readouterr().out)
    said = json.dumps(page)
    assert "7 in all" in said
    assert "it is liberal" in said


def test_with_complete_visits_the_homogeneous_form_is_the_classic_one(paired, tmp_path):
    options = [*PAIRED, "--sandwich", "homogeneous", "--correction", "fdr", "--no-report"]
    assert run(paired, tmp_path / "out", *options) == 0
    homogeneous, sidecar = inside(tmp_path / "out", "HousesSession_stat-t")
    assert sidecar["EstimatorVariant"] == "homogeneous"
    assert run(paired, tmp_path / "classic", *PAIRED, "--correction", "fdr", "--no-report") == 0
    classic, _ = inside(tmp_path / "classic", "HousesSession_stat-t")
    np.testing.assert_allclose(homogeneous, classic, rtol=1e-4)


def test_numbers_that_a_formula_takes_for_levels_are_groups_of_the_homogeneous_form(paired, tmp_path):
    path = tmp_path / "people.tsv"
    people = pd.read_csv(paired / "participants.tsv", sep="\t")
    levels = sorted(people["group"].unique())
    people.assign(code=people["group"].map(levels.index)).to_csv(path, sep="\t", index=False)
    asked = [
        "--pooling",
        "none",
        "--estimator",
        "sandwich",
        "--sandwich",
        "homogeneous",
        "--correction",
        "fdr",
    ]
    variances = []
    for name, level in (("group", levels[0]), ("C(code)", "0")):
        term = {"group": "group", "C(code)": "code"}[name]
        formula = ("--formula", f"~ {name}*session", "--contrast", f"own = mean({term}={level})")
        options = [*asked, *formula, "--participants-tsv", path, "--no-report", "--no-sensitivity"]
        assert run(paired, tmp_path / term, *options) == 0
        variances.append(inside(tmp_path / term, "HousesOwn_stat-variance")[0])
    np.testing.assert_allclose(variances[1], variances[0], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--correction", "fwe-voxel", "--within-blocks"], 64, "wild cluster bootstrap"),
        (["--correction", "fwe-voxel", "--sandwich", "homogeneous"], 64, "Use --sandwich CR2"),
        (["--exchangeability-blocks", "group"], 65, "too few clusters|no variance"),
        (
            ["--formula", "~ group + subject", "--contrast", "d = mean(group=treated) - mean(group=control)"],
            65,
            "",
        ),
    ],
)
def test_what_it_cannot_do_is_refused_with_a_fix(paired, tmp_path, capsys, options, code, words):
    assert run(paired, tmp_path / "out", *PAIRED, *options) == code
    error = capsys.readouterr().err
    assert re.search(words, error)
    assert "fix" in error
    assert not (tmp_path / "out" / "group").exists()
