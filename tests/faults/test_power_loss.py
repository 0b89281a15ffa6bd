"""The power fails at any moment: what the disk was not told to hold may be lost, and the next run mends it.

A run is recorded: what it writes, moves, removes and syncs. Replayed up to a point, on a disk that keeps of
each folder what was synced and then any beginning of the later changes (as journals do), and of each file
what was synced and then all, nothing, a beginning, or zeros.
"""

import os
import random
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.conftest import IS_LONG

N_POINTS = 200 if IS_LONG else 12


@dataclass(eq=False)
class File:
    """A file of the disk: its content, and the content that the disk holds."""

    content: bytearray = field(default_factory=bytearray)
    held: bytes = b""


@dataclass(eq=False)
class Folder:
    """A folder: names now, names that the disk holds, and the changes since."""

    names: dict = field(default_factory=dict)
    held: dict = field(default_factory=dict)
    changes: list = field(default_factory=list)

    def change(self, name, what):
        self.changes.append((name, what))
        if what is None:
            self.names.pop(name, None)
        else:
            self.names[name] = what


class Disk:
    """What stands below one folder of the machine that loses its power."""

    def __init__(self, root):
        self.root, self.top, self.opened = root, Folder(), {}
        for path in sorted(root.rglob("*")) if root.is_dir() else ():
            above, name = self.find(path)
            one = Folder() if path.is_dir() else File(bytearray(path.read_bytes()), path.read_bytes())
            above.names[name] = above.held[name] = one

    def find(self, path):
        """Give the folder of a path, and its name in it."""
        here, (*above, name) = self.top, path.relative_to(self.root).parts
        for one in above:
            here = here.names[one]
        return here, name

    def look_up(self, path):
        if path == self.root:
            return self.top
        above, name = self.find(path)
        return above.names.get(name)

    def do(self, kind, opened, number, path, other, payload):
        """Do again what was recorded."""
        if kind == "open":
            one = self.look_up(path)
            if one is None:
                one = File()
                above, name = self.find(path)
                above.change(name, one)
            if number & os.O_TRUNC and isinstance(one, File):
                one.content.clear()
            self.opened[opened] = one
        elif kind == "write":
            one = self.opened[opened]
            one.content[number : number + len(payload)] = payload
        elif kind == "size":
            one = self.opened[opened]
            one.content[:] = one.content[:number].ljust(number, b"\0")
        elif kind == "fsync":
            one = self.opened[opened]
            if isinstance(one, File):
                one.held = bytes(one.content)
            else:
                one.held, one.changes = dict(one.names), []
        elif kind == "mkdir":
            if path != self.root:
                above, name = self.find(path)
                above.change(name, Folder())
        else:
            above, name = self.find(path)
            if kind != "unlink":
                to, new = self.find(other)
                to.change(new, above.names[name])
            if kind != "link":
                above.change(name, None)

    def lose_power(self, dice, target):
        """Write what is left into a new folder."""
        self._write(self.top, dice, target)

    def _write(self, folder, dice, target):
        target.mkdir(parents=True)
        names = dict(folder.held)
        for name, what in folder.changes[: dice.randint(0, len(folder.changes))]:
            names.pop(name, None) if what is None else names.__setitem__(name, what)
        for name, one in names.items():
            if isinstance(one, Folder):
                self._write(one, dice, target / name)
            else:
                (target / name).write_bytes(_what_is_left(one, dice))


def _what_is_left(file, dice):
    whole = bytes(file.content)
    if file.held == whole:
        return whole
    cut = dice.randint(0, len(whole))
    return dice.choice(
        [whole, file.held, b"", bytes(len(whole)), whole[:cut], whole[:cut].ljust(len(whole), b"\0")]
    )


def read_record(path):
    """Give the recorded steps."""
    with path.open("rb") as stream:
        while line := stream.readline():
            kind, opened, number, n_bytes, paths = line.decode().rstrip("\n").split(" ", 4)
            one, other = (Path(each) if each else None for each in paths.split("\t"))
            yield kind, int(opened), int(number), one, other, stream.read(int(n_bytes))


EARLIER = {"a new folder": None, "over another analysis": ["--formula", "~ age"]}


@pytest.mark.parametrize("earlier", EARLIER.values(), ids=EARLIER)
def test_power_loss(earlier, disturbed, few, job, undisturbed, contents_of, tmp_path, tally):
    out, record, words, before = tmp_path / "out", tmp_path / "record", [*job], tmp_path / "before"
    if earlier:
        assert disturbed.run(few, out, *job, *earlier).code == 0
        words += ["--overwrite"]
        shutil.copytree(out, before)
    assert disturbed.run(few, out, *words, folders=[out], record=record).code == 0
    steps, dice, failures = list(read_record(record)), random.Random(18), []
    for number in range(N_POINTS):
        n_done = dice.randint(0, len(steps))
        shutil.rmtree(out)
        if earlier:
            shutil.copytree(before, out)
        disk = Disk(out)
        for step in steps[:n_done]:
            disk.do(*step)
        shutil.rmtree(out, ignore_errors=True)
        disk.lose_power(dice, out)
        again = disturbed.run(few, out, *words)
        now = contents_of(out)
        names = sorted(name for name in {*now, *undisturbed} if now.get(name) != undisturbed.get(name))
        if again.code or again.complaint or names:
            failures.append(f"{number}, {n_done} of {len(steps)} steps: {again.code}, {names}: {again.said}")
    tally(f"power loss, {'over another analysis' if earlier else 'a new folder'}", failures, N_POINTS)
