"""Runs that something happens to: the launcher that does them, and the summary of how many were survived."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from bids_group.demo import write_demo
from tests.studies import contents

HERE = Path(__file__).parent
IS_LONG = os.environ.get("BIDS_GROUP_FAULTS") == "every"
JOB = [
    "group", "--correction", "fdr", "fwe-voxel", "--n-permutations", "8", "--alpha", "0.3",
    "--no-sensitivity", "--no-report", "-q",
]  # fmt: skip


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("faults")


def pytest_terminal_summary(terminalreporter):
    """Say how many faults of each kind were tried, and how many survived."""
    lines = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "teardown"
        for name, value in getattr(report, "user_properties", ())
        if name == "faults"
    ]
    if not lines:
        return
    terminalreporter.section("faults")
    sums = {kind: [0, 0] for kind in (*sorted({line[0] for line in lines}), "all")}
    for kind, *numbers in lines:
        for name in (kind, "all"):
            sums[name] = [one + other for one, other in zip(sums[name], numbers, strict=True)]
    for kind, (tried, survived) in sums.items():
        terminalreporter.write_line(f"{kind:<60} {tried:>5} tried {survived:>5} survived")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended: exit code (minus the signal, where one ended it) and what it said."""

    code: int
    said: str
    has_hung: bool
    seconds: float
    cpu_seconds: float
    peak_mb: float
    counts: dict[str, int]

    @property
    def complaint(self):
        """What is wrong with the end of this run, whatever was done to it; None where nothing is."""
        if self.has_hung:
            return "it hung"
        if self.code == 70 or "Traceback" in self.said or "Logging error" in self.said:
            return f"a traceback, exit code {self.code}"
        n_errors = sum(line.startswith("ERROR ") for line in self.said.splitlines())
        if n_errors != (self.code > 0):
            return f"exit code {self.code} with {n_errors} errors"
        return None


class Launcher:
    """Does runs of the app, each in a copy of a process that has imported it."""

    def __init__(self, folder, library, warm_up):
        self.folder = folder
        environment = dict(os.environ)
        if library is not None:
            environment["LD_PRELOAD"] = str(library)
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(HERE / "launcher.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.ask(warm_up, is_answer_json=False)

    def ask(self, question, *, is_answer_json=True):
        print(json.dumps(question), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, "the launcher has ended"
        return json.loads(answer) if is_answer_json else answer

    def run(self, *arguments, folders=(), fault=None, record=None, limit_s=60.0):
        """Run the app; ``fault``: (call, n, how, number of the error) on files below ``folders``."""
        said = self.folder / "said"
        job = {
            "arguments": list(map(str, arguments)), "folders": list(map(str, folders)), "fault": fault,
            "record": record and str(record), "said": str(said), "limit_s": limit_s,
        }  # fmt: skip
        answer = self.ask(job)
        return Outcome(said=said.read_text(errors="replace"), **answer)

    def close(self):
        with self.process:
            self.process.stdin.close()


@pytest.fixture(scope="session")
def few(tmp_path_factory):
    """Three people, a map each, few voxels: never write into it."""
    folder = tmp_path_factory.mktemp("few") / "data"
    write_demo(folder, kind="one-sample", n_people=3, size_mm=30)
    return folder


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """The library that makes calls fail; None without a compiler, and on other systems."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    made = tmp_path_factory.mktemp("library") / "interpose.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", made, HERE / "interpose.c", "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    return made


@pytest.fixture(scope="session")
def launcher(few, library, tmp_path_factory):
    """The app, ready to run; also without the library."""
    folder = tmp_path_factory.mktemp("launcher")
    launcher = Launcher(folder, library, [[str(few), str(folder / "out"), *JOB]])
    yield launcher
    launcher.close()


@pytest.fixture(scope="session")
def disturbed(launcher, library):
    """The app, ready to run with calls that fail."""
    if library is None:
        pytest.skip("needs a C compiler (cc or gcc) and Linux")
    return launcher


@pytest.fixture(scope="session")
def contents_of():
    return contents


@pytest.fixture(scope="session")
def job():
    """The words of the small run, behind BIDS_DIR and OUTPUT_DIR."""
    return JOB


@pytest.fixture(scope="session")
def undisturbed(few, launcher, tmp_path_factory):
    """What the small run writes."""
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    outcome = launcher.run(few, out, *JOB)
    assert outcome.code == 0, outcome.said
    return contents(out)


@pytest.fixture
def tally(record_property):
    """Give a function that notes (kind, failures, how many were tried) for the summary and judges."""

    def judge(kind, failures, tried):
        record_property("faults", (kind, tried, tried - len(failures)))
        assert not failures, f"{len(failures)} of {tried}:\n" + "\n\n".join(failures[:12])

    return judge
