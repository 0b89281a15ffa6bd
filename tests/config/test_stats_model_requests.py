"""The command line as a model and back; a model file and a command line as one request."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_group.config import AnalysisSpec, ContrastRequest, InferenceSpec, Inputs, RunConfig, Selection
from bids_group.config.options import options_of
from bids_group.config.stats_model import formula_names, write_model_json
from bids_group.config.stats_model_reading import read_model
from bids_group.config.stats_model_request import compile_request, settle_request
from bids_group.config.typed import parse_contrast
from bids_group.errors import UsageError

OUTSIDE_OF_SETTINGS = {
    AnalysisSpec: {"model_file", "formula", "inference", "cut_coords_mm"},
    InferenceSpec: set(),
    Selection: set(),
    Inputs: {"bids_dir", "derivatives", "maps_table", "skip_bids_validation"},
}
"""What the file says by its own keys, and what is about folders or pictures."""


@pytest.mark.parametrize("record", OUTSIDE_OF_SETTINGS)
def test_every_field_of_a_request_has_a_setting(record: Any) -> None:
    said = {one.attribute for one in options_of(record) if one.stands} | OUTSIDE_OF_SETTINGS[record]
    assert said == {item.name for item in fields(record)}


def config_of(path: Path | None, **changes: Any) -> RunConfig:
    base = RunConfig(
        output_dir=Path("/out"),
        level="group",
        inputs=Inputs(bids_dir=Path("/data")),
        analysis=AnalysisSpec(model_file=path),
    )
    return replace(base, **changes)


OTHERS: dict[str, list[Any]] = {
    "flag": [True, False],
    "integer": [3],
    "number": [0.25],
    "text": ["a"],
    "texts": [("02",), ("01", "a")],
    "path": [Path("/files/a.nii.gz")],
    "paths": [(Path("scl90"), Path("/tables/x.tsv"))],
    "filter": [{"desc": None, "acquisition": ("a", 2, None)}],
}
"""Values of the fields of options, by kind, beside their default."""


def any_of(record: Any, **special: Any) -> Any:
    """Records of a request with any values of the options that a model file says, and ``special`` ones."""
    fields_of_options: dict[str, Any] = {}
    for one in options_of(record):
        if one.choices and one.is_list:
            values = st.lists(st.sampled_from(one.choices), unique=True, min_size=1).map(tuple)
        else:
            values = st.sampled_from([one.default, *(one.choices or OTHERS[one.kind])])
        if one.stands and one.is_typed:
            fields_of_options[one.attribute] = values
    return st.builds(record, **{**fields_of_options, **special})


analyses = any_of(
    AnalysisSpec,
    formula=st.sampled_from(["~ 1", "~ group * age", "~ 0 + C(group) + `odd name`", "~ contrast + subject"]),
    contrasts=st.lists(
        st.builds(
            ContrastRequest,
            expression=st.sampled_from(
                ["slope(age, group=a) - slope(age, group=b)", "[0, 1]", "test(group)"]
            ),
            name=st.sampled_from([None, "d", "a > b"]),
        ),
        max_size=2,
    ).map(tuple),
    centering=st.sampled_from(["grand", "none", "within:group"]),
    inference=any_of(InferenceSpec),
)
selections = any_of(Selection, input_suffix=st.just("statmap"))
inputs = any_of(Inputs, bids_dir=st.just(Path("/data")))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(analysis=analyses, selection=selections, tables=inputs)
def test_a_command_line_written_as_a_model_asks_for_the_same(
    tmp_path: Path, analysis: AnalysisSpec, selection: Selection, tables: Inputs
) -> None:
    compiled = compile_request(analysis, selection, inputs=tables)
    path = tmp_path / "model-commandLine_smdl.json"
    path.write_text(json.dumps(write_model_json(compiled), indent=2))
    model, config = settle_request(read_model(path), config_of(path))
    assert model.remarks == ()
    assert config.selection == selection
    assert config.inputs == tables
    back = replace(config.analysis, model_file=None, formula=analysis.formula, contrasts=analysis.contrasts)
    assert back == analysis
    group = model.dataset_nodes[0]
    assert group.formula == analysis.formula
    assert tuple(parse_contrast(text) for text in group.settings["contrast"]) == analysis.contrasts
    assert json.dumps(write_model_json(model), indent=2) == path.read_text()


@pytest.mark.parametrize("pooling", [None, "precision", "mean", "none"])
def test_a_compiled_model_fits_the_standard_schema(pooling: Any) -> None:
    schema = pytest.importorskip("bsmschema.models", reason="the standard's schema is not installed")
    compiled = compile_request(AnalysisSpec(formula="~ group * age", pooling=pooling), Selection(space="MNI"))
    parsed = schema.BIDSStatsModel.model_validate(write_model_json(compiled))
    assert parsed.Nodes[1].Model.X == [1, "group", "age"]
    assert parsed.Nodes[0].Model.Type == ("glm" if pooling == "mean" else "meta")
    assert parsed.Edges[0].Destination == "group"


@pytest.mark.parametrize(
    ("formula", "found"),
    [
        ("~ 1", ()),
        ("group * n_cigs + age", ("group", "n_cigs", "age")),
        ("~ 0 + C(group, Treatment('x')) + np.log(age) + I(age**2)", ("group", "age")),
        ("~ `a b` + poly(age, degree=2) - 1", ("a b", "age")),
        ("~ bs(age, df=4):group + contrast", ("age", "group", "contrast")),
    ],
)
def test_names_of_variables_in_a_formula(formula: str, found: tuple[str, ...]) -> None:
    assert formula_names(formula) == found


# --------------------------------------------------------------------------------------------
# A file and a command line


def write(tmp_path: Path, settings: dict[str, Any], **keys: Any) -> Path:
    group = {
        "Level": "Dataset",
        "Name": "group",
        "GroupBy": ["contrast"],
        "Model": {"X": [1], "Type": "glm", "Software": {"bids_group": settings}},
        "DummyContrasts": {"Test": "t"},
    }
    subject = {
        "Level": "Subject",
        "Name": "subject",
        "GroupBy": ["subject", "contrast"],
        "Model": {"X": [1], "Type": "meta"},
        "DummyContrasts": {"Test": "t"},
    }
    path = tmp_path / "model.json"
    path.write_text(json.dumps({"Name": "x", "BIDSModelVersion": "1.0.0", "Nodes": [subject, group], **keys}))
    return path


def settle(tmp_path: Path, said: dict[str, Any], **changes: Any) -> tuple[Any, RunConfig]:
    keys = changes.pop("keys", {})
    path = write(tmp_path, said, **keys)
    analysis = replace(changes.pop("analysis", AnalysisSpec()), model_file=path)
    return settle_request(read_model(path), config_of(path, analysis=analysis, **changes))


def test_what_only_one_of_them_says_is_taken(tmp_path: Path) -> None:
    typed = AnalysisSpec(smoothing_fwhm_mm=6.0, inference=InferenceSpec(random_seed=3))
    said = {"alpha": 0.01, "mask": "grey.nii", "whole-blocks": True, "exchangeability-blocks": "site"}
    model, config = settle(tmp_path, said, analysis=typed)
    blocks = {"block_scheme": "whole", "exchangeability_blocks": "site"}
    assert config.analysis.inference == InferenceSpec(alpha=0.01, random_seed=3, **blocks)
    assert config.analysis.smoothing_fwhm_mm == 6.0
    assert config.analysis.mask == tmp_path / "grey.nii"  # beside the model file
    written = model.dataset_nodes[0].settings
    assert (written["alpha"], written["smoothing_fwhm"], written["random_seed"]) == (0.01, 6.0, 3)


def test_tables_that_a_file_names_are_beside_it_else_names_in_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "iq.csv").touch()
    config = settle(tmp_path, {"phenotype": ["iq.csv", "health"]})[1]
    assert config.inputs.phenotype == (tmp_path / "iq.csv", Path("health"))


def test_columns_of_a_file_are_not_centred_unless_asked(tmp_path: Path) -> None:
    assert settle(tmp_path, {})[1].analysis.centering == "none"
    assert settle(tmp_path, {"center": "grand"})[1].analysis.centering == "grand"
    typed = {"analysis": AnalysisSpec(centering="within:group")}
    assert settle(tmp_path, {}, **typed)[0].dataset_nodes[0].settings["center"] == "within:group"
    explicit = settle(tmp_path, {}, typed=frozenset({"center"}))
    assert explicit[1].analysis.centering == "grand"


@pytest.mark.parametrize(
    ("said", "changes", "sentence"),
    [
        ({"alpha": 0.01}, {"analysis": AnalysisSpec(inference=InferenceSpec(alpha=0.1))}, "about alpha"),
        ({"alpha": 0.01}, {"typed": frozenset({"alpha"})}, "about alpha"),
        ({"n_permutations": 5}, {"typed": frozenset({"n_permutations"})}, "about n_permutations"),
        ({"center": "grand"}, {"analysis": AnalysisSpec(centering="none")}, "about center"),
        ({"space": "a"}, {"selection": Selection(space="b")}, "about space"),
        (
            {},
            {"analysis": AnalysisSpec(formula="~ age")},
            "A model file was given, and a formula or contrasts",
        ),
        ({}, {"typed": frozenset({"formula"})}, "A model file was given, and a formula or contrasts"),
        ({}, {"analysis": AnalysisSpec(pooling="mean")}, "The pooling 'mean' and the node 'subject'"),
        ({}, {"analysis": AnalysisSpec(pooling="none")}, "The pooling 'none' and the node 'subject'"),
        (
            {"participant_label": ["01"]},
            {"selection": Selection(participant_labels=("02",))},
            "no participant_label in common",
        ),
        ({}, {"keys": {"Input": {"space": ["a", "b"]}}}, "Input.space of the model 'x' has 2 values"),
        ({}, {"keys": {"Input": {"colour": ["a"]}}}, "Input.colour of the model 'x' is not known"),
    ],
)
def test_contradictions_are_refused(
    tmp_path: Path, said: dict[str, Any], changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError) as error:
        settle(tmp_path, said, **changes)
    assert sentence in error.value.sentence
    assert error.value.exit_code == 64


def test_both_may_say_the_same(tmp_path: Path) -> None:
    typed = AnalysisSpec(inference=InferenceSpec(alpha=0.01))
    assert settle(tmp_path, {"alpha": 0.01}, analysis=typed)[1].analysis.inference.alpha == 0.01


def test_labels_narrow_the_selection_of_the_file(tmp_path: Path) -> None:
    keys = {"Input": {"subject": ["01", "02", "03"], "task": ["faces"], "suffix": ["bold"]}}
    model, config = settle(
        tmp_path,
        {"exclude_participant_label": ["03"]},
        selection=Selection(participant_labels=("02", "03"), exclude_participant_labels=("04",)),
        keys=keys,
    )
    assert config.selection.participant_labels == ("02", "03")
    assert config.selection.exclude_participant_labels == ("03", "04")
    assert config.selection.task_labels == ("faces",)
    assert model.remarks == ("Input.suffix describes the images of the run level and was not applied.",)


@pytest.mark.parametrize(
    ("text", "name", "expression"),
    [
        ("d = mean(group=a) - mean(group=b)", "d", "mean(group=a) - mean(group=b)"),
        ("mean(group=a)", None, "mean(group=a)"),
        (" a > b = [A - B, B] ", "a > b", "[A - B, B]"),
        ("age >= 0", None, "age >= 0"),
        ("up = age == 0", "up", "age == 0"),
        ("age == 0", None, "age == 0"),
    ],
)
def test_the_name_of_a_contrast_stands_before_the_first_equals_sign(
    text: str, name: str | None, expression: str
) -> None:
    assert parse_contrast(text) == ContrastRequest(name=name, expression=expression)


@pytest.mark.parametrize("text", ["= age", "age ="])
def test_half_a_contrast_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="lacks its name or its expression"):
        parse_contrast(text)
