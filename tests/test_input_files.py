"""What is no file is told, and never waited for."""

import os

import pytest

from bids_group.errors import DataError, MissingInputError, cut_short, printable
from bids_group.input_files import open_file, read_file
from bids_group.json_files import read_json


@pytest.mark.parametrize(
    "make, kind",
    [
        (os.mkfifo, "a named pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "a device"),
        (lambda path: path.mkdir(), "a folder"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("nowhere"), "No such file"),
    ],
)
def test_what_is_no_file_is_told_by_its_kind(tmp_path, make, kind):
    path = tmp_path / "a.json"
    make(path)
    with pytest.raises(OSError) as refused:
        open_file(path)
    assert kind in refused.value.strerror
    with pytest.raises(MissingInputError, match=kind):
        read_json(path)


def test_a_file_is_read_and_a_name_of_nul_is_no_file(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    (tmp_path / "link").symlink_to("a")
    assert read_file(tmp_path / "a") == read_file(tmp_path / "link") == b"12"
    with pytest.raises(OSError, match="null"):
        open_file(tmp_path / "a\0b")


@pytest.mark.parametrize(
    "text", ['{"a":' * 10_000 + "1" + "}" * 10_000, '{"a": ' + "[" * 101 + "]" * 101 + "}"]
)
def test_json_that_is_nested_too_deeply_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match="nested too deeply"):
        read_json(tmp_path / "a.json")


def test_json_of_a_hundred_levels_and_of_long_numbers_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": ' + "[" * 99 + "]" * 99 + ', "b": ' + "9" * 5000 + ', "c": 12}')
    content = read_json(tmp_path / "a.json")
    assert (content["b"], content["c"], str(content["a"])) == (float("inf"), 12, "[" * 99 + "]" * 99)


def test_what_a_terminal_would_obey_is_spelled():
    assert (
        printable("\x1b[2J\x07 a\tb\n\x9b\u202e\udcff é 漢")
        == "\\u001b[2J\\u0007 a\tb\n\\u009b\\u202e\\udcff é 漢"
    )


def test_messages_end():
    assert cut_short("a\nb") == "a\nb"
    assert cut_short("a" * 9000) == "a" * 3000 + " … (6000 characters more)"
    error = DataError("\x1b[2J", found="x\n" * 9000, fix="y" * 9000)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 3500
    assert str(error).count("\n") < 40


def test_halves_of_characters_are_replaced_where_json_is_read(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(r'{"a\ud800": ["\ud83d\ude00", "\udc00x\\ud800"], "n": 1e999}')
    assert read_json(path) == {"a\ufffd": ["\U0001f600", "\ufffdx\\ud800"], "n": float("inf")}
