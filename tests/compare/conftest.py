"""Two analyses of one small dataset with two sessions: sessions as rows, and differences within people."""

import json
import shutil

import pytest

from bids_group.cli import main as run_group
from bids_group.cli.compare import main as run_compare
from bids_group.demo import write_demo

MODEL = {
    "Name": "pooled",
    "BIDSModelVersion": "1.0.0",
    "Nodes": [
        {
            "Level": "Subject",
            "Name": "subject",
            "GroupBy": ["contrast", "subject"],
            "Transformations": {
                "Transformer": "pybids-transforms-v1",
                "Instructions": [{"Name": "Factor", "Input": ["session"]}],
            },
            "Model": {"Type": "glm", "X": ["session.baseline", "session.followup"]},
            "Contrasts": [
                {
                    "Name": "change",
                    "ConditionList": ["session.baseline", "session.followup"],
                    "Weights": [-1, 1],
                    "Test": "t",
                }
            ],
        },
        {
            "Level": "Dataset",
            "Name": "group",
            "GroupBy": ["contrast"],
            "Model": {"Type": "glm", "X": [1]},
            "DummyContrasts": {"Test": "t"},
        },
    ],
}
CHANGE = "change = mean(session=followup) - mean(session=baseline)"
PAIR = "facesVsHousesChange=change"
OPTIONS = ["--no-report", "--nprocs", "1", "--correction", "none", "fdr", "bonferroni", "ari"]


def rows(data, out, *options, formula="~ session + subject"):
    """Sessions as rows."""
    words = [str(data), str(out), "group", "--formula", formula, "--pooling", "none", "--contrast", CHANGE]
    assert run_group([*words, *OPTIONS, *options]) == 0
    return out


def pooled(data, out, *options):
    """Differences within people, then their mean."""
    model = out.with_suffix(".json")
    model.write_text(json.dumps(MODEL))
    assert run_group([str(data), str(out), "group", "--model", str(model), *OPTIONS, *options]) == 0
    return out


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Eight people in two sessions, one map each: never write into it."""
    folder = tmp_path_factory.mktemp("compare") / "data"
    write_demo(folder, kind="paired", size_mm=14, n_people=8)
    return folder


@pytest.fixture(scope="session")
def out_rows(data, tmp_path_factory):
    return rows(data, tmp_path_factory.mktemp("rows") / "out")


@pytest.fixture(scope="session")
def out_pooled(data, tmp_path_factory):
    return pooled(data, tmp_path_factory.mktemp("pooled") / "out")


@pytest.fixture(scope="session")
def out_mean(data, tmp_path_factory):
    """The mean over sessions, in six of the eight people."""
    out = tmp_path_factory.mktemp("mean") / "out"
    words = [str(data), str(out), "group", "--exclude-participant-label", "02", "05", *OPTIONS]
    assert run_group([*words, "--smoothing-fwhm", "20"]) == 0
    return out


@pytest.fixture(scope="session")
def out_all(data, tmp_path_factory):
    """The mean over sessions, in everybody."""
    out = tmp_path_factory.mktemp("all") / "out"
    assert run_group([str(data), str(out), "group", *OPTIONS]) == 0
    return out


@pytest.fixture
def pictures():
    """Ask for this to have the figures drawn."""


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    """Draw no figures where a test is about numbers and words."""
    if "pictures" not in request.fixturenames:
        for name in ("picture_agreement", "picture_difference"):
            monkeypatch.setattr(f"bids_group.compare.page.{name}", lambda *_: None)


@pytest.fixture
def compare(tmp_path, capsys):
    """Run the command; return its exit code, standard error and the folder."""

    def run(a, b, *options, folder=None):
        place = tmp_path / "comparison" if folder is None else folder
        code = run_compare([str(a), str(b), str(place), *options])
        return code, capsys.readouterr().err, place

    return run


@pytest.fixture
def copy(tmp_path):
    """Copy an output, to be spoiled by one test."""
    return lambda out, name="copy": shutil.copytree(out, tmp_path / name)
