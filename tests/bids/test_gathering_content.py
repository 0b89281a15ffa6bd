"""Files that are not here, and files that are the same."""

from __future__ import annotations

import gzip
import shutil

import pytest

from bids_group.errors import DataError, MissingInputError


def effect_of(folder, label):
    return folder / f"sub-{label}/func/sub-{label}_contrast-a_stat-effect_statmap.nii.gz"


def break_links(folder, labels):
    for label in labels:
        path = effect_of(folder, label)
        path.unlink()
        path.symlink_to(folder / ".git/annex/objects/x" / path.name)


def test_links_that_point_nowhere_are_counted_and_ten_are_named(study):
    folder = study.derivative()
    labels = [f"{n:02d}" for n in range(1, 31)]
    study.people(folder, " ".join(labels))
    break_links(folder, labels)
    with pytest.raises(MissingInputError) as caught:
        study.gather()
    assert caught.value.exit_code == 66
    assert caught.value.sentence.startswith("30 selected files are not here")
    assert caught.value.sentence.count("_statmap.nii.gz") == 10
    assert "and 20 more" in caught.value.sentence
    assert caught.value.fix.startswith("datalad get ")
    assert caught.value.fix.count("_statmap.nii.gz") == 10


def test_a_broken_link_of_somebody_not_selected_does_no_harm(study):
    folder = study.derivative()
    study.people(folder, "01 02 03")
    break_links(folder, ["03"])
    assert len(study.gather(exclude_participant_labels=("03",)).maps) == 2


def test_a_variance_that_is_a_broken_link_is_named_too(study):
    folder = study.derivative()
    study.people(folder, "01")
    path = folder / "sub-01/func/sub-01_contrast-a_stat-variance_statmap.nii.gz"
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(MissingInputError, match="stat-variance"):
        study.gather()


def test_an_annex_pointer_file_is_content_that_is_not_here(study):
    folder = study.derivative()
    study.people(folder, "01 02")
    effect_of(folder, "02").write_text("/annex/objects/MD5E-s1--0.nii.gz\n")
    with pytest.raises(MissingInputError, match="sub-02"):
        study.gather()


def test_a_participants_table_that_is_a_broken_link_is_named(study):
    study.people(study.derivative(), "01")
    (study.raw / "participants.tsv").symlink_to("nowhere")
    with pytest.raises(MissingInputError, match=r"participants\.tsv") as caught:
        study.gather()
    assert caught.value.fix.startswith("datalad get")


def test_a_copied_map_under_two_people_is_refused(study):
    folder = study.derivative()
    study.people(folder, "01 02 03")
    shutil.copy(effect_of(folder, "01"), effect_of(folder, "03"))
    with pytest.raises(DataError, match="same map stands under sub-01, sub-03") as caught:
        study.gather()
    assert str(effect_of(folder, "03")) in caught.value.found


def test_a_copy_is_found_though_it_was_compressed_again(study):
    folder = study.derivative()
    study.people(folder, "01 02")
    content = gzip.decompress(effect_of(folder, "01").read_bytes())
    effect_of(folder, "02").write_bytes(gzip.compress(content, compresslevel=1, mtime=7))
    with pytest.raises(DataError, match="same map"):
        study.gather()


def test_a_copied_uncompressed_map_is_refused(study):
    folder = study.derivative()
    for label in ("01", "02", "03"):
        study.image(
            folder / f"sub-{label}/sub-{label}_contrast-a_stat-effect_statmap.nii", seed=int(label) // 3
        )
    with pytest.raises(DataError, match="same map stands under sub-01, sub-02"):
        study.gather()


def test_equal_checksums_of_different_maps_are_not_taken_for_copies(study):
    """The trailer of a gzip file is only a first look: here it is forged."""
    folder = study.derivative()
    study.people(folder, "01 02")
    one, other = effect_of(folder, "01"), effect_of(folder, "02")
    other.write_bytes(other.read_bytes()[:-8] + one.read_bytes()[-8:])
    assert len(study.gather().maps) == 2


def test_maps_that_agree_where_they_are_first_compared_are_compared_whole(study):
    """Uncompressed maps are first told apart by the bytes in their middle."""
    folder = study.derivative()
    for label in ("01", "02"):
        path = folder / f"sub-{label}/sub-{label}_contrast-a_stat-effect_statmap.nii"
        study.image(path, (50, 50, 50), seed=1)
        if label == "02":
            content = path.read_bytes()
            path.write_bytes(content[:400] + bytes(4) + content[404:])
    assert len(study.gather().maps) == 2


def test_the_same_map_twice_in_one_person_is_a_warning(study):
    folder = study.derivative()
    study.maps(folder, ["sub-01/sub-01_run-1_contrast-a", "sub-01/sub-01_run-2_contrast-a"])
    one, other = (folder / f"sub-01/sub-01_run-{run}_contrast-a_stat-effect_statmap.nii.gz" for run in (1, 2))
    shutil.copy(one, other)
    notices = [n for n in study.gather().notices if n.topic == "twins"]
    assert [n.severity for n in notices] == ["warning"]
    assert "sub-01 has the same map 2 times" in notices[0].sentence


def test_a_map_without_a_whole_header_is_named_before_anything_is_computed(study):
    folder = study.derivative()
    study.people(folder, "01 02")
    path = effect_of(folder, "02")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"sub-02_contrast-a_stat-effect_statmap\.nii\.gz cannot be read"):
        study.gather()
