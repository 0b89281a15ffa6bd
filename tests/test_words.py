"""The sentences that messages share."""

import errno
from pathlib import Path

import pytest

from bids_group.errors import MissingInputError, OutputError, RunError
from bids_group.words import and_more, bids_uri, counted, list_some, os_failure, own_file, suggest


def test_lists_count_what_they_leave_out():
    assert list_some("abc", 2) == "a, b and 1 more"
    assert list_some("ab", 2) == "a, b"
    assert list_some([]) == "none"
    assert and_more(2, "files") == " and 2 more files"
    assert and_more(0) == ""


def test_counts_agree_with_their_noun():
    assert [counted(n, "map") for n in (0, 1, 2)] == ["0 maps", "1 map", "2 maps"]
    assert counted(2, "person", "people") == "2 people"


@pytest.mark.parametrize(
    "typed, known, said",
    [
        ("Age", ["age", "sex"], "Did you mean 'age'?"),
        ("n-cigs", ["n_cigs"], "Did you mean 'n_cigs'?"),
        ("größe", ["grösse"], "Did you mean 'grösse'?"),
        ("==", ["age"], None),
    ],
)
def test_a_guess_looks_past_case_and_signs(typed, known, said):
    assert suggest(typed, known) == said


def test_a_file_belongs_to_the_innermost_dataset():
    roots = {"": Path("/a/out"), "raw": Path("/a")}
    assert bids_uri(Path("/a/out/x.tsv"), roots) == "bids::x.tsv"
    assert bids_uri(Path("/a/x.tsv"), roots) == "bids:raw:x.tsv"
    assert bids_uri(Path("/b/x.tsv"), roots) == "file:///b/x.tsv"
    assert own_file("bids::x.tsv", Path("/a/out")) == Path("/a/out/x.tsv")
    assert own_file("bids:raw:x.tsv", Path("/a/out")) is None


@pytest.mark.parametrize(
    "number, written, kind",
    [
        (errno.ENOSPC, "x", RunError),
        (errno.EDQUOT, None, RunError),
        (errno.EROFS, None, OutputError),
        (errno.EACCES, "x", OutputError),
        (errno.EACCES, None, MissingInputError),
        (errno.EIO, "x", RunError),
    ],
)
def test_a_failure_of_the_disk_is_told_by_its_number(number, written, kind):
    error = os_failure(OSError(number, "what", "read"), written and Path(written))
    assert type(error) is kind
    assert (written or "read") in error.sentence
