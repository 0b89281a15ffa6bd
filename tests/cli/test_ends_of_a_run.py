"""Ctrl-C at any moment, and streams that nobody reads: a clean end, nothing half-written."""

import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from bids_group.cli import main
from bids_group.cli.compare import main as compare
from bids_group.demo import main as demo
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
from {door} import main
sys.exit(main())
"""
WHILE_CALLING = """
import itertools, os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from {door} import main
import {module} as module
real = module.{function}
calls = itertools.count(1)  # threads call it too
def interrupted(*given, **named):
    if next(calls) == {nth}:
        os.kill(os.getpid(), signal.{sign})
    return real(*given, **named)
module.{function} = interrupted
sys.exit(main())
"""


def importing(where, door="bids_group.cli"):
    return WHILE_IMPORTING.format(where=where, door=door)


def calling(module, function, door="bids_group.cli", nth=1, sign="SIGINT"):
    return WHILE_CALLING.format(module=module, function=function, door=door, nth=nth, sign=sign)


MOMENTS = {
    "importing the parser": importing("bids_group.cli.parser"),
    "importing numpy": importing("numpy.linalg"),
    "importing the stages": importing("bids_group.model.planning"),
    "gathering": calling("bids_group.elements.reading", "read_start"),
    "pooling": calling("bids_group.output.files.pooled", "write_cache"),
    "shuffling": calling("bids_group.inference.shuffling.batch_cache", "_sealed"),
}
IN_DEMO = {
    "importing the command": importing("bids_group.demo.cli", "bids_group.demo"),
    "importing numpy": importing("numpy.linalg", "bids_group.demo"),
    "the first table": calling("bids_group.output.disk.writing", "write_table", "bids_group.demo"),
    "the third map": calling("bids_group.demo.maps", "_save", "bids_group.demo", 3),
    "the third map, ended": calling("bids_group.demo.maps", "_save", "bids_group.demo", 3, "SIGTERM"),
    "the last move": calling("bids_group.demo.dataset", "Path.rename", "bids_group.demo", 6),
    "saying it": calling("bids_group.demo.cli", "describe_demo", "bids_group.demo"),
}
IN_COMPARISON = {
    "importing the pages": importing("bids_group.compare.page", "bids_group.cli.compare"),
    "the first file": calling("bids_group.compare.writing", "write_table", "bids_group.cli.compare"),
    "moving": calling("bids_group.output.disk.publishing", "check_claim", "bids_group.cli.compare"),
}


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    folder = tmp_path_factory.mktemp("few") / "data"
    write_demo(folder, kind="one-sample", n_people=8, size_mm=30)
    return folder


@pytest.fixture(scope="module")
def sides(few, tmp_path_factory):
    """Two outputs that are the same."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert main([str(few), str(folder / "a"), *JOB]) == 0
    return shutil.copytree(folder / "a", folder / "b").with_name("a"), folder / "b"


@pytest.fixture(scope="module")
def undisturbed(sides):
    return contents(sides[0])


@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c(moment, few, undisturbed, tmp_path):
    out = tmp_path / "out"
    words = [str(few), str(out), *JOB]
    interrupted(MOMENTS[moment], *words)
    assert bool(left_in(out)) == (moment in ("pooling", "shuffling"))
    assert main(words) == 0
    assert contents(out) == undisturbed


def left_in(folder):
    """Name what is in a folder: nothing half-written and no lock."""
    names = [path.name for path in folder.rglob("*")]
    assert not [name for name in names if name.startswith(".part-") or name.endswith((".lock", ".turn"))]
    return names


def interrupted(script, *words):
    """Run a command that is interrupted: its code is right, and it says one line at most."""
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


@pytest.mark.parametrize("moment", IN_DEMO)
def test_ctrl_c_of_a_demo(moment, tmp_path):
    folder = tmp_path / "demo"
    interrupted(IN_DEMO[moment], folder, "--kind", "one-sample")
    is_whole = moment == "saying it"
    assert (folder / "dataset_description.json").exists() == is_whole
    if moment == "the last move":  # not whole, and told so
        assert main([str(folder), str(tmp_path / "out"), "group", "-qq"]) == 16
        shutil.rmtree(folder)
    elif not is_whole:
        assert left_in(folder) == []
    if not is_whole:
        write_demo(folder, kind="one-sample")
    write_demo(tmp_path / "again", kind="one-sample")
    assert contents(folder) == contents(tmp_path / "again")


def test_a_demo_that_was_killed_is_no_obstacle_and_files_of_others_stay(tmp_path):
    script = IN_DEMO["the third map"].replace("SIGINT)\n    return", "SIGKILL)\n    return")
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / "demo")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == -signal.SIGKILL
    (left,) = (tmp_path / "demo").iterdir()
    assert left.name.startswith(".part-")
    write_demo(tmp_path / "demo", kind="one-sample")
    assert left_in(tmp_path / "demo")
    other = tmp_path / "other"
    (other / left.name).mkdir(parents=True)
    (other / "mine.txt").write_text("mine")
    assert demo([str(other)]) == 73
    assert sorted(one.name for one in other.iterdir()) == sorted([left.name, "mine.txt"])


@pytest.fixture(scope="module")
def compared(sides, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compared") / "both"
    assert compare([*map(str, sides), str(folder), "-qq"]) == 0
    return contents(folder)


@pytest.mark.parametrize("moment", IN_COMPARISON)
def test_ctrl_c_of_a_comparison(moment, sides, compared, tmp_path):
    folder = tmp_path / "both"
    interrupted(IN_COMPARISON[moment], *sides, folder, "-qq")
    assert "report.html" not in left_in(folder)
    assert compare([*map(str, sides), str(folder), "-qq"]) == 0
    assert contents(folder) == compared
    interrupted(IN_COMPARISON[moment], *sides, folder, "-qq")
    pages = {"report.html", "comparison.tsv"} if moment == "moving" else set()
    assert {name for name, one in compared.items() if contents(folder).get(name) != one} - pages == set()
    assert pages.isdisjoint(contents(folder))


def test_a_second_ctrl_c_changes_nothing(few, tmp_path):
    twice = MOMENTS["gathering"].replace(
        "sys.exit(main())", "code = main()\nos.kill(os.getpid(), 2)\nsys.exit(code)"
    )
    command = [sys.executable, "-W", "ignore", "-c", twice, str(few), str(tmp_path / "out"), *JOB]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (130, 1)


def left_alone(words, module="bids_group.cli", **streams):
    """Run a command: exit code, and what it says on standard error."""
    start = f"import sys; from {module} import main; sys.exit(main())"
    command = [sys.executable, "-W", "ignore", "-c", start, *map(str, words)]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **streams)
    return done.returncode, done.stderr


def unread():
    """Open a pipe that nobody reads."""
    nobody, pipe = os.pipe()
    os.close(nobody)
    return os.fdopen(pipe, "w")


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
    with unread() as stream:
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


@pytest.mark.parametrize("module", ["bids_group.demo", "bids_group.cli.compare"])
def test_help_and_words_of_the_other_commands_that_nobody_reads(module, tmp_path):
    with unread() as stream:
        code, said = left_alone(["--help"], module, stdout=stream)
    assert (code in (0, 141), said) == (True, "")
    for number in (1, 2):
        assert left_alone(["--help"], module, preexec_fn=lambda closed=number: os.close(closed)) == (0, "")
    assert left_alone(["--nothing"], module, preexec_fn=lambda: os.close(2)) == (64, "")


def test_a_demo_whose_words_nobody_reads_is_whole(tmp_path):
    with unread() as stream:
        ended = left_alone([tmp_path / "demo", "--kind", "one-sample"], "bids_group.demo", stdout=stream)
    assert ended == (141, "")
    write_demo(tmp_path / "again", kind="one-sample")
    assert contents(tmp_path / "demo") == contents(tmp_path / "again")


def test_signals_are_left_as_they_were_where_nothing_happened(few, tmp_path):
    both = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(one) for one in both]
    assert main([str(few), str(tmp_path / "out"), "group", "-qq", "--dry-run"]) == 0
    assert [signal.getsignal(one) for one in both] == before


def test_a_thread_may_call_the_command(few, tmp_path):
    words = [str(few), str(tmp_path / "out"), "group", "-qq", "--dry-run"]
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(main, words).result() == 0
