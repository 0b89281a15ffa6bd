from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bids_group.errors import LockedError, OutputError
from bids_group.output import claim_output, finish_outputs
from bids_group.output.disk import lock
from bids_group.output.disk.lock import take_turn
from bids_group.output.disk.publishing import Batch

LOCK = ".bids_group.lock"


@pytest.fixture
def bids_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "bids"
    (folder / "sub-01").mkdir(parents=True)
    return folder


def lock_of(folder: Path, **changes: object) -> None:
    holder = {
        "host": "node7",
        "pid": 1,
        "user": "ann",
        "since": "2024-01-01",
        "place": "elsewhere",
        "started": "",
    }
    folder.mkdir(exist_ok=True)
    (folder / LOCK).write_text(json.dumps({**holder, **changes}))


@pytest.mark.parametrize("where", [".", "..", "sub-01/out", "derivatives/.."])
def test_places_that_would_spoil_the_input_are_refused(bids_dir: Path, where: str) -> None:
    with pytest.raises(OutputError) as caught, claim_output(bids_dir / where, bids_dir, level="group"):
        pass
    assert caught.value.exit_code == 73
    assert not (bids_dir / "sub-01" / "out").exists()


def test_a_link_to_the_input_is_seen_through(bids_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bids_dir)
    with (
        pytest.raises(OutputError, match="is BIDS_DIR"),
        claim_output(tmp_path / "link", bids_dir, level="group"),
    ):
        pass


@pytest.mark.parametrize("where", ["derivatives/group", "../out/deep"])
def test_other_places_are_made_and_left_clean(bids_dir: Path, where: str) -> None:
    with claim_output(bids_dir / where, bids_dir, level="group"):
        assert (bids_dir / where / LOCK).is_file()
    assert list((bids_dir / where).iterdir()) == []


def test_a_place_that_cannot_be_made_is_an_output_error(bids_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match="cannot be written"),
        claim_output(tmp_path / "file/out", bids_dir, level="group"),
    ):
        pass


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_place_is_an_output_error(bids_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    with (
        pytest.raises(OutputError, match="cannot be written"),
        claim_output(tmp_path / "out", bids_dir, level="group"),
    ):
        pass


def test_the_second_group_run_is_told_who_holds_the_first(bids_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with claim_output(out, bids_dir, level="group"):
        with (
            pytest.raises(LockedError, match=f"process {os.getpid()} of") as caught,
            claim_output(out, bids_dir, level="group"),
        ):
            pass
        assert caught.value.exit_code == 75
        with claim_output(out, bids_dir, level="participant"):
            pass
        assert (out / LOCK).is_file()
    assert not (out / LOCK).exists()


def test_a_group_run_sweeps_what_killed_processes_left(bids_dir: Path, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    part = tmp_path / "out" / "sub-01" / f".part-{lock.process_space()}-{child.pid}-1"
    part.parent.mkdir(parents=True)
    part.touch()
    with claim_output(tmp_path / "out", bids_dir, level="participant"):
        assert part.exists()
    with claim_output(tmp_path / "out", bids_dir, level="group"):
        assert not part.exists()


def test_an_error_inside_releases_the_lock(bids_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), claim_output(tmp_path / "out", bids_dir, level="group"):
        _ = 1 / 0
    assert not (tmp_path / "out" / LOCK).exists()


def test_the_lock_of_a_killed_run_here_is_stale(bids_dir: Path, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    lock_of(tmp_path / "out", place=lock.process_space(), pid=child.pid)
    with claim_output(tmp_path / "out", bids_dir, level="group"):
        assert json.loads((tmp_path / "out" / LOCK).read_text())["pid"] == os.getpid()


def test_a_process_number_given_to_another_process_is_recognised(bids_dir: Path, tmp_path: Path) -> None:
    lock_of(tmp_path / "out", place=lock.process_space(), pid=os.getpid(), started="12")
    with claim_output(tmp_path / "out", bids_dir, level="group"):
        pass
    lock_of(tmp_path / "out", place=lock.process_space(), pid=os.getpid(), started=lock.started(os.getpid()))
    with pytest.raises(LockedError), claim_output(tmp_path / "out", bids_dir, level="group"):
        pass


def test_the_lock_of_another_machine_counts_while_it_shows_signs_of_life(
    bids_dir: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    lock_of(out)
    with (
        pytest.raises(LockedError, match="process 1 of ann on node7, since 2024-01-01"),
        claim_output(out, bids_dir, level="group"),
    ):
        pass
    old = time.time() - 700
    os.utime(out / LOCK, (old, old))
    with claim_output(out, bids_dir, level="group"):
        pass


def test_a_lock_taken_over_by_a_faster_run_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at a stale lock and its removal another run replaces it."""
    path = tmp_path / LOCK
    path.write_text("stale")

    def replaced_meanwhile(lock_file: Path, content: str, stale_s: float) -> bool:
        lock_file.write_text("of the faster run")
        return content == "stale"

    monkeypatch.setattr(lock, "_is_stale", replaced_meanwhile)
    lock._remove_stale(path, 600)
    assert path.read_text() == "of the faster run"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("kind", ["folder", "link", "dangling link", "named pipe"])
@pytest.mark.parametrize("name", [LOCK, ".bids_group.turn"])
def test_what_is_no_file_in_place_of_a_lock_is_told_at_once_and_kept(
    bids_dir: Path, tmp_path: Path, kind: str, name: str
) -> None:
    path, other = tmp_path / "out" / name, tmp_path / "other"
    path.parent.mkdir()
    other.write_text("{}")
    if kind == "folder":
        path.mkdir()
    elif kind == "named pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    before = path.lstat()
    with (
        pytest.raises(OutputError, match="in place of the lock") as caught,
        claim_output(path.parent, bids_dir, level="group"),
        take_turn(path.parent),
    ):
        pass
    assert kind.removeprefix("dangling ") in str(caught.value)
    assert path.lstat() == before
    assert [one.name for one in path.parent.iterdir()] == [name]
    assert other.read_text() == "{}"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\0" * 300, b"\xff\xfe", b"[]", b"7", b"[" * 100_000, b'{"pid": "x", "place": "PLACE"}',
        b'{"pid": -1, "place": "PLACE"}', b'{"pid": 1e99, "place": "PLACE"}', b'{"place": "PLACE"}',
        b'{"pid": 99999999999999999999, "place": "PLACE"}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("age_s, is_held", [(0, True), (700, False), (-700, False), (-1e9, False)])
def test_a_lock_of_odd_content_or_from_the_future_is_judged_by_its_age(
    bids_dir: Path, tmp_path: Path, content: bytes, age_s: float, is_held: bool
) -> None:
    """Who is alive touches it: also with a clock that is wrong, which is that of the file system."""
    path = tmp_path / "out" / LOCK
    path.parent.mkdir()
    path.write_bytes(content.replace(b"PLACE", lock.process_space().encode()))
    os.utime(path, (time.time() - age_s,) * 2)
    if is_held:
        with pytest.raises(LockedError), claim_output(path.parent, bids_dir, level="group"):
            pass
    else:
        with claim_output(path.parent, bids_dir, level="group"):
            pass
        assert not path.exists()


@pytest.mark.parametrize(
    "host, age_s, is_held", [("here", 200, False), ("here", 80, True), ("there", 200, True)]
)
def test_a_lock_of_before_this_machine_started_is_stale(
    bids_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, age_s: float, is_held: bool
) -> None:
    """After a loss of power nobody waits for ten minutes; another machine may be alive."""
    monkeypatch.setattr(lock, "_uptime_s", lambda: 100.0)
    lock_of(tmp_path / "out", host=socket.gethostname() if host == "here" else "node7")
    os.utime(tmp_path / "out" / LOCK, (time.time() - age_s,) * 2)
    with contextlib.ExitStack() as held:
        if is_held:
            held.enter_context(pytest.raises(LockedError))
        held.enter_context(claim_output(tmp_path / "out", bids_dir, level="group"))


def test_a_run_that_stood_still_and_lost_its_place_publishes_nothing(bids_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with claim_output(out, bids_dir, level="group"):
        with Batch(out) as batch:
            batch.write(out / "first", b"")
        lock_of(out, pid=77)
        with pytest.raises(LockedError, match="took OUTPUT_DIR over") as caught, Batch(out) as batch:
            batch.write(out / "second", b"")
        assert caught.value.exit_code == 75
        assert "process 77 of ann on node7" in str(caught.value)
        with pytest.raises(LockedError, match="took OUTPUT_DIR over"):
            finish_outputs(out)
    assert sorted(path.name for path in out.iterdir()) == [LOCK, "first"]


def test_a_lock_that_cannot_be_read_for_a_moment_is_let_go(
    bids_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claim_output(tmp_path / "out", bids_dir, level="group"):
        monkeypatch.setattr(lock, "_read", lambda _: None)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_lock_that_cannot_be_read_is_not_removed(bids_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).write_text("{half")
    with pytest.raises(LockedError), claim_output(tmp_path / "out", bids_dir, level="group"):
        pass


FORK = multiprocessing.get_context("fork")  # starts at once: nothing is imported again


def claim(out: Path, bids_dir: Path, start: Any, said: Any) -> None:
    start.wait()
    try:
        with claim_output(out, bids_dir, level="group"):
            said.put("won")
            time.sleep(1.0)
    except LockedError:
        said.put("lost")


def test_of_six_runs_that_find_a_stale_lock_at_once_one_goes_on(bids_dir: Path, tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    lock_of(tmp_path / "out", place=lock.process_space(), pid=child.pid)
    start, said = FORK.Event(), FORK.Queue()
    runs = [FORK.Process(target=claim, args=(tmp_path / "out", bids_dir, start, said)) for _ in range(6)]
    for run in runs:
        run.start()
    start.set()
    assert sorted(said.get() for _ in runs) == ["lost"] * 5 + ["won"]
    for run in runs:
        run.join()
    assert list((tmp_path / "out").iterdir()) == []


def add_ones(folder: Path) -> None:
    for _ in range(50):
        with take_turn(folder):
            number = folder / "number"
            number.write_text(str(int(number.read_text()) + 1))


def test_jobs_take_turns(tmp_path: Path) -> None:
    """Eight processes add one to a number in a file fifty times each; no addition is lost."""
    (tmp_path / "number").write_text("0")
    jobs = [FORK.Process(target=add_ones, args=(tmp_path,)) for _ in range(8)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 8
    assert (tmp_path / "number").read_text() == "400"


def test_waiting_for_a_turn_ends(tmp_path: Path) -> None:
    with take_turn(tmp_path), pytest.raises(LockedError), take_turn(tmp_path, wait_s=0.1):
        pass
