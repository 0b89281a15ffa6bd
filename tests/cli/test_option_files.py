"""Options in a file (``--config``), and the file of options that a run writes."""

from dataclasses import replace
from pathlib import Path

import pytest

from bids_group.cli.main import main
from bids_group.cli.option_files import read_option_file, write_options
from bids_group.cli.parser import read_arguments, translate
from bids_group.errors import MissingInputError, UsageError

YAML = """
formula: "~ group * age"
contrast:
  - "d = mean(group=b) - mean(group=a)"
  - slope(age)
smoothing-fwhm: 6
one_sided: true
no-report: true
cut_coords: -4,2,0
derivatives: {first: maps/first}
mask: masks/gm.nii.gz
participant_label: ["01", "02"]
variance_groups: null
"""
TOML = """
formula = "~ group * age"
contrast = ["d = mean(group=b) - mean(group=a)", "slope(age)"]
smoothing_fwhm = 6
one-sided = true
no_report = true
cut_coords = "-4,2,0"
derivatives = ["first=maps/first"]
mask = "masks/gm.nii.gz"
participant_label = ["01", "02"]
"""


def read(*words):
    return translate(read_arguments(["data", "out", "group", *map(str, words)]), words)


@pytest.mark.parametrize(("name", "text"), [("options.yaml", YAML), ("options.toml", TOML)])
def test_a_file_says_what_the_command_line_says(name, text, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    by_file, typed = (
        read("--config", path),
        read(
            *("--formula", "~ group * age", "--smoothing-fwhm", 6, "--one-sided", "--no-report"),
            *("--contrast", "d = mean(group=b) - mean(group=a)", "slope(age)", "--cut-coords", "-4,2,0"),
            *("--derivatives", f"first={tmp_path / 'maps/first'}", "--mask", tmp_path / "masks/gm.nii.gz"),
            *("--participant-label", "01", "02"),
        ),
    )
    for part in ("inputs", "selection", "analysis"):
        assert getattr(by_file, part) == getattr(typed, part)
    assert not by_file.execution.has_report
    assert by_file.options == typed.options


def test_what_is_typed_holds_before_the_file(tmp_path):
    path = tmp_path / "options.yaml"
    path.write_text(YAML)
    config = read("--config", path, "--two-sided", "--contrast", "mean()", "--smoothing-fwhm", 0)
    assert config.analysis.inference.is_two_sided
    assert [str(one) for one in config.analysis.contrasts] == ["mean()"]
    assert config.analysis.smoothing_fwhm_mm == 0
    assert config.analysis.formula == "~ group * age"


def test_the_file_that_a_run_writes_asks_for_the_same_again(tmp_path):
    (tmp_path / "options.yaml").write_text(YAML)
    first = read("--config", tmp_path / "options.yaml", "--nprocs", 2)
    (tmp_path / "config.toml").write_text(first.options)
    again = read("--config", tmp_path / "config.toml")
    assert (again.inputs, again.selection, again.analysis) == (first.inputs, first.selection, first.analysis)
    assert again.options == first.options
    assert "nprocs" not in first.options  # no number in the results depends on it


@pytest.mark.parametrize(
    ("name", "text", "error", "words"),
    [
        ("a.yaml", "formla: ~ 1", UsageError, "Did you mean 'formula'"),
        ("a.yaml", "- formula", UsageError, "a list of options by name"),
        ("a.yaml", "formula: [", UsageError, "not YAML"),
        ("a.toml", "formula = ~ 1", UsageError, "not TOML"),
        ("a.yaml", "one_sided: 3", UsageError, "on or off"),
        ("a.yaml", "alpha: [0.05, 0.1]", UsageError, "one value"),
        ("a.yaml", "bids_dir: data", UsageError, "no option 'bids_dir'"),
        ("a.yaml", "alpha: 0.01\nalpha: 0.05", UsageError, "'alpha' stands twice"),
        ("a.yaml", "contrast:\n  d: age\n  d: sex", UsageError, "'d' stands twice"),
        ("a.yaml", "smoothing-fwhm: 4\nsmoothing_fwhm: 6", UsageError, "said twice"),
        ("a.yaml", "? [formula]\n: ~ 1", UsageError, "There is no option"),
        ("a.yaml", "config: b.yaml", UsageError, "names another one"),
        ("a.yaml", "one_sided: yes", UsageError, "on or off"),
        ("a.toml", "[mask]\nfile = 'a.nii'", UsageError, "no names with values"),
        ("a.toml", "[inputs]\nmask = 'a.nii'", UsageError, "no option 'inputs'"),
        ("a.toml", "alpha = 0.01\nalpha = 0.05", UsageError, "not TOML"),
    ],
)
def test_a_slip_in_the_file_is_told_with_the_name_of_the_file(name, text, error, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(error) as caught:
        read_option_file(tmp_path / name)
    assert words in str(caught.value)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one_sided: true\ntwo_sided: true", "contradict"),
        ("smoothing_fwhm: six", "six"),
        ("correction: [fdr, fwer]", "no correction 'fwer'"),
    ],
)
def test_a_value_of_the_file_that_cannot_be_is_refused(text, words, tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(text)
    assert main([str(tmp_path), str(tmp_path / "out"), "group", "--config", str(tmp_path / "a.yaml")]) == 64
    assert words in capsys.readouterr().err


def test_labels_of_a_yaml_file_are_text(tmp_path):
    """YAML reads 010 as 8, 1_0 as 10, 1e3 as it is, 12:30 as 750, and no as false."""
    (tmp_path / "a.yaml").write_text(
        "participant_label: [010, 08, 1_0, 1e3, no]\nsession_label: 01\nverbose: 2"
    )
    config = read("--config", tmp_path / "a.yaml")
    assert config.selection.participant_labels == ("010", "08", "1_0", "1e3", "no")
    assert config.selection.session_labels == ("01",)
    assert config.execution.verbose == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.yaml", "contrast:\n  d: [0, 1/2, -0.5]\n  e: [A - B, B - C]\n  f: [[1, 0], [0, 1]]\n"),
        ("b.yaml", "contrast:\n- d: [0, 1/2, -0.5]\n- e: [A - B, B - C]\n- f = [[1, 0], [0, 1]]\n"),
        ("a.toml", 'contrast = {d = [0, "1/2", -0.5], e = ["A - B", "B - C"], f = [[1, 0], [0, 1]]}'),
    ],
)
def test_contrasts_of_a_file_are_written_in_every_way_it_has(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    said = [str(one) for one in read("--config", tmp_path / name).analysis.contrasts]
    assert said == ["d = [0, 1/2, -0.5]", "e = [A - B, B - C]", "f = [[1, 0], [0, 1]]"]


HARD = ("a b/x=1", "q\"uo'te", "back\\slash", "häß日", "-minus", "n=m")


@pytest.mark.parametrize("folder", HARD)
def test_paths_of_any_name_are_asked_for_again(folder, tmp_path, monkeypatch):
    """Typed relative to one folder, read again from another."""
    place = tmp_path / folder
    place.mkdir(parents=True)
    (place / "filter.json").write_text('{"run": "1"}')
    (place / "phenotype").touch()
    monkeypatch.chdir(tmp_path)
    words = [
        f"--{name}={folder}/{name}" for name in ("mask", "atlas", "model", "participants-tsv", "phenotype")
    ]
    words += [f"--bids-filter-file={folder}/filter.json", f"--derivatives=first={folder}"]
    first = read(
        *words, f"--derivatives=./{folder}", "--phenotype=iq", "--cut-coords", "-4,2,0", "--one-sided"
    )
    (tmp_path / "config.toml").write_text(first.options)
    monkeypatch.chdir("/")
    again = read("--config", tmp_path / "config.toml")
    assert replace(again.inputs, bids_dir=first.inputs.bids_dir) == first.inputs
    assert (again.selection, again.analysis) == (first.selection, first.analysis)
    assert again.options == first.options
    assert again.inputs.derivatives == (("first", place), (None, place))
    assert again.inputs.phenotype == (place / "phenotype", Path("iq"))  # this one by its name in BIDS_DIR
    assert again.selection.bids_filter == {"run": "1"}


def test_paths_of_a_file_stand_relative_to_it(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "filter.json").write_text('{"run": "1"}')
    text = "mask: v=2/gm.nii\nbids_filter_file: filter.json\nderivatives: [n=../a=b, ../c]\n"
    (tmp_path / "code" / "a.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    config = read("--config", "code/a.yaml")
    assert config.analysis.mask == tmp_path / "code/v=2/gm.nii"
    assert config.inputs.derivatives == (("n", tmp_path / "a=b"), (None, tmp_path / "c"))
    assert config.selection.bids_filter == {"run": "1"}


def test_a_file_that_is_not_there_ends_with_66(tmp_path, capsys):
    with pytest.raises(MissingInputError):
        read_option_file(tmp_path / "none.yaml")
    assert main(["data", "out", "group", "--config", str(tmp_path / "none.yaml")]) == 66
    assert "none.yaml" in capsys.readouterr().err


def test_nothing_said_is_an_empty_file_of_options():
    assert write_options({}).splitlines()[1:] == []
