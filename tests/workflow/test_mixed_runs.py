"""Whole runs of mixed models: rows missing at some elements, and effects of people that are apart."""

import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from tests.visits import design_of, image, reml, write_visits

SHAPE = (3, 3, 2)
HOLES = {(0, 0, 0): 3, (1, 2, 0): 5, (2, 1, 1): 46}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Eighteen people, three visits each; at some elements not all rows are observed."""
    root = tmp_path_factory.mktemp("visits") / "data"
    draw = np.random.default_rng(4)
    rows, values = [], []
    people = pd.DataFrame({"participant_id": [f"sub-{n:02d}" for n in range(1, 19)]})
    people["group"] = ["control", "patient"] * 9
    for number, person in enumerate(people["participant_id"]):
        own, slope = draw.normal(0, 0.7, SHAPE), draw.normal(0, 0.08, SHAPE)
        for visit in (1, 2, 3):
            months = 6.0 * (visit - 1) + number % 3
            effect = 0.02 * months + own + slope * (months - 7) + draw.normal(0, 0.6, SHAPE)
            values.append(effect.astype(np.float32))
            rows.append({"participant_id": person, "session_id": f"ses-{visit}", "months": months})
    for place, n_missing in HOLES.items():
        for row in draw.choice(len(rows), n_missing, replace=False):
            values[row][place] = np.nan
    table = pd.DataFrame(rows).merge(people)
    write_visits(root, table, {"effect": values})
    return root, table, np.array(values, dtype=np.float64).reshape(len(rows), -1)


def run(study, folder, formula, *options):
    asked = ["--pooling", "none", "--no-report", "--formula", formula, "--correction", "fdr", *options]
    assert main([str(study[0]), str(folder), "group", *asked]) == 0
    return folder / "group"


@pytest.mark.parametrize(("bars", "effects"), [("(1 | subject)", 1), ("(1 + months || subject)", 2)])
def test_rows_missing_at_an_element_leave_the_model_of_those_observed(study, tmp_path, bars, effects):
    _, table, values = study
    group = run(study, tmp_path / "out", f"~ group * months + {bars}", "--min-coverage", "0.1")
    X, people = design_of(table), pd.factorize(table["participant_id"])[0]
    Z = [np.ones(len(X)), X[:, 2]][:effects]
    alike = [np.outer(z, z) * (people[:, None] == people) for z in Z]
    n, t = image(group, "n", "GroupByMonths"), image(group, "t", "GroupByMonths")
    untested = np.ravel_multi_index((2, 1, 1), SHAPE)
    assert (n[untested], t[untested], image(group, "p", "GroupByMonths")[untested]) == (8, 0, 1)
    few = [int(np.ravel_multi_index(place, SHAPE)) for place in HOLES][:2]
    for element in (*few, 5, 11):
        here = np.isfinite(values[:, element])
        assert n[element] == here.sum()
        starts = [np.full(effects, 0.8), np.full(effects, 0.1)]
        own_t, own, residual = reml(
            values[here, element], X[here], [one[here][:, here] for one in alike], starts
        )
        assert t[element] == pytest.approx(own_t, rel=1e-4, abs=1e-5)
        found = [image(group, "variance", desc="_desc-subjectIntercept")[element]]
        if effects == 2:
            found.append(image(group, "variance", desc="_desc-subjectMonths")[element])
        np.testing.assert_allclose(found, own, rtol=2e-3, atol=1e-5)
        assert image(group, "variance", desc="_desc-residual")[element] == pytest.approx(residual, rel=1e-4)
    for path in group.glob("*_statmap.nii.gz"):
        assert np.isfinite(np.asarray(nib.load(path).dataobj)).all(), path.name


def test_f_and_t_of_kenward_and_roger_have_their_dof_with_slopes(study, tmp_path):
    """More is unknown than Satterthwaite's method counts: standard errors are larger; F is the same."""
    formula = "~ group * months + (1 + months | subject)"
    asked = ("--contrast", "both = [group[T.patient], group[T.patient]:months]")
    one = ("--contrast", "alone = group[T.patient]:months")
    plain = run(study, tmp_path / "a", formula, *asked, *one)
    adjusted = run(study, tmp_path / "b", formula, *asked, *one, "--dof", "kenward-roger")
    for stat in ("F", "dof", "p"):
        assert (image(plain, stat, "Both") == image(adjusted, stat, "Both")).all()
    inside = image(plain, "t", "Alone") != 0
    larger = image(adjusted, "variance", "Alone")[inside] / image(plain, "variance", "Alone")[inside]
    assert (larger > 1).all()
    assert larger.max() < 1.5
    sidecar = next(adjusted.glob("*contrast-goAlone_stat-t_statmap.json")).read_text()
    assert "kenward-roger" in sidecar
    shutil.rmtree(tmp_path)
