"""The ledger, and who has every value a model needs."""

from __future__ import annotations

import pandas as pd
import pytest

from bids_group.bids import build_ledger, keep_complete
from bids_group.errors import DataError, UsageError
from bids_group.records import Exclusion, GroupAnalysis, Observation


def analyse(cohort, contrast, leave=()):
    """One row per person who is not left out."""
    by_person = {}
    for m in cohort.maps:
        if m.contrast == contrast and m.subject not in leave:
            by_person.setdefault(m.subject, []).append(m)
    observations = tuple(
        Observation(subject=subject, contrast=contrast, sources=tuple(maps))
        for subject, maps in by_person.items()
    )
    rows = pd.DataFrame({"subject": list(by_person)}, index=[o.label for o in observations])
    return GroupAnalysis(
        first_level_contrast=contrast, observations=observations, rows=rows, formula="~ 1", contrasts=()
    )


@pytest.fixture
def cohort(study):
    """Five people with two sessions of two runs; sub-02 lacks a run, sub-03 a session; sub-05 has no maps."""
    folder = study.derivative("glm")
    for s in ("01", "02", "03", "04"):
        for ses in ("1", "2"):
            for run in ("1", "2"):
                lacks = (s == "02" and (ses, run) == ("2", "2")) or (s == "03" and ses == "1")
                if not lacks:
                    study.maps(folder, [f"sub-{s}/ses-{ses}/sub-{s}_ses-{ses}_task-x_run-{run}_contrast-a"])
    study.maps(folder, ["sub-01/ses-1/sub-01_ses-1_task-x_run-1_contrast-b"])
    study.table("participant_id n_cigs\n sub-01 1\n sub-02 2\n sub-03 3\n sub-04 n/a\n sub-05 5")
    return study.gather(first_level_contrasts=("a",))


def test_every_person_and_map_has_a_row_with_reason(cohort):
    analysis = analyse(cohort, "a", leave=("04",))
    _, gone = keep_complete(
        pd.DataFrame({"subject": ["01", "04"], "n_cigs": [5.0, float("nan")]}, index=["sub-01", "sub-04"]),
        ("n_cigs",),
        "drop",
    )
    ledger = build_ledger(cohort, [analysis], gone)
    used = ledger[ledger["used"] == "yes"]
    assert len(ledger) == 13 + 1 + 1
    assert len(used) == 9
    assert used["reason"].isna().all()
    assert ledger[ledger["used"] == "no"]["reason"].notna().all()
    by_person = ledger.groupby("participant_id")["reason"].agg(lambda r: sorted(set(r.dropna())))
    assert by_person["sub-01"] == ["not selected (--first-level-contrast)"]
    assert by_person["sub-04"] == ["no value (n/a) of n_cigs (--missing drop)"]
    assert by_person["sub-05"] == ["no first-level map"]


def test_it_counts_the_maps_behind_each_effect_and_names_what_is_missing(cohort):
    ledger = build_ledger(cohort, [analyse(cohort, "a", leave=("04",))])
    rows = ledger[ledger["contrast"] == "a"].drop_duplicates("participant_id").set_index("participant_id")
    assert rows["n_maps"].to_dict() == {"sub-01": 4, "sub-02": 3, "sub-03": 2, "sub-04": 0}
    notes = rows["note"].to_dict()
    assert notes["sub-02"] == "1 of 2 runs in ses-2"
    assert notes["sub-03"] == "0 of 2 runs in ses-1"
    assert notes["sub-01"] is None


def test_remarks_of_later_stages_stand_in_the_note(cohort):
    said = {("01", "1"): "covers 88 % of the mask", ("02", "1"): "covers 70 % of the mask"}
    remarks = {m.effect: said[key] for m in cohort.maps if (key := (m.subject, m.session)) in said}
    ledger = build_ledger(cohort, [analyse(cohort, "a")], remarks=remarks)
    later = ledger[ledger["session"] == "2"]
    assert not later["note"].fillna("").str.contains("covers").any()
    rows = ledger[ledger["contrast"] == "a"].drop_duplicates("participant_id").set_index("participant_id")
    assert rows["note"].to_dict() == {
        "sub-01": "covers 88 % of the mask",
        "sub-02": "1 of 2 runs in ses-2; covers 70 % of the mask",
        "sub-03": "0 of 2 runs in ses-1",
        "sub-04": None,
    }


def test_files_are_bids_uris_and_rows_are_sorted(cohort):
    ledger = build_ledger(cohort, [analyse(cohort, "a")])
    name = "sub-01_ses-1_task-x_run-1_contrast-a_stat-effect_statmap.nii.gz"
    assert ledger["file"][0] == f"bids:glm:sub-01/ses-1/{name}"
    keys = ledger[["participant_id", "session", "run"]].fillna("").apply(tuple, axis=1).tolist()
    assert keys == sorted(keys)
    assert ledger["run"][0] == "1"
    assert ledger["task"][0] == "x"


def test_lost_maps_keep_their_run_and_task(cohort):
    ledger = build_ledger(cohort, [])
    (row,) = ledger[ledger["contrast"] == "b"].to_dict("records")
    assert (row["session"], row["run"], row["task"], row["used"]) == ("1", "1", "x", "no")


def test_a_map_in_no_analysis_and_without_a_reason_says_so(cohort):
    ledger = build_ledger(cohort, [])
    assert set(ledger[ledger["contrast"] == "a"]["reason"]) == {"in no analysis"}


def test_a_map_that_left_later_keeps_its_own_reason(cohort):
    lost = cohort.maps[0]
    gone = Exclusion(subject=lost.subject, path=lost.effect, reason="it holds no number")
    ledger = build_ledger(cohort, [], [gone])
    assert ledger[ledger["reason"] == "it holds no number"]["file"].tolist() == [
        f"bids:glm:sub-01/ses-1/{lost.effect.name}"
    ]
    assert len(ledger) == len(build_ledger(cohort, []))


def test_the_order_of_maps_and_exclusions_does_not_matter(cohort):
    from dataclasses import replace

    turned = replace(cohort, maps=cohort.maps[::-1], exclusions=cohort.exclusions[::-1])
    one, other = build_ledger(cohort, [analyse(cohort, "a")]), build_ledger(turned, [analyse(turned, "a")])
    pd.testing.assert_frame_equal(one, other)


ROWS = pd.DataFrame(
    {
        "subject": ["01", "02", "03"],
        "session": ["a", "a", "b"],
        "age": [1.0, float("nan"), 3.0],
        "group": pd.Categorical(["x", None, None], categories=["x", "y"]),
    },
    index=["sub-01_ses-a", "sub-02_ses-a", "sub-03_ses-b"],
)


def test_rows_with_every_value_stay_in_their_order():
    labels, gone = keep_complete(ROWS.iloc[::-1], ("age",), "drop")
    assert labels == ["sub-03_ses-b", "sub-01_ses-a"]
    assert [(e.subject, e.session, e.reason) for e in gone] == [
        ("02", "a", "no value (n/a) of age (--missing drop)")
    ]


def test_nothing_is_asked_of_variables_that_the_model_does_not_use():
    labels, gone = keep_complete(ROWS, (), "error")
    assert labels == list(ROWS.index)
    assert gone == ()


def test_missing_values_are_an_error_that_names_people_and_columns():
    with pytest.raises(DataError, match="2 rows lack a value") as caught:
        keep_complete(ROWS, ("age", "group"), "error")
    assert caught.value.found == (
        "sub-02_ses-a has no value in any column (no row in participants.tsv?); n/a in group: sub-03_ses-b"
    )
    assert "--missing drop" in caught.value.fix


def test_people_without_a_row_in_the_table_are_not_told_as_missing_values():
    rows = pd.DataFrame(
        {"subject": ["01", "02", "3"], "age": [None, None, 30.0]}, index=["sub-01", "sub-02", "sub-3"]
    )
    with pytest.raises(DataError) as caught:
        keep_complete(rows, ("age",), "error")
    assert caught.value.found == "sub-01, sub-02 have no value in any column (no row in participants.tsv?)"
    assert "sub-1 is not sub-01" in caught.value.fix
    beside = rows.assign(site=["a", "b", "a"])
    with pytest.raises(DataError) as caught:
        keep_complete(beside, ("age",), "error")
    assert caught.value.found == "n/a in age: sub-01, sub-02"
    assert caught.value.fix == "Leave them out with --missing drop, or fill in the table."


def test_an_unknown_variable_is_refused():
    with pytest.raises(UsageError, match="no column 'aeg'") as caught:
        keep_complete(ROWS, ("aeg",), "drop")
    assert caught.value.fix == "Did you mean 'age'?"
