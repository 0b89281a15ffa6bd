"""Which process is this, and is that one still alive? For locks and for what killed processes left behind."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

_PART = re.compile(r"^\.part-(?P<place>[0-9a-f]+)-(?P<pid>\d+)-\d+$")
_PART_AGE_S = 3600.0


@cache
def place() -> str:
    """Name the set of processes that this one can see: host, boot, and process namespace (of a container)."""
    namespace = ""
    with suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    facts = (socket.gethostname(), _read("/proc/sys/kernel/random/boot_id"), namespace)
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


def part_of(path: Path) -> Path:
    """Name the neighbour into which this thread writes a file before it is moved into place."""
    return path.with_name(f".part-{place()}-{os.getpid()}-{threading.get_ident()}")


def sweep_parts(folder: Path) -> None:
    """Remove parts left by killed processes: dead ones of this place, or an hour old."""
    for root, _, names in os.walk(folder):
        for match in filter(None, map(_PART.match, names)):
            part = Path(root, match.string)
            with suppress(FileNotFoundError):
                is_here, age_s = match["place"] == place(), time.time() - part.stat().st_mtime
                if not is_alive(int(match["pid"])) if is_here else age_s > _PART_AGE_S:
                    part.unlink()
