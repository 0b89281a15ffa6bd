"""Options in a file (``--config``), and the file of options that a run writes."""

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
        ("a.yaml", "- formula", UsageError, "no list of options"),
        ("a.yaml", "formula: [", UsageError, "not YAML"),
        ("a.toml", "formula = ~ 1", UsageError, "not TOML"),
        ("a.yaml", "one_sided: 3", UsageError, "on or off"),
        ("a.yaml", "alpha: [0.05, 0.1]", UsageError, "one value"),
        ("a.yaml", "bids_dir: data", UsageError, "no option 'bids_dir'"),
    ],
)
def test_a_slip_in_the_file_is_told_with_the_name_of_the_file(name, text, error, words, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(error) as caught:
        read_option_file(tmp_path / name)
    assert words in str(caught.value)
    assert name in str(caught.value)


def test_a_file_that_is_not_there_ends_with_66(tmp_path, capsys):
    with pytest.raises(MissingInputError):
        read_option_file(tmp_path / "none.yaml")
    assert main(["data", "out", "group", "--config", str(tmp_path / "none.yaml")]) == 66
    assert "none.yaml" in capsys.readouterr().err


def test_nothing_said_is_an_empty_file_of_options():
    assert write_options({}).splitlines()[1:] == []
