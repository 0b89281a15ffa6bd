"""OUTPUT_DIR belongs to one group run at a time; participant jobs take turns; killed processes are known."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import itertools
import json
import os
import re
import shutil
import socket
import stat
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from bids_group.errors import LockedError, OutputError, RunError
from bids_group.input_files import open_file
from bids_group.json_files import generated_by, peek_json
from bids_group.output.disk.durable import make_folder, sync_folder
from bids_group.words import os_failure

_RUN_LOCK = ".bids_group.lock"
_TURN_LOCK = ".bids_group.turn"
_RUN_STALE_S = 600.0
_TURN_STALE_S = 60.0
_BEAT_S = 20.0
_LONGEST_LOCK = 4096
_PART = re.compile(r"^\.part-(?P<place>[0-9a-f]+)-(?P<pid>\d+)-\d+$")
_PART_AGE_S = 3600.0
_PART_NUMBERS = itertools.count()
_HELD: dict[Path, str] = {}
"""What stands in the locks of the runs of this process, by their OUTPUT_DIR."""


@contextlib.contextmanager
def claim_output(output_dir: Path, bids_dir: Path, *, level: str) -> Iterator[None]:
    """Make OUTPUT_DIR, prove that it can be written, and hold it for the time of a ``group`` run.

    ``participant`` jobs run side by side and hold nothing. A lock left by a killed run is recognised: its
    process is gone (same machine, also before it was started anew), or has not touched it for ten minutes
    (other machines and containers). Where OUTPUT_DIR was removed or moved meanwhile what was written is not,
    or not all, where it should be.
    """
    check_output_dir(output_dir, bids_dir)
    probe = part_of(output_dir / "probe")
    try:
        changed = make_folder(output_dir)
        probe.touch()
        probe.unlink()
        for folder in changed:
            sync_folder(folder)
    except OSError as error:
        raise OutputError(
            f"OUTPUT_DIR cannot be written: {output_dir}.",
            found=error.strerror,
            expected="a folder that you may write to",
            fix="Give another OUTPUT_DIR, or change its permissions.",
        ) from error
    with contextlib.ExitStack() as held:
        if level == "group":
            lock = _hold(output_dir / _RUN_LOCK, stale_s=_RUN_STALE_S, wait_s=0.0)
            _HELD[output_dir] = held.enter_context(lock)
            held.callback(_HELD.pop, output_dir)
            sweep_parts(output_dir)
        held.enter_context(_watch(output_dir))
        yield


def check_claim(output_dir: Path) -> None:
    """Refuse to publish what a group run made where another one took OUTPUT_DIR over while it stood still."""
    lock = output_dir / _RUN_LOCK
    if output_dir in _HELD and _read(lock) not in (_HELD[output_dir], None):
        raise LockedError(
            f"Another run took OUTPUT_DIR over, because this one stood still for too long: {output_dir}.",
            found="no lock of this run" if not os.path.lexists(lock) else _describe(_holder(_read(lock))),
            fix="Wait for the other run, then run the same command again.",
        )


@contextlib.contextmanager
def _watch(output_dir: Path) -> Iterator[None]:
    """Keep the folder open, so that another one of the same name is told from it."""
    folder = os.open(output_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
        _check_still_there(output_dir, folder)
    except Exception:  # whatever failed where the folder is gone, failed for this; else it goes on up
        _check_still_there(output_dir, folder)
        raise
    finally:
        os.close(folder)


def _check_still_there(output_dir: Path, folder: int) -> None:
    with contextlib.suppress(OSError):
        if os.path.samestat(output_dir.stat(), os.fstat(folder)):
            return
    is_new = output_dir.is_dir()
    raise RunError(
        f"OUTPUT_DIR was removed or moved while the run wrote into it: {output_dir}.",
        found="another folder of this name, made anew" if is_new else "no folder of this name",
        fix="Remove what is there now, and run the same command again.",
    )


@contextlib.contextmanager
def take_turn(output_dir: Path, wait_s: float = 120.0) -> Iterator[None]:
    """Hold the common files (description, lists, tables) for the moment of a read and a write."""
    output_dir.mkdir(parents=True, exist_ok=True)
    with _hold(output_dir / _TURN_LOCK, stale_s=_TURN_STALE_S, wait_s=wait_s):
        yield


def check_output_dir(output_dir: Path, bids_dir: Path) -> None:
    """Refuse an OUTPUT_DIR that is BIDS_DIR, holds it, or lies among its data, or holds its derivatives."""
    output, bids = output_dir.resolve(), bids_dir.resolve()
    what, own = "", "a folder of its own, so that the input stays as it is"
    if output.exists() and not output.is_dir():
        what, own = "is a file", "a folder, or a new name"
    elif output == bids:
        what = "is BIDS_DIR"
    elif output in bids.parents:
        what = "holds BIDS_DIR"
    elif bids in output.parents and output.relative_to(bids).parts[0].startswith("sub-"):
        what = "lies among the raw data of a participant"
        own = "a folder outside BIDS_DIR, or in its derivatives/"
    elif output == bids / "derivatives":
        made_by = generated_by(peek_json(output / "dataset_description.json") or {})
        if not any(one.get("Name") != "bids_group" for one in made_by):  # no dataset of another program
            what, own = "is the folder of all derivatives", "a folder of its own in it"
    if what:
        advice = f"Use {bids_dir / 'derivatives' / 'bids_group'}."
        raise OutputError(f"OUTPUT_DIR {what}: {output_dir}.", expected=own, fix=advice)


@contextlib.contextmanager
def _hold(lock: Path, *, stale_s: float, wait_s: float) -> Iterator[str]:
    """Hold a lock; gives what stands in it."""
    me = json.dumps(_introduce_myself())
    deadline = time.monotonic() + wait_s
    while not _try_create(lock, me):
        if _remove_stale(lock, stale_s):
            continue
        if time.monotonic() >= deadline:
            raise LockedError(
                f"Another run holds OUTPUT_DIR: {lock.parent}.",
                found=_describe(_holder(_read(lock))),
                expected="one writer at a time",
                fix=f"Wait for it, or give another OUTPUT_DIR. If that run is gone, remove {lock}.",
            )
        time.sleep(0.02)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            with contextlib.suppress(OSError):
                if _read(lock) == me:  # not that of a run that took over
                    os.utime(lock)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield me
    finally:
        stop.set()
        if _read(lock) in (me, None):  # who held it while it cannot be read would keep it
            lock.unlink(missing_ok=True)


def _describe(holder: dict[str, Any]) -> str:
    keys = ("pid", "user", "host", "since")
    return "process {} of {} on {}, since {}".format(*(holder.get(key, "?") for key in keys))


def _introduce_myself() -> dict[str, Any]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError, ImportError):
        user = str(os.getuid())
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "user": user,
        "since": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "place": process_space(),
        "started": started(os.getpid()),
        "token": os.urandom(8).hex(),
    }


def _try_create(lock: Path, content: str) -> bool:
    """Put a whole file in place only if there is none: a link is exclusive on network file systems, too.

    The disk holds it first: of a machine that lost its power a lock without a holder would be left.
    """
    draft = part_of(lock)
    try:
        with draft.open("w") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            lock.hardlink_to(draft)
        except FileExistsError:
            raise
        except OSError:  # a file system without hard links
            with lock.open("x") as stream:
                stream.write(content)
    except FileExistsError:
        return False
    except OSError as error:
        raise os_failure(error, lock) from error
    finally:
        draft.unlink(missing_ok=True)
    return True


def _holder(content: str | None) -> dict[str, Any]:
    """Read who holds a lock; empty where it is no lock of ours."""
    with contextlib.suppress(ValueError, RecursionError):
        holder = json.loads(content or "")
        if isinstance(holder, dict) and isinstance(holder.get("pid"), int) and 0 < holder["pid"] < 2**31:
            return holder
    return {}


def _remove_stale(lock: Path, stale_s: float) -> bool:
    """Remove the lock where its holder is gone; True where it is worth trying again."""
    _check_shape(lock)
    content = _read(lock)
    if not _is_stale(lock, content, stale_s):
        return not os.path.lexists(lock)
    taken = part_of(lock)
    try:
        lock.rename(taken)
    except FileNotFoundError:
        return True
    except OSError as error:
        raise os_failure(error, lock) from error
    removed = _read(taken)
    taken.unlink(missing_ok=True)
    if removed and removed != content:  # somebody was faster, and this is the new holder's: give it back
        _try_create(lock, removed)
    return True


def _check_shape(lock: Path) -> None:
    """Refuse what stands in place of a lock and is no file: to read or to remove it is not ours."""
    with contextlib.suppress(FileNotFoundError):
        mode = lock.lstat().st_mode
        if not stat.S_ISREG(mode):
            kinds = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a link", stat.S_IFIFO: "a named pipe"}
            raise OutputError(
                f"What stands in place of the lock is none: {lock}.",
                found=kinds.get(stat.S_IFMT(mode), "a device or socket"),
                expected="a file that this program writes while it runs, or nothing",
                fix="Remove it, or give another OUTPUT_DIR.",
            )


def _is_stale(lock: Path, content: str | None, stale_s: float) -> bool:
    """Whether the holder is dead, or shows no sign of life by the clock of the file system.

    Who is alive touches it all the time by that clock. So a lock from the future is of a time when that was
    wrong, and one that was touched last before this machine started is not of a run on this machine.
    """
    holder = _holder(content)
    if holder.get("place") == process_space():
        return not is_alive(holder["pid"], str(holder.get("started") or ""))
    probe = part_of(lock)
    try:
        probe.write_text("")
        age_s = probe.stat().st_mtime - lock.lstat().st_mtime
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    is_ended = holder.get("host") == socket.gethostname() and age_s > max(_uptime_s(), 3 * _BEAT_S)
    return is_ended or abs(age_s) > stale_s


def _uptime_s() -> float:
    """Seconds since this machine started; endless where it does not say so."""
    words = (_read("/proc/uptime") or "inf").split()
    return float(words[0])


@cache
def process_space() -> str:
    """Name the set of processes that this one can see: host, boot, and process namespace (of a container)."""
    namespace = ""
    with contextlib.suppress(OSError):
        namespace = str(Path("/proc/self/ns/pid").readlink())
    facts = (socket.gethostname(), _read("/proc/sys/kernel/random/boot_id") or "", namespace)
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def started(pid: int) -> str:
    """When a process started, in ticks since boot (empty: not known); tells a number that was given again."""
    fields = (_read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
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


def _read(path: str | Path) -> str | None:
    """Read a small file; empty where there is none, None where it cannot be read."""
    try:
        with open_file(Path(path)) as stream:
            return stream.read(_LONGEST_LOCK).decode(errors="replace").strip()
    except FileNotFoundError:
        return ""
    except OSError:
        return None


def part_of(path: Path) -> Path:
    """Name a new neighbour into which a file is written before it is moved into place."""
    return path.with_name(f".part-{process_space()}-{os.getpid()}-{next(_PART_NUMBERS)}")


def sweep_parts(folder: Path) -> None:
    """Remove parts left by killed processes, files and folders: dead ones of this place, or an hour old."""
    for root, folders, names in os.walk(folder):
        for match in filter(None, map(_PART.match, [*folders, *names])):
            part = Path(root, match.string)
            with contextlib.suppress(FileNotFoundError):
                is_here, age_s = match["place"] == process_space(), time.time() - part.stat().st_mtime
                if not is_alive(int(match["pid"])) if is_here else age_s > _PART_AGE_S:
                    shutil.rmtree(part) if part.is_dir() and not part.is_symlink() else part.unlink()
