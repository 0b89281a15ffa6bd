"""Datasets for whole runs, written once per session by the demo writer."""

import shutil

import pytest

from bids_group.demo import write_demo
from tests.studies import contents


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
def contents_of():
    return contents
