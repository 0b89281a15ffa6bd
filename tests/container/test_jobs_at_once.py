"""Participant jobs that write into one OUTPUT_DIR at the same time, as the tasks of a job array do."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bids_group.cli import main
from bids_group.demo import DemoTruth, write_demo

N_JOBS = 8
N_ROUNDS = 3

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="jobs are forked")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoTruth:
    return write_demo(tmp_path_factory.mktemp("demo"), n_people=N_JOBS, size_mm=20)


def run_job(barrier: Any, demo: DemoTruth, output_dir: Path, label: str) -> None:
    barrier.wait()
    arguments = [str(demo.bids_dir), str(output_dir), "participant", "--participant-label", label, "-qq"]
    sys.exit(main([*arguments, "--nprocs", "1"]))


def run_at_once(demo: DemoTruth, output_dir: Path, labels: Sequence[str]) -> list[int | None]:
    """Fork one process per label; all start in the same instant. Returns exit codes."""
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(labels))
    jobs = [context.Process(target=run_job, args=(barrier, demo, output_dir, label)) for label in labels]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(120)
    return [job.exitcode for job in jobs]


def read_results(output_dir: Path) -> dict[str, bytes]:
    """Contents by name, but for what holds times and process numbers."""
    return {
        path.relative_to(output_dir).as_posix(): path.read_bytes()
        for path in output_dir.rglob("*")
        if path.is_file() and path.parent.name != "logs" and not path.name.startswith("command")
    }


def test_eight_jobs_at_once_lose_nothing_and_tear_nothing(demo: DemoTruth, tmp_path: Path) -> None:
    one_by_one = tmp_path / "one-by-one"
    for label in demo.subjects:
        assert run_at_once(demo, one_by_one, [label]) == [0]
    expected = read_results(one_by_one)
    assert sum(name.endswith("stat-effect_statmap.nii.gz") for name in expected) == N_JOBS
    for turn in range(N_ROUNDS):
        output_dir = tmp_path / f"at-once-{turn}"
        assert run_at_once(demo, output_dir, demo.subjects) == [0] * N_JOBS
        found = read_results(output_dir)
        assert sorted(found) == sorted(expected)
        for name, content in expected.items():
            assert found[name] == content, name


def test_the_group_job_after_them_gives_the_bytes_of_one_run(demo: DemoTruth, tmp_path: Path) -> None:
    group = ["group", "-qq", "--no-report", "--nprocs", "1"]
    assert run_at_once(demo, tmp_path / "array", demo.subjects) == [0] * N_JOBS
    assert main([str(demo.bids_dir), str(tmp_path / "array"), *group]) == 0
    assert main([str(demo.bids_dir), str(tmp_path / "alone"), *group]) == 0
    assert read_results(tmp_path / "array") == read_results(tmp_path / "alone")
