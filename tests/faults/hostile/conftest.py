"""A study, what a run made of it, and the app ready to run."""

import pytest

from bids_group.demo import write_demo
from tests.faults.conftest import Launcher
from tests.faults.hostile.trials import JOB, Study


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Six people, a map each, and what a run wrote of them: never write into it."""
    study = Study(folder=tmp_path_factory.mktemp("hostile") / "good")
    write_demo(study.data, kind="one-sample", size_mm=16, n_people=6)
    return study


@pytest.fixture(scope="module")
def run(good):
    """The app, ready to run."""
    words = [str(good.data), str(good.out)]
    launcher = Launcher(good.folder, None, [[*words, *JOB], [*words, "group", "-q", "--reports-only"]])
    yield launcher.run
    launcher.close()


@pytest.fixture(scope="module")
def usual(good, run, tmp_path_factory):
    """How a run of good input ends on this machine."""
    outcome = run(good.data, tmp_path_factory.mktemp("usual") / "out", *JOB, "--formula", "~ age")
    assert outcome.code == 0, outcome.said
    return outcome
