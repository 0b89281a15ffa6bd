"""Columns of the table of maps as factors within people, against the analysis of variance of statsmodels."""

import json
import re
import shlex

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import statsmodels.formula.api as smf

from bids_group.cli import main

PEOPLE = [f"{n:02d}" for n in range(1, 8)]
AFFINE = np.diag([20.0, 20, 20, 1])


@pytest.fixture
def cells(tmp_path):
    """A map of each person for each cell of order (2) by type (3), as a data frame of one voxel."""
    (tmp_path / "bids").mkdir()
    (tmp_path / "bids" / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.9.0"}')
    rng, rows = np.random.default_rng(3), []
    for s in PEOPLE:
        base = rng.normal(size=(3, 3, 3))
        for order in ("1", "2"):
            for kind in ("1", "2", "3"):
                values = base + rng.normal(size=(3, 3, 3)) + 0.9 * (kind == "3") * (order == "2")
                name = f"sub-{s}_{order}{kind}.nii.gz"
                nib.save(nib.Nifti1Image(values.astype(np.float32), AFFINE), tmp_path / name)
                rows.append((f"sub-{s}", f"o{order}k{kind}", name, order, kind, values[1, 1, 1]))
    return pd.DataFrame(rows, columns=["participant_id", "contrast", "effect", "order", "kind", "y"])


def run(folder, frame, *options):
    frame.drop(columns="y").to_csv(folder / "maps.tsv", sep="\t", index=False)
    where = [str(folder / "bids"), str(folder / "out"), "group", "--maps", str(folder / "maps.tsv")]
    return main([*where, "--no-report", "--correction", "none", *options])


def value(folder, label, stat="F"):
    found = sorted((folder / "out" / "group").glob(f"contrast-{label}_stat-{stat}_statmap.nii.gz"))
    assert len(found) == 1, [one.name for one in found]
    return float(nib.load(found[0]).get_fdata()[1, 1, 1])


@pytest.mark.parametrize("names", ["each its own", "one for all"])
def test_f_of_factors_within_people_equals_the_analysis_of_variance(cells, tmp_path, names):
    if names == "one for all":
        cells["contrast"] = "faces"
    assert run(tmp_path, cells, "--formula", "~ order * kind + subject") == 0
    frame = cells.rename(columns={"order": "a", "kind": "b", "participant_id": "s"})
    fit = smf.ols("y ~ C(a, Sum) * C(b, Sum) + C(s, Sum)", frame).fit()
    expected = sm.stats.anova_lm(fit, typ=3)["F"]
    assert value(tmp_path, "6ContrastsKind") == pytest.approx(expected["C(b, Sum)"], rel=1e-4)
    assert value(tmp_path, "6ContrastsOrderByKind") == pytest.approx(
        expected["C(a, Sum):C(b, Sum)"], rel=1e-4
    )
    assert value(tmp_path, "6ContrastsOrder", "t") ** 2 == pytest.approx(expected["C(a, Sum)"], rel=1e-4)


def test_without_the_factors_in_the_formula_each_cell_is_an_analysis_of_its_own(cells, tmp_path, capfd):
    cells["contrast"] = "faces"
    assert run(tmp_path, cells) == 0
    said = " ".join(capfd.readouterr().err.split())
    assert "lines of contrast faces are told apart by order, kind" in said
    assert "'~ order * kind + subject'." in said
    assert len(list((tmp_path / "out" / "group").glob("*_stat-t_statmap.nii.gz"))) == 6
    here = cells[(cells["order"] == "2") & (cells["kind"] == "3")]["y"]
    expected = here.mean() / here.std(ddof=1) * len(here) ** 0.5
    assert value(tmp_path, "facesOrder2Kind3", "t") == pytest.approx(expected, rel=1e-4)


def test_a_number_of_each_map_is_a_covariate_of_its_row(cells, tmp_path):
    cells["rt"] = np.random.default_rng(0).normal(size=len(cells)).round(3)
    assert run(tmp_path, cells, "--formula", "~ rt", "--first-level-contrast", "o1k2") == 0
    here = cells[cells["contrast"] == "o1k2"]
    fit = smf.ols("y ~ rt", here).fit()
    assert value(tmp_path, "o1k2Rt", "t") == pytest.approx(fit.tvalues["rt"], rel=1e-4)


def test_a_covariate_that_varies_between_pooled_runs_is_refused(cells, tmp_path, capfd):
    cells["run"], cells["contrast"] = cells["kind"], "o" + cells["order"]
    assert run(tmp_path, cells, "--formula", "~ kind", "--first-level-contrast", "o1") == 65
    assert "varies between the maps of" in " ".join(capfd.readouterr().err.split())


def test_two_lines_that_no_column_tells_apart_stay_refused(cells, tmp_path, capfd):
    cells["contrast"], cells["kind"] = "faces", "1"
    assert run(tmp_path, cells, "--formula", "~ order") == 64
    assert "lines about the same map" in " ".join(capfd.readouterr().err.split())


def test_numeric_keeps_a_factor_of_numbers_a_number(cells, tmp_path):
    assert run(tmp_path, cells, "--formula", "~ kind + subject", "--numeric", "kind") == 0
    frame = cells.assign(k=cells["kind"].astype(float), s=cells["participant_id"])
    expected = smf.ols("y ~ k + C(s)", frame).fit().tvalues["k"]
    assert value(tmp_path, "6ContrastsKind", "t") == pytest.approx(expected, rel=1e-4)


def write_model(folder, *, x, steps, contrasts):
    """A Subject node that compares cells of a person, and the mean of that over people."""
    fit = {"X": x, "Type": "glm"}
    lower = {"Level": "Subject", "Name": "subject", "GroupBy": ["subject"], "Model": fit}
    lower["Transformations"] = {"Transformer": "pybids-transforms-v1", "Instructions": steps}
    lower["Contrasts"] = contrasts
    group = {"Level": "Dataset", "Name": "group", "GroupBy": ["contrast"], "Model": {"X": [1], "Type": "glm"}}
    group["DummyContrasts"] = {"Test": "t"}
    whole = {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": [lower, group]}
    (folder / "model.json").write_text(json.dumps(whole))
    return ["--model", str(folder / "model.json")]


ORDERS = {
    "x": ["order.1", "order.2"],
    "steps": [{"Name": "Factor", "Input": ["order"]}],
    "contrasts": [
        {"Name": "later", "ConditionList": ["order.2", "order.1"], "Weights": [1, -1], "Test": "t"}
    ],
}


def test_factors_of_maps_are_compared_within_people_by_a_node_below_the_group(cells, tmp_path):
    cells["contrast"] = "faces"
    assert run(tmp_path, cells, *write_model(tmp_path, **ORDERS)) == 0
    means = cells.pivot_table("y", "participant_id", "order")
    change = means["2"] - means["1"]
    expected = change.mean() / change.std(ddof=1) * len(change) ** 0.5
    assert value(tmp_path, "later", "t") == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("way", ["formula", "model"])
def test_contrasts_that_no_factor_tells_apart_are_not_mixed(cells, tmp_path, capfd, way):
    """Of faces and houses in two orders, '~ order' would be one model of both, with twice the rows."""
    cells["contrast"] = cells.pop("kind").map({"1": "faces", "2": "houses", "3": "places"})
    options = ["--formula", "~ order + subject"] if way == "formula" else write_model(tmp_path, **ORDERS)
    assert run(tmp_path, cells, *options) == 64
    said = " ".join(capfd.readouterr().err.split())
    assert "would mix 6 first-level contrasts in one model" in said
    assert "Nothing tells faces order1, houses order1 and places order1 apart" in said
    (told,) = re.findall(r"such as (--first-level-contrast .*), or add a column", said)
    assert told == '--first-level-contrast "faces order1" "faces order2"'
    assert run(tmp_path, cells, *options, *shlex.split(told)) == 0
    warned = " ".join(capfd.readouterr().err.split())
    assert '+ subject\' and --first-level-contrast "houses order1" "houses order2".' in warned
