"""Bad input of bids-group-compare: its exit code, one message with the fix, and nothing written."""

import hashlib
import json

import pytest

from bids_group.cli.compare import main
from tests.studies import contents


def refused(compare, code, words, a, b, *options, folder=None):
    found, log, place = compare(a, b, *options, folder=folder)
    assert found == code, log
    assert log.count("ERROR") == 1
    assert "  fix      " in log
    for word in words:
        assert word in log
    if folder is None:
        assert not place.exists()


def test_the_same_folder_twice(out_all, compare, tmp_path):
    refused(compare, 64, ["same folder"], out_all, out_all)
    (tmp_path / "link").symlink_to(out_all)
    refused(compare, 64, ["same folder"], out_all, tmp_path / "link")


def test_no_contrast_in_common_lists_what_each_has(out_rows, out_pooled, compare):
    words = ["OUT_A has facesVsHousesChange", "OUT_B has change", "--pairs facesVsHousesChange=change"]
    refused(compare, 18, words, out_rows, out_pooled)


@pytest.mark.parametrize(
    "pair, code, word",
    [
        ("facesVsHousesChange", 64, "cannot read"),
        ("=change", 64, "cannot read"),
        ("a=b=c", 64, "cannot read"),
        ("facesVsHousesChang=change", 18, "Did you mean facesVsHousesChange?"),
        ("facesVsHousesChange=nothing", 18, "OUT_B has no contrast 'nothing'"),
    ],
)
def test_pairs_that_name_nothing(out_rows, out_pooled, compare, pair, code, word):
    found, log, place = compare(out_rows, out_pooled, "--pairs", pair)
    assert (found, word in log, place.exists()) == (code, True, False), log


def test_different_spaces(out_all, out_mean, copy, compare):
    moved = copy(out_mean)
    for path in sorted((moved / "group").iterdir()):
        if path.is_file():
            path.rename(path.with_name(path.name.replace("MNI152NLin2009cAsym", "T1w")))
    (moved / "code" / "outputs.json").unlink()
    refused(compare, 65, ["MNI152NLin2009cAsym", "T1w", "different spaces"], out_all, moved)


def test_folders_that_are_no_outputs(out_all, data, compare, tmp_path):
    for folder in (tmp_path, data):
        refused(compare, 66, [f"OUT_B holds no group analysis of bids-group: {folder}"], out_all, folder)
    (tmp_path / "file").write_text("")
    for path, word in ((tmp_path / "nowhere", "nothing"), (tmp_path / "file", "a file")):
        refused(compare, 66, [f"OUT_A is not a folder: {path}", f"found    {word}"], path, out_all)


def test_unfinished_outputs(out_all, out_mean, copy, compare):
    lost = copy(out_mean, "lost")
    next((lost / "group").glob("*stat-z_statmap.nii.gz")).unlink()
    refused(compare, 66, ["not finished", "stat-z_statmap.nii.gz"], out_all, lost)
    fresh = copy(out_mean, "fresh")
    (fresh / "code" / "command.json").unlink()
    refused(compare, 66, ["not finished"], fresh, out_all)
    again = copy(out_mean, "again")
    path = again / "code" / "outputs.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "Earlier": ["group/old.tsv"]}))
    refused(compare, 66, ["not finished"], again, out_all)


def test_a_folder_with_other_files_stays_as_it_is(out_all, out_mean, compare, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "thesis.txt").write_text("years of work")
    refused(compare, 73, ["thesis.txt", "not empty"], out_all, out_mean, folder=folder)
    assert [one.name for one in folder.iterdir()] == ["thesis.txt"]
    refused(compare, 73, ["is a file"], out_all, out_mean, folder=folder / "thesis.txt")
    (folder / "comparison.json").write_text('{"Description": "of somebody else"}')
    refused(compare, 73, ["not empty"], out_all, out_mean, folder=folder)


def test_a_folder_inside_an_output(out_all, out_mean, compare):
    for folder in (out_all, out_all / "comparison"):
        refused(compare, 73, ["lies in OUT_A"], out_all, out_mean, folder=folder)
    assert not (out_all / "comparison").exists()


def test_the_command_line(capsys):
    assert main(["a", "b"]) == 64
    assert "lacks DIR" in capsys.readouterr().err
    assert main(["a", "b", "c", "--pair", "x=y"]) == 64
    assert "Did you mean --pairs?" in capsys.readouterr().err


def test_an_earlier_comparison_is_replaced_and_the_bytes_repeat(
    out_all, out_mean, compare, pictures, tmp_path
):
    assert compare(out_all, out_mean)[0] == 0
    first = contents(tmp_path / "comparison")
    (tmp_path / "comparison" / "figures" / "notes.txt").write_text("of the user")
    assert compare(out_all, out_mean, "--pairs", "facesVsHouses=facesVsHouses")[0] == 0
    second = contents(tmp_path / "comparison")
    assert second.pop("figures/notes.txt") == hashlib.sha256(b"of the user").hexdigest()
    assert not {name for name in second if name.startswith("figures/contrast-facesVsHouses_stat")}
    assert compare(out_all, out_mean)[0] == 0
    third = contents(tmp_path / "comparison")
    third.pop("figures/notes.txt")
    assert third == first


def test_a_comparison_that_was_killed_is_written_again(out_all, out_mean, compare, monkeypatch, tmp_path):
    def fail(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("bids_group.compare.writing.write_text", fail)
        assert compare(out_all, out_mean)[0] == 130
    assert not (tmp_path / "comparison" / "report.html").exists()
    assert compare(out_all, out_mean)[0] == 0
    assert (tmp_path / "comparison" / "report.html").exists()
