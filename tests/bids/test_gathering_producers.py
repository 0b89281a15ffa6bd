"""Names of first-level maps as the programs in the field write them."""

from __future__ import annotations

import json

import pytest

from bids_group.errors import DataError, SelectionError, UsageError


def test_nilearn_datasets_without_name_and_func_folder_are_read(study):
    folder = study.raw / "derivatives" / "glm"
    generated = [{"Name": "nilearn", "Version": "0.14.1"}] * 3
    study.describe(folder, GeneratedBy=generated, DatasetType="derivative")
    study.maps(
        folder, [f"sub-{s}/sub-{s}_task-x_contrast-aGtB" for s in ("01", "02")], ("effect", "variance", "z")
    )
    study.image(folder / "sub-01" / "sub-01_task-x_mask.nii.gz")
    cohort = study.gather()
    assert [(m.subject, m.contrast, m.session, m.run) for m in cohort.maps] == [
        ("01", "aGtB", None, None),
        ("02", "aGtB", None, None),
    ]
    assert [m.mask and m.mask.name for m in cohort.maps] == ["sub-01_task-x_mask.nii.gz", None]
    assert {m.producer for m in cohort.maps} == {"nilearn"}


def test_a_prefix_without_subject_takes_it_from_the_folder(study):
    folder = study.derivative()
    study.maps(folder, ["sub-07/ses-b/run-1_contrast-a"])
    (m,) = study.gather().maps
    assert (m.subject, m.session, m.run) == ("07", "b", "1")


def test_folder_and_file_name_of_different_people_are_refused(study):
    folder = study.derivative()
    study.maps(folder, ["sub-01/sub-02_contrast-a"])
    with pytest.raises(DataError, match="disagree about the subject") as caught:
        study.gather()
    assert caught.value.found == "sub-01 and sub-02"


def fitlins(study):
    folder = study.derivative("fitlins", "FitLins")
    for s in ("01", "02"):
        runs = [f"node-runLevel/sub-{s}/sub-{s}_run-{r}_contrast-a" for r in (1, 2)]
        study.maps(folder, [*runs, f"node-subjectLevel/sub-{s}/sub-{s}_contrast-a"])
    study.maps(folder, ["node-dataset/contrast-a"], ("effect", "t", "Meta"))
    return folder


def test_fitlins_run_and_subject_nodes_side_by_side_are_refused_with_the_list(study):
    fitlins(study)
    with pytest.raises(UsageError, match="2 FitLins nodes") as caught:
        study.gather()
    assert caught.value.found == (
        "runLevel (4 maps of 2 people, by run), subjectLevel (2 maps of 2 people, by subject)"
    )
    assert "--node runLevel or --node subjectLevel" in caught.value.fix


@pytest.mark.parametrize("node", ["runLevel", "node-runLevel"])
def test_a_fitlins_node_is_chosen_and_group_maps_are_no_first_level(study, node):
    fitlins(study)
    cohort = study.gather(node=node)
    assert [(m.subject, m.run, m.task, m.space) for m in cohort.maps] == [
        ("01", "1", None, None),
        ("01", "2", None, None),
        ("02", "1", None, None),
        ("02", "2", None, None),
    ]
    assert all("node-runLevel" in str(m.variance) for m in cohort.maps)


def test_a_folder_called_node_above_the_dataset_is_not_an_entity(tmp_path, study):
    moved = tmp_path / "node-12" / "sub-99" / "task-old"
    folder = study.derivative()
    study.people(folder, "01", task="x")
    moved.mkdir(parents=True)
    folder.rename(moved / "firstlevel")
    (m,) = study.gather({"derivatives": ((None, moved / "firstlevel"),)}).maps
    assert (m.node, m.subject, m.task) == (None, "01", "x")


def test_a_folder_called_model_does_not_become_an_entity(study):
    folder = study.derivative()
    study.maps(folder, ["model-x/sub-01/sub-01_contrast-a"], ("effect",))
    study.maps(folder, ["model-x/sub-01/sub-01_contrast-a"], ("variance",))
    assert study.gather().maps[0].variance is not None


def test_fitlins_without_node_folders_mixing_levels_is_refused(study):
    folder = study.derivative("fitlins", "FitLins")
    study.maps(
        folder,
        ["sub-01/sub-01_run-1_contrast-a", "sub-01/sub-01_run-2_contrast-a", "sub-01/sub-01_contrast-a"],
    )
    with pytest.raises(UsageError, match="with and without run"):
        study.gather()
    assert [m.run for m in study.gather(bids_filter={"run": None}).maps] == [None]
    assert [m.run for m in study.gather(bids_filter={"run": "*"}).maps] == ["1", "2"]
    assert [m.run for m in study.gather(run_labels=("01",)).maps] == ["1"]


def test_halfpipe_names_its_first_level_contrasts_taskcontrast(study):
    folder = study.derivative("halfpipe", "HALFpipe")
    for s in ("01", "02"):
        name = f"sub-{s}/func/task-x/sub-{s}_task-x_feature-f_taskcontrast-facesGtShapes"
        study.maps(folder, [name], ("effect", "variance", "z", "dof"))
        study.image(folder / f"sub-{s}/func/task-x/sub-{s}_task-x_feature-f_mask.nii.gz")
    study.maps(folder, ["grouplevel/task-x_feature-f_taskcontrast-facesGtShapes_contrast-intercept"])
    maps = study.gather().maps
    assert [(m.subject, m.contrast) for m in maps] == [("01", "facesGtShapes"), ("02", "facesGtShapes")]
    assert all(m.dof.name.endswith("stat-dof_statmap.nii.gz") and m.mask and m.variance for m in maps)


def test_two_halfpipe_features_are_two_maps_for_one_row(study):
    folder = study.derivative("halfpipe", "HALFpipe")
    study.maps(folder, [f"sub-01/func/sub-01_task-x_feature-{f}_taskcontrast-a" for f in ("f", "g")])
    with pytest.raises(UsageError, match="2 maps of contrast 'a'") as caught:
        study.gather()
    assert "they differ in feature" in caught.value.found
    assert len(study.gather(bids_filter={"feature": "g"}).maps) == 1


def test_entities_nobody_knows_still_make_two_maps_for_one_row(study):
    folder = study.derivative()
    study.maps(folder, [f"sub-01/sub-01_flavour-{f}_contrast-a" for f in ("x", "y")], ("effect",))
    with pytest.raises(UsageError, match="2 maps of contrast 'a'"):
        study.gather()


def test_degrees_of_freedom_come_from_the_nearest_sidecar(study):
    folder = study.derivative()
    study.people(folder, "01 02", task="x")
    (folder / "task-x_stat-effect_statmap.json").write_text(json.dumps({"DegreesOfFreedom": 80}))
    own = folder / "sub-02/func/sub-02_task-x_contrast-a_stat-effect_statmap.json"
    own.write_text(json.dumps({"DegreesOfFreedom": 42.5}))
    (folder / "task-y_statmap.json").write_text(json.dumps({"DegreesOfFreedom": 7}))
    assert [m.dof for m in study.gather().maps] == [80.0, 42.5]


def test_a_sidecar_without_suffix_counts_and_one_of_another_suffix_does_not(study):
    folder = study.derivative()
    study.people(folder, "01", task="x")
    (folder / "task-x_bold.json").write_text(json.dumps({"DegreesOfFreedom": 7}))
    assert [m.dof for m in study.gather().maps] == [None]
    (folder / "task-x.json").write_text(json.dumps({"DegreesOfFreedom": 80}))
    assert [m.dof for m in study.gather().maps] == [80.0]


@pytest.mark.parametrize("value", ["many", -3, 0, True, [10, 20], float("nan")])
def test_degrees_of_freedom_that_are_no_positive_number_are_refused(study, value):
    folder = study.derivative()
    study.people(folder, "01")
    (folder / "statmap.json").write_text(json.dumps({"DegreesOfFreedom": value}))
    with pytest.raises(DataError, match="sub-01_contrast-a_stat-effect"):
        study.gather()


def test_a_mask_of_another_person_run_space_or_kind_is_not_taken(study):
    folder = study.derivative()
    name = "sub-01/func/sub-01_task-x_run-{}_space-S_contrast-a"
    study.maps(folder, [name.format(1), name.format(2)])
    for mask in (
        "run-1_space-S_desc-brain",
        "run-2_space-T",
        "run-2_space-S_desc-gm",
        "space-S_label-GM",
        "run-2",
    ):
        study.image(folder / f"sub-01/func/sub-01_task-x_{mask}_mask.nii.gz")
    study.image(folder / "sub-02/func/sub-02_task-x_run-2_space-S_mask.nii.gz")
    assert [m.mask and m.mask.name for m in study.gather().maps] == [
        "sub-01_task-x_run-1_space-S_desc-brain_mask.nii.gz",
        None,
    ]


def test_effects_of_several_volumes_leave_with_a_warning_where_others_remain(study, reason_of):
    folder = study.derivative()
    study.people(folder, "01 02", contrasts="a")
    for s in ("01", "02"):
        study.image(
            folder / f"sub-{s}/func/sub-{s}_contrast-omnibus_stat-effect_statmap.nii.gz", (3, 4, 2, 2)
        )
    cohort = study.gather()
    assert {m.contrast for m in cohort.maps} == {"a"}
    assert any("several volumes" in reason for reason in reason_of(cohort, "01"))
    assert any(n.severity == "warning" and "omnibus (sub-01, sub-02)" in n.sentence for n in cohort.notices)
    assert cohort.has_variance_everywhere
    with pytest.raises(UsageError, match="omnibus cannot be analysed"):
        study.gather(first_level_contrasts=("omnibus",))


def test_a_fourth_axis_of_length_one_is_a_volume(study):
    folder = study.derivative()
    study.image(folder / "sub-01/sub-01_contrast-a_stat-effect_statmap.nii", (3, 4, 2, 1))
    assert len(study.gather().maps) == 1


@pytest.mark.parametrize("extension", [".dscalar.nii", ".func.gii"])
def test_what_is_called_a_surface_must_be_one(study, extension):
    folder = study.derivative()
    path = folder / f"sub-01/sub-01_contrast-a_stat-effect_statmap{extension}"
    path.parent.mkdir()
    path.write_bytes(b"no surface")
    with pytest.raises(DataError) as caught:
        study.gather()
    assert path.name in caught.value.sentence


def test_volumes_are_chosen_beside_surfaces_by_a_filter(study):
    folder = study.derivative()
    study.people(folder, "01")
    (folder / "sub-01/func/sub-01_contrast-a_stat-effect_statmap.dscalar.nii").write_bytes(b"x")
    with pytest.raises(UsageError, match="2 kinds"):
        study.gather()
    (m,) = study.gather(bids_filter={"extension": (".nii", ".nii.gz")}).maps
    assert m.effect.name.endswith("statmap.nii.gz")
    assert m.variance is not None


def test_only_z_maps_are_refused_with_the_reason_unless_insisted_on(study):
    folder = study.derivative()
    for s in ("01", "02"):
        study.maps(folder, [f"sub-{s}/sub-{s}_contrast-a"], ("z", "t", "variance"))
    with pytest.raises(DataError, match="no stat-effect map in this dataset") as caught:
        study.gather()
    assert "precision" in caught.value.expected
    assert "--input-stat z" in caught.value.fix
    cohort = study.gather(input_stat="z")
    assert [(m.input_stat, m.variance) for m in cohort.maps] == [("z", None)] * 2
    assert not cohort.has_variance_everywhere
    assert any("z maps" in n.sentence and n.severity == "warning" for n in cohort.notices)


def test_a_contrast_that_has_only_t_maps_is_refused_when_asked_for_and_named_otherwise(study, reason_of):
    folder = study.derivative()
    study.people(folder, "01 02", contrasts="a")
    study.maps(folder, ["sub-01/func/sub-01_contrast-b"], ("t",))
    cohort = study.gather()
    assert reason_of(cohort, "01") == ["no stat-effect map of this contrast, only stat-t"]
    with pytest.raises(DataError, match="of contrast b"):
        study.gather(first_level_contrasts=("b",))


def test_a_statmap_without_contrast_is_named(study, reason_of):
    folder = study.derivative()
    study.people(folder, "01")
    study.maps(folder, ["sub-01/func/sub-01_seed-pcc"], ("effect",))
    assert reason_of(study.gather(), "01") == ["its name has no contrast of letters and digits"]


@pytest.mark.parametrize("label", ["face_vs_house", "face-house", "face>house"])
def test_a_contrast_is_not_cut_short_at_a_character_that_no_label_has(study, label):
    folder = study.derivative()
    study.maps(folder, [f"sub-01/func/sub-01_contrast-{label}"], ("effect",))
    with pytest.raises(SelectionError, match="cannot be told apart by contrast"):
        study.gather()


def test_any_prefix_may_stand_before_the_contrast(study):
    study.maps(study.derivative(), ["sub-01/my_first level_contrast-a"])
    assert [(m.subject, m.contrast) for m in study.gather().maps] == [("01", "a")]


def test_people_with_and_without_runs_side_by_side_are_a_warning(study):
    folder = study.derivative()
    study.people(folder, "01 02", run="1")
    study.people(folder, "03")
    (notice,) = [n for n in study.gather().notices if n.severity == "warning"]
    assert notice.sentence == "Maps without run stand beside others: sub-03."


def test_maps_of_different_producers_in_one_analysis_are_refused(study):
    one, other = study.derivative("one", "nilearn"), study.derivative("two", "FitLins")
    study.people(one, "01", contrasts="a b")
    study.people(other, "02", contrasts="a")
    inputs = {"derivatives": ((None, one), ("second", other))}
    with pytest.raises(DataError, match="made by different programs") as caught:
        study.gather(inputs)
    assert f"{one}: nilearn; {other}: FitLins" in caught.value.found
    assert len(study.gather(inputs, first_level_contrasts=("b",)).maps) == 1


def test_a_known_and_an_unknown_producer_are_different(study):
    one, other = study.derivative("one", "nilearn"), study.derivative("two", None)
    study.people(one, "01")
    study.people(other, "02")
    with pytest.raises(DataError, match="different programs"):
        study.gather({"derivatives": ((None, one), (None, other))})


def test_no_statmaps_anywhere_says_where_they_were_looked_for(study):
    study.derivative("fmriprep", "fMRIPrep")
    with pytest.raises(SelectionError, match="No first-level maps") as caught:
        study.gather()
    assert "fmriprep" in caught.value.found
