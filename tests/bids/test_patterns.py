"""Patterns of paths, what stands beside a map, and the pattern that a folder needs."""

from __future__ import annotations

import gzip
import itertools
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.io import savemat

from bids_group.bids.layouts import propose_option
from bids_group.bids.patterns import match_pattern
from bids_group.bids.siblings import find_siblings
from bids_group.errors import DataError, NotBidsError, SelectionError, UsageError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def labels_of(root, pattern):
    return [
        (one.path.relative_to(root).as_posix(), dict(one.labels))
        for one in match_pattern(root / pattern, root).files
    ]


def test_labels_are_read_with_or_without_their_key_and_one_that_stands_twice_is_one(tmp_path):
    touch(
        tmp_path,
        "sub-01/ses-b/sub-01_ses-b_run-2_x.nii",
        "sub-01/ses-b/sub-02_ses-b_run-2_x.nii",
        "02/a/02_a_3_x.nii",
    )
    found = labels_of(tmp_path, "{subject}/{session}/{subject}_{session}_{run}_x.nii")
    assert found == [
        ("02/a/02_a_3_x.nii", {"subject": "02", "session": "a", "run": "3"}),
        ("sub-01/ses-b/sub-01_ses-b_run-2_x.nii", {"subject": "01", "session": "b", "run": "2"}),
    ]


labels = st.text("abcXYZ0189", min_size=1, max_size=4)


@given(
    people=st.lists(labels, min_size=1, max_size=4, unique=True),
    contrasts=st.lists(labels, min_size=1, max_size=3, unique=True),
)
def test_a_pattern_finds_exactly_what_was_written_by_it(tmp_path_factory, people, contrasts):
    root = tmp_path_factory.mktemp("p")
    pattern = "a/sub-{subject}/cope{contrast}.feat/x_{subject}.nii"
    made = {pattern.format(subject=s, contrast=c): (s, c) for s, c in itertools.product(people, contrasts)}
    touch(root, *made, "a/sub-zz/other.txt", "a/notes.txt")
    found = {path: (one["subject"], one["contrast"]) for path, one in labels_of(root, pattern)}
    assert found == made


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{subject}{session}/x.nii", "}{"),  # 0102: who, and when?
        ("*{subject}_x.nii", "*{"),  # study01_x.nii: 01, or 1?
        ("sub-{subject}?/x.nii", "}?"),
        ("*_{subject}_*.nii", "subject: faces} or {subject: 01"),
        ("*a{subject}.nii", "two ways"),
    ],
)
def test_a_label_that_could_end_elsewhere_is_not_guessed(tmp_path, pattern, words):
    touch(tmp_path, "0102/x.nii", "study01_x.nii", "con_01_faces_x.nii", "xa01a2.nii", "sub-01/x.nii")
    with pytest.raises(UsageError) as caught:
        match_pattern(tmp_path / pattern, tmp_path)
    assert words in str(caught.value)


def test_a_star_that_leaves_one_way_is_read(tmp_path):
    touch(tmp_path, "sub-01_pilot/w_a_con_1.nii", "sub-02x/w_b_con_1.nii")
    found = labels_of(tmp_path, "sub-{subject}*/*_con_{contrast}.nii")
    assert [one["subject"] for _, one in found] == ["01", "02x"]


def test_the_expression_of_a_part_is_made_once_for_all_files(tmp_path, monkeypatch):
    touch(tmp_path, *(f"sub-{n}_x{n}_{n}_con.nii" for n in range(600)))
    made = []
    real = re.compile
    monkeypatch.setattr(re, "compile", lambda *given: made.append(given) or real(*given))
    monkeypatch.setattr(re, "fullmatch", lambda text, *rest: made.append(text) or real(text).fullmatch(*rest))
    files = match_pattern(tmp_path / "sub-{subject}_*_{subject}_con.nii", tmp_path).files
    assert {one.rest for one in files if one.labels["subject"] == "30"} == {"sub-\0_\1x30\1_\0_con.nii"}
    assert (len(files), len({str(one) for one in made}) < 20) == (600, True)


def test_a_label_that_no_name_can_have_is_refused_with_what_to_write(study):
    for name in ("P_01", "P_02"):
        study.image(study.raw / "spm" / name / "con_0001.nii")
    with pytest.raises(UsageError, match="'P_01'") as caught:
        study.gather({"maps_table": study.raw / "spm/{subject}/con_0001.nii"})
    assert "'P01'" in str(caught.value.fix)


@pytest.mark.parametrize("named", [True, False])
def test_a_table_of_participants_is_enough_of_a_dataset(study, named):
    (study.raw / "dataset_description.json").unlink()
    for name in ("01", "02"):
        study.image(study.raw / "spm" / name / "con_0001.nii")
    inputs = {"maps_table": study.raw / "spm/{subject}/con_0001.nii"}
    with pytest.raises(NotBidsError) as caught:
        study.gather(inputs)
    assert "participants.tsv" in str(caught.value.fix)
    table = study.table("participant_id age\n 01 20\n 02 30", "people.tsv" if named else "participants.tsv")
    cohort = study.gather({**inputs, "participants_tsv": table if named else None})
    assert [m.subject for m in cohort.maps] == ["01", "02"]
    assert {m.contrast for m in cohort.maps} == {"con_0001"}


def write_names(feat: Path, *names: str) -> None:
    feat.mkdir(parents=True, exist_ok=True)
    (feat / "design.con").write_text(
        "".join(f"/ContrastName{k}\t{one}\n" for k, one in enumerate(names, start=1))
    )


def write_gfeat(study, label, runs, above=("mean",)):
    """A .gfeat over runs, each with its names of contrasts; they lie beside it, as after a copy."""
    gfeat = study.raw / f"{label}.gfeat"
    for k, names in enumerate(runs, start=1):
        write_names(study.raw / f"{label}_run{k}.feat", *names)
    for k in range(len(above)):
        study.image(gfeat / "cope2.feat" / "stats" / f"cope{k + 1}.nii.gz")
    write_names(gfeat / "cope2.feat", *above)
    lines = (f'set feat_files({k}) "/gone/{label}_run{k}.feat"\n' for k in range(1, len(runs) + 1))
    (gfeat / "design.fsf").write_text("".join(lines))
    return gfeat / "cope2.feat" / "stats"


def test_names_in_a_gfeat_are_those_of_the_runs_with_its_own_where_it_has_several(study):
    stats = write_gfeat(study, "01", [("a", "faces > houses")] * 2)
    assert find_siblings(stats / "cope1.nii.gz").name == "faces > houses"
    stats = write_gfeat(study, "02", [("a", "faces > houses")] * 2, above=("mean", "later"))
    assert find_siblings(stats / "cope2.nii.gz").name == "faces > houses later"


def test_runs_that_call_a_contrast_differently_are_refused_only_where_they_are_used(study):
    write_gfeat(study, "01", [("a", "faces"), ("faces", "a")])
    for label in ("02", "03"):
        write_gfeat(study, label, [("a", "faces"), ("a", "faces")])
    inputs = {"maps_table": study.raw / "{subject}.gfeat/cope{contrast}.feat/stats/cope1.nii.gz"}
    with pytest.raises(DataError, match="runs of sub-01 call") as caught:
        study.gather(inputs)
    assert caught.value.found == "a, faces"
    cohort = study.gather(inputs, exclude_participant_labels=("01",))
    assert {m.contrast for m in cohort.maps} == {"faces"}


def test_who_does_not_say_its_contrast_is_told(study):
    for label in ("01", "02", "03"):
        path = study.image(study.raw / label / "con_0001.nii")
        image = nib.load(path)
        image.header["descrip"] = b"SPM contrast - 1: faces" if label != "02" else b""
        nib.Nifti1Image(image.get_fdata(dtype=np.float32) + 0, None, image.header).to_filename(path)
    cohort = study.gather({"maps_table": study.raw / "{subject}/con_{contrast}.nii"})
    assert {m.contrast for m in cohort.maps} == {"faces"}
    assert any("Nothing says which contrast 0001 is in sub-02" in one.sentence for one in cohort.notices)


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        ("spm/sub-01/con_0001.nii spm/sub-02/con_0001.nii", "spm/sub-{subject}/con_{contrast}.nii"),
        ("1/model1/con_0001.nii 2/model1/con_0001.nii", "{subject}/model1/con_{contrast}.nii"),
        (
            "controls/c1/con_0001.img controls/c2/con_0001.img patients/p1/con_0001.img",
            "*/{subject}/con_{contrast}.img",
        ),
        (  # one person alone in standard space: the folder is taken
            "01/ses-1/x.feat/stats/cope1.nii.gz 02/ses-1/x.feat/reg_standard/stats/cope1.nii.gz",
            "{subject}/ses-{session}/x.feat/reg_standard/stats/cope{contrast}.nii.gz",
        ),
        ("s1.gfeat/cope1.feat/stats/cope1.nii.gz", "{subject}.gfeat/cope{contrast}.feat/stats/cope1.nii.gz"),
        (
            "01/x.feat/stats/cope1.nii.gz 02/x.feat/stats/cope1.nii.gz",
            "{subject}/x.feat/stats/cope{contrast}.nii.gz",
        ),
    ],
)
def test_the_pattern_that_a_folder_needs(tmp_path, names, pattern):
    touch(tmp_path, *names.split(), "notes.txt")
    said = propose_option([tmp_path / "nothing", tmp_path], "statmap")
    assert (said or "").endswith(f'--maps "{tmp_path}/{pattern}"')


@pytest.mark.parametrize(
    ("names", "asked", "said"),
    [
        (
            "sub-01/anat/sub-01_hemi-L_thickness.shape.gii sub-02/anat/sub-02_hemi-R_thickness.shape.gii",
            "statmap",
            "thickness are there: --input-suffix thickness",
        ),
        (
            "sub-1/sub-1_cbf.nii.gz sub-1/sub-1_T1w.nii.gz sub-1/sub-1_desc-brain_mask.nii.gz",
            "statmap",
            "cbf are there: --input-suffix cbf",
        ),
        (
            "sub-1_sulc.shape.gii sub-1_thickness.shape.gii sub-2_thickness.shape.gii sub-3_curv.json",
            "statmap",
            "thickness, sulc are there: choose one, such as --input-suffix thickness",
        ),
        (
            "sub-1_sulc.shape.gii sub-2_thickness.shape.gii sub-3_thickness.shape.gii",
            "sulk",
            "thickness, sulc are there: choose one, such as --input-suffix sulc",
        ),
        (
            "sub-1/func/sub-1_contrast-a_stat-effect_statmap.nii.gz",
            "probseg",
            "statmap are there: --input-suffix statmap",
        ),
        (
            "sub-1_space-x_boldref.nii.gz sub-1_T2starw.nii sub-1_midthickness.surf.gii thickness.nii "
            "sub-1_bold.dtseries.nii sub-1_aparc.dlabel.nii sub-1_events.tsv",
            "statmap",
            None,
        ),
    ],
)
def test_the_suffix_that_a_folder_needs(tmp_path, names, asked, said):
    touch(tmp_path, *names.split())
    proposed = propose_option([tmp_path / "nothing", tmp_path], asked)
    assert proposed == (None if said is None else f"Maps of {said}")


def write_bucket(path, volumes, labels):
    """A bucket of 3dDeconvolve as NIfTI: volumes along the fifth axis, labels in AFNI's extension."""
    data = np.stack([np.asarray(one, np.float32) for one in volumes], axis=-1)[:, :, :, None, :]
    image = nib.Nifti1Image(data, np.eye(4))
    start = '<AFNI_attributes>\n<AFNI_atr\n  ni_type="String"\n  atr_name="BRICK_LABS" >\n '
    xml = f'{start}"{"~".join(labels)}"\n</AFNI_atr>\n</AFNI_attributes>\n'
    image.header.extensions.append(nib.nifti1.Nifti1Extension(4, xml.encode()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes()) if path.suffix == ".gz" else image.to_bytes())


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_sub_bricks_of_a_nifti_are_named_by_their_labels(study, ending):
    values = np.random.default_rng(3).normal(size=(2, 4, 3, 4, 2))
    for number, label in enumerate(("01", "02")):
        names = ["Full_Fstat", "faces&gt;x#0_Coef", "faces&gt;x#0_Tstat", "houses#0_Coef"]
        write_bucket(study.raw / f"stats.{label}{ending}", values[number], names)
    inputs = {"maps_table": study.raw / f"stats.{{subject}}{ending}[{{contrast}}#0_Coef]"}
    cohort = study.gather(inputs)
    assert [(m.subject, m.contrast) for m in cohort.maps] == [
        (s, c) for c in ("faces>x", "houses") for s in ("01", "02")
    ]
    assert cohort.maps[0].effect.name == f"stats.01{ending}[faces>x#0_Coef]"
    with pytest.raises(DataError, match="hold t"):
        study.gather({"maps_table": study.raw / f"stats.{{subject}}{ending}[{{contrast}}#0_Tstat]"})
    with pytest.raises(SelectionError) as caught:
        study.gather({"maps_table": study.raw / f"stats.{{subject}}{ending}[{{contrast}}#1_Coef]"})
    assert f'stats.{{subject}}{ending}[{{contrast}}#0_Coef]"' in str(caught.value.fix)


@pytest.mark.parametrize("what", ["cut", "flipped", "text", "empty", "hdf", "other", "bare", "short"])
def test_an_spm_mat_that_is_none_gives_no_variance_and_says_so(tmp_path, what):
    contents = {"other": {"x": 1}, "bare": {"SPM": 1}}
    design = {"xX": {"Bcov": np.eye(2), "erdf": 9.0}, "xCon": {"name": "a", "c": np.eye(2)[:, 0]}}
    path = tmp_path / "SPM.mat"
    savemat(path, contents.get(what, {"SPM": design}), do_compression=True)
    whole = path.read_bytes()
    broken = {
        "cut": whole[:-40],
        "flipped": whole[:-40] + bytes(255 - one for one in whole[-40:-20]) + whole[-20:],
        "text": b"no MATLAB file" * 40,
        "empty": b"",
        "hdf": b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n\x1a\n",
    }
    path.write_bytes(broken.get(what, whole))
    con = tmp_path / ("con_0002.nii" if what == "short" else "con_0001.nii")
    touch(tmp_path, con.name, "ResMS.nii")
    found = find_siblings(con)
    assert (found.variance, found.variance_scale) == (None, None)
    if what == "hdf":
        assert "format 7.3 (HDF5), which is not read" in (found.remark or "")
        assert "save('SPM.mat', 'SPM', '-v7')" in (found.fix or "")
    else:
        assert "SPM.mat cannot be read" in (found.remark or "")
