"""Folders as SPM12, FSL 6 and AFNI write them, named by one pattern, against tables written by hand."""

import re

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat
from scipy.stats import ttest_1samp

from bids_group.cli import main

SHAPE, AFFINE = (5, 4, 3), np.diag([-3.0, 3, 3, 1])
PEOPLE = [f"{number:02d}" for number in range(1, 9)]
NAMES = ["faces > houses", "houses > faces"]
WEIGHTS = np.array([[1.0, -1, 0], [-1, 1, 0]])
QUICK = ["--no-report", "--correction", "none", "-q"]
RNG = np.random.default_rng(17)
EFFECTS = RNG.normal(0.4, 1, (len(PEOPLE), 2, *SHAPE)).astype(np.float32)
RESIDUALS = RNG.uniform(1, 2, (len(PEOPLE), *SHAPE)).astype(np.float32)
INSIDE = np.ones(SHAPE, dtype=bool)
INSIDE[0] = False


def save(path, data, descrip="", affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data.astype(np.float32), affine)
    image.header["descrip"] = descrip.encode()
    nib.save(image, path)


def write_people(folder, people=PEOPLE):
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f"sub-{label}\t{20 + number}" for number, label in enumerate(people)]
    (folder / "participants.tsv").write_text("\n".join(["participant_id\tage", *rows]) + "\n")
    return folder


def write_spm(folder, label, number, names=NAMES):
    """One first level of SPM12: NaN outside its mask, contrasts and covariance in SPM.mat."""
    here = folder / "spm" / f"sub-{label}" / "stats"
    design = np.random.default_rng(number).normal(size=(40, 3))
    contrasts = np.empty(2, dtype=[(key, object) for key in ("name", "STAT", "c")])
    for k, name in enumerate(names):
        descrip = f"SPM contrast - {k + 1}: {name}"
        save(here / f"con_{k + 1:04d}.nii", np.where(INSIDE, EFFECTS[number, k], np.nan), descrip)
        contrasts[k] = (name, "T", WEIGHTS[k][:, None])
    save(here / "ResMS.nii", np.where(INSIDE, RESIDUALS[number], np.nan), "spm_spm:Residual sum-of-squares")
    save(here / "mask.nii", INSIDE, "spm_spm:resultant analysis mask")
    covariance = np.linalg.inv(design.T @ design)
    savemat(here / "SPM.mat", {"SPM": {"xX": {"Bcov": covariance, "erdf": 36.5}, "xCon": contrasts}})
    return covariance


def write_names(feat, names):
    feat.mkdir(parents=True, exist_ok=True)
    lines = [f"/ContrastName{k}\t{name}" for k, name in enumerate(names, start=1)]
    (feat / "design.con").write_text("\n".join([*lines, "/NumWaves\t3", "/Matrix", "1 0 0", ""]))


def write_copes(stats, number, k, cope, *, tdof):
    save(stats / f"cope{cope}.nii.gz", EFFECTS[number, k] * INSIDE)
    save(stats / f"varcope{cope}.nii.gz", RESIDUALS[number] * INSIDE)
    save(stats.parent / "mask.nii.gz", INSIDE)
    if tdof:
        save(stats / f"tdof_t{cope}.nii.gz", 70 * INSIDE)


def write_gfeat(folder, label, number, names=NAMES):
    """Fixed effects of two runs: a folder for each contrast of the first level, cope1 in each."""
    gfeat = folder / "fsl" / f"sub-{label}.gfeat"
    runs = [folder / "fsl" / f"sub-{label}_run-{run}.feat" for run in (1, 2)]
    for run in runs:
        write_names(run, names)
    for k in range(2):
        feat = gfeat / f"cope{k + 1}.feat"
        write_copes(feat / "stats", number, k, 1, tdof=True)
        write_names(feat, ["group mean"])
        (feat / "design.lev").write_text(names[k] + "\n")
    lines = [
        f'set feat_files({k}) "/elsewhere/before/{run.name}"\nset fmri(conname_real.1) "group mean"'
        for k, run in enumerate(runs, start=1)
    ]
    (gfeat / "design.fsf").write_text("\n".join(lines) + "\n")


def write_feat(folder, label, number, *, below="reg_standard/stats", affine=None):
    """One run, whose copes featregapply has put into standard space."""
    feat = folder / "fsl" / f"sub-{label}" / "run.feat"
    for k in range(2):
        write_copes(feat / below, number, k, k + 1, tdof=False)
    (feat / "stats").mkdir(exist_ok=True)
    (feat / "stats" / "dof").write_text("187\n")
    fsf = [f'set fmri(conname_real.{k}) "{name}"' for k, name in enumerate(NAMES, start=1)]
    (feat / "design.fsf").write_text("\n".join(fsf) + "\n")
    return feat


def write_afni(folder, label, number, names=("faces-houses", "houses-faces")):
    """The bucket of 3dDeconvolve: a coefficient and its t for each contrast, behind the full F."""
    here = folder / "afni" / f"sub-{label}"
    here.mkdir(parents=True, exist_ok=True)
    values = EFFECTS[number]
    volumes = [values[0] ** 2, values[0] * INSIDE, values[0], values[1] * INSIDE, values[1]]
    labels = ["Full_Fstat", *(f"{name}#0_{kind}" for name in names for kind in ("Coef", "Tstat"))]
    dicom = AFFINE.copy()
    dicom[:2] *= -1
    entries = {
        "integer-attribute DATASET_RANK": [3, 5],
        "integer-attribute DATASET_DIMENSIONS": [*SHAPE, 0, 0],
        "integer-attribute BRICK_TYPES": [3] * 5,
        "integer-attribute ORIENT_SPECIFIC": [0, 3, 4],
        "integer-attribute SCENE_DATA": [2, 0, 1],
        "integer-attribute BRICK_STATAUX": [0, 4, 2, 3, 100, 2, 3, 1, 100, 4, 3, 1, 100],
        "float-attribute DELTA": [3.0] * 3,
        "float-attribute ORIGIN": list(dicom[:3, 3]),
        "float-attribute BRICK_FLOAT_FACS": [0.0] * 5,
        "float-attribute IJK_TO_DICOM_REAL": list(dicom[:3].ravel()),
    }
    text = ""
    for key, numbers in entries.items():
        kind, name = key.split()
        text += f"\ntype = {kind}\nname = {name}\ncount = {len(numbers)}\n {' '.join(map(str, numbers))}\n"
    for name, words in (("BYTEORDER_STRING", "LSB_FIRST~"), ("BRICK_LABS", "~".join(labels) + "~")):
        text += f"\ntype = string-attribute\nname = {name}\ncount = {len(words)}\n'{words}\n"
    head = here / f"stats.sub-{label}+tlrc.HEAD"
    head.write_text(text)
    head.with_suffix(".BRIK").write_bytes(b"".join(one.astype("<f4").tobytes(order="F") for one in volumes))


LAYOUTS = {
    # writer, pattern, the file of contrast number k of a person, label of the first contrast in names
    "SPM": (
        write_spm,
        "spm/sub-{subject}/stats/con_{contrast}.nii",
        "spm/sub-{label}/stats/con_{k:04d}.nii",
        "facesGtHouses",
    ),
    "FSL .gfeat": (
        write_gfeat,
        "fsl/sub-{subject}.gfeat/cope{contrast}.feat/stats/cope1.nii.gz",
        "fsl/sub-{label}.gfeat/cope{k}.feat/stats/cope1.nii.gz",
        "facesGtHouses",
    ),
    "FSL .feat": (
        write_feat,
        "fsl/{subject}/run.feat/reg_standard/stats/cope{contrast}.nii.gz",
        "fsl/sub-{label}/run.feat/reg_standard/stats/cope{k}.nii.gz",
        "facesGtHouses",
    ),
    "AFNI": (
        write_afni,
        "afni/sub-{subject}/stats.sub-{subject}+tlrc.HEAD[{contrast}#0_Coef]",
        "afni/sub-{label}/stats.sub-{label}+tlrc.HEAD[{name}#0_Coef]",
        "facesHouses",
    ),
}


@pytest.fixture
def begin(tmp_path, monkeypatch):
    """Give a function that writes the maps of people into a folder and goes there."""

    def write_all(write, people=PEOPLE, **more):
        data = write_people(tmp_path / "data", people)
        for number, label in enumerate(people):
            write(data, label, number, **more)
        monkeypatch.chdir(data)
        return data

    return write_all


def run(data, out, *options):
    return main([str(data), str(out), "group", *map(str, options), *QUICK])


def read_t(out, contrast):
    return nib.load(next(out.glob(f"group/*contrast-{contrast}_stat-t_statmap.nii.gz"))).get_fdata()


def refusal(capsys, code, *words):
    said = " ".join(capsys.readouterr().err.split())
    assert all(word in said for word in words), said
    return code, said


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_line_gives_the_t_of_the_table_written_by_hand(layout, tmp_path, contents_of, begin, monkeypatch):
    """Also the same bytes as the table that it stands for, which is kept in code/ and repeats the run."""
    write, pattern, place, contrast = LAYOUTS[layout]
    data = begin(write)
    assert run(data, tmp_path / "a", "--maps", pattern, "--space", "MNI152NLin6Asym") == 0
    lines = ["participant_id\tcontrast\teffect"]
    for label in PEOPLE:
        for k, name in enumerate(("faces-houses", "houses-faces"), start=1):
            lines.append(f"{label}\tc{k}\t{place.format(label=label, k=k, name=name)}")
    (data / "hand.tsv").write_text("\n".join(lines) + "\n")
    assert run(data, tmp_path / "hand", "--maps", data / "hand.tsv") == 0
    by_hand, by_pattern = read_t(tmp_path / "hand", "c1"), read_t(tmp_path / "a", contrast)
    np.testing.assert_array_equal(by_pattern, by_hand)
    expected = ttest_1samp(EFFECTS[:, 0].astype(np.float64), 0).statistic
    np.testing.assert_allclose(by_pattern[INSIDE], expected[INSIDE], rtol=1e-5)
    assert not by_pattern[~INSIDE].any()
    assert next((tmp_path / "a").glob("group/*space-MNI152NLin6Asym_contrast-*_stat-t_statmap.json"))

    assert (
        run(data, tmp_path / "b", "--maps", tmp_path / "a/code/maps.tsv", "--space", "MNI152NLin6Asym") == 0
    )
    monkeypatch.chdir(tmp_path)
    assert run(data, tmp_path / "c", "--config", tmp_path / "a/logs/config.toml") == 0
    contents = [contents_of(tmp_path / one) for one in "abc"]
    own = {name: contents[0].pop(name) for name in ("code/maps.tsv", "code/outputs.json")}
    for one in contents[1:]:
        assert {name: one[name] for name in one if name not in own} == contents[0]
    assert len(contents[0]) > 40


def test_the_table_of_a_run_can_be_its_own_input(tmp_path, contents_of, begin):
    data = begin(write_spm)
    out = tmp_path / "out"
    assert run(data, out, "--maps", LAYOUTS["SPM"][1]) == 0
    before = contents_of(out)
    assert run(data, out, "--config", out / "logs/config.toml") == 0
    after = contents_of(out)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []


def test_maps_without_task_and_space_have_a_report(tmp_path, begin):
    data = begin(write_spm)
    command = [str(data), str(tmp_path / "out"), "group", "--maps", LAYOUTS["SPM"][1], "--formula", "~ age"]
    assert main([*command, "--correction", "fdr", "-q"]) == 0
    page = (tmp_path / "out/report.html").read_text()
    assert "faces &gt; houses" in page
    for contrast in ("facesGtHouses", "facesGtHousesAge", "housesGtFaces", "housesGtFacesAge"):
        assert f"contrast-{contrast}_" in page


def test_the_variance_of_spm_is_resms_times_the_contrast_of_its_covariance(tmp_path, begin):
    covariances = []
    data = begin(lambda *one: covariances.append(write_spm(*one)))
    assert run(data, tmp_path / "out", "--maps", LAYOUTS["SPM"][1]) == 0
    for number, label in enumerate(PEOPLE):
        path = next((tmp_path / "out").glob(f"sub-{label}/func/*facesGtHouses_stat-variance_statmap.nii.gz"))
        expected = RESIDUALS[number] * (WEIGHTS[0] @ covariances[number] @ WEIGHTS[0])
        np.testing.assert_allclose(nib.load(path).get_fdata()[INSIDE], expected[INSIDE], rtol=1e-6)
    table = pd.read_csv(tmp_path / "out/code/maps.tsv", sep="\t")
    assert set(table["dof"]) == {36.5}
    assert table["mask"].notna().all()


def test_in_a_gfeat_variance_dof_and_mask_stand_beside_and_names_are_of_the_first_level(tmp_path, begin):
    data = begin(write_gfeat)
    for one in data.glob("fsl/*.gfeat/*/design.lev"):
        one.unlink()
    assert run(data, tmp_path / "out", "--maps", LAYOUTS["FSL .gfeat"][1]) == 0
    table = pd.read_csv(tmp_path / "out/code/maps.tsv", sep="\t")
    assert list(dict.fromkeys(table["contrast"])) == NAMES
    for column, name in (("variance", "varcope1"), ("dof", "tdof_t1")):
        assert all(one.endswith(f"stats/{name}.nii.gz") for one in table[column])
    assert all(re.search(r"cope\d\.feat/mask\.nii\.gz$", one) for one in table["mask"])


def test_one_number_for_two_contrasts_is_refused_unless_the_people_are_left_out(tmp_path, capsys, begin):
    data = begin(lambda *one: write_spm(*one, names=NAMES[::-1] if one[1] == "03" else NAMES))
    command = ["--maps", LAYOUTS["SPM"][1]]
    code, _ = refusal(
        capsys,
        run(data, tmp_path / "a", *command),
        "Contrast 0001 of the pattern",
        "'houses > faces' in sub-03",
        "sub-03 has 'faces > houses' in 0002",
        "--exclude-participant-label 03",
    )
    assert code == 65
    assert not (tmp_path / "a").exists()
    assert run(data, tmp_path / "b", *command, "--exclude-participant-label", "03") == 0


def test_a_stale_map_beside_spm_mat_gets_no_variance_of_another_contrast(tmp_path, capsys, begin):
    data = begin(write_spm, names=["faces > houses", "x"])
    stale = data / "spm/sub-02/stats/con_0001.nii"
    other = tmp_path / "other"
    write_spm(other, "02", 1, names=["left", "right"])
    (other / "spm/sub-02/stats/SPM.mat").rename(stale.with_name("SPM.mat"))
    options = ["--maps", "spm/sub-{subject}/stats/con_0001.nii"]
    assert run(data, tmp_path / "out", *options) == 0
    said = capsys.readouterr().err
    assert "SPM.mat beside it that contrast 1 is 'left'" in said
    table = pd.read_csv(tmp_path / "out/code/maps.tsv", sep="\t", index_col="participant_id")
    assert pd.isna(table.loc["sub-02", "variance"])
    assert set(table["contrast"]) == {"faces > houses"}


BAD = {
    # name: pattern, exit code, words
    "no subject": ("spm/sub-*/stats/con_0001.nii", 64, ['--maps "spm/sub-{subject}/stats/con_0001.nii"']),
    "an unknown placeholder": ("spm/sub-{sub}/stats/con_0001.nii", 64, ["{sub}", "Write {subject}"]),
    "a brace too few": ("spm/sub-{subject/stats/con_0001.nii", 64, ["brace"]),
    "a folder misspelled": (
        "smp/sub-{subject}/stats/con_{contrast}.nii",
        66,
        ["participants.tsv, spm", '--maps "spm/sub-{subject}/stats/con_{contrast}.nii"'],
    ),
    "an inner folder that is not there": (
        "spm/sub-{subject}/stat/con_{contrast}.nii",
        66,
        ["spm/sub-01: stats", '--maps "spm/sub-{subject}/stats/con_{contrast}.nii"'],
    ),
    "another ending": (
        "spm/sub-{subject}/stats/con_{contrast}.nii.gz",
        18,
        ["con_0001.nii", '--maps "spm/sub-{subject}/stats/con_{contrast}.nii"'],
    ),
    "another case": (
        "spm/SUB-{subject}/stats/con_0001.nii",
        18,
        ["sub-01", "sub-{subject}/stats/con_0001.nii"],
    ),
    "maps of t": ("spm/sub-{subject}/stats/spmT_{contrast}.nii", 18, ["con_0001.nii"]),
    "several files of a person": ("spm/sub-{subject}/stats/*.nii", 64, ["matches", "files of sub-01"]),
}


@pytest.mark.parametrize("name", BAD)
def test_a_pattern_that_matches_nothing_says_what_is_there(name, tmp_path, capsys, begin):
    pattern, code, words = BAD[name]
    data = begin(write_spm, PEOPLE[:2])
    assert refusal(capsys, run(data, tmp_path / "out", "--maps", pattern), *words)[0] == code
    assert not (tmp_path / "out").exists()


def test_a_pattern_is_tried_below_bids_dir_and_its_derivatives_too(tmp_path, monkeypatch):
    data = write_people(tmp_path / "data")
    for number, label in enumerate(PEOPLE):
        write_gfeat(data / "derivatives", label, number)
    monkeypatch.chdir(tmp_path)
    assert run(data, tmp_path / "out", "--maps", LAYOUTS["FSL .gfeat"][1]) == 0
    assert read_t(tmp_path / "out", "facesGtHouses").any()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_no_bids_maps_are_the_line_to_paste_is_said(layout, tmp_path, capsys, begin):
    data = begin(LAYOUTS[layout][0])
    (data / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0"}')
    line = '--maps "(.*?)"'
    folder = next(one for one in ("spm", "fsl", "afni") if (data / one).exists())
    code, said = refusal(capsys, run(data, tmp_path / "out", "-d", folder), "--maps")
    assert code == 18
    pattern = re.search(line, said)[1]
    assert run(data, tmp_path / "out", "--maps", pattern) == 0
    np.testing.assert_allclose(
        read_t(tmp_path / "out", LAYOUTS[layout][3])[INSIDE],
        ttest_1samp(EFFECTS[:, 0].astype(np.float64), 0).statistic[INSIDE],
        rtol=1e-5,
    )


@pytest.mark.parametrize("have_standard", [True, False])
def test_copes_in_native_space_are_known_at_once(have_standard, tmp_path, monkeypatch, capsys):
    data = write_people(tmp_path / "data")
    for number, label in enumerate(PEOPLE):
        feat = write_feat(data, label, number) if have_standard else None
        shifted = AFFINE.copy()
        shifted[:3, 3] = number
        feat = data / "fsl" / f"sub-{label}" / "run.feat"
        save(feat / "stats" / "cope1.nii.gz", EFFECTS[number, 0], affine=shifted)
    monkeypatch.chdir(data)
    words = ['reg_standard/stats/cope1.nii.gz"', "each person's own scan"]
    words += [] if have_standard else ["featregapply", "applywarp"]
    command = ["--maps", "fsl/sub-{subject}/run.feat/stats/cope1.nii.gz"]
    assert refusal(capsys, run(data, tmp_path / "out", *command), *words)[0] == 65


def test_people_with_a_folder_and_no_map_are_named(tmp_path, capsys, begin):
    data = begin(write_spm, PEOPLE[:-1])
    (data / "spm" / "sub-99" / "stats").mkdir(parents=True)
    assert run(data, tmp_path / "out", "--maps", LAYOUTS["SPM"][1]) == 0
    assert "1 person with a folder has no map of the pattern: sub-99." in capsys.readouterr().err


def test_sessions_and_runs_of_a_pattern_are_pooled_by_precision(tmp_path, monkeypatch):
    data = write_people(tmp_path / "data")
    for number, label in enumerate(PEOPLE):
        for run_number in (1, 2):
            stats = (
                data / "fsl" / f"sub-{label}" / "ses-a" / f"run{run_number}.feat" / "reg_standard" / "stats"
            )
            write_copes(stats, number, run_number - 1, 1, tdof=False)
            save(stats / "varcope1.nii.gz", RESIDUALS[number] * INSIDE * run_number)
    monkeypatch.chdir(data)
    pattern = "fsl/sub-{subject}/ses-{session}/run{run}.feat/reg_standard/stats/cope1.nii.gz"
    assert run(data, tmp_path / "out", "--maps", pattern) == 0
    weighted = (EFFECTS[:, 0] + EFFECTS[:, 1] / 2) / 1.5
    expected = ttest_1samp(weighted.astype(np.float64), 0).statistic
    np.testing.assert_allclose(read_t(tmp_path / "out", "cope1")[INSIDE], expected[INSIDE], rtol=1e-5)
