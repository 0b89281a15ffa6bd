"""A design matrix of one's own: the numbers of the formula of the same columns; bad tables, by name."""

import hashlib
import json
import shutil

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from bids_group.demo import write_demo
from tests.studies import run_group as run

FORMULAS = {
    # name: (kind, options of the formula, contrasts: by meaning, and over columns)
    "a factor and a covariate": (
        "factorial",
        ["--formula", "~ group + age"],
        {"diff": ("mean(group=patient) - mean(group=control)", "group[T.patient]"), "age": ("age", "age")},
    ),
    "an interaction, without a constant": (
        "factorial",
        ["--formula", "~ 0 + group:sex"],
        {
            "mean": ("mean()", "[1/4, 1/4, 1/4, 1/4]"),
            "joint": ("test(group:sex)", None),
        },
    ),
    "sessions as rows": (
        "paired",
        ["--formula", "~ session * group + subject", "--pooling", "none"],
        {
            "change": (
                "mean(session=followup) - mean(session=baseline)",
                "session[T.followup] + 1/2 * session[T.followup]:group[T.treated]",
            )
        },
    ),
}
SHUFFLED = ["--correction", "fdr", "fwe-voxel", "--n-permutations", "40", "--permutation-p", "--no-report"]


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Datasets by kind: never write into them."""
    folder = tmp_path_factory.mktemp("kinds")
    for kind in ("factorial", "paired"):
        write_demo(folder / kind, kind=kind)
    return folder


def maps_of(out):
    return {path.name: path.read_bytes() for path in sorted(out.glob("group/*.nii.gz"))}


def matrix_of(data):
    people = pd.read_csv(data / "participants.tsv", sep="\t")
    return pd.DataFrame({"participant_id": people["participant_id"], "one": 1, "age": people["age"]})


def write(table, path):
    table.to_csv(path, sep="\t", index=False, na_rep="n/a")
    return path


@pytest.mark.parametrize(("kind", "options", "contrasts"), FORMULAS.values(), ids=FORMULAS.keys())
def test_a_printed_design_gives_the_bytes_of_its_formula(datasets, tmp_path, kind, options, contrasts):
    data, design = datasets / kind, tmp_path / "design.tsv"
    both = {name: pair for name, pair in contrasts.items() if pair[1] is not None}
    by_meaning = [f"{name} = {pair[0]}" for name, pair in both.items()]
    by_column = [f"{name} = {pair[1]}" for name, pair in both.items()]
    more = [token for token in options if token not in ("--formula", options[1])]
    command = [*options, "--contrast", *by_meaning, "--print-design", design, *SHUFFLED]
    assert run(data, tmp_path / "formula", *command) == 0
    own = ["--design-matrix", design, *more, "--contrast", *by_column, *SHUFFLED]
    assert run(data, tmp_path / "own", *own) == 0
    expected = maps_of(tmp_path / "formula")
    assert maps_of(tmp_path / "own") == expected
    assert len(expected) > 10


def test_flips_and_permutations_are_chosen_by_the_columns_not_by_their_names(datasets, tmp_path):
    """Two columns of ones and zeros span a constant that no column is."""
    data = datasets / "factorial"
    group = pd.read_csv(data / "participants.tsv", sep="\t")["group"]
    table = matrix_of(data).drop(columns=["one", "age"])
    table["a"], table["b"] = (group == "control").astype(int), (group == "patient").astype(int)
    design = write(table, tmp_path / "d.tsv")
    contrasts = ["--contrast", "mean = [0.5, 0.5]", "diff = b - a", "a = a"]
    assert run(data, tmp_path / "out", "--design-matrix", design, *contrasts, *SHUFFLED) == 0
    found = {
        name: json.loads(
            next((tmp_path / "out").glob(f"group/*{name}_stat-p_desc-fweVoxel*.json")).read_text()
        )["Shuffling"]
        for name in ("HousesMean", "HousesDiff", "HousesA")
    }
    assert found == {"HousesMean": "sign flips", "HousesDiff": "permutations", "HousesA": "sign flips"}


def test_without_contrasts_each_column_is_tested_as_least_squares_do(datasets, tmp_path):
    data, table = datasets / "factorial", matrix_of(datasets / "factorial")
    shuffled = table.sample(frac=1, random_state=3).rename(columns={"participant_id": "subject"})
    shuffled["subject"] = shuffled["subject"].str.removeprefix("sub-")
    out = tmp_path / "out"
    design = write(shuffled, tmp_path / "d.tsv")
    assert run(data, out, "--design-matrix", design, "--correction", "none", "--no-report") == 0
    effects = sorted((data / "derivatives/firstlevel").rglob("*stat-effect_statmap.nii.gz"))
    mask = nib.load(next(out.glob("group/*_desc-analysis_mask.nii.gz"))).get_fdata() > 0
    Y = np.array([nib.load(path).get_fdata()[mask] for path in effects])
    X = table[["one", "age"]].to_numpy(dtype=float)
    beta, rss, *_ = np.linalg.lstsq(X, Y, rcond=None)
    for at, label in enumerate(("One", "Age")):
        variance = rss / (len(X) - 2) * np.linalg.inv(X.T @ X)[at, at]
        t = nib.load(next(out.glob(f"group/*Houses{label}_stat-t_statmap.nii.gz"))).get_fdata()[mask]
        np.testing.assert_allclose(t, beta[at] / np.sqrt(variance), rtol=2e-5, atol=2e-5)
    assert len(list(out.glob("group/*_stat-t_statmap.nii.gz"))) == 2
    command = json.loads((out / "code/command.json").read_text())
    assert command["InputHashes"][str(design)] == hashlib.sha256(design.read_bytes()).hexdigest()
    sidecar = json.loads(next(out.glob("group/*HousesAge_stat-t_statmap.json")).read_text())
    assert sidecar["DesignMatrix"] == "d.tsv"
    assert sidecar["Centering"] == {"Method": "none", "Values": {}}


def test_the_resolved_model_gives_the_same_bytes(datasets, tmp_path):
    data = datasets / "factorial"
    design = write(matrix_of(data), tmp_path / "d.tsv")
    first = ["--design-matrix", design, "--contrast", "a = age - one", "--no-report"]
    assert run(data, tmp_path / "a", *first) == 0
    model = tmp_path / "a/code/model-commandLine_smdl.json"
    assert run(data, tmp_path / "b", "--model", model, "--no-report") == 0
    assert maps_of(tmp_path / "a") == maps_of(tmp_path / "b")
    assert json.loads((tmp_path / "b/code/model-commandLine_smdl.json").read_text()) == json.loads(
        model.read_text()
    )


def test_a_model_whose_formula_is_not_that_of_its_matrix_is_refused(datasets, tmp_path, capsys):
    data = datasets / "factorial"
    design = write(matrix_of(data), tmp_path / "d.tsv")
    assert run(data, tmp_path / "a", "--design-matrix", design, "--no-report") == 0
    model = tmp_path / "a/code/model-commandLine_smdl.json"
    write(matrix_of(data).assign(more=range(32)), design)
    assert run(data, tmp_path / "b", "--model", model) == 64
    assert "~ 0 + one + age + more" in capsys.readouterr().err


def without(*labels):
    return lambda table: table[~table["participant_id"].isin([f"sub-{one}" for one in labels])]


def with_row(label):
    return lambda table: pd.concat([table, table.iloc[[0]].assign(participant_id=label)])


def text_column(table):
    return table.assign(sex="F")


def text_cell(table):
    return table.assign(age=["nan", *table["age"][1:]])


def gap(table):
    return table.assign(age=[None, *table["age"][1:]])


BAD = {
    # name: (change of the table, options, exit code, words)
    "a person without a row": (
        without("03", "04"),
        [],
        65,
        ["sub-03, sub-04", "--exclude-participant-label 03 04", "--missing drop"],
    ),
    "zeros in front": (
        lambda t: t.assign(participant_id=t["participant_id"].str.replace("-0", "-")),
        [],
        65,
        ["sub-01", "sub-1 is another label"],
    ),
    "a row without a map": (with_row("sub-99"), [], 65, ["sub-99", "without a map", "--missing drop"]),
    "a row twice": (with_row("01"), [], 65, ["sub-01", "lines 2, 34"]),
    "a text column": (text_column, [], 65, ["'sex'", "'F'", "--formula"]),
    "a text cell": (text_cell, [], 65, ["'age'", "'nan'", "sub-01", "n/a"]),
    "a missing value": (gap, [], 65, ["age", "sub-01", "--missing drop"]),
    "no column of labels": (
        lambda t: t.rename(columns={"participant_id": "who"}),
        [],
        64,
        ["participant_id"],
    ),
    "two columns of labels": (
        lambda t: t.assign(subject=t["participant_id"]),
        [],
        64,
        ["participant_id, subject"],
    ),
    "no column of numbers": (lambda t: t[["participant_id"]], [], 65, ["no column of numbers"]),
    "no row": (lambda t: t.iloc[:0], [], 65, ["no row"]),
    "a column of a reserved name": (
        lambda t: t.rename(columns={"age": "contrast"}),
        [],
        64,
        ["contrast", "Rename"],
    ),
    "as many columns as rows": (
        lambda t: pd.concat(
            [t[["participant_id"]], pd.DataFrame(np.eye(32), columns=[f"c{i}" for i in range(32)])], axis=1
        ),
        [],
        65,
        ["32"],
    ),
    "a formula beside it": (None, ["--formula", "~ age"], 64, ["--formula ~ age"]),
    "a model beside it": (None, ["--model", "x.json"], 64, ["--model"]),
    "centring": (None, ["--center", "grand"], 64, ["--center grand"]),
    "a mean": (None, ["--contrast", "m = mean()"], 64, ["design matrix of your own", "one, age"]),
    "a slope": (None, ["--contrast", "slope(age)"], 64, ["design matrix of your own"]),
    "a term": (None, ["--contrast", "test(age)"], 64, ["design matrix of your own"]),
    "no such column": (None, ["--contrast", "agee"], 64, ["agee", "age"]),
    "a vector of another length": (None, ["--contrast", "[1, 0, 0]"], 64, ["3 weights", "one, age"]),
    "a contrast that is not estimable": (
        lambda t: t.assign(two=2),
        ["--contrast", "x = two"],
        65,
        ["cannot be estimated"],
    ),
    "no such file": (None, ["--design-matrix", "nowhere.tsv"], 66, ["nowhere.tsv"]),
    "sessions where rows are people": (lambda t: t.assign(session_id="1"), [], 64, ["--pooling none"]),
}


@pytest.mark.parametrize(("change", "options", "code", "words"), BAD.values(), ids=BAD.keys())
def test_bad_matrices_are_refused_by_name(datasets, tmp_path, capsys, change, options, code, words):
    data, table = datasets / "factorial", matrix_of(datasets / "factorial")
    design = write(table if change is None else change(table), tmp_path / "d.tsv")
    out = tmp_path / "out"
    assert run(data, out, "--design-matrix", design, *options) == code
    said = capsys.readouterr().err
    assert "Traceback" not in said
    for word in words:
        assert word in said, said
    assert not out.exists()


def test_a_row_per_person_does_not_serve_sessions(datasets, tmp_path, capsys):
    data = datasets / "paired"
    design = write(matrix_of(data), tmp_path / "d.tsv")
    assert run(data, tmp_path / "out", "--design-matrix", design, "--pooling", "none") == 64
    assert "session_id" in capsys.readouterr().err


def test_missing_drop_leaves_out_who_has_no_row_or_no_map_and_the_ledger_says_so(datasets, tmp_path):
    data, table = datasets / "factorial", matrix_of(datasets / "factorial")
    table = with_row("sub-99")(without("03")(gap(table)))
    design, out = write(table, tmp_path / "d.tsv"), tmp_path / "out"
    assert run(data, out, "--design-matrix", design, "--missing", "drop", "--no-report") == 0
    ledger = pd.read_csv(out / "ledger.tsv", sep="\t").set_index("participant_id")["reason"]
    assert ledger["sub-01"] == "no value (n/a) of age (--missing drop)"
    assert ledger["sub-03"] == "no row in the design matrix (--missing drop)"
    assert ledger["sub-99"] == "no first-level map"
    fitted = pd.read_csv(next(out.glob("group/*_design.tsv")), sep="\t")
    assert set(fitted["label"]) == {f"sub-{n:02d}" for n in range(1, 33)} - {"sub-01", "sub-03"}


@pytest.mark.parametrize(
    "options",
    [
        ["--exclude-participant-label", "03", "32"],
        ["--participant-label", *(f"{n:02d}" for n in (1, 2, 4, 5, 6, 7, 8, 9))],
        ["--exclude-where", "age > 40"],
    ],
    ids=lambda options: options[0],
)
def test_rows_of_people_who_were_left_out_do_no_harm(datasets, tmp_path, options):
    data = datasets / "factorial"
    design = write(matrix_of(data), tmp_path / "d.tsv")
    assert run(data, tmp_path / "o", "--design-matrix", design, "--dry-run", *options) == 0
    assert run(data, tmp_path / "o", "--formula", "~ age", "--dry-run", *options) == 0


def test_a_column_of_the_matrix_goes_before_one_of_the_tables(datasets, tmp_path):
    data, table = datasets / "factorial", matrix_of(datasets / "factorial")
    design, printed = write(table.assign(age=range(32)), tmp_path / "d.tsv"), tmp_path / "p.tsv"
    options = ["--design-matrix", design, "--dry-run", "--print-design", printed]
    assert run(data, tmp_path / "o", *options) == 0
    assert list(pd.read_csv(printed, sep="\t")["age"]) == list(range(32))
    assert not (tmp_path / "o").exists()


def test_a_printed_design_replaces_no_file_unless_asked(datasets, tmp_path, capsys):
    data, table = datasets / "factorial", tmp_path / "participants.tsv"
    shutil.copy(data / "participants.tsv", table)
    command = ["--formula", "~ age", "--dry-run", "--print-design", table]
    assert run(data, tmp_path / "o", *command) == 73
    assert "participants.tsv is there already" in capsys.readouterr().err
    assert table.read_bytes() == (data / "participants.tsv").read_bytes()
    assert run(data, tmp_path / "o", *command, "--overwrite") == 0
    assert run(data, tmp_path / "o", *command) == 0  # the same bytes
    assert main([str(data), str(tmp_path / "o"), "participant", "--print-design", str(table)]) == 64


def test_where_a_run_is_refused_no_design_is_printed(small, tmp_path):
    data, out, design = small, tmp_path / "out", tmp_path / "design.tsv"
    out.mkdir()
    (out / "report.html").write_text("of somebody else")
    words = ["--formula", "~ age", "--print-design", design]
    for more in ([], ["--dry-run"]):
        assert run(data, out, *words, *more) == 73
        assert not design.exists()
    assert run(data, tmp_path / "other", "--formula", "~ 1", "--no-report") == 0
    assert run(data, tmp_path / "other", *words) == 73
    assert not design.exists()


def test_the_sheet_of_a_workbook_is_a_matrix_and_its_bytes_are_noted(datasets, tmp_path):
    path = tmp_path / "designs.xlsx"
    ids = pd.read_csv(datasets / "factorial" / "participants.tsv", sep="\t")["participant_id"]
    with pd.ExcelWriter(path) as book:
        for name in ("the first", "the second"):
            frame = pd.DataFrame({"id": ids, "one": 1, "x": range(len(ids))})
            frame.to_excel(book, sheet_name=name, index=False)
    words = ["--design-matrix", f"{path}#the second", "--no-report", "--no-sensitivity"]
    assert main([str(datasets / "factorial"), str(tmp_path / "out"), "group", *words]) == 0
    noted = json.loads((tmp_path / "out/code/command.json").read_text())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in json.dumps(noted)
    assert f"{path}#the second" in (tmp_path / "out/logs/config.toml").read_text()


def test_odd_names_of_columns_survive_the_way_there_and_back(datasets, tmp_path):
    data, table = datasets / "factorial", matrix_of(datasets / "factorial")
    names = ["C(group)[T.b]:x y", "mean(x)"]
    table.columns = ["participant_id", *names]
    design = write(table, tmp_path / "d.tsv")
    out = tmp_path / "out"
    assert run(data, out, "--design-matrix", design, "--print-design", tmp_path / "p.tsv", "--no-report") == 0
    assert list(pd.read_csv(tmp_path / "p.tsv", sep="\t"))[1:] == names
    assert pd.read_csv(next(out.glob("group/*_design.tsv")), sep="\t").columns.tolist() == ["label", *names]
