"""Slurm: the jobs in which the workers of a Dask cluster run, as a YAML file describes them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from bids_group.errors import UsageError
from bids_group.input_files import check_brackets, read_file


def read_jobs(path: Path) -> dict[str, Any]:
    """Read options of ``dask_jobqueue.SLURMCluster``, and ``jobs``, how many of them: refused at once.

    Raises
    ------
    UsageError
        The file is no mapping of options, or no Slurm is here.
    """
    import yaml

    try:
        text = read_file(path).decode()
        check_brackets(text)
        settings = yaml.safe_load(text)
        if not isinstance(settings, dict):
            raise TypeError("not a mapping of options to values")
        settings["jobs"] = int(settings.get("jobs", 1))
    except (TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise _no_workers(path, error) from error
    if shutil.which("sbatch") is None:
        raise UsageError(
            "--dask-slurm needs Slurm's sbatch, which is not here.",
            fix="Run it on a node of the cluster, outside of a container; or start workers there, and "
            "name their scheduler by --dask-scheduler.",
        )
    return settings


def start_jobs(path: Path, logs: Path) -> Any:
    """Start a ``SLURMCluster`` with the jobs that a file describes; they write into the folder ``logs``.

    Raises
    ------
    UsageError
        Dask does not know the options, or Slurm does not take the jobs.
    """
    from dask_jobqueue import SLURMCluster

    settings = read_jobs(path)
    jobs = settings.pop("jobs")
    usual = {"scheduler_options": {"dashboard_address": ":0"}, "log_directory": str(logs)}
    try:
        cluster = SLURMCluster(**(usual | settings))
    except (TypeError, ValueError) as error:
        raise _no_workers(path, error) from error
    tried = subprocess.run(
        ["sbatch", "--test-only"], input=cluster.job_script(), capture_output=True, text=True, check=False
    )
    if tried.returncode:  # else it would be waited for, for ever
        cluster.close()
        raise UsageError(
            f"Slurm does not take the job that {path} describes.",
            found=tried.stderr.strip().rpartition("\n")[2],
            fix="Mend the options: what sbatch --test-only says of them is said above.",
        )
    cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)  # jobs whose time is over are submitted anew
    return cluster


def _no_workers(path: Path, error: Exception) -> UsageError:
    return UsageError(
        f"{path} does not describe workers of a Slurm cluster.",
        found=str(error).partition("\n")[0],
        expected="options of dask_jobqueue.SLURMCluster (cores, memory, walltime, queue …), and jobs",
    )
