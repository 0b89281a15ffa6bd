"""OUTPUT_DIR belongs to one group run at a time; participant jobs take turns at its common files."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bids_group.errors import LockedError, OutputError, RunError
from bids_group.json_files import generated_by, peek_json
from bids_group.output.disk import process
from bids_group.words import os_failure

_RUN_LOCK = ".bids_group.lock"
_TURN_LOCK = ".bids_group.turn"
_RUN_STALE_S = 600.0
_TURN_STALE_S = 60.0
_BEAT_S = 20.0


@contextlib.contextmanager
def claim_output(output_dir: Path, bids_dir: Path, *, level: str) -> Iterator[None]:
    """Make OUTPUT_DIR, prove that it can be written, and hold it for the time of a ``group`` run.

    ``participant`` jobs run side by side and hold nothing. A lock left by a killed run is recognised: its
    process is gone (same machine), or has not touched it for ten minutes (other machines and containers).

    Raises
    ------
    OutputError
        OUTPUT_DIR is BIDS_DIR, holds it, lies in one of its ``sub-*`` folders, or cannot be written.
    LockedError
        Another group run holds OUTPUT_DIR.
    RunError
        OUTPUT_DIR was removed or moved meanwhile: what was written is not, or not all, where it should be.
    """
    check_place(output_dir, bids_dir)
    probe = process.part_of(output_dir / "probe")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"OUTPUT_DIR cannot be written: {output_dir}.",
            found=error.strerror,
            expected="a folder that you may write to",
            fix="Give another OUTPUT_DIR, or change its permissions.",
        ) from error
    with contextlib.ExitStack() as held:
        if level == "group":
            held.enter_context(_hold(output_dir / _RUN_LOCK, stale_s=_RUN_STALE_S, wait_s=0.0))
        held.enter_context(_watch(output_dir))
        if level == "group":
            process.sweep_parts(output_dir)
        yield


@contextlib.contextmanager
def _watch(output_dir: Path) -> Iterator[None]:
    """Keep the folder open, so that another one of the same name is told from it."""
    folder = os.open(output_dir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield
        _check_still_there(output_dir, folder)
    except Exception:
        _check_still_there(output_dir, folder)  # whatever failed, failed for this
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


def check_place(output_dir: Path, bids_dir: Path) -> None:
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
def _hold(lock: Path, *, stale_s: float, wait_s: float) -> Iterator[None]:
    me = json.dumps(_introduce_myself())
    deadline = time.monotonic() + wait_s
    while not _try_create(lock, me):
        if _remove_stale(lock, stale_s):
            continue
        if time.monotonic() >= deadline:
            raise _refusal(lock)
        time.sleep(0.02)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(_BEAT_S):
            with contextlib.suppress(OSError):
                os.utime(lock)

    threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        stop.set()
        if _content(lock) == me:
            lock.unlink(missing_ok=True)


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
        "place": process.place(),
        "started": process.started(os.getpid()),
        "token": os.urandom(8).hex(),
    }


def _try_create(lock: Path, content: str) -> bool:
    draft = process.part_of(lock)
    try:
        draft.write_text(content)
        return _link(draft, lock, content)
    except OSError as error:
        raise os_failure(error, lock) from error
    finally:
        draft.unlink(missing_ok=True)


def _link(draft: Path, lock: Path, content: str) -> bool:
    """Put a whole file in place only if there is none: a link is exclusive on network file systems, too."""
    try:
        lock.hardlink_to(draft)
    except FileExistsError:
        return False
    except OSError:  # a file system without hard links
        try:
            with lock.open("x") as stream:
                stream.write(content)
        except FileExistsError:
            return False
    return True


def _content(lock: Path) -> str:
    try:
        return lock.read_text()
    except OSError:
        return ""


def _holder(content: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        if isinstance(holder := json.loads(content), dict):
            return holder
    return {}


def _remove_stale(lock: Path, stale_s: float) -> bool:
    """Remove the lock where its holder is gone; True where it is worth trying again."""
    content = _content(lock)
    if not _is_stale(lock, content, stale_s):
        return not lock.exists()
    taken = process.part_of(lock)
    try:
        lock.rename(taken)
    except FileNotFoundError:
        return True
    if _content(taken) != content:  # somebody was faster and this is the new holder's lock: give it back
        _link(taken, lock, _content(taken))
    taken.unlink(missing_ok=True)
    return True


def _is_stale(lock: Path, content: str, stale_s: float) -> bool:
    """Whether the holder is dead, or shows no sign of life by the clock of the file system."""
    holder = _holder(content)
    if holder.get("place") == process.place():
        return not process.is_alive(int(holder["pid"]), str(holder["started"]))
    probe = process.part_of(lock)
    try:
        probe.write_text("")
        return probe.stat().st_mtime - lock.stat().st_mtime > stale_s
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)


def _refusal(lock: Path) -> LockedError:
    holder = _holder(_content(lock))
    pid, user, host, since = (holder.get(key, "?") for key in ("pid", "user", "host", "since"))
    return LockedError(
        f"Another run holds OUTPUT_DIR: {lock.parent}.",
        found=f"process {pid} of {user} on {host}, since {since}",
        expected="one writer at a time",
        fix=f"Wait for it, or give another OUTPUT_DIR. If that run is gone, remove {lock}.",
    )
