"""Maps that are no contrasts, found by their suffix; proportional scaling; the demo of grey matter."""

import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from nilearn.glm.second_level import SecondLevelModel

from bids_group.demo import write_demo
from bids_group.demo.effects import build_grid, build_sphere
from bids_group.elements import Grid
from bids_group.model import scale
from bids_group.records import Observation, PooledMap, Scaling
from tests.studies import run_group as run

SUFFIX = ["--input-suffix", "probseg"]
QUICK = ["--no-report", "--correction", "none"]


@pytest.fixture(scope="module")
def vbm(tmp_path_factory):
    """Maps of grey matter: never write into them."""
    return write_demo(tmp_path_factory.mktemp("vbm") / "data", kind="vbm", size_mm=12)


@pytest.fixture
def copy(vbm, tmp_path):
    return shutil.copytree(vbm.bids_dir, tmp_path / "data")


def maps_of(folder):
    return sorted(folder.rglob("*_probseg.nii.gz"))


def read(out, name):
    return nib.load(next(out.glob(f"group/*_contrast-{name}_statmap.nii.gz"))).get_fdata()


def save_like(path, image, data):
    nib.save(nib.Nifti1Image(data.astype(np.float32), image.affine), path)


def test_the_demo_gives_back_what_was_planted_and_the_t_of_nilearn(tmp_path):
    truth = write_demo(tmp_path / "data", kind="vbm")
    out = tmp_path / "out"
    assert run(truth.bids_dir, out, *truth.options, "--no-report") == 0
    mask = next(out.glob("group/*_desc-analysis_mask.nii.gz"))
    analysed = nib.load(mask).get_fdata() > 0
    people = pd.read_csv(truth.bids_dir / "participants.tsv", sep="\t")
    factors = people["tiv"].mean() / people["tiv"]
    images = [nib.load(path) for path in maps_of(truth.derivative_dir)]
    scaled = [nib.Nifti1Image(i.get_fdata() * f, i.affine) for i, f in zip(images, factors, strict=True)]
    design = pd.DataFrame(
        {"age": people["age"], "sex": (people["sex"] == "M").astype(float), "intercept": 1.0}
    )
    nilearn = SecondLevelModel(mask_img=str(mask)).fit(scaled, design_matrix=design)
    for place, name in zip(truth.places, ("Age", "Sex"), strict=True):
        by_hand = nilearn.compute_contrast(name.lower(), output_type="stat").get_fdata()
        np.testing.assert_allclose(
            read(out, f"GMProbseg{name}_stat-t")[analysed], by_hand[analysed], rtol=1e-4, atol=1e-5
        )
        inside = build_sphere(build_grid(6), place.centre_mm, place.radius_mm)
        assert read(out, f"GMProbseg{name}_stat-effect")[inside].mean() == pytest.approx(
            place.value, rel=0.15
        )
        corrected = read(out, f"GMProbseg{name}_stat-p_desc-bonferroni")
        assert (corrected[inside] < 0.05).mean() > 0.9
        assert (corrected[~inside & analysed] < 0.05).sum() == 0


def test_scaling_gives_the_bytes_of_maps_that_were_scaled_before(vbm, copy, tmp_path):
    """Without it men have more of everything."""
    command = [*SUFFIX, "--formula", "~ sex", "--contrast", "sex = test(sex)", "--no-report"]
    assert run(vbm.bids_dir, tmp_path / "a", *command, "--scale-by", "tiv") == 0
    people = pd.read_csv(copy / "participants.tsv", sep="\t")
    for path, tiv in zip(maps_of(copy / "derivatives"), people["tiv"], strict=True):
        image = nib.load(path)
        save_like(path, image, image.get_fdata() * (people["tiv"].mean() / tiv))
    assert run(copy, tmp_path / "b", *command) == 0
    assert run(vbm.bids_dir, tmp_path / "c", *command) == 0
    hashes = [
        {path.name: path.read_bytes() for path in (tmp_path / one).glob("group/*.nii.gz")} for one in "abc"
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) > 8
    effects = [read(tmp_path / one, "GMProbsegSex_stat-effect") for one in "ac"]
    outside = ~build_sphere(build_grid(12), vbm.places[1].centre_mm, 20) & (effects[0] != 0)
    assert abs(np.median(effects[0][outside])) < 0.01 < 0.03 < np.median(effects[1][outside])
    own = json.loads(next((tmp_path / "a").glob("group/*Sex_stat-t_statmap.json")).read_text())
    assert own["Scaling"]["Column"] == "tiv"
    assert own["Scaling"]["Mean"] == people["tiv"].mean()
    assert "Scaling" not in json.loads(
        next((tmp_path / "c").glob("group/*Sex_stat-t_statmap.json")).read_text()
    )


def test_variances_are_scaled_by_the_square_and_what_is_missing_stays_so():
    grid = Grid(shape=(2, 1, 1), affine=np.eye(4))
    values = np.array([3.0, np.nan], dtype=np.float32).reshape(2, 1, 1)
    one = PooledMap(
        observation=Observation(subject="01", contrast="a", sources=()),
        space=grid,
        effect=values,
        variance=values,
        dof=None,
        n_maps=np.ones((2, 1, 1), np.uint8),
        input_hashes={},
    )
    scaled = scale(one, Scaling(column="tiv", mean=1, factors={"sub-01": 0.5}))
    assert scaled.effect.dtype == scaled.variance.dtype == np.float32
    np.testing.assert_array_equal(scaled.effect.ravel(), np.array([1.5, np.nan]))
    np.testing.assert_array_equal(scaled.variance.ravel(), np.array([0.75, np.nan]))
    assert scale(one, None) is one


def test_the_mean_is_over_those_who_are_analysed(vbm, tmp_path):
    out = tmp_path / "out"
    assert run(vbm.bids_dir, out, *SUFFIX, "--scale-by", "tiv", "--exclude-where", "sex == 'M'", *QUICK) == 0
    people = pd.read_csv(vbm.bids_dir / "participants.tsv", sep="\t")
    design = json.loads(next(out.glob("group/*_design.json")).read_text())
    assert design["Scaling"]["Mean"] == people["tiv"][people["sex"] == "F"].mean()


def edit(table, row, column, value):
    frame = pd.read_csv(table, sep="\t", dtype=str, keep_default_na=False)
    frame.loc[row, column] = value
    frame.to_csv(table, sep="\t", index=False)


BAD = {
    # name: (row and value of tiv in participants.tsv, options, exit code, words)
    "a value of 0": ((2, "0"), [*SUFFIX, "--scale-by", "tiv"], 65, ["tiv", "sub-03: 0"]),
    "a negative value": ((2, "-5"), [*SUFFIX, "--scale-by", "tiv"], 65, ["sub-03: -5"]),
    "a missing value": ((2, "n/a"), [*SUFFIX, "--scale-by", "tiv"], 65, ["sub-03", "tiv", "--missing drop"]),
    "a text column": (None, [*SUFFIX, "--scale-by", "sex"], 64, ["sex", "categorical"]),
    "no such column": (None, [*SUFFIX, "--scale-by", "tvi"], 64, ["tvi", "tiv"]),
    "no map of the suffix": (
        None,
        ["--input-suffix", "thickness"],
        18,
        ["thickness maps", "sub-…_thickness.nii.gz"],
    ),
    "a suffix that is none": (None, ["--input-suffix", "label-GM_probseg"], 64, ["letters and digits"]),
    "a stat of what has none": (None, [*SUFFIX, "--input-stat", "z"], 64, ["probseg", "--input-stat"]),
    "statmaps where there are none": (None, [], 18, ["statmap", "probseg are there: --input-suffix probseg"]),
}


@pytest.mark.parametrize(("cell", "options", "code", "words"), BAD.values(), ids=BAD.keys())
def test_bad_requests_are_refused_by_name(copy, tmp_path, capsys, cell, options, code, words):
    if cell is not None:
        edit(copy / "participants.tsv", cell[0], "tiv", cell[1])
    assert run(copy, tmp_path / "out", *options) == code
    said = capsys.readouterr().err
    for word in words:
        assert word in said, said
    assert not (tmp_path / "out").exists()


def test_scaled_maps_with_the_covariate_beside_them_warn(vbm, tmp_path, capsys):
    command = [*SUFFIX, "--scale-by", "tiv", "--formula", "~ age + tiv", "--dry-run"]
    assert run(vbm.bids_dir, tmp_path / "o", *command) == 0
    assert "tiv is a covariate too" in capsys.readouterr().out


def add_maps(data, change, factor=1.0):
    """Copies of the maps under other names."""
    for path in maps_of(data / "derivatives"):
        image = nib.load(path)
        save_like(path.with_name(change(path.name)), image, image.get_fdata() * factor)


def filter_file(tmp_path, **filters):
    path = tmp_path / "filter.json"
    path.write_text(json.dumps(filters))
    return ["--bids-filter-file", path]


def test_each_label_is_an_analysis_and_a_filter_chooses(copy, tmp_path):
    add_maps(copy, lambda name: name.replace("label-GM", "label-WM"), 0.5)
    assert run(copy, tmp_path / "both", *SUFFIX, *QUICK) == 0
    both = {name: read(tmp_path / "both", f"{name}_stat-effect") for name in ("GMProbseg", "WMProbseg")}
    np.testing.assert_allclose(both["GMProbseg"], 2 * both["WMProbseg"], rtol=1e-5)
    for name, options in {
        "filter": [*SUFFIX, *filter_file(tmp_path, label="WM", suffix="probseg", extension=".nii.gz")],
        "contrast": [*SUFFIX, "--first-level-contrast", "WMProbseg"],
    }.items():
        assert run(copy, tmp_path / name, *options, *QUICK) == 0
        found = sorted(path.name for path in (tmp_path / name).glob("group/*_stat-effect_*.nii.gz"))
        assert found == ["space-MNI152NLin2009cAsym_res-12mm_contrast-WMProbseg_stat-effect_statmap.nii.gz"]
        np.testing.assert_array_equal(read(tmp_path / name, "WMProbseg_stat-effect"), both["WMProbseg"])


def test_two_descriptions_are_ambiguous_until_one_is_chosen(copy, tmp_path, capsys):
    add_maps(copy, lambda name: name.replace("_label", "_desc-smooth_label"), 0.5)
    assert run(copy, tmp_path / "o", *SUFFIX) == 64
    assert "they differ in desc" in capsys.readouterr().err
    for desc, factor in ((None, 1), ("smooth", 2)):
        out = tmp_path / str(desc)
        assert run(copy, out, *SUFFIX, *filter_file(tmp_path, desc=desc), *QUICK) == 0
        assert read(out, "GMProbseg_stat-effect").max() * factor == pytest.approx(0.5, abs=0.2)


def test_a_filter_of_the_suffix_alone_names_the_option(copy, tmp_path, capsys):
    statmap = maps_of(copy / "derivatives")[0].with_name("sub-01_contrast-a_stat-effect_statmap.nii.gz")
    shutil.copy(maps_of(copy / "derivatives")[0], statmap)
    assert run(copy, tmp_path / "o", *filter_file(tmp_path, suffix="probseg")) == 18
    assert "--input-suffix probseg" in capsys.readouterr().err


def test_a_table_of_maps_gets_the_words_of_the_suffix_too(vbm, tmp_path):
    people = [f"sub-{label}" for label in vbm.subjects]
    table = pd.DataFrame({"participant_id": people, "contrast": "FA", "effect": maps_of(vbm.derivative_dir)})
    table.to_csv(tmp_path / "maps.tsv", sep="\t", index=False)
    out = tmp_path / "out"
    assert run(vbm.bids_dir, out, "--maps", tmp_path / "maps.tsv", "--input-suffix", "dwimap", *QUICK) == 0
    assert json.loads(next(out.glob("group/*_stat-t_*.json")).read_text())["InputSuffix"] == "dwimap"
    assert list(out.glob("sub-01/anat/*_contrast-FA_stat-effect_statmap.nii.gz"))


def test_zeros_inside_a_mask_beside_the_map_are_values(copy, tmp_path):
    first = maps_of(copy / "derivatives")[0]
    image = nib.load(first)
    data = image.get_fdata()
    brain = data > 0
    at = tuple(np.argwhere(brain)[100])
    data[at] = 0
    save_like(first, image, data)
    assert run(copy, tmp_path / "without", *SUFFIX, *QUICK) == 0
    assert read(tmp_path / "without", "GMProbseg_stat-t")[at] == 0
    for path in maps_of(copy / "derivatives"):
        save_like(path.with_name(path.name.replace("_label-GM_probseg", "_desc-brain_mask")), image, brain)
    assert run(copy, tmp_path / "with", *SUFFIX, *QUICK) == 0
    assert read(tmp_path / "with", "GMProbseg_stat-t")[at] != 0


def test_the_resolved_model_gives_the_same_bytes_and_nothing_speaks_of_contrasts_of_a_first_level(
    vbm, tmp_path
):
    command = [*SUFFIX, "--scale-by", "tiv", "--formula", "~ age", "--correction", "fdr"]
    assert run(vbm.bids_dir, tmp_path / "a", *command) == 0
    model = tmp_path / "a/code/model-commandLine_smdl.json"
    assert run(vbm.bids_dir, tmp_path / "b", "--model", model, "--correction", "fdr", "--no-report") == 0
    made = [
        {path.name: path.read_bytes() for path in (tmp_path / one).glob("group/*.nii.gz")} for one in "ab"
    ]
    assert made[0] == made[1]
    page = (tmp_path / "a/report.html").read_text()
    assert "first-level" not in page.lower().replace("first-level_contrast", "")
    assert "Maps were scaled in proportion to tiv" in page
    sidecar = json.loads(next((tmp_path / "a").glob("sub-01/anat/*_stat-effect_statmap.json")).read_text())
    assert sidecar["InputSuffix"] == "probseg"
    assert "first-level" not in sidecar["Description"]


def test_less_than_full_coverage_warns_that_zeros_are_left_out(vbm, tmp_path, capsys):
    command = [*SUFFIX, "--min-coverage", "0.8", "--dry-run"]
    assert run(vbm.bids_dir, tmp_path / "o", *command) == 0
    assert "means are of those above 0" in " ".join(capsys.readouterr().out.split())
    assert run(vbm.bids_dir, tmp_path / "o", *SUFFIX, "--dry-run") == 0
    assert "means are of those above 0" not in " ".join(capsys.readouterr().out.split())
