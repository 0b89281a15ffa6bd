"""How the contrasts of a pattern of maps are called."""

import nibabel as nib
import numpy as np
import pytest

from bids_group.errors import UsageError


def contrasts_of(study, pattern, *names):
    study.derivative()
    for name in names:
        study.image(study.raw / name)
    cohort = study.gather({"maps_table": study.raw / pattern})
    return {
        m.contrast: sorted(one.subject for one in cohort.maps if one.contrast == m.contrast)
        for m in cohort.maps
    }


@pytest.mark.parametrize(
    "pattern, contrast",
    [
        ("s{subject}/s{subject}_faces.nii", "faces"),
        ("P{subject}_faces.nii.gz", "faces"),
        ("sub{subject}_con.nii", "con"),
        ("dr_stage2_subject{subject}.nii.gz", "dr_stage2"),
        ("faces/sub-{subject}.nii", "faces"),
        ("faces/{subject}.nii", "faces"),
        ("faces{subject}.nii", "faces"),
        ("sub-{subject}/con_0001.nii", "con_0001"),
        ("sub-{subject}_beta.nii*", "beta"),
        ("sub-{subject}_*", "beta"),
        ("sub-{subject}_beta.nii?gz", "beta"),
    ],
)
def test_a_contrast_is_called_by_what_a_name_has_beside_labels(study, pattern, contrast):
    people = ["0001", "0002", "0003"]  # one as con_0001 is
    file = pattern.replace("_*", "_beta.nii").replace(".nii*", ".nii.gz").replace("?", ".")
    names = [file.format(subject=label) for label in people]
    assert contrasts_of(study, pattern, *names) == {contrast: people}


def test_what_a_star_stands_for_is_a_contrast_only_where_all_have_it(study):
    people = ["01", "02", "03"]
    names = [f"sub-{one}/con_0001.nii" for one in people]
    assert contrasts_of(study, "sub-{subject}/con_*.nii", *names) == {"con_0001": people}


def test_a_star_that_stands_for_dates_is_told(study):
    names = [f"s{n}/2024050{n}_faces.nii" for n in (1, 2, 3)]
    assert contrasts_of(study, "s{subject}/*_faces.nii", *names) == {"faces": ["1", "2", "3"]}
    told = [
        one.sentence for one in study.gather({"maps_table": study.raw / "s{subject}/*_faces.nii"}).notices
    ]
    assert any("stands for other texts in people: 20240501, 20240502, 20240503." in one for one in told)


def test_a_star_that_stands_for_other_contrasts_is_refused(study):
    names = [f"s{n}/con_000{1 + (n == 3)}.nii" for n in (1, 2, 3, 4)]
    with pytest.raises(UsageError, match="stands for other texts in people") as caught:
        contrasts_of(study, "s{subject}/con_*.nii", *names)
    assert caught.value.found == "0001, 0002 in 4 participants"
    assert "write {contrast} in place of the *" in caught.value.fix


def test_numbers_of_contrasts_under_a_star_are_refused_however_many(study):
    names = [f"s{n}/con_000{n}.nii" for n in range(1, 7)]
    with pytest.raises(UsageError, match="stands for other texts in people"):
        contrasts_of(study, "s{subject}/con_*.nii", *names)
    names = [f"s000{n}/000{n}_con.nii" for n in range(1, 7)]  # that is the person
    assert set(contrasts_of(study, "s{subject}/*_con.nii", *names)) == {"con"}


def test_a_star_is_no_contrast_where_a_volume_or_header_names_it(study):
    names = [f"maps/sub-{n}_acq-{'AB'[n % 2]}_beta.nii" for n in range(1, 5)]
    assert set(contrasts_of(study, "maps/sub-{subject}_*_beta.nii,1", *names)) == {"1"}
    notices = study.gather({"maps_table": study.raw / "maps/sub-{subject}_*_beta.nii,1"}).notices
    assert any("stands for other texts in people: acq-A, acq-B" in one.sentence for one in notices)
    for name in names:
        path = study.raw / name
        image = nib.load(path)
        image.header["descrip"] = b"SPM contrast - 1: faces"
        nib.Nifti1Image(image.get_fdata(dtype=np.float32) + 0, None, image.header).to_filename(path)
    assert set(contrasts_of(study, "maps/sub-{subject}_*_beta.nii")) == {"faces"}


def test_endings_that_differ_under_a_star_are_no_contrasts(study):
    names = [f"sub-{n}_beta.nii{'.gz' * (n % 2)}" for n in range(1, 5)]
    assert set(contrasts_of(study, "sub-{subject}_beta.nii*", *names)) == {"beta"}


def test_runs_under_a_star_are_answered_with_run(study):
    names = [f"sub-{n}_run-{run}_con.nii" for n in range(1, 5) for run in (1, 2)]
    with pytest.raises(UsageError, match="matches 2 files of sub-1") as caught:
        contrasts_of(study, "sub-{subject}_run-*_con.nii", *names)
    assert "Write {run}" in caught.value.fix
