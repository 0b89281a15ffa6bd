"""What a map says that it is: t, z, F, p and variances are no effects."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from bids_group.errors import DataError

INTENTS = {"t test": "t", "z score": "z", "f test": "F", "p value": "p"}


def write(path, seed, *, intent=None, description="", dtype=np.float32):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).normal(size=(3, 4, 2)).astype(np.float32)
    image = nib.Nifti1Image(values, np.eye(4))
    image.set_data_dtype(dtype)
    if intent:
        image.header.set_intent(intent, (12,) * (intent == "t test") + (2, 12) * (intent == "f test"))
    image.header["descrip"] = description.encode()
    nib.save(image, path)


def gather(study, name, *, selection=None, **header):
    """Two people, each with one map of this name, by a table."""
    rows = ["participant_id contrast effect"]
    for label in ("01", "02"):
        write(study.raw / "fl" / label / name, int(label), **header)
        rows.append(f"sub-{label} a fl/{label}/{name}")
    return study.gather({"maps_table": study.table("\n".join(rows), "maps.tsv")}, **(selection or {}))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("spmT_0001.nii", "t"), ("spmF_0002.nii", "F"), ("sub-01_spmT_0001.nii", "t"), ("tstat1.nii.gz", "t"),
        ("zstat12.nii.gz", "z"), ("zfstat1.nii.gz", "F"), ("fstat1.nii.gz", "F"),
        ("thresh_zstat1.nii.gz", "z"),
        ("zstat1_mni.nii.gz", "z"), ("sub-01_tmap.nii", "t"), ("faces_z-map.nii.gz", "z"), ("t_map.nii", "t"),
        ("faces_z_score.nii.gz", "z"), ("x_stat-t_statmap.nii.gz", "t"), ("x_stat-z_statmap.nii.gz", "z"),
        ("x_stat-p_statmap.nii.gz", "p"), ("x_stat-variance_statmap.nii.gz", "variance"),
        ("pain_01_z.nii.gz", "z"), ("pain_01_t.nii.gz", "t"),
        ("ResMS.nii", "variance"), ("sub-01_ResMS.nii.gz", "variance"), ("varcope1.nii.gz", "variance"),
        ("RPV.nii", "variance"), ("sigmasquareds.nii.gz", "variance"),
    ],
)  # fmt: skip
def test_names_of_t_z_f_and_p_maps_are_refused(study, name, kind):
    with pytest.raises(DataError, match=f"2 of the selected maps hold {kind}, not effects") as caught:
        gather(study, name)
    assert "its name" in caught.value.found
    assert (f"--input-stat {kind}" in caught.value.fix) == (kind in ("t", "z"))


@pytest.mark.parametrize(
    "name",
    [
        "con_0001.nii", "cope1.nii.gz", "beta_0003.nii", "stats_of_t1.nii",
        "sub-01_task-t_contrast-z_stat-effect_statmap.nii.gz", "zebra.nii", "fmap.nii", "sub-z01_con.nii",
        "zROI1FCMap_01.nii",
        "mapt.nii", "T1w_effect.nii.gz", "pe1.nii.gz", "x_contrast-tmap_stat-effect_statmap.nii.gz",
    ],
)  # fmt: skip
def test_names_of_effects_pass(study, name):
    assert len(gather(study, name).maps) == 2


@pytest.mark.parametrize("intent", INTENTS)
def test_the_intent_code_tells(study, intent):
    with pytest.raises(DataError, match=f"hold {INTENTS[intent]}, not effects") as caught:
        gather(study, "con_0001.nii", intent=intent)
    assert "intent code" in caught.value.found


@pytest.mark.parametrize("intent", ["none", "estimate", "correlation"])
def test_other_intents_are_effects(study, intent):
    assert len(gather(study, "con_0001.nii", intent=None if intent == "none" else intent).maps) == 2


@pytest.mark.parametrize(
    ("description", "kind"),
    [
        ("SPM{T_[12.0]} - contrast 1: faces", "t"),
        ("SPM{F_[2.0,12.0]} - contrast 2", "F"),
        ("z_score of contrast [1 0]", "z"),
        ("stat of contrast [1 0]", "t"),
        ("p_value of contrast [1 0]", "p"),
        ("effect_variance of contrast [1 0]", "variance"),
    ],
)
def test_the_description_tells(study, description, kind):
    with pytest.raises(DataError, match=f"hold {kind}, not effects"):
        gather(study, "con_0001.nii", description=description)


@pytest.mark.parametrize(
    "description", ["spm_spm:beta (0001) - faces", "effect_size of contrast [1]", "FSL5.0", ""]
)
def test_descriptions_of_effects_pass(study, description):
    assert len(gather(study, "con_0001.nii", description=description).maps) == 2


def test_a_map_of_bids_name_is_refused_where_its_header_contradicts_it(study):
    folder = study.derivative()
    study.people(folder, "01 02")
    path = next(folder.rglob("sub-02*stat-effect_statmap.nii.gz"))
    write(path, 9, description="SPM{T_[12.0]} - contrast 1: faces")
    with pytest.raises(DataError, match="1 of the selected maps hold t, not effects") as caught:
        study.gather()
    assert "sub-02" in caught.value.found
    assert "contrast 1: faces" in caught.value.found


def test_somebody_not_selected_does_no_harm(study):
    folder = study.derivative()
    study.people(folder, "01 02 03")
    write(next(folder.rglob("sub-02*stat-effect_statmap.nii.gz")), 9, intent="t test")
    assert len(study.gather(exclude_participant_labels=("02",)).maps) == 2


@pytest.mark.parametrize(("name", "stat"), [("tstat1.nii.gz", "t"), ("zstat1.nii.gz", "z"), ("con.nii", "t")])
def test_t_and_z_maps_pass_where_one_insists(study, name, stat):
    cohort = gather(study, name, selection={"input_stat": stat})
    assert {m.input_stat for m in cohort.maps} == {stat}
    assert any(f"The data are {stat} maps (--input-stat {stat})" in one.sentence for one in cohort.notices)


@pytest.mark.parametrize(
    ("name", "stat"), [("tstat1.nii.gz", "z"), ("zstat1.nii.gz", "t"), ("zfstat1.nii.gz", "z")]
)
def test_what_one_insists_on_must_be_what_they_say(study, name, stat):
    with pytest.raises(DataError, match=f", not {stat}"):
        gather(study, name, selection={"input_stat": stat})


def test_effects_that_look_like_t_pass_with_a_warning_where_one_insists(study):
    cohort = gather(study, "sub_t.nii", selection={"input_stat": "effect"})
    (notice,) = (one for one in cohort.notices if "look like maps of t" in one.sentence)
    assert notice.severity == "warning"


def test_a_dataset_of_t_maps_alone_says_how_to_insist(study):
    study.maps(study.derivative(), ["sub-01/sub-01_contrast-a", "sub-02/sub-02_contrast-a"], stats=("t",))
    with pytest.raises(DataError, match="no stat-effect map") as caught:
        study.gather()
    assert "--input-stat t" in caught.value.fix
    assert {m.input_stat for m in study.gather(input_stat="t").maps} == {"t"}


def notices_of_brains(study, kind, *, lowest=5, highest=9, people=("01", "02", "03"), dtype=np.uint8):
    """Write a cube of numbers within zeros for each person, stored as ``dtype``; sub-02 has two tiny ones."""
    rows = ["participant_id contrast effect"]
    for label in people:
        values = np.zeros((5, 5, 5), np.float32)
        random = np.random.default_rng(int(label))
        values[1:-1, 1:-1, 1:-1] = random.uniform(lowest, highest, size=(3, 3, 3))
        if len(people) > 2:
            values[2, 2, 2] = values[1, 1, 1] = 1e-4 if label == "02" else 7
        image = nib.Nifti1Image(values, np.eye(4))
        image.set_data_dtype(dtype)
        nib.save(image, study.raw / f"c{label}.nii")
        rows.append(f"{label} a c{label}.nii")
    notices = study.gather({"maps_table": study.table("\n".join(rows), "maps.tsv")}).notices
    return [one for one in notices if kind in one.sentence]


def test_exact_zeros_of_integers_inside_the_brain_are_told_with_the_remedy(study):
    (notice,) = notices_of_brains(study, "exactly 0")
    assert "2 in c02.nii of sub-02" in notice.sentence
    assert "c01" not in notice.sentence
    assert "float32" in notice.fix


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_zeros_outside_the_brain_are_not_remarked_on(study, dtype):
    assert not notices_of_brains(study, "exactly 0", people=("01", "02"), dtype=dtype)


def test_a_background_that_the_scale_of_integers_made_no_0_is_told(study):
    (notice,) = notices_of_brains(study, "as if the background", lowest=-2, highest=2, people=("01", "02"))
    assert (nib.load(study.raw / "c01.nii").get_fdata()[0] != 0).all()
    assert notice.severity == "warning"
    assert "c01.nii" in notice.sentence
    assert "mask" in notice.fix
