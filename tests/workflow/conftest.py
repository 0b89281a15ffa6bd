"""Datasets for whole runs, written once per session by the demo writer."""

import shutil

import nibabel as nib
import numpy as np
import pytest

from bids_group.demo import write_demo
from tests.studies import begin_study, contents


@pytest.fixture(scope="module", autouse=True)
def _words_not_pictures(placeholders_in_module):
    """What is looked at here is whole runs; the pictures of a report are in ``tests/output/report``."""


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """The demo dataset: never write into it."""
    folder = tmp_path_factory.mktemp("demo") / "data"
    write_demo(folder)
    return folder


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """Twelve people, one map each: never write into it."""
    folder = tmp_path_factory.mktemp("small") / "data"
    write_demo(folder, kind="one-sample")
    return folder


@pytest.fixture
def small_copy(small, tmp_path):
    """The small dataset, to be spoiled by one test."""
    return shutil.copytree(small, tmp_path / "data")


@pytest.fixture(scope="session")
def write_visits():
    """Give a function that writes people who come several times, with the months of each visit.

    ``table`` has a row per visit: ``participant_id``, ``session_id``, ``months``, and what else is known of
    the person. ``maps``: by stat, arrays ``(n_visits, …)``. Names are ``task-rest_space-MNI_contrast-go``.
    """

    def write(root, table, maps):
        people = table.drop(columns=["session_id", "months"]).drop_duplicates()
        first = begin_study(root, people)
        for number, (person, visit) in enumerate(
            zip(table["participant_id"], table["session_id"], strict=True)
        ):
            folder = first / person / visit / "func"
            folder.mkdir(parents=True)
            for stat, values in maps.items():
                name = f"{person}_{visit}_task-rest_space-MNI_contrast-go_stat-{stat}_statmap.nii.gz"
                nib.save(nib.Nifti1Image(values[number], np.diag([3.0, 3, 3, 1])), folder / name)
        for person, own in table.groupby("participant_id"):
            (root / person).mkdir()
            path = root / person / f"{person}_sessions.tsv"
            own[["session_id", "months"]].to_csv(path, sep="\t", index=False)

    return write


@pytest.fixture(scope="session")
def contents_of():
    return contents
