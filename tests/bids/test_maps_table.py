"""The table that lists maps one by one."""

from __future__ import annotations

import re

import pytest

from bids_group.errors import DataError, MissingInputError, SelectionError, UsageError


@pytest.fixture
def spm(study):
    """Two people as SPM and FSL leave them, in a folder beside the table."""
    for s in ("01", "02"):
        study.image(study.raw / "spm" / s / "con_0001.nii")
        study.image(study.raw / "spm" / s / "var.nii.gz")
        study.image(study.raw / "spm" / s / "dof.nii.gz")
    return study


def gather(study, rows, **selection):
    return study.gather({"maps_table": study.table(rows, "lists/maps.tsv")}, **selection)


def test_paths_are_relative_to_the_table_and_labels_may_carry_prefixes(spm):
    rows = """participant_id session run task contrast effect variance dof
    sub-01 n/a run-1 task-x faces>houses ../spm/01/con_0001.nii ../spm/01/var.nii.gz 42
    02 n/a 1 x faces>houses ../spm/02/con_0001.nii ../spm/02/var.nii.gz ../spm/02/dof.nii.gz"""
    cohort = gather(spm, rows)
    first, second = cohort.maps
    assert (first.subject, first.session, first.run, first.task) == ("01", None, "1", "x")
    assert first.contrast == "faces>houses"
    assert first.effect == spm.raw / "spm/01/con_0001.nii"
    assert first.dof == 42.0
    assert second.dof == spm.raw / "spm/02/dof.nii.gz"
    assert first.dataset == spm.raw
    assert cohort.has_variance_everywhere


def test_without_optional_columns_nothing_is_invented(spm):
    rows = "participant_id contrast effect\n 01 a ../spm/01/con_0001.nii\n 02 a ../spm/02/con_0001.nii"
    cohort = gather(spm, rows)
    m = cohort.maps[0]
    assert (m.session, m.run, m.task, m.variance, m.dof, m.mask) == (None,) * 6
    assert not cohort.has_variance_everywhere


@pytest.mark.parametrize(
    "columns, line, error, words",
    [
        ("contrast effetc", "01 a x.nii", DataError, "no column 'effect'"),
        ("contrast effect varaince", "01 a con_0001.nii n/a", UsageError, "column 'varaince'"),
        ("ses contrast effect", "01 a x con_0001.nii", UsageError, "Did you mean 'session'?"),
        ("run contrast effect", "01 1.0 x con_0001.nii", UsageError, "Write '1' here."),
        ("contrast effect", "01 n/a con_0001.nii", DataError, "Line 2 of .* has no contrast"),
        ("contrast effect", "P_01 a con_0001.nii", UsageError, "label 'P_01'"),
        ("contrast effect", "s_1 x con_0001.nii", UsageError, "Write 's1' here and in participants.tsv."),
        ("contrast effect", "01 a con_0001.img", MissingInputError, "1 file that"),
        ("contrast effect", "01 a con_0001.mgz", UsageError, "no map that can be"),
        ("contrast effect", "01 a con.dlabel.nii", UsageError, "a file of labels"),
        ("contrast effect", "01 a lh.con.func.gii", MissingInputError, "1 file that"),
        ("contrast effect", "01 a ../09/con_0001.nii", MissingInputError, "1 file that"),
        ("contrast effect dof", "01 a con_0001.nii 0", DataError, "dof 0"),
        ("contrast effect dof", "01 a con_0001.nii many", UsageError, "no map that can be read"),
    ],
)
def test_mistakes_name_the_line_or_column_and_what_is_meant(spm, columns, line, error, words):
    table = spm.table(f"participant_id {columns}\n {line}", "spm/01/maps.tsv")
    with pytest.raises(error) as caught:
        spm.gather({"maps_table": table})
    assert re.search(words, f"{caught.value.sentence} {caught.value.fix}")


@pytest.mark.parametrize("column", ["effect", "variance"])
def test_a_file_in_several_lines_is_refused_with_these_lines(spm, column):
    cells = {"effect": ["con_0001.nii"] * 2, "variance": ["var.nii.gz"] * 2}
    people = {"effect": ["01", "02"], "variance": ["01", "02"]} | {column: ["01", "01"]}
    lines = ["participant_id contrast effect variance"]
    lines += [
        f"{s} a " + " ".join(f"../spm/{people[name][i]}/{cells[name][i]}" for name in ("effect", "variance"))
        for i, s in enumerate(("sub-01", "02"))
    ]
    with pytest.raises(DataError) as caught:
        gather(spm, "\n\n".join(lines))
    assert f"in several lines of its column '{column}'" in caught.value.sentence
    assert caught.value.found == f"../spm/01/{cells[column][0]} in line 3 (sub-01) and line 5 (sub-02)"


def test_a_line_pasted_twice_is_refused_with_these_lines(spm):
    line = "01 a ../spm/01/con_0001.nii"
    with pytest.raises(DataError, match="in several lines") as caught:
        gather(spm, f"participant_id contrast effect\n {line}\n {line}")
    assert "in line 2 (sub-01) and line 3 (sub-01)" in str(caught.value)
    assert "remove" in str(caught.value.fix)


def test_one_way_to_a_file_written_in_two_ways_is_one_file(spm):
    rows = "participant_id contrast effect\n 01 a ../spm/01/con_0001.nii\n 02 a ../spm/02/../01/con_0001.nii"
    with pytest.raises(DataError, match="in several lines"):
        gather(spm, rows)


def test_files_that_are_not_there_are_named_with_their_lines(spm):
    rows = """participant_id contrast effect variance
    01 a ../spm/01/con_0001.nii ../spm/01/nothing.nii
    02 a ../spm/09/con_0001.nii ../spm/02/var.nii.gz"""
    with pytest.raises(MissingInputError, match=r"2 files that .* names are not there") as caught:
        gather(spm, rows)
    assert caught.value.found == "line 2: ../spm/01/nothing.nii, line 3: ../spm/09/con_0001.nii"


def test_what_was_found_is_said_to_stand_in_the_table(spm):
    rows = "participant_id contrast effect\n 01 a ../spm/01/con_0001.nii\n 02 a ../spm/02/con_0001.nii"
    said = [notice.sentence for notice in gather(spm, rows).notices]
    assert "Found 2 effect maps of 2 participants, contrast a, in the table maps.tsv." in said


def test_a_mask_may_serve_several_lines(spm):
    rows = """participant_id contrast effect mask
    01 a ../spm/01/con_0001.nii ../spm/01/dof.nii.gz
    02 a ../spm/02/con_0001.nii ../spm/01/dof.nii.gz"""
    assert len(gather(spm, rows).maps) == 2


def test_copies_of_a_map_under_two_people_are_refused(spm):
    (spm.raw / "spm/02/con_0001.nii").write_bytes((spm.raw / "spm/01/con_0001.nii").read_bytes())
    rows = "participant_id contrast effect\n 01 a ../spm/01/con_0001.nii\n 02 a ../spm/02/con_0001.nii"
    with pytest.raises(DataError, match="same map stands under sub-01, sub-02"):
        gather(spm, rows)


def test_two_lines_for_one_row_are_refused_with_these_lines(spm):
    rows = """participant_id run contrast effect
    01 1 a ../spm/01/con_0001.nii
    sub-01 01 a ../spm/02/con_0001.nii"""
    with pytest.raises(UsageError, match="lines about the same map: sub-01, run 1, contrast a") as caught:
        gather(spm, rows)
    assert caught.value.found == "line 2 (../spm/01/con_0001.nii) and line 3 (../spm/02/con_0001.nii)"
    assert "--maps" not in str(caught.value.fix)


def test_selection_works_on_the_table_too(spm):
    rows = "participant_id contrast effect\n 01 a ../spm/01/con_0001.nii\n 02 b ../spm/02/con_0001.nii"
    assert [m.subject for m in gather(spm, rows, first_level_contrasts=("b",)).maps] == ["02"]
    with pytest.raises(SelectionError, match="contrast 'c'"):
        gather(spm, rows, first_level_contrasts=("c",))


def test_a_table_and_a_derivative_together_are_refused(spm):
    table = spm.table("participant_id contrast effect\n 01 a x.nii", "maps.tsv")
    with pytest.raises(UsageError, match="--maps and by --derivatives"):
        spm.gather({"maps_table": table, "derivatives": ((None, spm.derivative()),)})


def test_z_maps_of_a_table_have_no_variance(spm):
    rows = "participant_id contrast effect variance\n 01 a ../spm/01/con_0001.nii ../spm/01/var.nii.gz"
    with pytest.raises(UsageError, match="z maps have none"):
        gather(spm, rows, input_stat="z")


@pytest.mark.parametrize(
    ("effects", "odd"),
    [
        (
            ("sub-02_ses-a_run-1", "sub-01_ses-a_run-1"),
            ["another person", "line 2 (sub-01: sub-02_ses-a_run-1"],
        ),
        (("sub-01/ses-b/con", "sub-02/ses-a/con"), ["another session", "line 2 (ses-a: con.nii)"]),
        (("sub-01_run-2", "sub-02_run-01"), ["another run", "line 2 (run-1: sub-01_run-2.nii)"]),
        (("sub-1_run-01", "sub-002_run-001"), []),
        (("sub-07/sub-01_con", "ses-b_to_ses-a"), []),
        (("con_01", "xsub-01"), []),
        (("sub-cortical/p01_con", "sub-cortical/p02_con"), []),
        (("sub-01_a", "sub-01_b"), ["another person", "line 3 (sub-02: sub-01_b.nii)"]),
        (("run-level/sub-01_con", "run-level/sub-02_con"), []),
        (("sub-01_run-1+2", "sub-02_run-2+1"), []),
    ],
)
def test_files_named_after_others_are_warned_of(spm, effects, odd):
    """A column that was sorted without the others pairs people with maps of others."""
    rows = "participant_id session run contrast effect"
    for s, name in zip(("01", "02"), effects, strict=True):
        spm.image(spm.raw / "spm" / f"{name}.nii")
        rows += f"\n sub-{s} a 1 faces ../spm/{name}.nii"
    said = [one.sentence for one in gather(spm, rows).notices if "named after another" in one.sentence]
    assert len(said) == bool(odd)
    assert all(part in one for one in said for part in odd)


def test_a_folder_that_all_lines_share_names_nobody_where_some_lack_a_variance(spm):
    rows = "participant_id contrast effect variance"
    for name in ("s01", "v01", "s02"):
        spm.image(spm.raw / "spm" / "sub-cortical" / f"{name}.nii")
    rows += "\n sub-01 faces ../spm/sub-cortical/s01.nii ../spm/sub-cortical/v01.nii"
    rows += "\n sub-02 faces ../spm/sub-cortical/s02.nii n/a"
    assert not [one.sentence for one in gather(spm, rows).notices if "named after another" in one.sentence]


def test_a_file_named_after_a_label_in_other_case_is_not_warned_of(spm):
    for s in ("01", "02"):
        spm.image(spm.raw / "spm" / f"sub-P{s}.nii")
    rows = "participant_id contrast effect\n sub-p01 a ../spm/sub-P01.nii\n sub-p02 a ../spm/sub-P02.nii"
    spm.table("participant_id\n sub-p01\n sub-p02")
    assert not [one for one in gather(spm, rows).notices if "named after another" in one.sentence]


def test_an_index_without_a_name_that_pandas_writes_is_to_be_left_out(spm):
    path = spm.raw / "maps.tsv"
    path.write_text("\tparticipant_id\tcontrast\teffect\n0\tsub-01\ta\tspm/01/con_0001.nii\n")
    with pytest.raises(DataError, match="has a column without a name") as caught:
        spm.gather({"maps_table": path})
    assert caught.value.fix == "Leave it out (pandas: index=False), or give it a name."
