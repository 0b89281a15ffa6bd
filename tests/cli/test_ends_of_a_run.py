"""Ctrl-C in the first second, and streams that nobody reads: a clean end, nothing half-written."""

import os
import signal
import subprocess
import sys

import pytest

from bids_group.cli import main
from bids_group.demo import write_demo
from tests.faults.conftest import contents

JOB = ["group", "--correction", "fwe-voxel", "--n-permutations", "200", "--no-report", "-qq"]
WHILE_IMPORTING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == {where!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Watch())
from bids_group.cli import main
sys.exit(main())
"""
WHILE_CALLING = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from bids_group.cli import main
import {module} as module
real = module.{function}
def interrupted(*given, **named):
    os.kill(os.getpid(), signal.SIGINT)
    return real(*given, **named)
module.{function} = interrupted
sys.exit(main())
"""
MOMENTS = {
    "importing the parser": WHILE_IMPORTING.format(where="bids_group.cli.parser"),
    "importing numpy": WHILE_IMPORTING.format(where="numpy.linalg"),
    "importing the stages": WHILE_IMPORTING.format(where="bids_group.model.planning"),
    "gathering": WHILE_CALLING.format(module="bids_group.elements.reading", function="read_start"),
    "pooling": WHILE_CALLING.format(module="bids_group.output.files.pooled", function="write_cache"),
    "shuffling": WHILE_CALLING.format(
        module="bids_group.inference.shuffling.batch_cache", function="_sealed"
    ),
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "data"
    write_demo(folder, kind="one-sample", n_people=8, size_mm=30)
    return folder


@pytest.fixture(scope="module")
def undisturbed(few, tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main([str(few), str(out), *JOB]) == 0
    return contents(out)


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c(moment, few, undisturbed, tmp_path):
    out = tmp_path / "out"
    words = [str(few), str(out), *JOB]
    command = [sys.executable, "-W", "ignore", "-c", MOMENTS[moment], *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) <= 1
    names = [path.name for path in out.rglob("*")]
    assert not [name for name in names if name.startswith(".part-") or name.endswith((".lock", ".turn"))]
    assert bool(names) == (moment in ("pooling", "shuffling"))
    assert main(words) == 0
    assert contents(out) == undisturbed


def test_a_second_ctrl_c_changes_nothing(few, tmp_path):
    twice = MOMENTS["gathering"].replace(
        "sys.exit(main())", "code = main()\nos.kill(os.getpid(), 2)\nsys.exit(code)"
    )
    command = [sys.executable, "-W", "ignore", "-c", twice, str(few), str(tmp_path / "out"), *JOB]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (130, 1)


def left_alone(words, **streams):
    """Run the app: exit code, and what it says on standard error."""
    command = [sys.executable, "-W", "ignore", "-m", "bids_group", *map(str, words)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **streams)
    return done.returncode, done.stderr


COMMANDS = {
    "help": (["--help"], (0, 141), []),  # argparse of newer Pythons passes over it
    "dry run": (["{data}", "{out}", "group", "-qq", "--dry-run"], (141,), []),
    "dry run as JSON": (
        ["{data}", "{out}", "group", "-qq", "--dry-run", "--output-format", "json"],
        (141,),
        [],
    ),
    "print the design": (
        ["{data}", "{out}", "group", "-qq", "--dry-run", "--print-design", "{out}.tsv"],
        (141,),
        ["out.tsv"],
    ),
    "run": (["{data}", "{out}", *JOB], (0,), ["out"]),
}


@pytest.mark.parametrize("kind", COMMANDS)
def test_a_pipe_that_nobody_reads(kind, few, undisturbed, tmp_path):
    words, codes, left = COMMANDS[kind]
    nobody, pipe = os.pipe()
    os.close(nobody)
    with os.fdopen(pipe, "w") as stream:
        given = [one.format(data=few, out=tmp_path / "out") for one in words]
        code, said = left_alone(given, stdout=stream)
    assert code in codes
    assert said == ""
    assert [path.name for path in tmp_path.iterdir()] == left
    if kind == "run":
        assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("numbers", [(1,), (0, 1, 2)], ids=["standard output", "all streams"])
def test_streams_that_are_closed(numbers, few, undisturbed, tmp_path):
    def close():
        for number in numbers:
            os.close(number)

    words = [few, tmp_path / "out", *JOB]
    assert left_alone(words, preexec_fn=close) == (0, "")
    assert contents(tmp_path / "out") == undisturbed
    code, said = left_alone([few, tmp_path / "nothing", "group", "--formula", "~ nobody"], preexec_fn=close)
    assert code == 64
    assert ("nobody" in said) == (2 not in numbers)


def test_signals_are_left_as_they_were_where_nothing_happened(few, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    assert main([str(few), str(tmp_path / "out"), "group", "-qq", "--dry-run"]) == 0
    assert signal.getsignal(signal.SIGINT) is before
