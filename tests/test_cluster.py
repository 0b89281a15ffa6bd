"""Dask: the same answers, in the same order, as threads; workers and schedulers that go away."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from shutil import which

import numpy as np
import pytest
from distributed import LocalCluster
from distributed.comm.core import CommClosedError

from bids_group import cluster as cluster_module
from bids_group.cli import main
from bids_group.cluster import DaskCluster, describe_machine
from bids_group.config import Execution
from bids_group.demo import write_demo
from bids_group.errors import DataError, RunError, UsageError
from bids_group.executor import Threads, choose_executor
from bids_group.work_files import reserve
from tests.studies import contents

pytestmark = [  # a socket that distributed opens to find a free port is closed by the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def make_cluster(folder, **options):
    (folder / "out").mkdir(exist_ok=True)
    asked = Execution(executor="dask", work_dir=folder / "work", **options)
    return DaskCluster(asked=asked, folder=folder / "work" / "dask", output_dir=folder / "out")


@pytest.fixture(scope="module")
def workers(tmp_path_factory):
    """Two workers on this machine."""
    made = make_cluster(tmp_path_factory.mktemp("cluster"), n_procs=2)
    yield made
    made.close()
    assert not made.folder.exists()


def scale(values, number):
    return number, values * number


def version(number):
    return cluster_module.__version__


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


@pytest.fixture
def scheduler(tmp_path):
    """A cluster of one worker that outlives those who use it; its address, and a way to add a worker."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=":0", local_directory=str(tmp_path)
    ) as made:
        yield made


def test_two_runs_on_one_scheduler_do_not_share_what_their_items_share(scheduler, tmp_path):
    for factor in (10, 1000):  # folders as `choose_executor` names them
        asked = Execution(executor="dask", dask_scheduler=scheduler.scheduler_address, work_dir=tmp_path)
        used = choose_executor(asked, tmp_path)
        assert [found for _, found in used.map(partial(scale, factor), [1, 2])] == [factor, 2 * factor]
        used.close()
    assert tmp_path.is_dir()


def test_a_worker_that_joins_late_with_other_software_is_refused(scheduler, tmp_path, monkeypatch):
    used = make_cluster(tmp_path, dask_scheduler=scheduler.scheduler_address)
    assert list(used.map(version, [1])) == [cluster_module.__version__]
    monkeypatch.setattr(cluster_module, "__version__", "9.9")  # of this process: the workers are others now
    with pytest.raises(RunError, match="other software"):
        list(used.map(version, [1]))
    used.close()


def test_an_array_that_lies_in_a_file_is_not_written_again(workers, tmp_path):
    values = reserve(tmp_path / "rows.float32", (6, 1_000_000))
    values[:] = np.arange(6, dtype=np.float32)[:, None]
    seen = []

    def numbers():
        seen.extend(path.suffix for path in workers.folder.glob("list-*/*"))
        yield 2

    ((_, own),) = workers.map(partial(scale, values[1:]), numbers())
    np.testing.assert_array_equal(own, 2 * values[1:])
    assert seen == [".pickle"]


def test_a_scheduler_that_does_not_answer_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster_module, "_PATIENCE", 2)
    with pytest.raises(RunError, match="does not answer"):
        list(make_cluster(tmp_path, dask_scheduler="tcp://127.0.0.1:9").map(abs, [1]))


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
    asked = [str(tmp_path / "data"), str(tmp_path / "out"), "group", "--no-report"]
    assert main(asked) == main([*asked, "--executor", "dask"]) == DataError.exit_code


def test_options_of_slurm_are_read_before_anything_is_done(tmp_path):
    options = tmp_path / "workers.yaml"
    for text in ("[1, 2]", "cores: [1", "jobs: many", "[" * 10_000):
        options.write_text(text)
        with pytest.raises(UsageError, match=r"workers\.yaml does not describe workers"):
            make_cluster(tmp_path, dask_slurm=options)


def test_slurm_that_is_not_here_or_refuses_the_job_is_said(tmp_path, monkeypatch):
    options = tmp_path / "workers.yaml"
    options.write_text("cores: 1\nmemory: 1GB\nqueue: nowhere\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="sbatch, which is not here"):
        make_cluster(tmp_path, dask_slurm=options)
    (tmp_path / "sbatch").write_text("#!/bin/sh\necho 'invalid partition specified: nowhere' >&2\nexit 1\n")
    (tmp_path / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    used = make_cluster(tmp_path, dask_slurm=options)
    with pytest.raises(UsageError, match="does not take the job") as refused:
        list(used.map(abs, [1]))
    assert refused.value.found == "invalid partition specified: nowhere"
    used.close()


@pytest.fixture
def own_scheduler(tmp_path):
    """A scheduler and a worker, each a program of its own: the address, and the process to be killed."""
    place = tmp_path / "scheduler.json"
    programs = [
        ["distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"],
        ["distributed.cli.dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard"],
    ]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *program, "--scheduler-file", str(place)],
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for program in programs
    ]
    while not place.exists() or not place.read_text():
        assert started[0].poll() is None
        time.sleep(0.1)
    yield json.loads(place.read_text())["address"], started[0]
    for one in started:
        one.kill()
        one.wait()


@pytest.mark.parametrize("fault", ["work folder", "scheduler"])
def test_a_run_that_loses_its_work_folder_or_scheduler_is_gone_on_with(
    tmp_path, own_scheduler, fault, monkeypatch, capsys
):
    address, scheduler = own_scheduler
    write_demo(tmp_path / "data", kind="one-sample")
    write_shared, out = cluster_module._write_shared, tmp_path / "out"

    def lose(do, folder):
        """Write what the second list shares (people are pooled by then), and lose it."""
        shared = write_shared(do, folder)
        if folder.name == "list-002":
            if fault == "scheduler":
                scheduler.kill()
            else:
                shutil.rmtree(out / ".work")
        return shared

    monkeypatch.setattr(cluster_module, "_write_shared", lose)
    monkeypatch.setattr(cluster_module, "_PATIENCE", 10)
    asked = [str(tmp_path / "data"), "{}", "group", "--correction", "fdr", "--no-report", "--no-sensitivity"]
    said = main([one.format(out) for one in asked] + ["--executor", "dask", "--dask-scheduler", address])
    assert said == RunError.exit_code
    words = capsys.readouterr().err
    assert ("work folder of this run is gone" if fault == "work folder" else "does not answer") in words
    assert "Traceback" not in words.partition("ERROR")[2]
    assert not [path for path in (out / "group").rglob("*") if path.is_file()]
    for name in ("out", "threads"):
        assert main([one.format(tmp_path / name) for one in asked]) == 0
    threads, again = contents(tmp_path / "threads"), contents(out)
    assert [name for name in {**threads, **again} if threads.get(name) != again.get(name)] == []


@pytest.mark.parametrize(
    "error, is_told",
    [
        (OSError("Timed out trying to connect to tcp://host:8786 after 10 s"), True),
        (TimeoutError("no worker is left"), True),
        (CommClosedError("in the middle"), True),
        (OSError(28, "No space left on device"), False),
        (OSError("a file that is none"), False),
    ],
)
def test_a_scheduler_that_is_silent_is_no_file_that_fails(error, is_told):
    with pytest.raises(RunError if is_told else OSError) as caught, cluster_module._plain_failures("here"):
        raise error
    assert ("does not answer" in str(caught.value)) == is_told
    assert (str(error) in str(caught.value)) or caught.value is error


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
    assert list((folder / "slurm" / "logs").glob("dask-worker-*.out"))  # and none where the user stands
    time.sleep(2)
    left = subprocess.run(["squeue", "-h", "-u", "root"], capture_output=True, text=True, check=True)
    assert not left.stdout.strip()
