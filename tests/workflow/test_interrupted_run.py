"""A run that is killed at any moment, and the same command again."""

import os
import signal
import subprocess
import sys

import pytest

from bids_group.cli import main
from bids_group.demo import write_demo

JOB = ["group", "--formula", "~ group * n_cigs + age", "--missing", "drop", "--no-report", "-q"]
SLOWLY = """
import os, sys, time
place = os.replace
def slowly(source, target):
    place(source, target)
    print(target, flush=True)
    time.sleep(0.01)
os.replace = slowly
from bids_group.cli import main
sys.exit(main(sys.argv[1:]))
"""


def start(arguments):
    """Start a run that says each file that it puts in place."""
    return subprocess.Popen([sys.executable, "-c", SLOWLY, *arguments], stdout=subprocess.PIPE, text=True)


def kill_after(arguments, n_files):
    """Start a run and kill it, with no chance to clean up, once it has written ``n_files`` files."""
    with start(arguments) as process:
        for _ in range(n_files):
            assert process.stdout.readline(), "the run ended before it was killed"
        os.kill(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """As many files as the demo has, of large voxels: never write into it."""
    folder = tmp_path_factory.mktemp("coarse") / "data"
    write_demo(folder, size_mm=12)
    return folder


@pytest.fixture(scope="module")
def undisturbed(demo, tmp_path_factory, contents_of):
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    assert main([str(demo), str(out), *JOB]) == 0
    return contents_of(out)


@pytest.mark.parametrize("n_files", [3, 80, 200], ids=lambda n: f"after {n} files")
def test_a_killed_run_goes_on_to_the_same_bytes(demo, tmp_path, undisturbed, contents_of, n_files):
    out = tmp_path / "out"
    kill_after([str(demo), str(out), *JOB, "--nprocs", "1"], n_files)
    assert main([str(demo), str(out), *JOB]) == 0
    assert contents_of(out) == undisturbed


def test_a_place_that_is_held_is_refused_with_75_and_a_terminated_run_lets_it_go_with_130(demo, tmp_path):
    out = tmp_path / "out"
    arguments = [str(demo), str(out), *JOB, "--nprocs", "1"]
    with start(arguments) as first:
        try:
            first.stdout.readline()
            first.send_signal(signal.SIGSTOP)  # or it might end before the second one has begun
            second = subprocess.run(
                [sys.executable, "-m", "bids_group", *arguments], capture_output=True, text=True, check=False
            )
            assert second.returncode == 75
            assert str(first.pid) in second.stderr
            first.send_signal(signal.SIGTERM)
            first.send_signal(signal.SIGCONT)
            first.stdout.read()
            assert first.wait() == 130
        finally:
            first.kill()
    assert not [path for path in out.iterdir() if "lock" in path.name]
