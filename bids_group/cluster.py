"""Dask: the items of a list are done by the workers of a cluster, their results come in order.

What all items share is written once into the work folder, where every worker reads it: a worker that is lost
costs its own items alone, and one that joins later can work at once. Needs the extra ``cluster``.
"""

from __future__ import annotations

import io
import logging
import os
import pickle
import platform
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple, TypeVar
from uuid import uuid4

import numpy as np

from bids_group import __version__
from bids_group.config import Execution
from bids_group.errors import RunError, UsageError
from bids_group.slurm_jobs import read_jobs, start_jobs
from bids_group.threads import one_thread_each
from bids_group.words import counted, list_some
from bids_group.work_files import locate_mapped, map_again

Item = TypeVar("Item")
Result = TypeVar("Result")
LOGGER = logging.getLogger(__name__)

_LARGE = 16_000_000
"""Bytes from which an array lies in a file of its own, which the workers of a node map instead of copying."""

_PATIENCE = 60
"""Seconds that a scheduler may take to answer, and a cluster that runs to have a worker."""

_PULSE = 5
"""Seconds after which somebody who waits looks whether there are workers."""


@dataclass(slots=True, kw_only=True, eq=False)
class DaskCluster:
    """The workers of a Dask cluster; started with the first list of items.

    Parameters
    ----------
    asked
        The address of a cluster that runs, or the YAML file of options of ``dask_jobqueue.SLURMCluster`` (and
        ``jobs``: how many to submit, 1); else how many workers of a local cluster, and memory for all.
    folder
        In the work folder, which every worker sees, and never used before; it goes when the cluster is
        closed, and the empty folder above it where that is this program's own.
    output_dir
        Workers write pooled maps there: they must see it too.
    """

    asked: Execution
    folder: Path
    output_dir: Path
    _client: Any = field(default=None, init=False)
    _cluster: Any = field(default=None, init=False)
    _n_lists: int = field(default=0, init=False)
    _known: frozenset[str] = field(default=frozenset(), init=False)
    _has_warned: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Refuse at once where Dask or Slurm is not installed, or the jobs of Slurm are not described."""
        for name in ("dask", "distributed", *(["dask_jobqueue"] if self.asked.dask_slurm else [])):
            if find_spec(name) is None:
                raise UsageError(
                    "--executor dask needs Dask.",
                    found=f"no package {name}",
                    fix="pip install 'bids-group[cluster]'",
                )
        if self.asked.dask_slurm is not None:
            read_jobs(self.asked.dask_slurm)

    def can_hold(self, n_bytes: int) -> bool:
        """Whether arrays are so small that each worker may have its own: others lie in the work folder."""
        return n_bytes <= _LARGE

    def map(
        self, do: Callable[[Item], Result], items: Iterable[Item], *, item_bytes: int = 0, held_bytes: int = 0
    ) -> Iterator[Result]:
        """Keep every worker busy; at most four results per thread of the cluster wait.

        Raises
        ------
        RunError
            The scheduler, the workers or the work folder are gone.
        BidsGroupError
            What ``do`` raises on a worker.
        """
        client = self._start()
        self._n_lists += 1
        with _plain_failures(self._place):
            shared = _write_shared(do, self.folder / f"list-{self._n_lists:03d}")
            waiting: deque[Any] = deque()
            try:
                for item in items:
                    waiting.append(client.submit(_do, str(shared), item, pure=False))
                    threads = client.nthreads()
                    if not self._known.issuperset(threads):
                        self._check_workers()
                    while len(waiting) > 4 * max(sum(threads.values()), 1):
                        yield self._wait_for(waiting.popleft())
                while waiting:
                    yield self._wait_for(waiting.popleft())
            finally:
                with suppress(Exception):  # the scheduler may be gone
                    client.cancel(list(waiting))
                    client.run(_read_shared.cache_clear)  # workers of others' clusters outlive the run
            shutil.rmtree(shared.parent, ignore_errors=True)

    def _wait_for(self, future: Any) -> Any:
        """Wait for a result as long as there are workers, or Slurm has been asked for some."""
        patience = monotonic() + _PATIENCE
        while True:
            with suppress(TimeoutError):
                return future.result(timeout=_PULSE)
            if future.done():  # it is the work that ran out of time
                return future.result()
            if self.asked.dask_slurm is not None or self._client.nthreads():
                patience = monotonic() + _PATIENCE
            elif monotonic() > patience:
                raise TimeoutError("no worker is left")

    def close(self) -> None:
        """Send away the workers that were started here, and remove the folder."""
        for one in (self._client, self._cluster):
            with suppress(Exception):  # what is gone has nothing to be closed
                if one is not None:
                    one.close()
        self._client, self._cluster, self._known = None, None, frozenset()
        shutil.rmtree(self.folder, ignore_errors=True)
        if self.asked.work_dir is None:
            with suppress(OSError):  # not there, or not empty: what others keep there stays
                self.folder.parent.rmdir()

    @property
    def _place(self) -> str:
        scheduler = self.asked.dask_scheduler
        return f"at {scheduler}" if scheduler else "by Slurm" if self.asked.dask_slurm else "on this machine"

    def _start(self) -> Any:
        if self._client is None:
            with _plain_failures(self._place):
                self._client = self._connect()
                self._client.wait_for_workers(1, timeout=None if self.asked.dask_slurm else _PATIENCE)
                LOGGER.info("Dask %s: %s", self._place, counted(len(self._client.nthreads()), "worker"))
                self._check_workers()
        return self._client

    def _connect(self) -> Any:
        import dask
        from distributed import Client, LocalCluster

        asked = self.asked
        patience = "10 minutes" if asked.dask_slurm is None else "2 minutes"  # then jobs are submitted anew
        dask.config.set(
            {
                "distributed.deploy.lost-worker-timeout": patience,  # on a busy machine it takes its time
                "distributed.worker.memory.spill": False,
                "distributed.worker.memory.target": False,
            }
        )
        if asked.dask_scheduler is not None:
            try:
                return Client(asked.dask_scheduler, timeout=_PATIENCE, set_as_default=False)
            except OSError as error:
                raise TimeoutError(str(error)) from error
            except ValueError as error:
                sentence = f"--dask-scheduler is no address: {asked.dask_scheduler}."
                raise UsageError(sentence, found=str(error), expected="such as tcp://host:8786") from error
        if asked.dask_slurm is not None:
            self._cluster = start_jobs(asked.dask_slurm, self.output_dir / "logs")
        else:
            limit = "auto" if asked.mem_gb is None else int(asked.mem_gb * 1e9 / asked.n_procs)
            self._cluster = LocalCluster(
                n_workers=asked.n_procs,
                threads_per_worker=1,
                memory_limit=limit,
                dashboard_address=":0",  # any port that is free
                silence_logs=logging.CRITICAL,
                local_directory=str(self.folder),
            )
        return Client(self._cluster, set_as_default=False)

    def _check_workers(self) -> None:
        """Refuse workers that do not see what this process writes, or that compute with other software.

        One that joins later is looked at when it is seen here; it refuses other software by itself.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        places = [str(self.folder), str(self.output_dir)]
        new = [worker for worker in self._client.nthreads() if worker not in self._known]
        here = describe_machine(places)
        found = self._client.run(describe_machine, places, workers=new, on_error="ignore")  # or it is lost
        blind = [worker for worker, one in found.items() if not one.sees_all]
        if blind:
            raise RunError(
                "Workers of the Dask cluster do not see the folders of this run.",
                found=f"{list_some(places)} not there for {list_some(blind)}",
                expected="OUTPUT_DIR and the work folder on a disk that all nodes share",
                fix="Put them there (--work-dir for the work folder).",
            )
        for other in sorted({one.software for one in found.values()} - {here.software}):
            raise _other_software(other, here.software)
        kinds = {one.processor for one in found.values()} | {here.processor}
        if len(kinds) > 1 and not self._has_warned:
            self._has_warned = True
            LOGGER.warning(
                "The cluster has several types of processor (%s): last digits may differ from those of one "
                "type. Pin the workers to one type where runs are to be compared byte by byte.",
                list_some(sorted(kinds)),
            )
        self._known |= set(found)


def make(execution: Execution, output_dir: Path) -> DaskCluster:
    """Make the cluster of ``--executor dask``; nothing is started yet."""
    work_dir = (execution.work_dir or output_dir / ".work").absolute()
    folder = work_dir / f"dask-{uuid4().hex}"  # workers outlive a run: never a name used before
    return DaskCluster(asked=execution, folder=folder, output_dir=output_dir.absolute())


class Machine(NamedTuple):
    """What a process computes with."""

    software: str
    processor: str
    sees_all: bool


def describe_machine(places: list[str]) -> Machine:
    """Say what this process computes with, and whether it sees every one of ``places``."""
    processor = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration), Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        processor = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return Machine(
        software=name_software(),
        processor=processor,
        sees_all=all(os.path.isdir(place) for place in places),  # noqa: PTH112 - as typed
    )


def name_software() -> str:
    """Name the versions that a number depends on."""
    import scipy

    versions = {"bids-group": __version__, "numpy": np.__version__, "scipy": scipy.__version__}
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{said}, Python {platform.python_version()}"


def _other_software(found: str, expected: str) -> RunError:
    return RunError(
        "Workers of the Dask cluster have other software than this process.",
        found=found,
        expected=expected,
        fix="Start the workers in the same environment or image.",
    )


@contextmanager
def _plain_failures(place: str) -> Iterator[None]:
    """Say in a sentence what has become of the cluster."""
    from asyncio import CancelledError
    from concurrent.futures import CancelledError as FutureCancelled

    from distributed.comm.core import CommClosedError
    from distributed.scheduler import KilledWorker

    try:
        yield
    except KilledWorker as error:
        raise RunError(
            f"A piece of the work lost its worker again and again on the Dask cluster {place}.",
            found=f"{error.allowed_failures + 1} workers died of it",
            expected="workers with enough memory and time",
            fix="Give each worker more memory; the same command goes on from what is finished.",
        ) from error
    except (CommClosedError, CancelledError, FutureCancelled, OSError) as error:
        is_known = isinstance(error, CommClosedError | CancelledError | FutureCancelled | TimeoutError)
        if not is_known and not str(error).startswith("Timed out trying to connect"):
            raise  # of a file; where nobody answers, Dask raises an OSError too
        raise RunError(
            f"The Dask cluster {place} does not answer.",
            found=str(error) or type(error).__name__,
            expected="a scheduler that runs, with at least one worker",
            fix="See to the cluster; the same command goes on from what is finished.",
        ) from error
    except _WorkFolderGoneError as error:
        raise RunError(
            "The work folder of this run is gone.",
            found=str(error),
            fix="Leave the work folder in peace; the same command goes on from what is finished.",
        ) from error


class _WorkFolderGoneError(Exception):
    """A worker did not find what all items share."""


def _write_shared(do: Callable[..., Any], folder: Path) -> Path:
    """Write what all items share, large arrays beside it; whole or not at all."""
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        n_arrays = 0

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, np.ndarray) and obj.nbytes > _LARGE and not obj.dtype.hasobject:
                place = locate_mapped(obj)  # in the work folder already
                if place is not None:
                    return map_again, place
                self.n_arrays += 1
                path = folder / f"array-{self.n_arrays}.npy"
                np.save(path, obj)
                return _map_array, (str(path),)
            return super().reducer_override(obj)

    folder.mkdir(parents=True, exist_ok=True)
    stream = io.BytesIO()
    pickle.dump(name_software(), stream)
    Pickler(stream).dump(do)
    part = folder / "shared.part"
    part.write_bytes(stream.getbuffer())
    return part.rename(folder / "shared.pickle")


def _map_array(path: str) -> np.ndarray[Any, Any]:
    return np.asarray(np.load(path, mmap_mode="c"))


@lru_cache(maxsize=1)
def _read_shared(path: str) -> Callable[..., Any]:
    import cloudpickle

    try:
        with Path(path).open("rb") as file:
            expected, found = pickle.load(file), name_software()  # noqa: S301 - of `_write_shared`
            if found != expected:
                raise _other_software(found, expected)
            shared: Callable[..., Any] = cloudpickle.load(file)
    except FileNotFoundError as error:
        raise _WorkFolderGoneError(str(error)) from error
    return shared


def _do(path: str, item: Any) -> Any:
    """Do one item on a worker, with one thread of each library, as everywhere."""
    with one_thread_each():
        return _read_shared(path)(item)
