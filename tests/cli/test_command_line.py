"""What is typed becomes a request, or one clear error with its exit code."""

import subprocess
import sys
from pathlib import Path

import pytest

from bids_group.cli import main
from bids_group.cli.parser import build_parser, read_arguments, translate
from bids_group.config.request import OPTIONS
from bids_group.errors import AnalysisLevelError, UsageError


def request(*options, level="group"):
    return translate(read_arguments(["data", "out", level, *options]))


def test_help_and_version_do_not_import_the_numbers():
    code = (
        "import sys; from bids_group.cli.parser import build_parser; build_parser().format_help();"
        "print([name for name in ('numpy', 'nilearn', 'bids', 'pandas') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "option",
    sorted(
        name
        for action in build_parser()._actions
        for name in action.option_strings
        if name.startswith("--") and "-" in name[2:]
    ),
)
def test_every_option_has_both_spellings(option):
    dashed = next(a for a in build_parser()._actions if option in a.option_strings)
    kind = next((one.kind for one in OPTIONS if one.flag == option), "text")
    known = [one.choices[0] for one in OPTIONS if one.flag == option and one.choices]
    value = str([*known, {"integer": "6", "number": "0.5"}.get(kind, "x")][0])
    typed = [value] if dashed.nargs != 0 else []
    plain = read_arguments(["a", "b", "group", option, *typed])
    underscored = read_arguments(["a", "b", "group", "--" + option[2:].replace("-", "_"), *typed])
    assert vars(plain) == vars(underscored)


def test_folders_are_shown_without_steps_back(tmp_path, monkeypatch):
    here, link = tmp_path / "a" / "b", tmp_path / "link"
    here.mkdir(parents=True)
    link.symlink_to(here)
    monkeypatch.chdir(here)
    config = translate(read_arguments(["../data", str(link / ".." / "out"), "group"]))
    assert config.inputs.bids_dir == tmp_path / "a" / "data"
    assert config.output_dir == tmp_path / "a" / "out"  # up from where the link points to
    assert translate(read_arguments(["..", str(link), "group"])).inputs.bids_dir == tmp_path / "a"
    assert translate(read_arguments(["..", str(link), "group"])).output_dir == link


def test_labels_may_carry_their_prefix():
    selection = request("--participant-label", "sub-01", "02", "01", "--task-label", "task-faces").selection
    assert selection.participant_labels == ("01", "02")
    assert selection.task_labels == ("faces",)


def test_the_first_equals_sign_outside_of_brackets_parts_name_and_expression():
    contrasts = request(
        "--contrast",
        "slopeDiff = slope(n_cigs, group=patient) - slope(n_cigs, group=control)",
        "mean(group=patient)",
    ).analysis.contrasts
    assert contrasts[0].name == "slopeDiff"
    assert contrasts[0].expression == "slope(n_cigs, group=patient) - slope(n_cigs, group=control)"
    assert contrasts[1].name is None
    assert contrasts[1].expression == "mean(group=patient)"


def test_what_was_not_typed_takes_the_default_of_the_contract():
    analysis = request().analysis
    assert (analysis.formula, analysis.centering, analysis.missing) == ("~ 1", "grand", "error")
    assert (analysis.pooling, analysis.min_coverage, analysis.smoothing_fwhm_mm) == (None, 1.0, 0.0)
    assert (analysis.inference.alpha, analysis.inference.is_two_sided) == (0.05, True)
    assert analysis.inference.corrections == ("fdr", "bonferroni")
    assert (analysis.inference.n_permutations, analysis.inference.cluster_forming_p) == (10_000, 0.001)


def test_named_and_nameless_derivatives_are_told_apart():
    derivatives = request("-d", "fl=first", "/x/a=b").inputs.derivatives
    assert derivatives == (("fl", Path("first").absolute()), (None, Path("/x/a=b")))


WRONG = {
    "unknown option": (["--smoothing-fhwm", "5"], "Did you mean --smoothing-fwhm?"),
    "unknown correction": (["--correction", "fwe-vox"], "Write --correction fwe-voxel."),
    "abbreviated option": (["--partic", "01"], "There is no option --partic."),
    "alpha of 1": (["--alpha", "1"], "--alpha is out of range"),
    "alpha of nan": (["--alpha", "nan"], "--alpha is out of range"),
    "no shuffles": (["--n-permutations", "0"], "--n-permutations is out of range"),
    "negative smoothing": (["--smoothing-fwhm", "-1"], "--smoothing-fwhm is out of range"),
    "coverage above 1": (["--min-coverage", "1.2"], "--min-coverage is out of range"),
    "both kinds of blocks": (["--whole-blocks", "--within-blocks"], "contradict each other"),
    "unknown centring": (["--center", "mean"], "grand, none or within:FACTOR"),
    "dask scheduler": (["--dask-scheduler", "tcp://x"], "--executor dask"),
    "two clusters": (
        ["--executor", "dask", "--dask-scheduler", "tcp://x", "--dask-slurm", "pyproject.toml"],
        "--dask-scheduler and --dask-slurm",
    ),
    "format without dry run": (["--output-format", "json"], "belongs to --dry-run"),
    "contrast without expression": (["--contrast", "a ="], "lacks its name or its expression"),
    "no processes": (["--nprocs", "0"], "--nprocs must be above 0"),
    "a word for a number": (["--alpha", "small"], "--alpha takes a number, not 'small'"),
}


@pytest.mark.parametrize(("options", "words"), WRONG.values(), ids=WRONG.keys())
def test_wrong_options_are_refused_with_64_and_a_hint(options, words, capsys):
    with pytest.raises(UsageError) as refusal:
        request(*options)
    assert words in str(refusal.value)
    assert main(["data", "out", "group", *options]) == 64
    assert "Traceback" not in capsys.readouterr().err


def test_an_unknown_level_exits_with_17(capsys):
    with pytest.raises(AnalysisLevelError):
        request(level="grop")
    assert main(["data", "out", "session"]) == 17


def test_missing_positionals_exit_with_64_and_never_with_2():
    assert main([]) == 64


SWALLOWED = {
    "all three": ("-d maps data out group", "-d", "maps", "data out group"),
    "after another option": (
        "--space S --derivatives m data out group",
        "--derivatives",
        "m",
        "data out group",
    ),
    "choices": ("--correction fdr data out group", "--correction", "fdr", "data out group"),
    "the level": ("data out --participant-label 01 02 group", "--participant-label", "01 02", "group"),
    "two of them": ("data --task_label rest out group", "--task-label", "rest", "out group"),
}


@pytest.mark.parametrize(("typed", "option", "values", "taken"), SWALLOWED.values(), ids=SWALLOWED)
def test_a_list_that_took_the_folders_is_named_with_two_ways_out(typed, option, values, taken, capsys):
    assert main(typed.split()) == 64
    said = capsys.readouterr().err
    assert f"found    {option} took '{values} {taken}': a list ends only at the next option" in said
    assert "expected bids-group BIDS_DIR OUTPUT_DIR {participant,group} [options]" in said
    assert "fix      Put these three in front of all options" in said
    assert f"or end the list with --: {option} {values} -- {taken}" in said
    mended = typed.replace(f"{values} {taken}", f"{values} -- {taken}")
    arguments = read_arguments(mended.split())
    assert [str(arguments.bids_dir), str(arguments.output_dir), arguments.level] == ["data", "out", "group"]


def test_the_end_of_a_list_is_no_way_out_where_options_follow(capsys):
    """After ``--`` nothing is an option any more."""
    assert main(["-d", "maps", "data", "out", "group", "--contrast", "a"]) == 64
    said = capsys.readouterr().err
    assert "fix      Put these three in front of all options." in said
    assert main(["-d", "maps", "--", "data", "out", "group", "--contrast", "a"]) == 64
    assert "The option --contrast stands behind --, where everything is a folder" in capsys.readouterr().err


def test_folders_that_were_forgotten_are_not_laid_on_a_list(capsys):
    assert main(["data", "--participant-label", "01"]) == 64
    said = capsys.readouterr().err
    assert "The command line lacks OUTPUT_DIR and {participant,group}." in said
    assert "took" not in said


def test_words_that_belong_to_nothing_ask_for_quotes(capsys):
    assert main(["data", "out", "group", "--formula", "~", "group", "+", "age"]) == 64
    said = capsys.readouterr().err
    assert "belong to no option: group + age" in said
    assert '--formula "~ group + age"' in said


def test_a_filter_file_of_fmriprep_is_read(tmp_path):
    file = tmp_path / "filter.json"
    file.write_text('{"statmap": {"task": "faces", "session": null, "run": ["1", "2"]}}')
    assert request("--bids-filter-file", str(file)).selection.bids_filter == {
        "task": "faces",
        "session": None,
        "run": ("1", "2"),
    }


@pytest.mark.parametrize(
    "content", ['{"bold": {"run": "1"}}', '{"statmap": {"run": {"a": 1}}}', '{"statmap": null}']
)
def test_a_filter_file_without_the_query_of_this_program_names_it(tmp_path, content):
    file = tmp_path / "filter.json"
    file.write_text(content)
    with pytest.raises(UsageError, match="no filter of statistical maps") as caught:
        request("--bids-filter-file", str(file))
    assert '{"statmap": {"run": "1", "session": null}}' in str(caught.value)


@pytest.mark.parametrize(("content", "code"), [("{", 64), ("[]", 64), (None, 66)])
def test_a_broken_filter_file_is_refused(tmp_path, content, code):
    file = tmp_path / "filter.json"
    if content is not None:
        file.write_text(content)
    assert main(["data", "out", "group", "--bids-filter-file", str(file)]) == code
