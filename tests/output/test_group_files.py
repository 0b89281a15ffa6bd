from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy import stats

from bids_group.config.estimators import FIXED_EFFECTS
from bids_group.elements import Elements
from bids_group.errors import BidsGroupError, UsageError
from bids_group.output import check_output_names
from bids_group.output.report.folder import read_folder
from bids_group.records import Contrast, UncorrectedP
from bids_group.records.sidecars import Sidecar

STEM = "task-faces_space-MNI152NLin2009cAsym_contrast-facesVsHouses"
EVERY_SIDECAR = {
    *("Description", "Sources", "SpatialReference", "Resolution", "FirstLevelContrast", "GroupContrast"),
    *("Test", "Weights", "Columns", "Formula", "Estimator", "DegreesOfFreedom", "SampleSize", "Smoothing"),
    *("Mask", "Pooling", "Centering"),
}
CORRECTED = {"Correction", "Alpha", "Threshold", "NumberOfPermutations", "RandomSeed", "Shuffling"}


def read(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)


def test_the_files_are_those_of_the_manual(made: Any) -> None:
    made.write()
    names = {path.name for path in made.group.iterdir()}
    stats_of = {"": "effect variance t z p", "EitherGroup": "effect variance F z p"}
    expected = {
        f"{STEM}_design",
        f"{STEM}_desc-analysis_mask",
        f"{STEM}_stat-n_statmap",
        f"{STEM}_desc-coverage_map",
    }
    for label, listed in stats_of.items():
        expected |= {f"{STEM}{label}_stat-{stat}_statmap" for stat in listed.split()}
        expected |= {f"{STEM}{label}_stat-p_desc-{one}_statmap" for one in ("fdr", "fweVoxel")}
        expected |= {f"{STEM}{label}_desc-{one}_clusters" for one in ("none", "fdr", "fweVoxel")}
        expected |= {f"{STEM}{label}_desc-{one}_dseg" for one in ("none", "fdr", "fweVoxel")}
        expected |= {f"{STEM}{label}_desc-fweVoxel_null"}
    assert {name.split(".")[0] for name in names} == expected
    assert {name for name in names if name.endswith(".json")} == {f"{name}.json" for name in expected}


def test_maps_are_float32_finite_and_empty_outside_the_mask(made: Any) -> None:
    made.write()
    inside = made.data.elements.mask
    maps = list(made.group.glob("*_statmap.nii.gz"))
    assert len(maps) == 1 + 5 + 5 + 4
    for path in maps:
        data = read(path)
        assert data.dtype == np.float32
        assert np.isfinite(data).all()
        assert (data[~inside] == (1 if "_stat-p_" in path.name else 0)).all()
    assert (read(made.group / f"{STEM}_desc-analysis_mask.nii.gz") == inside).all()


def test_every_number_stands_where_its_element_lies(made: Any) -> None:
    made.write()
    elements = made.data.elements
    for result, label in zip(made.results, ("", "EitherGroup"), strict=True):
        for stat, row in result.maps.items():
            data = read(made.group / f"{STEM}{label}_stat-{stat}_statmap.nii.gz")
            assert np.array_equal(data[elements.mask].T if row.ndim == 2 else data[elements.mask], row)


def test_coverage_is_kept_outside_the_mask_too(made: Any) -> None:
    made.coverage[0, 0, 0] = 3
    made.write()
    assert read(made.group / f"{STEM}_desc-coverage_map.nii.gz")[0, 0, 0] == 3
    assert read(made.group / f"{STEM}_stat-n_statmap.nii.gz")[0, 0, 0] == 0
    assert read(made.group / f"{STEM}_stat-n_statmap.nii.gz")[2, 2, 2] == 6


def test_every_sidecar_has_every_key(made: Any) -> None:
    made.write(quality=pd.DataFrame({"mean_effect": 0.0}, index=made.data.design.matrix.index))
    for path in made.group.glob("*.json"):
        sidecar = json.loads(path.read_text())
        assert set(sidecar) >= EVERY_SIDECAR, path.name
        if any(f"desc-{one}_" in path.name for one in ("none", "fdr", "fweVoxel")):
            assert set(sidecar) >= CORRECTED, path.name


def test_a_sidecar_says_what_was_done(made: Any) -> None:
    made.write()
    sidecar = json.loads((made.group / f"{STEM}EitherGroup_stat-p_desc-fweVoxel_statmap.json").read_text())
    told = {
        "FirstLevelContrast": "facesVsHouses",
        "GroupContrast": "either group",
        "Test": "F",
        "Weights": [[1.0, 0.0], [0.0, 1.0]],
        "Columns": ["group[control]", "group[patient]"],
        "Formula": "~ 0 + group",
        "DegreesOfFreedom": [2.0, 4.0],
        "SampleSize": 6,
        "Correction": "fwe-voxel",
        "NumberOfPermutations": 2,
        "Shuffling": "sign flips",
        "Threshold": 4.1,
        "Mask": f"bids::group/{STEM}_desc-analysis_mask.nii.gz",
    }
    assert {key: sidecar[key] for key in told} == told
    assert sidecar["Sources"][0] == f"bids::sub-01/func/sub-01_{STEM}_stat-effect_statmap.nii.gz"
    assert len(sidecar["Sources"]) == 6
    assert sidecar["Smoothing"]["FullWidthAtHalfMaximum"] == 5.0


@pytest.mark.parametrize("stat", ["z", "t"])
def test_z_and_t_maps_taken_for_effects_are_confessed_in_every_sidecar(made: Any, stat: Any) -> None:
    observations = tuple(
        replace(row, sources=tuple(replace(one, input_stat=stat) for one in row.sources))
        for row in made.analysis.observations
    )
    made.but(analysis=replace(made.analysis, observations=observations)).write()
    assert all(json.loads(path.read_text())["InputStatistic"] == stat for path in made.group.glob("*.json"))


def test_the_cluster_table_lists_peaks_with_their_limits(made: Any) -> None:
    made.write()
    table = pd.read_csv(made.group / f"{STEM}_desc-fdr_clusters.tsv", sep="\t", na_values="n/a")
    assert table[["cluster", "peak", "sign", "n_elements", "size_mm3"]].to_numpy().tolist() == [
        [1, 1, "positive", 4, 108],
        [1, 2, "positive", 4, 108],
    ]
    result = made.results[0]
    standard_error = math.sqrt(result.maps["variance"][0])
    lower, upper = stats.t.interval(0.95, 4, loc=result.maps["effect"][0], scale=standard_error)
    assert table.loc[0, ["effect_lower", "effect_upper"]].tolist() == pytest.approx([lower, upper], rel=1e-6)
    joint = pd.read_csv(made.group / f"{STEM}EitherGroup_desc-fdr_clusters.tsv", sep="\t", na_values="n/a")
    assert "F" in joint.columns
    assert joint["effect_lower"].isna().all()


def test_a_table_without_clusters_keeps_its_columns(made: Any) -> None:
    significances = tuple(replace(one, clusters=()) for one in made.significances)
    made.but(significances=significances).write()
    lines = (made.group / f"{STEM}_desc-fdr_clusters.tsv").read_text().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("cluster\tpeak\tsign\tx\ty\tz\tt\tz_score")


class _Halves:
    """An atlas of two regions: left and right of x = 0."""

    title = "halves"

    def name_elements(self, elements: Elements, which: Any) -> list[str | None]:
        return ["left" if x < 0 else None for x in elements.coordinates_mm(which)[:, 0]]

    def describe_elements(self, elements: Elements, which: Any) -> str:
        return f"left {len(which)}"


def test_an_atlas_names_peaks_and_clusters(made: Any) -> None:
    made.write(atlas=_Halves())
    table = pd.read_csv(made.group / f"{STEM}_desc-fdr_clusters.tsv", sep="\t", keep_default_na=False)
    assert table["region"].tolist() == ["left", "left"]
    assert table["cluster_regions"].tolist() == ["left 4", "n/a"]
    assert json.loads(next(made.group.glob("*_clusters.json")).read_text())["Atlas"] == "halves"


def test_the_label_image_numbers_the_clusters(made: Any) -> None:
    made.write()
    labels = read(made.group / f"{STEM}_desc-fdr_dseg.nii.gz")
    assert labels[made.data.elements.mask].tolist()[:5] == [1, 1, 1, 1, 0]
    assert labels.sum() == 4


def test_null_distributions_start_with_the_unshuffled_value(made: Any) -> None:
    made.write()
    assert (made.group / f"{STEM}_desc-fweVoxel_null.tsv").read_text() == "t\n4.5\n3.1\n2.2\n"


def test_uncorrected_p_by_shuffling_have_a_map_of_their_own(made: Any) -> None:
    n_elements = made.data.elements.n_elements
    p = np.linspace(0.01, 1, n_elements, dtype=np.float32)
    own = UncorrectedP(p=p, details=Sidecar(number_of_permutations=99, shuffling="sign flips"))
    name = made.significances[0].contrast
    several = tuple(
        replace(one, by_shuffling=own if one.contrast == name else None) for one in made.significances
    )
    made.but(significances=several).write()
    (path,) = made.group.glob("*_stat-p_desc-permutation_statmap.nii.gz")
    values = read(path)
    np.testing.assert_array_equal(values[made.data.elements.mask], p)
    assert (values[~made.data.elements.mask] == 1).all()
    sidecar = json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())
    assert sidecar["GroupContrast"] == name
    assert sidecar["Correction"] == "none"
    assert sidecar["NumberOfPermutations"] == 99
    assert "Uncorrected" in sidecar["Description"]
    (found,) = (one for _, one in read_folder(made.output_dir).contrasts if "permutation" in one.maps)
    assert "permutation" not in found.corrections


def test_the_z_that_was_judged_in_place_of_the_fits_has_a_map(made: Any) -> None:
    z = np.linspace(-3, 5, made.data.elements.n_elements, dtype=np.float32)
    name = made.significances[0].contrast
    several = tuple(replace(one, z=z if one.contrast == name else None) for one in made.significances)
    made.but(significances=several).write()
    (path,) = made.group.glob("*_stat-z_desc-varianceGroups_statmap.nii.gz")
    np.testing.assert_array_equal(read(path)[made.data.elements.mask], z)
    assert (read(path)[~made.data.elements.mask] == 0).all()
    assert (
        "Welch"
        in json.loads(path.with_name(path.name.replace(".nii.gz", ".json")).read_text())["Description"]
    )
    found = [one for _, one in read_folder(made.output_dir).contrasts if "varianceGroups" in one.maps]
    assert len(found) == 1
    assert "varianceGroups" not in found[0].corrections


def test_the_design_says_everything_about_its_rows(made: Any) -> None:
    made.write()
    table = pd.read_csv(made.group / f"{STEM}_design.tsv", sep="\t", index_col="label")
    assert table.to_numpy().tolist() == made.data.design.matrix.to_numpy().tolist()
    assert list(table.index) == [f"sub-0{i}" for i in range(1, 7)]
    sidecar = json.loads((made.group / f"{STEM}_design.json").read_text())
    assert sidecar["Variables"]["group"]["sub-04"] == "patient"
    assert [one["FileLabel"] for one in sidecar["Contrasts"]] == ["facesVsHouses", "facesVsHousesEitherGroup"]
    assert sidecar["Notices"][0]["sentence"] == "Both groups have 3 people."
    assert sidecar["Observations"][0] == {
        "label": "sub-01",
        "participant_id": "sub-01",
        "session": None,
        "n_maps": 2,
    }


def test_tables_of_rows_and_peaks_are_written_beside(made: Any) -> None:
    quality = pd.DataFrame({"mean_effect": np.arange(6.0)}, index=made.data.design.matrix.index)
    peaks = pd.DataFrame({"peak": [1], "label": ["sub-01"], "effect": [0.25]})
    made.write(quality=quality, peaks={"either group": peaks}, regions=quality)
    assert (
        (made.group / f"{STEM}_desc-quality_table.tsv")
        .read_text()
        .startswith("label\tmean_effect\nsub-01\t0\n")
    )
    assert (
        made.group / f"{STEM}EitherGroup_desc-peaks_data.tsv"
    ).read_text() == "peak\tlabel\teffect\n1\tsub-01\t0.25\n"
    assert (made.group / f"{STEM}_desc-regions_effects.tsv").is_file()


def test_the_same_analysis_twice_gives_the_same_bytes(made: Any, tmp_path: Path) -> None:
    made.write()
    made.but(output_dir=tmp_path / "again").write()
    first, second = (
        {p.name: hashlib.sha256(p.read_bytes()).digest() for p in d.iterdir()}
        for d in (made.group, tmp_path / "again" / "group")
    )
    assert first == second
    assert len(first) > 40


def test_nodes_groups_and_sessions_have_names_of_their_own(made: Any) -> None:
    analysis = replace(made.analysis, node="by group", group_labels={"sex": "F", "site_id": "b-2"})
    made.but(analysis=analysis).write()
    folder = made.group / "node-byGroup"
    assert (folder / f"{STEM}SexFSiteIdB2_design.tsv").is_file()
    assert (folder / f"{STEM}EitherGroupSexFSiteIdB2_stat-F_statmap.nii.gz").is_file()
    rows = tuple(replace(row, session="a") for row in made.analysis.observations)
    renamed = made.analysis.rows.rename(index={row.label.removesuffix("_ses-a"): row.label for row in rows})
    one_session = replace(made.analysis, observations=rows, rows=renamed)
    made.but(analysis=one_session).write()
    assert (made.group / f"ses-a_{STEM}_design.tsv").is_file()


@pytest.mark.parametrize("names", [("a-b", "aB"), ("f", "F"), ("x", "x")])
def test_contrasts_whose_files_would_be_the_same_are_refused(made: Any, names: tuple[str, str]) -> None:
    contrasts = tuple(
        Contrast(name=name, label=label, weights=np.array([[1.0, 0]]), test="t", expression="", words="")
        for name, label in zip(names, ("AB", "Ab"), strict=True)
    )
    design = replace(made.data.design, contrasts=contrasts)
    with pytest.raises(UsageError, match="contrasts"):
        check_output_names([(made.analysis, design)])


def test_contrasts_of_two_analyses_may_collide_too(made: Any) -> None:
    other = replace(made.analysis, first_level_contrast="faces vs houses")
    with pytest.raises(UsageError, match="'mean' of 'facesVsHouses' and 'mean' of 'faces vs houses'"):
        check_output_names([(made.analysis, made.data.design), (other, made.data.design)])
    check_output_names([(made.analysis, made.data.design), (replace(other, node="second"), made.data.design)])


@pytest.mark.parametrize(
    ("stat", "value"), [("t", np.nan), ("z", np.inf), ("p", 0.0), ("p", 1.5), ("effect", np.nan)]
)
def test_values_that_cannot_be_are_never_written(made: Any, stat: str, value: float) -> None:
    made.results[0].maps[stat][3] = value
    with pytest.raises(BidsGroupError, match=f"The {stat} map of the contrast 'mean'"):
        made.write()


def test_sidecars_of_tables_describe_their_columns(made: Any) -> None:
    made.write(peaks={"mean": pd.DataFrame({"peak": [1], "label": ["sub-01"], "effect": [0.25]})})
    for ending in ("desc-fdr_clusters", "desc-peaks_data"):
        columns = (made.group / f"{STEM}_{ending}.tsv").read_text().splitlines()[0].split("\t")
        sidecar = json.loads((made.group / f"{STEM}_{ending}.json").read_text())
        assert all(sidecar[name]["Description"] for name in columns)
        assert sidecar["GroupContrast"] == "mean"


def test_where_coverage_differs_the_maps_say_how_many_rows_and_degrees_of_freedom(made: Any) -> None:
    n = made.data.elements.n_elements
    rows = np.arange(n, dtype=np.float32) % 3 + 4
    results = tuple(
        replace(one, dof=None, maps={**one.maps, "n": rows, "dof": np.maximum(rows - 4, 0)})
        for one in made.results
    )
    made.but(results=results, data=replace(made.data, is_complete=False)).write()
    mask = made.data.elements.mask
    assert np.array_equal(read(made.group / f"{STEM}_stat-n_statmap.nii.gz")[mask], rows)
    assert np.array_equal(read(made.group / f"{STEM}EitherGroup_stat-dof_statmap.nii.gz")[mask], rows - 4)
    for ending in ("stat-t_statmap", "stat-n_statmap", "design"):
        sidecar = json.loads((made.group / f"{STEM}_{ending}.json").read_text())
        assert "see stat-dof" in sidecar["DegreesOfFreedom"]
    table = pd.read_csv(made.group / f"{STEM}_desc-fdr_clusters.tsv", sep="\t", na_values="n/a")
    assert table["effect_lower"].isna().tolist() == [True, False]  # no degree of freedom, and one
    limits = stats.t.interval(
        0.95, 1, loc=results[0].maps["effect"][1], scale=math.sqrt(results[0].maps["variance"][1])
    )
    assert table.loc[1, ["effect_lower", "effect_upper"]].tolist() == pytest.approx(limits, rel=1e-6)


def test_known_variances_have_no_degrees_of_freedom(made: Any) -> None:
    results = tuple(replace(one, dof=math.inf) for one in made.results)
    made.but(results=results, data=replace(made.data, estimator=FIXED_EFFECTS)).write()
    sidecar = json.loads((made.group / f"{STEM}_stat-t_statmap.json").read_text())
    assert "normal" in sidecar["DegreesOfFreedom"]
    assert "known variances" in sidecar["Estimator"]
    table = pd.read_csv(made.group / f"{STEM}_desc-fdr_clusters.tsv", sep="\t", na_values="n/a")
    limits = stats.norm.interval(
        0.95, loc=results[0].maps["effect"][0], scale=math.sqrt(results[0].maps["variance"][0])
    )
    assert table.loc[0, ["effect_lower", "effect_upper"]].tolist() == pytest.approx(limits, rel=1e-6)


def test_headers_tell_viewers_what_the_numbers_are(made: Any) -> None:
    made.write()
    intents = {
        f"{STEM}_stat-t_statmap": ("t test", (4.0,)),
        f"{STEM}EitherGroup_stat-F_statmap": ("f test", (2.0, 4.0)),
        f"{STEM}_stat-z_statmap": ("z score", ()),
        f"{STEM}_stat-effect_statmap": ("none", ()),
    }
    for name, intent in intents.items():
        assert nib.load(made.group / f"{name}.nii.gz").header.get_intent()[:2] == intent
