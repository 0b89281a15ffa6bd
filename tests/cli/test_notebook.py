"""`bids_group.analyse`: the bytes of the command line, its errors as exceptions, and what it returns."""

import inspect
import logging
import shlex
import subprocess
import sys
from unicodedata import normalize

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bids_group
from bids_group.cli import main
from bids_group.cli.option_files import spell_options
from bids_group.cli.parser import read_arguments, translate
from bids_group.config.request import OPTIONS as EVERY_OPTION
from bids_group.demo import write_demo
from bids_group.errors import BidsGroupError, DataError, MissingInputError, SelectionError, UsageError
from bids_group.workflow.progress import Lines, progress
from tests.studies import contents


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two groups of people: never write into it."""
    folder = tmp_path_factory.mktemp("factorial") / "data"
    write_demo(folder, kind="factorial", size_mm=12)
    return folder


CONTRASTS = {"diff": "mean(group=patient) - mean(group=control)", "age": [0, 0, 1]}
OPTIONS = {"correction": ["fdr", "fwe-size"], "n_permutations": 40, "alpha": 0.1, "permutation_p": True}


@pytest.fixture(scope="module")
def results(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "python"
    return bids_group.analyse(data, out, formula="~ group + age", contrasts=CONTRASTS, quiet=2, **OPTIONS)


def test_the_bytes_are_those_of_the_command_line(data, results, tmp_path):
    words = "--correction fdr fwe-size --n-permutations 40 --alpha 0.1 --permutation-p -qq"
    contrasts = ["--contrast", f"diff = {CONTRASTS['diff']}", "age = [0, 0, 1]"]
    command = ["--formula", "~ group + age", *contrasts, *words.split()]
    assert main([str(data), str(tmp_path / "out"), "group", *command]) == 0
    ours, theirs = contents(results.output_dir), contents(tmp_path / "out")
    assert list(ours) == list(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []
    assert len(ours) > 50


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, bids_group; print(*sys.modules); print('analyse' in dir(bids_group))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules, listed = done.stdout.splitlines()
    assert not {"numpy", "pandas", "nibabel", "argparse", "bids_group.cli"} & set(modules.split())
    assert listed == "True"
    with pytest.raises(AttributeError):
        bids_group.analyze  # noqa: B018


def test_images_and_tables_are_those_of_the_files(results):
    group = results.output_dir / "group"
    stem = next(group.glob("*_contrast-facesVsHousesDiff_stat-t_statmap.nii.gz")).name.removesuffix(
        "_stat-t_statmap.nii.gz"
    )
    for stat, correction, ending in (
        ("t", None, "stat-t"),
        ("p", None, "stat-p"),
        ("p", "fwe-size", "stat-p_desc-fweSize"),
        ("p", "permutation", "stat-p_desc-permutation"),
    ):
        image = results.image("diff", stat, correction)
        file = nib.load(group / f"{stem}_{ending}_statmap.nii.gz")
        assert isinstance(image, nib.Nifti1Image)
        np.testing.assert_array_equal(image.get_fdata(), file.get_fdata())
    assert results.image("diff", "n").get_fdata().max() == 32  # of the analysis, not of the contrast
    clusters = results.clusters("diff", "fdr")
    expected = pd.read_csv(group / f"{stem}_desc-fdr_clusters.tsv", sep="\t", na_values=["n/a"])
    pd.testing.assert_frame_equal(clusters, expected, check_dtype=False)
    assert len(clusters)


def test_the_table_counts_what_the_maps_show(results):
    mask = nib.load(next((results.output_dir / "group").glob("*_desc-analysis_mask.nii.gz"))).get_fdata() > 0
    for name in results.contrasts:
        table = results.table(name).set_index("correction")
        assert set(table.index) == {"fdr", "fwe-size"}
        p = results.image(name, "p", "fdr").get_fdata()[mask].astype(np.float32)
        assert table.loc["fdr", "smallest_p"] == p.min()
        assert table.loc["fdr", "n_elements"] == (p <= 0.1).sum()
        clusters = results.clusters(name, "fdr")
        assert table.loc["fdr", "n_clusters"] == clusters["cluster"].nunique()
        assert (table["alpha"] == 0.1).all()


def test_design_ledger_and_report(results):
    assert results.contrasts == ["diff", "age"]
    assert list(results.design.columns) == ["Intercept", "group[T.patient]", "age"]
    assert results.design["age"].sum() == pytest.approx(0, abs=1e-9)
    assert list(results.designs) == ["facesVsHouses"]
    assert len(results.ledger) == 32
    assert (results.ledger["used"] == "yes").all()
    assert results.report.name == "report.html"
    page = results._repr_html_()
    for word in ("32 participants", "~ group + age", "diff", "fwe-size"):
        assert word in page
    assert "<script" not in page


BAD = {
    "unknown option": ({"formla": "~ 1"}, UsageError, "Did you mean 'formula'"),
    "a level": ({"level": "participant"}, UsageError, "no option 'level'"),
    "a word for a flag": ({"tail_approximation": "yes"}, UsageError, "True or False"),
    "a flag for a word": ({"missing": True}, UsageError, "needs a value"),
    "several for one": ({"alpha": [0.1, 0.2]}, UsageError, "one value"),
    "text for a number": ({"alpha": "small"}, UsageError, "alpha"),
    "no such choice": ({"missing": "maybe"}, UsageError, "missing"),
    "no such column": ({"formula": "~ agee"}, UsageError, "agee"),
    "no such correction": ({"correction": "fdrr"}, UsageError, "fdr"),
    "contrasts twice": ({"contrasts": ["age"], "contrast": ["age"]}, UsageError, "twice"),
    "nobody of the name": ({"participant_label": ["99"]}, SelectionError, "99"),
    "a formula that needs more people": (
        {"formula": "~ age", "participant_label": ["01", "02"]},
        DataError,
        "rows",
    ),
    "no such file": ({"mask": "nowhere.nii.gz"}, MissingInputError, "nowhere"),
}


@pytest.mark.parametrize(("options", "kind", "words"), BAD.values(), ids=BAD.keys())
def test_errors_are_exceptions(data, tmp_path, options, kind, words):
    with pytest.raises(kind) as caught:
        bids_group.analyse(data, tmp_path / "out", quiet=1, **options)
    assert words in str(caught.value)
    assert isinstance(caught.value, BidsGroupError)
    assert not (tmp_path / "out").exists()


def test_what_is_not_there_is_named(results):
    with pytest.raises(UsageError, match="Did you mean 'diff'"):
        results.image("dif", "t")
    with pytest.raises(MissingInputError, match="stat-F"):
        results.image("diff", "F")
    with pytest.raises(MissingInputError, match="fweTfce"):
        results.clusters("diff", "fwe-tfce")


def test_names_that_two_analyses_share_need_the_label(tmp_path):
    data = tmp_path / "data"
    write_demo(data, kind="one-sample", size_mm=20)
    for path in sorted(data.rglob("*_contrast-facesVsHouses_*")):
        copy = path.with_name(path.name.replace("facesVsHouses", "places"))
        copy.write_bytes(path.read_bytes())
    out = tmp_path / "out"
    results = bids_group.analyse(data, out, contrasts={"places": "mean()"}, no_report=True, quiet=2)
    assert results.contrasts == ["facesVsHousesPlaces", "placesPlaces"]
    assert results.image("placesPlaces", "t").shape
    with pytest.raises(UsageError, match="more than one contrast 'places'"):
        results.image("places", "t")
    with pytest.raises(MissingInputError, match="report"):
        _ = results.report
    assert results.design.shape == (12, 1)


def test_the_users_own_logging_stays_as_it_was(data, tmp_path):
    logger = logging.getLogger("bids_group")
    before = logger.handlers[:], logger.level, logger.propagate
    try:
        logger.handlers[:], logger.propagate = [], True
        logger.setLevel(logging.NOTSET)
        bids_group.analyse(data, tmp_path / "out", dry_run=True, quiet=1)
        assert (logger.handlers, logger.level, logger.propagate) == ([], logging.NOTSET, True)
    finally:
        logger.handlers[:], logger.propagate = before[0], before[2]
        logger.setLevel(before[1])


def test_a_notebook_with_widgets_gets_a_bar(monkeypatch):
    monkeypatch.setattr("bids_group.workflow.progress._is_notebook", lambda: False)
    with progress("x") as logged:
        assert getattr(logged, "__func__", None) is Lines.update
    monkeypatch.setattr("bids_group.workflow.progress._is_notebook", lambda: True)
    with progress("x") as bar:
        assert not hasattr(bar, "__func__")
        bar(1, 2)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    labels=st.lists(WORDS, min_size=1, max_size=3),
    formula=WORDS,
    flag=st.booleans(),
    number=st.integers(1, 9**9),
)
def test_a_call_is_the_same_request_as_its_command_line(labels, formula, flag, number):
    """Whatever the text of a value is, dashes, equals signs, accents: it arrives whole."""
    said = {"participant_label": labels, "formula": formula, "one_sided": flag, "n_permutations": number}
    words = ["data", "out", "group", *spell_options(said)]
    config = translate(read_arguments(words), words)
    assert config.selection.participant_labels == tuple(
        dict.fromkeys(normalize("NFC", one).strip().removeprefix("sub-") for one in labels)
    )
    assert config.analysis.formula == normalize("NFC", formula)
    assert config.analysis.inference.is_two_sided is not flag
    assert config.analysis.inference.n_permutations == number
    assert read_arguments(shlex.split(shlex.join(words))) == read_arguments(words)


def test_every_option_of_the_command_line_can_be_said(tmp_path):
    (tmp_path / "options.toml").write_text("")
    for option in EVERY_OPTION:
        for flag in option.spellings:
            name = flag.removeprefix("--").replace("-", "_")
            value = True if option.takes_none else [*option.choices, "1"][0]
            value = tmp_path / "options.toml" if name == "config" else value
            read_arguments(["data", "out", "group", *spell_options({name: value})])
    assert list(inspect.signature(bids_group.analyse).parameters)[:4] == [
        "bids_dir",
        "output_dir",
        "formula",
        "contrasts",
    ]
