"""Which process is this, and is that one still alive? For locks and for what killed processes left behind."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
from pathlib import Path

_PART = re.compile(r"^\.part-(?P<place>[0-9a-f]+)-(?P<pid>\d+)-\d+$")
_PART_AGE_S = 3600.0


def place() -> str:
    """Name the set of processes that this one can see: host, boot, and process namespace (of a container)."""
    facts = (socket.gethostname(), _read("/proc/sys/kernel/random/boot_id"), _link("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def started(pid: int) -> str:
    """When a process of this place started, in clock ticks since boot; empty where that is not known.

    With it a process number that was given to another process is recognised.
    """
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def is_alive(pid: int, start: str | None = None) -> bool:
    """Whether a process of this place runs (and started at ``start``, where that is given)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not start or started(pid) in ("", start)


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def part_of(path: Path) -> Path:
    """Name the neighbour into which this thread writes a file before it is moved into place."""
    return path.with_name(f".part-{place()}-{os.getpid()}-{threading.get_ident()}")


def sweep_parts(folder: Path) -> int:
    """Remove parts left by killed processes (dead ones of this place, or an hour old); say how many."""
    left = [Path(root, name) for root, _, names in os.walk(folder) for name in names if _PART.match(name)]
    abandoned = [part for part in left if _is_abandoned(part)]
    for part in abandoned:
        part.unlink(missing_ok=True)
    return len(abandoned)


def _is_abandoned(part: Path) -> bool:
    match = _PART.match(part.name)
    if match is not None and match["place"] == place():
        return not is_alive(int(match["pid"]))
    try:
        return time.time() - part.stat().st_mtime > _PART_AGE_S
    except FileNotFoundError:
        return False
