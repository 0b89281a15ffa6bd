"""What a hostile input is, and a run of the command line over one."""

import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib

MOST_TIMES_A_GOOD_RUN = 10
MOST_BYTES_MORE = 500_000_000
HANGS_AFTER_S = 60.0
LONGEST_LINES = 60
LONGEST_CHARACTERS = 12_000
JOB = ("group", "-q", "--no-report", "--no-sensitivity")
FIRST = "derivatives/firstlevel"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hostile:
    """``spoil`` changes a study (and may return further words of the command line).

    ``code``: the exit codes that are right; ``words`` stand in what is said, without regard to case.
    """

    spoil: Callable[["Study"], Sequence[str] | None]
    code: int | tuple[int, ...]
    words: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    job: tuple[str, ...] = JOB


def hostile(spoil, code, *words, options=(), job=JOB):
    """Make a `Hostile` in one line."""
    return Hostile(spoil=spoil, code=code, words=words, options=tuple(options), job=tuple(job))


@dataclass(frozen=True, kw_only=True)
class Study:
    """A dataset of six people, one map each, in a folder of its own; the spoilt one is sub-03."""

    folder: Path

    @property
    def data(self):
        return self.folder / "data"

    @property
    def out(self):
        return self.folder / "out"

    @property
    def first(self):
        return self.data / FIRST

    @cached_property
    def effect(self):
        return next((self.first / "sub-03" / "func").glob("*stat-effect_statmap.nii.gz"))

    @property
    def variance(self):
        return self.effect.with_name(self.effect.name.replace("stat-effect", "stat-variance"))

    @property
    def sidecar(self):
        return self.effect.with_name(self.effect.name.replace(".nii.gz", ".json"))

    @property
    def people(self):
        return self.data / "participants.tsv"

    @cached_property
    def image(self):
        return nib.load(self.effect)

    def pooled(self, ending, person="sub-03"):
        """A pooled map of an earlier run, such as ``effect_statmap.json``."""
        return next((self.out / person / "func").glob(f"*stat-{ending}"))


def find_faults(outcome, wanted, usual):
    """List what is wrong with an outcome, beside that of a ``usual`` run of good input on this machine."""
    codes = (wanted.code,) if isinstance(wanted.code, int) else wanted.code
    said = outcome.said
    odd = {one for one in said if (ord(one) < 32 and one not in "\n\t") or 127 <= ord(one) < 160}
    missing = [word for word in wanted.words if word.casefold() not in said.casefold()]
    more = 1e6 * (outcome.peak_mb - usual.peak_mb)
    times = outcome.cpu_seconds / usual.cpu_seconds
    faults = {
        "it hangs": outcome.has_hung,
        f"exit code {outcome.code}, not {wanted.code}": outcome.code not in codes,
        "a traceback": "Traceback" in said,
        f"{times:.1f} times the processor time of a good run": times > MOST_TIMES_A_GOOD_RUN,
        f"{more / 1e9:.2f} GB more than a good run": more > MOST_BYTES_MORE,
        f"control characters {odd}": bool(odd),
        f"does not say {missing}": bool(missing),
        f"{len(said)} characters in {said.count(chr(10))} lines": len(said) > LONGEST_CHARACTERS
        or said.count("\n") > LONGEST_LINES,
    }
    return [fault for fault, is_there in faults.items() if is_there]


def fingerprint(folder):
    """Kind and content of everything below a folder, links and special files not followed."""
    found = {}
    for root, inner, names in os.walk(folder):
        for name in [*inner, *names]:
            path = os.path.join(root, name)  # noqa: PTH118
            status = os.lstat(path)
            kind, content = stat.S_IFMT(status.st_mode), ""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)  # noqa: PTH115
            elif stat.S_ISREG(status.st_mode) and status.st_size < 50_000_000:
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[os.path.relpath(path, folder)] = (kind, content)
    return found
