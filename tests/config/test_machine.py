"""What is granted: Slurm, control groups of both versions, affinity, and the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bids_group.config.machine import granted_memory_gb, granted_processes

GIB = 1024**3


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 processors and 64 GB without control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    write(tmp_path / "proc/meminfo", f"MemTotal: {64 * 1024**2} kB\nMemFree: 1 kB\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("granted", "n_processes", "gigabytes"),
    [
        ({}, 16, 64.0),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_NODE": "8192"}, 4, 8.0),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_CPU": "2048"}, 4, 8.0),
        ({"SLURM_MEM_PER_CPU": "2048"}, 16, 2.0),
        ({"SLURM_MEM_PER_NODE": "0"}, 16, 64.0),  # no limit
        ({"SLURM_CPUS_PER_TASK": "four"}, 16, 64.0),  # words are passed over
    ],
)
def test_slurm_grants_less_than_the_machine_has(
    machine: Path, granted: dict[str, str], n_processes: int, gigabytes: float
) -> None:
    assert granted_processes(granted, machine) == n_processes
    assert granted_memory_gb(granted, machine) == gigabytes


def test_affinity_below_slurm_wins(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert granted_processes({"SLURM_CPUS_PER_TASK": "4"}, machine) == 2


V1 = "5:memory:{0}\n3:cpu,cpuacct:{0}\n"
GROUPS = {
    "version 2, above the process": (
        "0::/slurm/job_7/step_0\n",
        {
            "slurm/job_7/step_0/memory.max": "max\n",
            "slurm/job_7/memory.max": f"{6 * GIB}\n",
            "slurm/job_7/cpu.max": "250000 100000\n",
            "slurm/job_7/step_0/cpu.max": "max 100000\n",
        },
        (2, 6.0),
    ),
    "version 2, the top inside a container": ("0::/\n", {"memory.max": f"{3 * GIB}\n"}, (16, 3.0)),
    "half a processor": ("0::/\n", {"cpu.max": "50000 100000\n"}, (1, 64.0)),
    "version 1": (
        V1.format("/docker/abc") + "1:name=systemd:/x\n",
        {
            "memory/docker/abc/memory.limit_in_bytes": f"{5 * GIB}\n",
            "cpu,cpuacct/docker/abc/cpu.cfs_quota_us": "300000\n",
            "cpu,cpuacct/docker/abc/cpu.cfs_period_us": "100000\n",
        },
        (3, 5.0),
    ),
    "version 1 without limit": (
        V1.format("/"),
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        (16, 64.0),
    ),
}


@pytest.mark.parametrize(("own", "files", "granted"), GROUPS.values(), ids=GROUPS)
def test_control_groups_count(
    machine: Path, own: str, files: dict[str, str], granted: tuple[int, float]
) -> None:
    write(machine / "proc/self/cgroup", own)
    for name, text in files.items():
        write(machine / "sys/fs/cgroup" / name, text)
    assert (granted_processes({}, machine), granted_memory_gb({}, machine)) == granted


def test_this_machine_grants_at_least_one_processor_and_some_memory() -> None:
    assert 1 <= granted_processes() <= (os.cpu_count() or 1)
    assert 0.1 < granted_memory_gb() < 100_000
