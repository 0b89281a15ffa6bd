"""Which maps of which people."""

from __future__ import annotations

import pytest

from bids_group.errors import SelectionError, UsageError


@pytest.fixture
def two_sessions(study):
    """Three people, two sessions of two runs; sub-03 lacks run 2 of ses-b. Two contrasts."""
    folder = study.derivative()
    for s in ("01", "02", "03"):
        for ses in ("a", "b"):
            for run in ("01", "02"):
                if (s, ses, run) != ("03", "b", "02"):
                    name = f"sub-{s}/ses-{ses}/func/sub-{s}_ses-{ses}_task-x_run-{run}_space-S_contrast-{{}}"
                    study.maps(folder, [name.format("go"), name.format("stop")])
    return study


def test_everything_is_taken_sorted_by_contrast_person_session_and_run(two_sessions):
    cohort = two_sessions.gather()
    rows = [(m.contrast, m.subject, m.session, m.run) for m in cohort.maps]
    assert rows == sorted(rows)
    assert len(rows) == 22
    assert cohort.has_variance_everywhere


@pytest.mark.parametrize("labels", [("01",), ("sub-01",), ("01", "sub-01")])
def test_labels_may_carry_their_prefix(two_sessions, labels):
    assert {m.subject for m in two_sessions.gather(participant_labels=labels).maps} == {"01"}


def test_people_who_were_not_selected_are_excluded_by_name(two_sessions, reason_of):
    cohort = two_sessions.gather(participant_labels=("01", "02"), exclude_participant_labels=("02",))
    assert {m.subject for m in cohort.maps} == {"01"}
    assert reason_of(cohort, "02") == ["left out (--exclude-participant-label)"]
    assert reason_of(cohort, "03") == ["not selected (--participant-label)"]
    assert cohort.everyone == ("01", "02", "03")


def test_runs_are_numbers_and_sessions_are_not(two_sessions):
    maps = two_sessions.gather(run_labels=("2",), session_labels=("ses-b",)).maps
    assert {(m.subject, m.session, m.run) for m in maps} == {("01", "b", "02"), ("02", "b", "02")}


def test_a_person_left_without_maps_is_named_with_the_reason(two_sessions, reason_of):
    cohort = two_sessions.gather(run_labels=("2",), session_labels=("b",))
    assert any(
        reason.startswith("no map left: ") and "--run-label" in reason for reason in reason_of(cohort, "03")
    )


@pytest.mark.parametrize(
    "selection, sentence, hint",
    [
        ({"participant_labels": ("1",)}, "no participant '1'", "Did you mean '01'?"),
        ({"participant_labels": ("SUB_02",)}, "no participant 'SUB_02'", "Did you mean '02'?"),
        (
            {"participant_labels": ("01,02",)},
            "no participant '01,02'",
            "Write labels apart: --participant-label 01 02",
        ),
        ({"exclude_participant_labels": ("04",)}, "no participant '04'", "--exclude-participant-label"),
        ({"session_labels": ("c",)}, "session 'c'", "--session-label"),
        ({"run_labels": ("5",)}, "run '5'", "--run-label"),
        ({"task_labels": ("y",)}, "task 'y'", "--task-label"),
        ({"space": "s"}, "space 's'", "Did you mean 'S'?"),
        ({"res": "2"}, "res '2'", "Leave --res out."),
        ({"node": "run"}, "node 'run'", "Leave --node out."),
        ({"first_level_contrasts": ("Stop", "goo")}, "contrast 'Stop'", "Did you mean 'stop'?"),
        ({"bids_filter": {"session": "c"}}, "BIDS filter session = c", "--bids-filter-file"),
        ({"bids_filter": {"space": None}}, "BIDS filter space = null", "--bids-filter-file"),
        ({"bids_filter": {"desc": "*"}}, "BIDS filter desc = *", "--bids-filter-file"),
    ],
)
def test_a_selection_of_nothing_lists_what_there_is(two_sessions, selection, sentence, hint):
    with pytest.raises(SelectionError) as caught:
        two_sessions.gather(**selection)
    assert caught.value.exit_code == 18
    assert sentence in caught.value.sentence
    assert hint in caught.value.fix
    assert caught.value.found


def test_labels_that_exist_but_not_together_leave_nothing(two_sessions):
    with pytest.raises(SelectionError) as caught:
        two_sessions.gather(participant_labels=("03",), session_labels=("b",), run_labels=("2",))
    assert caught.value.exit_code == 18


def test_contrasts_are_selected_and_the_others_stay_on_record(two_sessions):
    cohort = two_sessions.gather(first_level_contrasts=("stop",))
    assert {m.contrast for m in cohort.maps} == {"stop"}
    lost = [e for e in cohort.exclusions if e.contrast == "go"]
    assert len(lost) == 11
    assert {e.reason for e in lost} == {"not selected (--first-level-contrast)"}


@pytest.mark.parametrize(
    "entity, labels, option",
    [
        ("space", ("A", "B"), "--space A or --space B"),
        ("res", ("1", "2"), "--res 1 or --res 2"),
        ("task", ("x", "y"), "--task-label x or --task-label y"),
        ("den", ("10k", "32k"), "--den 10k or --den 32k"),
    ],
)
def test_two_of_a_kind_are_refused_with_counts_and_the_option(study, entity, labels, option):
    folder = study.derivative()
    for label in labels:
        study.people(folder, "01 02", **{entity: label})
    with pytest.raises(UsageError) as caught:
        study.gather()
    assert caught.value.exit_code == 64
    assert caught.value.found == f"{labels[0]} (2 maps), {labels[1]} (2 maps)"
    assert caught.value.fix == option
    key = {"task": "task_labels"}.get(entity, entity)
    value = (labels[1],) if entity == "task" else labels[1]
    assert len(study.gather(**{key: value}).maps) == 2


def test_maps_with_and_without_a_space_are_two_kinds_too(study):
    folder = study.derivative()
    study.people(folder, "01", space="S")
    study.people(folder, "02")
    with pytest.raises(UsageError, match="2 spaces") as caught:
        study.gather()
    assert caught.value.found == "no space (1 map), S (1 map)"
    assert '{"space": null}' in caught.value.fix
    assert [m.subject for m in study.gather(bids_filter={"space": None}).maps] == ["02"]


def test_sessions_of_some_and_none_of_the_same_person_are_refused(study):
    folder = study.derivative()
    study.maps(folder, ["sub-01/ses-a/sub-01_ses-a_contrast-c", "sub-01/sub-01_contrast-c"])
    with pytest.raises(UsageError, match="with and without session"):
        study.gather()


def test_run_1_and_run_01_of_one_person_are_two_maps_for_one_row(study):
    folder = study.derivative()
    study.maps(folder, ["sub-01/sub-01_run-1_contrast-c", "sub-01/sub-01_run-01_contrast-c"])
    with pytest.raises(UsageError, match="2 maps of contrast 'c'") as caught:
        study.gather()
    assert "they differ in run" in caught.value.found


def test_the_same_effect_zipped_and_unzipped_is_two_maps_for_one_row(study):
    folder = study.derivative()
    study.image(folder / "sub-01/sub-01_contrast-c_stat-effect_statmap.nii.gz")
    study.image(folder / "sub-01/sub-01_contrast-c_stat-effect_statmap.nii")
    with pytest.raises(UsageError, match="2 maps"):
        study.gather()


def test_two_variances_of_one_effect_are_refused(study):
    folder = study.derivative()
    study.people(folder, "01")
    study.image(folder / "sub-01/func/sub-01_contrast-a_stat-variance_statmap.nii")
    with pytest.raises(UsageError, match="has 2 variance maps"):
        study.gather()


def test_filters_take_lists_and_short_names(two_sessions):
    maps = two_sessions.gather(bids_filter={"ses": ("a",), "run": (1, 2), "contrast": "go"}).maps
    assert {(m.session, m.contrast) for m in maps} == {("a", "go")}
    assert len(maps) == 6


def test_a_part_of_a_filter_that_passes_nothing_is_a_warning(two_sessions):
    cohort = two_sessions.gather(bids_filter={"session": ("a", "c")})
    assert {m.session for m in cohort.maps} == {"a"}
    assert any("session = c passes no map" in n.sentence for n in cohort.notices if n.severity == "warning")


def test_a_filter_on_an_unknown_entity_is_refused(two_sessions):
    with pytest.raises(UsageError, match="unknown entity 'sesion'") as caught:
        two_sessions.gather(bids_filter={"sesion": "a"})
    assert caught.value.fix == "Did you mean 'session'?"


def test_variance_everywhere_is_decided_before_people_are_chosen(study):
    folder = study.derivative()
    study.people(folder, "01 02 03")
    (folder / "sub-03/func/sub-03_contrast-a_stat-variance_statmap.nii.gz").unlink()
    cohort = study.gather(participant_labels=("01",))
    assert not cohort.has_variance_everywhere
    assert any(n.topic == "variance" and "sub-03" in n.sentence for n in cohort.notices)


def test_variance_is_asked_only_of_the_contrasts_that_are_analysed(study):
    folder = study.derivative()
    study.people(folder, "01 02", contrasts="a")
    study.maps(folder, ["sub-01/func/sub-01_contrast-b"], ("effect",))
    assert study.gather(first_level_contrasts=("a",)).has_variance_everywhere
    assert not study.gather().has_variance_everywhere


def test_who_lacks_one_of_the_contrasts_is_named(study, reason_of):
    folder = study.derivative()
    study.people(folder, "01 02", contrasts="a b")
    study.people(folder, "03", contrasts="a")
    assert reason_of(study.gather(), "03") == ["no map of contrast b"]


def test_a_contrast_in_another_case_of_one_person_is_refused_by_name(study):
    folder = study.derivative()
    study.people(folder, "01 02 04", contrasts="faces")
    study.people(folder, "03", contrasts="Faces")
    with pytest.raises(UsageError, match="case or blanks alone, and no row has both") as refused:
        study.gather()
    assert refused.value.found == "Faces (1 row), faces (3 rows); Faces in sub-03"
    assert "--first-level-contrast faces" in refused.value.fix


@pytest.mark.parametrize("wanted", ["faces", "Faces"])
def test_a_contrast_in_another_case_that_is_not_selected_is_told_with_its_people(study, wanted):
    folder = study.derivative()
    study.people(folder, "01 02", contrasts="faces")
    study.people(folder, "03 04 05", contrasts="Faces")
    (told,) = [one for one in study.gather(first_level_contrasts=(wanted,)).notices if one.fix]
    other, names = {"faces": ("Faces", "sub-03, sub-04, sub-05"), "Faces": ("faces", "sub-01, sub-02")}[
        wanted
    ]
    assert told.sentence == f"{other} ({names}) is not selected; it differs from {wanted} in case alone."
    assert told.severity == "warning"
    everybody = (
        study.gather(first_level_contrasts=(wanted,), exclude_participant_labels=("01", "02", "03", "04"))
        if wanted == "Faces"
        else None
    )
    assert everybody is None or not [one for one in everybody.notices if one.severity == "warning"]


def test_two_contrasts_that_differ_in_case_are_taken_where_both_are_named(study):
    folder = study.derivative()
    study.people(folder, "01 02", contrasts="faces")
    study.people(folder, "03", contrasts="Faces")
    cohort = study.gather(first_level_contrasts=("faces", "Faces"))
    assert sorted((m.subject, m.contrast) for m in cohort.maps) == [
        ("01", "faces"),
        ("02", "faces"),
        ("03", "Faces"),
    ]


def test_two_contrasts_that_everybody_has_may_differ_in_case(study):
    study.people(study.derivative(), "01 02", contrasts="face Face")
    cohort = study.gather()
    assert {m.contrast for m in cohort.maps} == {"face", "Face"}
    assert not [one for one in cohort.notices if one.severity == "warning"]


@pytest.mark.parametrize(
    "key, severity", [("desc", "warning"), ("echo", "warning"), ("smooth", "warning"), ("acq", "note")]
)
def test_people_whose_maps_differ_in_a_key_of_their_names_are_told(study, key, severity):
    folder = study.derivative()
    names = (
        "{0}/{0}_task-x_{1}-1_contrast-a",
        "{0}/{0}_task-x_contrast-a",
        "{0}/{0}_task-x_{1}-2_contrast-a",
    )
    for label, name in zip(("01", "02", "03", "04", "05", "06"), (*names[:1] * 4, *names[1:]), strict=True):
        study.maps(folder, [name.format(f"sub-{label}", key)])
    (told,) = (one for one in study.gather().notices if "differ in" in one.sentence)
    assert told.sentence == (
        f"The maps of people differ in {key}: {key}-1 (sub-01, sub-02, sub-03, sub-04), "
        f"no {key} (sub-05), {key}-2 (sub-06)."
    )
    assert (told.severity, f'{{"{key}": …}}' in told.fix) == (severity, True)


def visits(*sessions):
    return [f"{{0}}/ses-{visit}/{{0}}_ses-{visit}_task-x_contrast-a_desc-{visit}" for visit in sessions]


ALIKE = {
    "sessions that only some people have": [visits("pre", "post")] * 2 + [visits("pre")] * 2,
    "two people with names of their own": [[f"{{0}}/{{0}}_task-x_date-202{n}_contrast-a"] for n in (1, 2)],
    "people who do not differ, or all do": [
        [
            f"{{0}}/{{0}}_task-x_dir-{way}_run-{run}_date-202{n}_contrast-a"
            for run, way in (("1", "AP"), ("2", "PA"))
        ]
        for n in range(5)
    ],
}


@pytest.mark.parametrize("names", ALIKE.values(), ids=ALIKE)
def test_names_that_say_nothing_of_single_people_are_not_told(study, names):
    folder = study.derivative()
    for number, own in enumerate(names, start=1):
        study.maps(folder, [name.format(f"sub-0{number}") for name in own])
    assert not [one for one in study.gather().notices if "differ in" in one.sentence]
