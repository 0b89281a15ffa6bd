"""Whole runs of model files on synthetic maps, of the kinds in the public model zoo, by least squares."""

import json

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from bids_group.cli import main
from tests.studies import begin_study

SHAPE = (4, 3, 3)
PEOPLE = [f"{number:02d}" for number in range(1, 17)]
SEX = np.array(list("MF") * 8)
GROUP = np.array([1, 1, 2, 2, 3, 3, 4, 4] * 2)
AGE = np.random.default_rng(1).normal(40, 9, 16).round(1)
RANGE = np.where(np.arange(16) % 3 == 0, "indifference", "range")
CONTRASTS = ("negLossParametric", "gain", "loss", "trials")
ONE = ("--first-level-contrast", "gain")
"""Where all four would show no more than one does."""

STEPS = "pybids-transforms-v1"
ORDINARY = {"Type": "glm"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Sixteen people, three runs, four contrasts, in the names of FitLins; and the numbers themselves."""
    root = tmp_path_factory.mktemp("runs") / "data"
    people = {"participant_id": [f"sub-{one}" for one in PEOPLE], "sex": SEX, "patient_grp": GROUP}
    people = pd.DataFrame({**people, "age": AGE, "group": RANGE})
    folder = begin_study(root, people, program="fitlins", name="fitlins")
    draw = np.random.default_rng(7)
    numbers = {}
    for person in PEOPLE:
        place = folder / "node-run" / f"sub-{person}"
        place.mkdir(parents=True)
        for run in "123":
            for contrast in CONTRASTS:
                effect = draw.normal(1, 1, SHAPE).astype(np.float32)
                variance = draw.gamma(4, 0.5, SHAPE).astype(np.float32)
                numbers[person, run, contrast] = effect, variance
                stem = f"sub-{person}_task-gamble_run-{run}_space-MNI_contrast-{contrast}"
                for stat, data in (("effect", effect), ("variance", variance)):
                    image = nib.Nifti1Image(data, np.diag([3.0, 3, 3, 1]))
                    nib.save(image, place / f"{stem}_stat-{stat}_statmap.nii.gz")
    return root, numbers


def pooled(numbers, contrast, runs="123"):
    """Inverse-variance weighted mean over runs: a row per person, a column per element."""
    rows = []
    for person in PEOPLE:
        effects, variances = zip(*[numbers[person, run, contrast] for run in runs], strict=True)
        weights = 1 / np.stack(variances).astype(float)
        rows.append(((weights * np.stack(effects)).sum(axis=0) / weights.sum(axis=0)).ravel())
    return np.array(rows)


def least_squares(Y, X, C):
    """Statistic of C: t for one row, F for several."""
    X, C = np.asarray(X, float), np.atleast_2d(np.asarray(C, float))
    inverse = np.linalg.pinv(X.T @ X)
    beta = inverse @ X.T @ Y
    noise = ((Y - X @ beta) ** 2).sum(axis=0) / (len(X) - np.linalg.matrix_rank(X))
    effect, spread = C @ beta, C @ inverse @ C.T
    if len(C) == 1:
        return effect[0] / np.sqrt(noise * spread[0, 0])
    return np.einsum("iv,ij,jv->v", effect, np.linalg.inv(spread), effect) / len(C) / noise


def model(*nodes, edges=None):
    whole = {"Name": "zoo", "BIDSModelVersion": "1.0.0", "Input": {"task": ["gamble"]}, "Nodes": list(nodes)}
    return whole if edges is None else {**whole, "Edges": edges}


def run_node(*contrasts):
    convolve = {"Transformer": STEPS, "Instructions": [{"Name": "Convolve", "Input": ["gain", "loss"]}]}
    declared = [{"Name": one, "ConditionList": ["loss"], "Weights": [-1], "Test": "t"} for one in contrasts]
    return {
        "Level": "Run",
        "Name": "run",
        "GroupBy": ["subject", "run"],
        "Transformations": convolve,
        "Model": {"X": ["gain", "loss", 1], "Type": "glm"},
        "Contrasts": declared,
    }


SUBJECT = {
    "Level": "Subject",
    "Name": "subject",
    "GroupBy": ["subject", "contrast"],
    "Model": {"X": [1], "Type": "meta"},
    "DummyContrasts": {"Test": "t"},
}


def dataset(x, steps=(), formula=None, **keys):
    fit = {"X": x, "Type": "glm"} | ({} if formula is None else {"Formula": formula})
    node = {"Level": "Dataset", "Name": "group", "GroupBy": ["contrast"], "Model": fit}
    if steps:
        node["Transformations"] = {"Transformer": STEPS, "Instructions": list(steps)}
    return {**node, **keys}


def contrast(name, conditions, weights, test="t"):
    return {"Name": name, "ConditionList": conditions, "Weights": weights, "Test": test}


@pytest.fixture
def analyse(runs, tmp_path):
    """Run a model; give a function that reads a map of its results."""

    def run(content, *options):
        path = tmp_path / "model-zoo_smdl.json"
        path.write_text(json.dumps(content))
        out = tmp_path / "out"
        code = main([str(runs[0]), str(out), "group", "--model", str(path), "--no-report", "-q", *options])
        assert code == 0

        def read(name, stat="t", node=None):
            folder = out / "group" / (f"node-{node}" if node else "")
            (file,) = folder.glob(f"*contrast-{name}_stat-{stat}_statmap.nii.gz")
            return nib.load(file).get_fdata().ravel()

        return read

    return run


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-5)


def test_slopes_of_age_in_two_groups(runs, analyse):
    steps = [{"Name": "Factor", "Input": ["sex"]}]
    steps += [{"Name": "Product", "Input": [f"sex.{s}", "age"], "Output": f"age.{s}"} for s in "MF"]
    node = dataset(
        ["sex.M", "sex.F", "age.M", "age.F"],
        steps,
        Contrasts=[contrast("slope_M_gt_slope_F", ["age.M", "age.F"], [1, -1])],
    )
    read = analyse(model(run_node("neg_loss_parametric"), SUBJECT, node))
    is_male = SEX == "M"
    X = np.column_stack([is_male, ~is_male, is_male * AGE, ~is_male * AGE])
    expected = least_squares(pooled(runs[1], "negLossParametric"), X, [0, 0, 1, -1])
    same(read("negLossParametricSlopeMGtSlopeF"), expected)


def test_eight_cells_and_their_main_effects(runs, analyse):
    cells = [f"patient_grp.{g}:sex.{s}" for g in (1, 2, 3, 4) for s in "MF"]
    C = [[1, 1, 0, 0, 0, 0, -1, -1], [0, 0, 1, 1, 0, 0, -1, -1], [0, 0, 0, 0, 1, 1, -1, -1]]
    node = dataset(
        [f"patient_grp.{g}" for g in (1, 2, 3, 4)] + ["sex.M", "sex.F"],
        [{"Name": "Factor", "Input": ["patient_grp"]}, {"Name": "Factor", "Input": ["sex"]}],
        "~ 0 + " + " + ".join(cells),
        Contrasts=[contrast("main group effect f-test", cells, C, "F")],
    )
    read = analyse(model(run_node("neg_loss_parametric"), SUBJECT, node))
    X = np.column_stack([(g == GROUP) & (s == SEX) for g in (1, 2, 3, 4) for s in "MF"])
    expected = least_squares(pooled(runs[1], "negLossParametric"), X, C)
    same(read("negLossParametricMainGroupEffectFTest", "F"), expected)


def test_a_paired_difference_compared_between_groups(runs, analyse):
    binary = {"Name": "Threshold", "Input": "run", "Binarize": True}
    within = {
        "Level": "Session",
        "Name": "within",
        "GroupBy": ["subject", "contrast"],
        "Transformations": {
            "Transformer": STEPS,
            "Instructions": [
                {**binary, "Threshold": 2, "Above": False, "Output": "early"},
                {**binary, "Threshold": 3, "Above": True, "Output": "late"},
            ],
        },
        "Model": {"X": ["early", "late"], "Type": "meta"},
        "Contrasts": [contrast("run3 minus mean(run1_run2)", ["early", "late"], [-1, 1])],
    }
    node = dataset(
        ["sex.M", "sex.F"],
        [{"Name": "Factor", "Input": "sex"}],
        Contrasts=[contrast("M(diff)-F(diff)", ["sex.M", "sex.F"], [1, -1])],
    )
    read = analyse(model(run_node("neg_loss_parametric"), within, node))
    Y = pooled(runs[1], "negLossParametric", "3") - pooled(runs[1], "negLossParametric", "12")
    expected = least_squares(Y, np.column_stack([SEX == "M", SEX == "F"]), [1, -1])
    same(read("run3MinusMeanRun1Run2MDiffFDiff"), expected)


def test_three_nodes_on_groups_and_filtered_contrasts(runs, analyse):
    loss = {"Filter": {"contrast": ["loss"]}}
    nodes = [
        dataset([1], Name="positive", GroupBy=["contrast", "group"], DummyContrasts={"Test": "t"}),
        dataset(
            [1], Name="negative", GroupBy=["contrast", "group"], Contrasts=[contrast("negative", [1], [-1])]
        ),
        dataset(
            [1, "group"],
            formula="0 + C(group)",
            Name="between",
            Contrasts=[contrast("differs", ["C(group)[T.range]", "C(group)[T.indifference]"], [1, -1])],
        ),
    ]
    for node in nodes[:2]:
        del node["Model"]["Type"]
    edges = [
        {"Source": "run", "Destination": "subject"},
        {"Source": "subject", "Destination": "positive"},
        {"Source": "subject", "Destination": "negative", **loss},
        {"Source": "subject", "Destination": "between", **loss},
    ]
    read = analyse(model(run_node("trials", "gain", "loss"), SUBJECT, *nodes, edges=edges))
    in_range = RANGE == "range"
    gain, lost = pooled(runs[1], "gain"), pooled(runs[1], "loss")
    same(
        read("gainGroupRange", node="positive"),
        least_squares(gain[in_range], np.ones((in_range.sum(), 1)), [1]),
    )
    others = least_squares(lost[~in_range], np.ones(((~in_range).sum(), 1)), [-1])
    same(read("lossNegativeGroupIndifference", node="negative"), others)
    expected = least_squares(lost, np.column_stack([in_range, ~in_range]), [1, -1])
    same(read("lossDiffers", node="between"), expected)


@pytest.mark.parametrize(
    "options",
    [
        (*("--formula", "~ sex * age + group", "--pooling", "mean", "--smoothing-fwhm", "4"), *ONE),
        ("--contrast", "slopes = slope(age, sex=M) - slope(age, sex=F)", "--formula", "~ sex * age"),
        ("--formula", "~ contrast + subject", "--first-level-contrast", "gain", "loss"),
    ],
)
def test_the_model_that_a_run_writes_gives_the_same_bytes(runs, tmp_path, contents_of, options):
    base = [str(runs[0]), str(tmp_path / "one"), "group", "--no-report", "-q"]
    assert main([*base, "--categorical", "patient_grp", *options]) == 0
    (written,) = (tmp_path / "one" / "code").glob("model-*_smdl.json")
    again = [str(runs[0]), str(tmp_path / "two"), "group", "--no-report", "-q", "--model", str(written)]
    assert main(again) == 0
    assert contents_of(tmp_path / "two") == contents_of(tmp_path / "one")


def test_a_family_holds_the_contrasts_of_all_first_level_contrasts(runs, tmp_path):
    options = ["--formula", "~ age", "--first-level-contrast", "gain", "loss", "--no-report", "-q"]
    command = ["--correction", "bonferroni", "--familywise", "across-contrasts"]
    assert main([str(runs[0]), str(tmp_path), "group", *options, *command]) == 0
    paths = sorted((tmp_path / "group").glob("*_stat-p_desc-bonferroni_statmap.json"))
    sidecars = [json.loads(path.read_text()) for path in paths]
    assert [one["NumberOfContrastsTogether"] for one in sidecars] == [4, 4, 4, 4]
    (mask,) = (tmp_path / "group").glob("*contrast-gain_desc-analysis_mask.json")
    n_elements = json.loads(mask.read_text())["NumberOfElements"]
    assert {one["NumberOfTests"] for one in sidecars} == {4 * n_elements}


def test_the_job_of_a_person_whom_a_filter_leaves_out_pools_nothing(runs, tmp_path):
    node = dataset([1, "age"], [{"Name": "Scale", "Input": ["age"]}], DummyContrasts={"Test": "t"})
    edges = [{"Source": "subject", "Destination": "group", "Filter": {"sex": ["M"], "contrast": ["gain"]}}]
    path, out = tmp_path / "model.json", tmp_path / "out"
    path.write_text(json.dumps(model(SUBJECT, node, edges=edges)))
    for person in ("01", "02"):
        options = ["participant", "--model", str(path), "--participant-label", person, "-q"]
        assert main([str(runs[0]), str(out), *options]) == 0
    assert [file.name.split("_")[0] for file in out.glob("sub-*/**/*stat-effect_statmap.nii.gz")] == [
        "sub-01"
    ]
    assert main([str(runs[0]), str(out), "group", "--model", str(path), "--no-report", "-q"]) == 0
    ledger = pd.read_csv(out / "ledger.tsv", sep="\t", keep_default_na=False)
    gain = ledger[ledger["contrast"] == "gain"].drop_duplicates("participant_id").set_index("participant_id")
    assert gain.loc["sub-01", "used"] == "yes"
    assert gain.loc["sub-02", "reason"].startswith("sex is F: not let through by the Filter")


def test_a_file_contradicted_by_an_option_is_refused(runs, tmp_path, capsys):
    node = dataset([1], DummyContrasts={"Test": "t"})
    node["Model"]["Software"] = {"bids_group": {"alpha": 0.01}}
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model(SUBJECT, node)))
    command = [str(runs[0]), str(tmp_path / "out"), "group", "--model", str(path), "--alpha", "0.05", "-q"]
    assert main(command) == 64
    assert "contradict each other about alpha" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_an_error_says_in_options_is_told_in_places_of_the_file(runs, tmp_path, capsys):
    node = dataset([1, "age"])
    node["Model"] |= {
        "Formula": "~ age + sex",
        "Software": {"bids_group": {"contrast": ["x = slope(age, sex=M) - slope(age, sex=F)"]}},
    }
    path = tmp_path / "model.json"
    path.write_text(json.dumps(model(SUBJECT, node)))
    main([str(runs[0]), str(tmp_path / "out"), "group", "--model", str(path), "-q"])
    said = capsys.readouterr().err
    assert "In model.json: a formula is the Model.Formula of a node" in said


def test_first_level_contrasts_as_rows_are_not_more_people(runs, tmp_path):
    """Sixteen people, two rows each: in report, methods, reference list, picture and after --reports-only."""
    out, few = tmp_path / "out", ["--n-permutations", "40", "--correction", "fwe-voxel"]
    rows = ["--formula", "~ contrast + subject", "--first-level-contrast", "gain", "loss"]
    assert main([str(runs[0]), str(out), "group", *rows, *few, "-q"]) == 0
    pages = [(out / name).read_text() for name in ("report.html", "logs/CITATION.md")]
    assert main([str(runs[0]), str(out), "group", "--reports-only", "-q"]) == 0
    assert pages == [(out / name).read_text() for name in ("report.html", "logs/CITATION.md")]
    assert "of 16 participants as 32 rows, first-level contrasts kept apart," in pages[1]
    assert "16 participants (32 rows)" in pages[0]
    (flow,) = (out / "group" / "figures").glob("*_desc-flow_participants.svg")
    assert "16 people" in flow.read_text()
    assert "32 rows of the design" in flow.read_text()
    assert "pooled from 96 first-level maps" in flow.read_text()


@pytest.mark.parametrize("option", ["--variance-groups", "--exchangeability-blocks"])
def test_a_column_that_splits_a_person_is_refused_whatever_the_rows_are(runs, tmp_path, capsys, option):
    rows = ["--formula", "~ contrast + subject", "--first-level-contrast", "gain", "loss"]
    command = [str(runs[0]), str(tmp_path / "out"), "group", *rows, option, "contrast", "--dry-run", "-q"]
    assert main([*command, "--correction", "fwe-voxel"]) == 65
    assert "'contrast' divides the rows of one person" in capsys.readouterr().err
