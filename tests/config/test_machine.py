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


def test_without_limits_it_is_the_machine(machine: Path) -> None:
    assert granted_processes({}, machine) == 16
    assert granted_memory_gb({}, machine) == 64.0


def test_slurm_grants_less_than_the_machine_has(machine: Path) -> None:
    granted = {"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_NODE": "8192"}
    assert granted_processes(granted, machine) == 4
    assert granted_memory_gb(granted, machine) == 8.0


def test_slurm_memory_per_processor_counts_the_processors_of_the_task(machine: Path) -> None:
    assert granted_memory_gb({"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_CPU": "2048"}, machine) == 8.0
    assert granted_memory_gb({"SLURM_MEM_PER_CPU": "2048"}, machine) == 2.0


def test_slurm_memory_0_is_no_limit(machine: Path) -> None:
    assert granted_memory_gb({"SLURM_MEM_PER_NODE": "0"}, machine) == 64.0


def test_affinity_below_slurm_wins(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5})
    assert granted_processes({"SLURM_CPUS_PER_TASK": "4"}, machine) == 2


def test_a_version_2_group_above_the_process_counts(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/slurm/job_7/step_0\n")
    groups = machine / "sys/fs/cgroup"
    write(groups / "slurm/job_7/step_0/memory.max", "max\n")
    write(groups / "slurm/job_7/memory.max", f"{6 * GIB}\n")
    write(groups / "slurm/job_7/cpu.max", "250000 100000\n")
    write(groups / "slurm/job_7/step_0/cpu.max", "max 100000\n")
    assert granted_processes({}, machine) == 2
    assert granted_memory_gb({}, machine) == 6.0


def test_a_version_2_group_inside_a_container_is_the_top(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/\n")
    write(machine / "sys/fs/cgroup/memory.max", f"{3 * GIB}\n")
    assert granted_memory_gb({}, machine) == 3.0


def test_version_1_groups_count(machine: Path) -> None:
    write(
        machine / "proc/self/cgroup", "5:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/x\n"
    )
    groups = machine / "sys/fs/cgroup"
    write(groups / "memory/docker/abc/memory.limit_in_bytes", f"{5 * GIB}\n")
    write(groups / "cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "300000\n")
    write(groups / "cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n")
    assert granted_processes({}, machine) == 3
    assert granted_memory_gb({}, machine) == 5.0


def test_version_1_without_limit_is_no_limit(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "5:memory:/\n3:cpu,cpuacct:/\n")
    write(machine / "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(machine / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    write(machine / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert granted_processes({}, machine) == 16
    assert granted_memory_gb({}, machine) == 64.0


def test_half_a_processor_is_one_process(machine: Path) -> None:
    write(machine / "proc/self/cgroup", "0::/\n")
    write(machine / "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert granted_processes({}, machine) == 1


def test_words_in_slurm_variables_are_passed_over(machine: Path) -> None:
    assert granted_processes({"SLURM_CPUS_PER_TASK": "four"}, machine) == 16


def test_this_machine_grants_at_least_one_processor_and_some_memory() -> None:
    assert 1 <= granted_processes() <= (os.cpu_count() or 1)
    assert 0.1 < granted_memory_gb() < 100_000
