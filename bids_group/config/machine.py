"""What this process may use: the processors and the memory that scheduler, container and system granted.

The smallest of all limits that are set counts: Slurm's variables, control groups (versions 1 and 2, every
group above the process), processor affinity, and what the machine has. None of this changes a number.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

EXECUTORS = {"local": "executor", "dask": "cluster"}
"""Where work is done, as in ``--executor``, and the module of this package whose ``make`` makes it."""

_MIB = 1024**2
_BYTES_PER_GIB = 1024**3
_UNLIMITED_BYTES = 2**60
"""Control groups of version 1 write a number near 2⁶³ where there is no limit."""


def granted_processes(environment: Mapping[str, str] | None = None, root: Path = Path("/")) -> int:
    """Count the processors that this process may use, at least 1.

    ``SLURM_CPUS_PER_TASK`` is read from the environment (default: that of this process); ``root`` is where
    ``proc`` and ``sys`` are.
    """
    has_affinity = hasattr(os, "sched_getaffinity")
    limits = [float(len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1)]
    limits += _numbers(os.environ if environment is None else environment, "SLURM_CPUS_PER_TASK")
    for folder in _groups(root, "cpu"):  # time per period: version 2, then version 1
        quota, _, period = _read(folder / "cpu.max").partition(" ")
        quota = quota or _read(folder / "cpu.cfs_quota_us")
        period = period or _read(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            limits.append(int(quota) / int(period))
    return max(1, math.floor(min(limits)))


def granted_memory_gb(environment: Mapping[str, str] | None = None, root: Path = Path("/")) -> float:
    """Find the memory in GB (of 1024³ bytes) that this process may use.

    ``SLURM_MEM_PER_NODE``, or ``SLURM_MEM_PER_CPU`` times the processors of the task, is read from the
    environment (both in units of 1024² bytes; 0 is no limit); see `granted_processes`.
    """
    environment = os.environ if environment is None else environment
    n_cpus = [*_numbers(environment, "SLURM_CPUS_PER_TASK"), 1.0][0]
    n_bytes = [per_node * _MIB for per_node in _numbers(environment, "SLURM_MEM_PER_NODE")]
    n_bytes += [per_cpu * n_cpus * _MIB for per_cpu in _numbers(environment, "SLURM_MEM_PER_CPU")]
    if of_machine := re.search(r"^MemTotal:\s+(\d+)", _read(root / "proc/meminfo"), re.MULTILINE):
        n_bytes.append(float(of_machine[1]) * 1024)
    else:
        n_bytes.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    for folder in _groups(root, "memory"):  # version 2, then version 1
        texts = [_read(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
        n_bytes += [int(text) for text in texts if text.isdigit() and 0 < int(text) < _UNLIMITED_BYTES]
    return min(n_bytes) / _BYTES_PER_GIB


def _numbers(environment: Mapping[str, str], name: str) -> list[float]:
    """Read the positive number in a variable: a list of one, or of none."""
    value = environment.get(name, "").strip()
    return [float(value)] if value.isdigit() and int(value) > 0 else []


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the control groups of this process that rule ``controller``, from its own up to the top."""
    top = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        bases = [top / controllers, top / controller] if controller in controllers.split(",") else []
        inside = PurePosixPath(name.lstrip("/"))
        for base in bases if controllers else (top, top / "unified"):
            yield from (base / step for step in (inside, *inside.parents))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
