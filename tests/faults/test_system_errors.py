"""The n-th call fails, or is the last one: the run says so or goes on, and the next one is as if nothing was.

SQLite's tests do the same (https://www.sqlite.org/testing.html, section 3). To add a fault: a line in FAULTS.
"""

import errno
import shutil
from dataclasses import dataclass

import pytest

from tests.faults.conftest import IS_LONG

N_SHARES = 16
"""Into so many tests the long form divides the calls of a fault, so that processors share them."""
CALLS = ("open", "read", "write", "rename", "fsync", "link", "unlink", "mkdir", "readdir")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to the n-th ``call``, which exit codes it may give, and for how many n in the short form.

    ``how``: ``once``, ``onward`` (all later ones too), ``short`` (half of the bytes), ``kill`` (by signal 9).
    """

    call: str
    how: str
    error: str = ""
    codes: frozenset[int]
    n_sampled: int = 3

    def __str__(self):
        return "-".join(filter(None, (self.call, self.how, self.error)))


ERRORS = ("ENOSPC", "EIO")
FAILED = frozenset({0, 66, 73, 74})
FAULTS = [
    *(Fault(call=call, how="once", error=error, codes=FAILED) for call in CALLS for error in ERRORS),
    Fault(call="write", how="onward", error="ENOSPC", codes=FAILED),
    Fault(call="write", how="onward", error="EDQUOT", codes=FAILED),
    Fault(call="write", how="short", codes=frozenset({0})),
    Fault(call="read", how="short", codes=frozenset({0})),
    Fault(call="any", how="onward", error="EIO", codes=FAILED),
    Fault(call="any", how="kill", codes=frozenset({-9}), n_sampled=12),
]  # fmt: skip


@pytest.fixture(scope="session")
def counts(disturbed, few, job, tmp_path_factory):
    """How many calls of each kind the undisturbed run makes."""
    out = tmp_path_factory.mktemp("counted") / "out"
    return disturbed.run(few, out, *job, folders=[few, out]).counts


def choose(total, n_sampled):
    """Every n, or some: the first, the last, and what lies evenly between them."""
    if IS_LONG or total <= n_sampled:  # none, where a kind of call is not made
        return range(1, total + 1)
    return sorted({1 + round(step * (total - 1) / (n_sampled - 1)) for step in range(n_sampled)})


def without_work(contents):
    """Leave out the work folder: of what cannot be removed a run warns, and the next one removes it."""
    return {name: content for name, content in contents.items() if not name.startswith(".work/")}


@pytest.mark.parametrize("fault", FAULTS, ids=str)
@pytest.mark.parametrize("share", range(N_SHARES if IS_LONG else 1))
def test_nth_call(fault, share, counts, disturbed, few, job, undisturbed, contents_of, tmp_path, tally):
    every, failures = choose(counts[fault.call], fault.n_sampled), []
    chosen = every[share :: N_SHARES if IS_LONG else 1]
    out, inputs = tmp_path / "out", contents_of(few)
    for n in chosen:
        number = getattr(errno, fault.error) if fault.error else 0
        first = disturbed.run(few, out, *job, folders=[few, out], fault=(fault.call, n, fault.how, number))
        complaint = first.complaint
        if first.code not in fault.codes:
            complaint = complaint or f"exit code {first.code}"
        if first.code == 0 and without_work(contents_of(out)) != undisturbed:
            complaint = complaint or "0, and other bytes"
        again = disturbed.run(few, out, *job)
        if again.code or again.complaint:
            complaint = complaint or f"the next run ended with {again.code}: {again.said}"
        elif contents_of(out) != undisturbed:
            now = contents_of(out)
            names = sorted(name for name in {*now, *undisturbed} if now.get(name) != undisturbed.get(name))
            complaint = complaint or f"the next run gave other bytes: {names}"
        if contents_of(few) != inputs:
            complaint = complaint or "an input was changed"
        if complaint:
            failures.append(f"{fault}, n = {n}: {complaint}\n{first.said}")
        shutil.rmtree(out, ignore_errors=True)
    tally(str(fault), failures, len(chosen))
