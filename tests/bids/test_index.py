"""What pybids is asked, and the traps around it."""

from __future__ import annotations

from bids_group.bids.index import index_dataset


def names(root):
    return {file.path.name: file.entities for file in index_dataset(root)[0]}


def test_statmaps_keep_the_entities_that_pybids_does_not_know(study):
    folder = study.derivative()
    study.maps(folder, ["node-runLevel/sub-01/ses-a/sub-01_ses-a_run-02_space-S_contrast-aGtB"], ("effect",))
    (entities,) = [found for name, found in names(folder).items() if name.endswith(".nii.gz")]
    assert entities == {
        "subject": "01",
        "subject_folder": "01",
        "session": "a",
        "session_folder": "a",
        "node": "runLevel",
        "run": "02",
        "space": "S",
        "contrast": "aGtB",
        "stat": "effect",
        "suffix": "statmap",
        "extension": ".nii.gz",
    }


def test_the_index_is_never_stale(study):
    folder = study.derivative()
    study.people(folder, "01")
    assert len(study.gather().maps) == 1
    study.people(folder, "02 03")
    assert len(study.gather().maps) == 3


def test_figures_tables_hidden_folders_and_code_are_not_indexed(study):
    folder = study.derivative()
    for name in (
        "code/a_statmap.nii.gz",
        ".git/b_statmap.nii.gz",
        "sub-01/figures/c.svg",
        "d.tsv",
        "sub-01/e.html",
    ):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert set(names(folder)) == {"dataset_description.json"}


def test_folders_that_only_begin_like_code_are_indexed(study):
    folder = study.derivative()
    study.maps(folder, ["codeA/sub-01/sub-01_contrast-a", "models/sub-02/sub-02_contrast-a"], ("effect",))
    assert len(study.gather().maps) == 2
