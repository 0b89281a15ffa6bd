"""What a command imports before it knows what there is to do: what is heavy comes where it is used."""

import gc
import subprocess
import sys

import pytest

from bids_group.cli import main
from bids_group.demo import write_demo
from bids_group.errors import MissingInputError
from bids_group.executor import without_collection

PROBE = """
import sys
from bids_group.cli import main
try:
    code = main(sys.argv[1:])
except SystemExit as error:
    code = error.code
print(code, *sorted(sys.modules))
"""


def imported(*argv):
    """Run the app in a process of its own: its exit code, and the modules that it imported."""
    done = subprocess.run([sys.executable, "-c", PROBE, *argv], capture_output=True, text=True, check=True)
    code, *modules = done.stdout.splitlines()[-1].split()
    return int(code), set(modules), done.stderr


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("startup") / "data"
    write_demo(folder, kind="one-sample")
    return folder


def test_a_mistyped_option_or_path_costs_no_numpy(data, tmp_path):
    for code, argv in (
        (0, ["--help"]),
        (64, [str(data), str(tmp_path / "out"), "group", "--formul", "~ 1"]),
        (66, [f"{data}s", str(tmp_path / "out"), "group"]),
        (66, [str(data), str(tmp_path / "out"), "group", "--mask", str(data / "mask.nii.gz")]),
    ):
        found, modules, _ = imported(*argv)
        assert found == code, argv
        assert not {"numpy", "pandas", "nibabel"} & modules, argv


@pytest.mark.parametrize("formula", ["~ 1", "~ age"])
def test_a_dry_run_imports_neither_fits_nor_kernels_nor_pictures(formula, data, tmp_path):
    code, modules, _ = imported(str(data), str(tmp_path / "out"), "group", "--dry-run", "--formula", formula)
    assert code == 0
    heavy = {"nilearn", "numba", "matplotlib", "jinja2", "scipy.stats", "scipy.io", "scipy.ndimage", "bids"}
    heavy |= {"formulaic", "narwhals", "scipy.sparse", "scipy.linalg"}
    assert not (heavy | {"scipy.special", "rich.progress"}) & modules
    others = (
        "workflow.group",
        "elements.structured",
        "bids.maps_table",
        "model.contrast.slips",
        "output.report.atlas",
    )
    assert not {f"bids_group.{name}" for name in others} & modules


def test_garbage_is_collected_again_when_the_plan_is_made(data, tmp_path):
    assert gc.isenabled()
    assert main([str(data), str(tmp_path / "out"), "group", "--dry-run"]) == 0
    assert gc.isenabled()
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_garbage_is_not_looked_for_as_the_command_ends():
    code = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count())); " + PROBE
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True
    )
    *_, n_frozen = done.stdout.split()
    assert int(n_frozen) > 1000


def test_a_program_that_imports_the_app_still_closes_its_files_as_it_ends():
    code = """
import bids_group
bids_group.analyse
class Owner:
    def __init__(self):
        self.itself = self
    def __del__(self):
        print("closed")
Owner()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "closed\n"


@pytest.mark.parametrize(
    ("option", "typed", "meant"),
    [
        (None, "dta", "data"),
        ("--derivatives", "data/derivatives/firstlevl", "firstlevel"),
        ("--participants-tsv", "data/participant.tsv", "participants.tsv"),
        ("--mask", "nowhere/mask.nii.gz", "--mask"),
    ],
)
def test_a_path_that_leads_nowhere_is_named_with_what_lies_beside_it(data, tmp_path, option, typed, meant):
    place = str(data.parent / typed)
    argv = [place if option is None else str(data), str(tmp_path / "out"), "group"]
    code, _, said = imported(*argv, *([] if option is None else [option, place]))
    assert code == MissingInputError.exit_code
    assert place in said
    assert meant in said.split("fix")[1]
