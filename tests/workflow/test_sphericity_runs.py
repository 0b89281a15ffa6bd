"""Sessions that are correlated in pairs: least squares errs and says so; the ways out do not."""

import json
import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from tests.visits import write_visits

N_PEOPLE, SHAPE = 14, (8, 8, 8)
ROWS = ["--pooling", "none", "--contrast", "far = mean(session=c) - mean(session=b)",
        "near = mean(session=b) - mean(session=a)"]  # fmt: skip


@pytest.fixture(scope="module")
def visits(tmp_path_factory):
    """Four sessions without effects; a and b, c and d are alike (r = 0.9), all variances equal."""
    folder = tmp_path_factory.mktemp("pairs") / "data"
    root = np.linalg.cholesky(np.kron(np.eye(2), [[1, 0.9], [0.9, 1]]))
    draw = np.random.default_rng(3)
    maps = np.einsum("ab,ib...->ia...", root, draw.normal(size=(N_PEOPLE, 4, *SHAPE)))
    people = [f"sub-{number:02d}" for number in range(N_PEOPLE)]
    table = pd.DataFrame(
        {"participant_id": np.repeat(people, 4), "session_id": [f"ses-{s}" for s in "abcd"] * N_PEOPLE}
    )
    write_visits(
        folder,
        table.assign(months=[0, 1, 2, 3] * N_PEOPLE),
        {"effect": maps.reshape(-1, *SHAPE).astype(np.float32)},
    )
    return folder


def run(data, out, *options):
    return main([str(data), str(out), "group", "-q", "--no-sensitivity", *ROWS, *options])


def error(out, contrast, ending="p"):
    (path,) = out.glob(f"group/*contrast-go{contrast}_stat-{ending}_statmap.nii.gz")
    return float((nib.load(path).get_fdata() <= 0.05).mean())


def design(out):
    (path,) = out.glob("group/*_design.json")
    return json.loads(path.read_text(encoding="utf-8"))


def test_least_squares_warns_and_the_remedies_keep_their_level(visits, tmp_path):
    out = tmp_path / "ols"
    assert run(visits, out, "--formula", "~ session + subject", "--correction", "fdr") == 0
    assert error(out, "Far") > 0.085
    assert error(out, "Near") < 0.01
    told = [one for one in design(out)["Notices"] if one["topic"] == "sphericity"]
    assert [one["severity"] for one in told] == ["warning"]
    measured = design(out)["Sphericity"]
    assert measured["GreenhouseGeisserEpsilon"] == pytest.approx(0.405, abs=0.03)
    differences = measured["VariancesOfDifferences"]
    assert list(differences.values()) == sorted(differences.values())
    assert differences["ses-b − ses-a"] == pytest.approx(0.2, rel=0.1)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Are the rows of a person equally alike?" in page
    assert re.search(r"ses-b − ses-a</td>", page)
    assert told[0]["sentence"].replace("'", "&#39;") in page
    shuffled = tmp_path / "flips"
    whole = re.search(r"--exchangeability-blocks .*flips", told[0]["fix"])[0].split()
    assert run(visits, shuffled, "--formula", "~ session + subject", "--no-report", "--permutation-p",
               "--correction", "fwe-voxel", "--n-permutations", "400", *whole) == 0  # fmt: skip
    sandwich = tmp_path / "sandwich"
    assert run(visits, sandwich, "--formula", "~ session", "--no-report", "--estimator", "sandwich") == 0
    assert "Sphericity" not in design(sandwich)
    for found in (error(shuffled, "Far", "p_desc-permutation"), error(shuffled, "Near", "p_desc-permutation"),
                  error(sandwich, "Far"), error(sandwich, "Near")):  # fmt: skip
        assert 0.02 < found < 0.085  # 512 elements: 99.9 % of such shares are within 0.05 ± 0.032
