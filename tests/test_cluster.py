"""Dask: the same answers, in the same order, as threads; workers and schedulers that go away."""

import os
import signal
import subprocess
import time
from functools import partial
from shutil import which

import numpy as np
import pytest

from bids_group import cluster as cluster_module
from bids_group.cli import main
from bids_group.cluster import DaskCluster, describe_machine
from bids_group.demo import write_demo
from bids_group.errors import DataError, MissingInputError, RunError
from bids_group.executor import Threads

pytestmark = [  # a socket that distributed opens to find a free port is closed by the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def make_cluster(folder, **options):
    (folder / "out").mkdir(exist_ok=True)
    return DaskCluster(folder=folder / "work" / "dask", output_dir=folder / "out", **options)


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers on this machine."""
    made = make_cluster(tmp_path_factory.mktemp("cluster"), n_procs=2)
    yield made
    made.close()
    assert not made.folder.exists()


def scale(values, number):
    return number, values * number


def refuse(number):
    raise DataError(f"Item {number} cannot be done.", found="a reason", fix="Do another.")


def die(marker, number):
    """Kill the worker: once where a marker is written, else whenever a number is even."""
    if number % 2 == 0 and (marker is None or not marker.exists()):
        if marker is not None:
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number, os.getpid()


@pytest.mark.parametrize("n_values", [5, 5_000_000])  # the larger array lies in a file
def test_results_are_those_of_threads_in_the_order_of_the_items(workers, n_values):
    values = np.random.default_rng(4).normal(size=n_values).astype(np.float32)
    numbers = [3, 1, 2, 1]
    found = workers.map(partial(scale, values), numbers)
    for (number, own), (expected, theirs) in zip(
        found, Threads().map(partial(scale, values), numbers), strict=True
    ):
        assert number == expected
        np.testing.assert_array_equal(own, theirs)


def test_a_refusal_on_a_worker_is_a_refusal_here(workers):
    with pytest.raises(DataError, match="Item 7 cannot be done") as caught:
        list(workers.map(refuse, [7]))
    assert (caught.value.found, caught.value.fix) == ("a reason", "Do another.")


def test_a_lost_worker_costs_nothing_but_its_items(workers, tmp_path):
    found = list(workers.map(partial(die, tmp_path / "died"), range(8)))
    assert (tmp_path / "died").exists()
    assert [number for number, _ in found] == list(range(8))
    assert os.getpid() not in {pid for _, pid in found}


def test_what_kills_every_worker_is_said(workers):
    with pytest.raises(RunError, match="lost its worker again and again"):
        list(workers.map(partial(die, None), [1, 2]))


def test_a_work_folder_that_is_removed_is_said(workers):
    def items():
        for file in workers.folder.glob("list-*/*"):
            file.unlink()
        yield 1

    with pytest.raises(RunError, match="work folder"):
        list(workers.map(partial(scale, np.ones(3)), items()))


def test_a_scheduler_that_does_not_answer_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_PATIENCE", 2)
    with pytest.raises(RunError, match="does not answer"):
        list(make_cluster(tmp_path, scheduler="tcp://127.0.0.1:9").map(abs, [1]))


def test_workers_that_see_no_folder_are_refused(tmp_path):
    blind = make_cluster(tmp_path)
    blind.output_dir = tmp_path / "elsewhere"
    assert not describe_machine([str(blind.output_dir)]).sees_all
    try:
        with pytest.raises(RunError, match="do not see the folders"):
            list(blind.map(abs, [1]))
    finally:
        blind.close()


def test_a_run_on_a_cluster_writes_the_bytes_of_a_run_on_threads(tmp_path):
    write_demo(tmp_path / "data", kind="one-sample")
    asked = ["group", "--correction", "fdr", "fwe-voxel", "fwe-tfce", "--n-permutations", "60", "--no-report"]
    for name, options in (("threads", []), ("workers", ["--executor", "dask", "--nprocs", "2"])):
        assert main([str(tmp_path / "data"), str(tmp_path / name), *asked, *options]) == 0
    threads, workers = contents(tmp_path / "threads"), contents(tmp_path / "workers")
    assert sorted(threads) == sorted(workers)
    assert [name for name in threads if threads[name] != workers[name]] == []
    assert not (tmp_path / "workers" / ".work").exists()


def test_a_refusal_of_a_run_on_a_cluster_has_its_exit_code(tmp_path):
    write_demo(tmp_path / "data", kind="one-sample")
    broken = next((tmp_path / "data" / "derivatives").rglob("sub-03*effect_statmap.nii.gz"))
    payload = broken.read_bytes()
    broken.write_bytes(payload[: len(payload) // 2])
    said = main([str(tmp_path / "data"), str(tmp_path / "out"), "group", "--executor", "dask", "--no-report"])
    assert said in {DataError.exit_code, MissingInputError.exit_code}


@pytest.mark.slurm
def test_workers_of_slurm_write_the_bytes_of_threads(tmp_path_factory):
    if which("sinfo") is None or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.skip("no Slurm answers here")
    folder = tmp_path_factory.mktemp("slurm")
    write_demo(folder / "data", kind="one-sample")
    options = folder / "slurm.yaml"
    options.write_text("cores: 1\nmemory: 2GB\nwalltime: '00:10:00'\njobs: 2\nqueue: main\ninterface: lo\n")
    asked = [str(folder / "data"), "{}", "group", "--correction", "fdr", "--no-report"]
    for name, more in (("threads", []), ("slurm", ["--executor", "dask", "--dask-slurm", str(options)])):
        assert main([one.format(folder / name) for one in asked] + more) == 0
    threads, slurm = contents(folder / "threads"), contents(folder / "slurm")
    assert [name for name in {**threads, **slurm} if threads.get(name) != slurm.get(name)] == []
    time.sleep(2)
    left = subprocess.run(["squeue", "-h", "-u", "root"], capture_output=True, text=True, check=True)
    assert not left.stdout.strip()


def contents(folder):
    """Bytes of every file below a folder but those that hold times."""
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "command.json" and "logs" not in path.parts
    }
