"""Leaving out what a condition holds for; conditions are read, never run."""

from __future__ import annotations

import pytest

from bids_group.errors import DataError, SelectionError, UsageError


@pytest.fixture
def screened(study):
    """Four people with motion and site; sub-04 has no motion value."""
    study.people(study.derivative(), "01 02 03 04")
    study.table(
        """participant_id fd_mean site odd-name
        sub-01 0.1 a 1
        sub-02 0.6 b 2
        sub-03 0.9 a 3
        sub-04 n/a b 4""",
        site={"Levels": {"a": "", "b": "", "c": ""}},
    )
    return study


def kept(study, condition):
    return "".join(m.subject[-1] for m in study.gather(exclude_where=condition).maps)


@pytest.mark.parametrize(
    "condition, left",
    [
        ("fd_mean > 0.5", "14"),
        ("fd_mean >= 0.6 and site == 'a'", "124"),
        ('fd_mean > 0.5 and not (site == "a")', "134"),
        ("site == 'a' or fd_mean == 0.6", "4"),
        ("site in ['a', 'c']", "24"),
        ("site not in ('a',)", "13"),
        ("0.05 < fd_mean <= 0.6", "34"),
        ("fd_mean > -1", "4"),
        ("not fd_mean > 0.5", "234"),
        ("site != 'b'", "24"),
        ("`odd-name` == 2", "134"),
        ("participant_id == 'sub-03'", "124"),
        ("fd_mean > 0.5 or site == 'b'", "1"),
    ],
)
def test_conditions_take_out_those_they_hold_for(screened, condition, left):
    """A missing value is neither above nor below anything (Kleene's logic)."""
    assert kept(screened, condition) == left


def test_the_reason_gives_the_condition_and_the_value(screened, reason_of):
    cohort = screened.gather(exclude_where="fd_mean > 0.5")
    assert reason_of(cohort, "02") == ["--exclude-where fd_mean > 0.5: fd_mean is 0.6"]
    assert reason_of(cohort, "04") == []


def test_people_whose_value_is_missing_are_named_and_said_to_stay(screened):
    cohort = screened.gather(exclude_where="fd_mean > 0.5")
    (notice,) = [n for n in cohort.notices if n.topic == "exclusions"]
    assert notice.severity == "warning"
    assert notice.sentence == (
        "--exclude-where 'fd_mean > 0.5' cannot be judged for 1 participant, who stays in the analysis: "
        "no value (n/a) of fd_mean for sub-04."
    )
    assert notice.fix == "Fill in the table, or leave out who should not stay: --exclude-participant-label 04"


def test_a_condition_that_the_known_values_settle_leaves_nothing_open(screened):
    cohort = screened.gather(exclude_where="fd_mean > 0.5 and site == 'a'")
    assert not [n for n in cohort.notices if n.topic == "exclusions"]


def test_people_without_a_row_in_the_tables_asked_are_told_apart_from_those_without_a_value(scanned):
    (scanned.raw / "sub-01/sub-01_sessions.tsv").unlink()
    scanned.table("session_id mood\n ses-1 n/a", "sub-02/sub-02_sessions.tsv")
    folder = scanned.raw / "derivatives" / "firstlevel"
    scanned.maps(folder, ["sub-03/ses-1/func/sub-03_ses-1_task-x_run-1_contrast-a"])
    scanned.table("session_id mood\n ses-1 3", "sub-03/sub-03_sessions.tsv")
    notices = scanned.gather(exclude_where="mood == 2").notices
    (notice,) = [n for n in notices if n.topic == "exclusions" and n.severity == "warning"]
    said = "no row in the sessions table for sub-01; no value (n/a) of mood for sub-02."
    assert notice.sentence.endswith(f"for 2 participants, who stay in the analysis: {said}")


@pytest.mark.parametrize(
    "values, condition, said",
    [
        ("fail Fail pass pass", "qc == 'fail'", ["'Fail' (1), 'fail' (1) of column 'qc'"]),
        ("pass NA pass fail", "qc == 'fail'", ["'NA' is a level of column 'qc'"]),
        ("0.1 999 0.4 0.2", "qc > 0.5", ["values far from all others, which run from 0.1 to 0.4: 999"]),
        ("0.1 999 0.4 0.2", "qc == 999", []),
        ("0.1 999 0.4 -999", "qc in [999, -999]", []),
        ("0.1 999 0.4 -999", "qc == 999", ["from 0.1 to 0.4: -999 in 1 of 4 (sub-04)"]),
        ("0.1 999 0.4 0.2", "qc == 0.1", ["from 0.1 to 0.4: 999 in 1 of 4 (sub-02)"]),
        ("0.1 999 0.4 0.2", "qc != 999 and qc > 0.3", ["from 0.1 to 0.4: 999 in 1 of 4 (sub-02)"]),
        ("pass NA pass refused", "qc == 'NA'", ["'refused' is a level of column 'qc'"]),
        ("fail Fail pass pass", "qc in ['fail', 'Fail']", []),
        ("fail Fail NA pass", "qc in ['fail', 'NA']", ["'Fail' (1), 'fail' (1)"]),
    ],
)
def test_what_is_odd_about_the_column_of_a_condition_is_told_but_for_what_it_names_itself(
    study, values, condition, said
):
    study.people(study.derivative(), "01 02 03 04")
    rows = "".join(f"\n sub-0{n} {value}" for n, value in enumerate(values.split(), start=1))
    study.table(f"participant_id qc{rows}")
    told = [one for one in study.gather(exclude_where=condition).notices if one.topic == "columns"]
    assert [part in one.sentence for part, one in zip(said, told, strict=True)] == [True] * len(said)
    assert {one.severity for one in told} <= {"warning"}


@pytest.mark.parametrize("condition, is_told", [("fd_mean > 0,5", True), ("('a', 'b')", False)])
def test_a_decimal_comma_is_told_apart_from_a_list(screened, condition, is_told):
    with pytest.raises(UsageError) as caught:
        screened.gather(exclude_where=condition)
    assert (caught.value.fix == "Write numbers with a decimal point.") == is_told


def test_a_condition_that_holds_for_nobody_is_noted(screened):
    cohort = screened.gather(exclude_where="fd_mean > 400 and site == 'a'")
    (notice,) = [n for n in cohort.notices if n.topic == "exclusions"]
    assert notice.severity == "note"
    assert notice.sentence == "--exclude-where 'fd_mean > 400 and site == 'a'' matches nobody."


def test_a_condition_that_holds_for_everybody_leaves_nothing(screened):
    with pytest.raises(SelectionError, match="No first-level map is left") as caught:
        screened.gather(exclude_where="fd_mean > 0 or site == 'b'")
    assert caught.value.exit_code == 18


HOSTILE = [
    '__import__("os").system("true")',
    "fd_mean.__class__ == 1",
    "open('x') == 'a'",
    "(lambda: 1)() == fd_mean",
    "fd_mean == [x for x in (1,)]",
    "fd_mean > (y := 0.5)",
    "site == f'{fd_mean}'",
    "fd_mean[0] > 1",
    "fd_mean if 1 else 2",
    "fd_mean + 1 > 2",
    "fd_mean ** 9999999 > 2",
    "(fd_mean > 0.5) & (site == 'a')",
    "fd_mean is None",
    "fd_mean > True",
    "fd_mean > 1j",
    "site == b'a'",
    "site < 'b'",
    "fd_mean in 0.5",
    "fd_mean == ['a']",
    "fd_mean",
    "1 < 2",
    "True",
    "",
    "fd_mean > 0.5; site",
    "import os",
    "site == 'a' or",
    "not " * 100_000 + "fd_mean > 1",
    "fd_mean == site",
    "site in 'ab'",
    "*fd_mean > 1",
]


@pytest.mark.parametrize("condition", HOSTILE)
def test_everything_but_comparisons_is_refused(screened, condition):
    with pytest.raises(UsageError) as caught:
        screened.gather(exclude_where=condition)
    assert caught.value.exit_code == 64


@pytest.mark.parametrize(
    "condition, sentence, fix",
    [
        ("fd_maen > 0.5", "names a column 'fd_maen'", "Did you mean 'fd_mean'?"),
        ("site == 'aa'", "names a value 'aa'", None),
        ("site == b", "names a column 'b'", 'in quotes: site == "b"'),
        ("site != participant", "names a column 'participant'", 'in quotes: site != "participant"'),
        ("site in [a, 'b']", "cannot be used", 'in quotes: "a"'),
        ("fd_mean > b", "names a column 'b'", 'put it in quotes: "b"'),
        ("fd_mean > '0.5'", "cannot be used", "without quotes"),
        ("site == 1", "cannot be used", "in quotes"),
        ("site = 'a'", "cannot be used", "two equal signs"),
        ("(site == 'a') | (fd_mean > 1)", "cannot be used", "and, or, not"),
    ],
)
def test_mistakes_are_told_with_a_fix(screened, condition, sentence, fix):
    with pytest.raises(UsageError, match=sentence) as caught:
        screened.gather(exclude_where=condition)
    assert fix is None or fix in caught.value.fix


@pytest.fixture
def scanned(study):
    """Two people, two runs, motion in the scans tables, mood in the sessions tables."""
    folder = study.derivative()
    for s, motion in (("01", (0.1, 0.7)), ("02", (0.2, 0.3))):
        start = f"sub-{s}/ses-1/func/sub-{s}_ses-1_task-x_run-{{}}"
        study.maps(folder, [start.format(run) + "_contrast-a" for run in (1, 2)])
        rows = [
            f"func/sub-{s}_ses-1_task-x_run-0{r}_bold.nii.gz {fd}"
            for r, fd in zip((1, 2), motion, strict=True)
        ]
        rows.append(f"anat/sub-{s}_ses-1_T1w.nii.gz 9")
        rows.append(f"func/sub-{s}_ses-1_task-y_run-01_bold.nii.gz 8")
        study.table("filename fd_mean\n" + "\n".join(rows), f"sub-{s}/ses-1/sub-{s}_ses-1_scans.tsv")
        study.table(f"session_id mood\n ses-1 {s}", f"sub-{s}/sub-{s}_sessions.tsv")
    study.table("participant_id site\n sub-01 a\n sub-02 b")
    return study


def test_a_scan_takes_its_run_and_no_more(scanned):
    cohort = scanned.gather(exclude_where="fd_mean > 0.5")
    assert [(m.subject, m.run) for m in cohort.maps] == [("01", "1"), ("02", "1"), ("02", "2")]
    (lost,) = cohort.exclusions
    assert (lost.subject, lost.run, lost.contrast) == ("01", "2", "a")
    assert lost.path is not None
    assert lost.reason == "--exclude-where fd_mean > 0.5: fd_mean is 0.7"


def test_a_malformed_scans_table_does_no_harm_where_it_is_not_asked(scanned):
    scanned.table("file motion\n x 1", "sub-01/ses-1/sub-01_ses-1_scans.tsv")
    assert len(scanned.gather(exclude_where="site == 'a'").maps) == 2
    with pytest.raises(DataError, match="no column 'filename'"):
        scanned.gather(exclude_where="motion > 1")


def test_scans_and_participants_are_asked_together(scanned):
    cohort = scanned.gather(exclude_where="fd_mean > 0.15 and site == 'b'")
    assert [(m.subject, m.run) for m in cohort.maps] == [("01", "1"), ("01", "2")]
    assert any(e.subject == "02" and e.path is None for e in cohort.exclusions)


def test_a_condition_on_sessions_takes_the_session(scanned):
    assert {m.subject for m in scanned.gather(exclude_where="mood == 2").maps} == {"01"}


def test_a_map_made_of_good_and_bad_scans_can_neither_stay_nor_go(scanned):
    folder = scanned.raw / "derivatives" / "firstlevel"
    for run in (1, 2):
        for stat in ("effect", "variance"):
            (
                folder
                / f"sub-01/ses-1/func/sub-01_ses-1_task-x_run-{run}_contrast-a_stat-{stat}_statmap.nii.gz"
            ).unlink()
    scanned.maps(folder, ["sub-01/ses-1/func/sub-01_ses-1_task-x_contrast-a"])
    with pytest.raises(DataError, match="holds for a part of") as caught:
        scanned.gather(exclude_where="fd_mean > 0.5")
    assert "1 of 2" in caught.value.found
    assert len(scanned.gather(exclude_where="fd_mean > 1").maps) == 3
