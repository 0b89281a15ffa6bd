"""Model files: what is understood, what is refused and in which words."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bids_group.config.stats_model import NodeContrast, write_model_json
from bids_group.config.stats_model_reading import read_model
from bids_group.errors import MissingInputError, UsageError

GOOD: dict[str, Any] = {
    "Name": "two groups",
    "BIDSModelVersion": "1.0.0",
    "Description": "Everything a file can say.",
    "Input": {"task": ["faces"], "subject": ["01", "02"]},
    "Nodes": [
        {
            "Level": "Run",
            "Name": "run",
            "GroupBy": ["run", "subject"],
            "Transformations": {
                "Transformer": "pybids-transforms-v1",
                "Instructions": [{"Name": "Convolve"}],
            },
            "Model": {"X": ["face*", 1], "Type": "glm", "HRF": {"Variables": ["face"], "Model": "spm"}},
            "DummyContrasts": {"Contrasts": ["face*"], "Test": "t"},
        },
        {
            "Level": "Subject",
            "Name": "subject",
            "GroupBy": ["subject", "contrast"],
            "Model": {"X": [1], "Type": "meta"},
            "DummyContrasts": {"Test": "t"},
        },
        {
            "Level": "Dataset",
            "Name": "groups",
            "GroupBy": ["contrast"],
            "Transformations": {
                "Transformer": "pybids-transforms-v1",
                "Instructions": [{"Name": "Factor", "Input": ["group"]}],
            },
            "Model": {
                "X": ["group.a", "group.b", "age"],
                "Formula": "0 + group.a + group.b + age",
                "Type": "glm",
                "Software": {"bids_group": {"alpha": 0.01, "n-permutations": 500}, "FSL": {"anything": 1}},
            },
            "Contrasts": [
                {"Name": "a>b", "ConditionList": ["group.a", "group.b"], "Weights": [1, -1], "Test": "t"},
                {
                    "Name": "any",
                    "ConditionList": ["group.a", "group.b"],
                    "Weights": [["1/3", 0], [0, 0.5]],
                    "Test": "F",
                },
            ],
            "DummyContrasts": {"Contrasts": ["age"], "Test": "t"},
        },
    ],
    "Edges": [
        {"Source": "run", "Destination": "subject"},
        {"Source": "subject", "Destination": "groups", "Filter": {"contrast": ["face"], "visit": [1, 2]}},
    ],
}

Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def good() -> dict[str, Any]:
    return copy.deepcopy(GOOD)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[Any], Path]:
    def write(model: Any) -> Path:
        path = tmp_path / "model-x_smdl.json"
        path.write_text(model if isinstance(model, str) else json.dumps(model))
        return path

    return write


def test_a_whole_file_is_read(good: dict[str, Any], save: Any) -> None:
    model = read_model(save(good))
    assert model.remarks == ()
    assert (model.name, model.description, model.version) == (
        "two groups",
        "Everything a file can say.",
        "1.0.0",
    )
    assert model.input == {"task": ("faces",), "subject": ("01", "02")}
    run, subject, groups = model.nodes
    assert run.instructions == ()  # carried out by the program that made the maps
    assert (subject.level, subject.type, subject.x) == ("subject", "meta", ("1",))
    assert groups.formula == "0 + group.a + group.b + age"
    assert groups.instructions == ({"Name": "Factor", "Input": ["group"]},)
    assert model.settings == {"alpha": 0.01, "n_permutations": 500}
    assert [contrast.name for contrast in groups.all_contrasts] == ["age", "a>b", "any"]
    assert groups.contrasts[1].numbers == ((1 / 3, 0.0), (0.0, 0.5))
    assert model.edges[1].filter == {"contrast": ("face",), "visit": ("1", "2")}
    assert [node.name for node in model.nodes_in_order] == ["run", "subject", "groups"]


def test_what_was_read_is_written_again(good: dict[str, Any], save: Any) -> None:
    model = read_model(save(good))
    written = write_model_json(model)
    good["Nodes"][2]["Model"]["Software"]["bids_group"] = {"alpha": 0.01, "n_permutations": 500}
    good["Edges"][1]["Filter"]["visit"] = ["1", "2"]
    assert written == good
    assert write_model_json(read_model(save(written))) == written


def test_nodes_without_edges_follow_each_other(good: dict[str, Any], save: Any) -> None:
    del good["Edges"]
    edges = read_model(save(good)).edges
    assert [(edge.source, edge.destination) for edge in edges] == [("run", "subject"), ("subject", "groups")]


def test_nodes_may_stand_in_any_order(good: dict[str, Any], save: Any) -> None:
    good["Nodes"].reverse()
    assert [node.name for node in read_model(save(good)).nodes_in_order] == ["run", "subject", "groups"]


def test_dummy_contrasts_of_all_variables(good: dict[str, Any], save: Any) -> None:
    del good["Nodes"][2]["DummyContrasts"]["Contrasts"]
    dummies = read_model(save(good)).nodes[2].all_contrasts[:3]
    assert dummies == tuple(
        NodeContrast(name=name, conditions=(name,), weights=((1,),)) for name in ("group.a", "group.b", "age")
    )


def drop(place: str, key: str) -> Change:
    """Take away the key of a place such as ``Nodes 2 Model``."""

    def change(model: dict[str, Any]) -> None:
        del find(model, place)[key]

    return change


def put(place: str, key: str, value: Any) -> Change:
    def change(model: dict[str, Any]) -> None:
        find(model, place)[key] = value

    return change


def find(model: Any, place: str) -> Any:
    for step in place.split():
        model = model[int(step)] if step.isdigit() else model[step]
    return model


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (
            drop("", "BIDSModelVersion"),
            "BIDSModelVersion in model-x_smdl.json is missing; 1.0.0 was assumed.",
        ),
        (
            put("Input", "task", "faces"),
            "Input.task in model-x_smdl.json should be a list; it was taken as a list of one.",
        ),
        (
            drop("Nodes 2 Model", "Type"),
            'Nodes[2].Model.Type in model-x_smdl.json is missing; "glm" was assumed.',
        ),
        (put("Nodes 2", "Level", "dataset"), "Nodes[2].Level in model-x_smdl.json should be capitalised."),
        (
            put("Nodes 2", "GroupBy", "contrast"),
            "Nodes[2].GroupBy in model-x_smdl.json should be a list; it was taken as a list of one.",
        ),
        (
            drop("Nodes 2 Contrasts 0", "Test"),
            'Nodes[2].Contrasts[0].Test in model-x_smdl.json is missing; "t" was assumed.',
        ),
        (
            put("Nodes 0", "DummyContrasts", {"Conditions": ["face"], "Test": "t"}),
            'Nodes[0].DummyContrasts.Conditions in model-x_smdl.json is an old name of "Contrasts".',
        ),
        (
            put("Edges 1 Filter", "contrast", "face"),
            "Edges[1].Filter.contrast in model-x_smdl.json should be a list; it was taken as a list of one.",
        ),
    ],
)
def test_leniency_is_remarked_on(good: dict[str, Any], save: Any, change: Change, remark: str) -> None:
    change(good)
    strict = read_model(save(GOOD))
    lenient = read_model(save(good))
    assert lenient.remarks == (remark,)
    assert lenient.nodes[2].group_by == strict.nodes[2].group_by
    assert lenient.nodes[2].level == strict.nodes[2].level
    assert lenient.edges == strict.edges
    assert lenient.input == strict.input


WRONG: list[tuple[Change, str, str | None]] = [
    (put("", "Node", []), "Node in {} is not known", "Did you mean Nodes?"),
    (drop("", "Nodes"), "Nodes in {} is missing", None),
    (put("", "Name", ""), "Name in {} is not a text", None),
    (put("", "Nodes", {}), "Nodes in {} is not a list", None),
    (put("Nodes 2", "Levle", 1), "Nodes[2].Levle in {} is not known", "Did you mean Level?"),
    (drop("Nodes 2", "GroupBy"), "Nodes[2].GroupBy in {} is missing", None),
    (put("Nodes 2", "Level", "Datset"), "Nodes[2].Level in {} is not known", "Did you mean Dataset?"),
    (put("Nodes 2", "Model", []), "Nodes[2].Model in {} is not an object", None),
    (drop("Nodes 2 Model", "X"), "Nodes[2].Model.X in {} is missing", None),
    (
        put("Nodes 2 Model", "Formulae", "1"),
        "Nodes[2].Model.Formulae in {} is not known",
        "Did you mean Formula?",
    ),
    (put("Nodes 2 Model", "Type", "ols"), "Nodes[2].Model.Type in {} is not known", None),
    (
        put("Nodes 2 Model", "X", [1, 2.5]),
        "Nodes[2].Model.X[1] in {} is neither a text nor a whole number",
        None,
    ),
    (
        put("Nodes 2 Model", "X", ["age*"]),
        "Nodes[2].Model.X in {} has the wildcard 'age*', which is not supported above the run level",
        "Name the variables.",
    ),
    (put("Nodes 2 Model", "HRF", {}), "Nodes[2].Model.HRF in {} is not supported at the dataset level", None),
    (
        put("Nodes 1 Model", "Options", {"Mask": {}}),
        "Nodes[1].Model.Options in {} is not supported at the subject level",
        None,
    ),
    (put("Nodes 2", "Transformations", []), "Nodes[2].Transformations in {} is not an object", None),
    (
        put("Nodes 2 Transformations", "Transformer", "my"),
        "Nodes[2].Transformations.Transformer in {} is not known",
        None,
    ),
    (
        put("Nodes 2 Transformations", "Instructions", ["Factor"]),
        "Nodes[2].Transformations.Instructions[0] in {} is not an object",
        None,
    ),
    (
        put("Nodes 2 Transformations", "Instructions", [{"Input": []}]),
        "Nodes[2].Transformations.Instructions[0].Name in {} is not a text",
        None,
    ),
    (
        put("Nodes 2", "GroupBy", ["contrast", "subject"]),
        "Nodes[2].GroupBy in {} has a model for each subject, which is no group analysis",
        None,
    ),
    (
        put("Nodes 1", "GroupBy", ["contrast"]),
        "Nodes[1].GroupBy in {} would mix people in a node of Level Subject",
        'Add "subject".',
    ),
    (
        put("Nodes 1", "Name", "run"),
        "Nodes in {} has two nodes of the name 'run'",
        "Give each node a name of its own.",
    ),
    (drop("Nodes", 2), "Nodes in {} has no node of Level Dataset, so that there is no group analysis", None),
    (
        put("Nodes 2 Contrasts 0", "Weights", [1]),
        "Nodes[2].Contrasts[0].Weights in {} has 1 weights for 2 conditions",
        None,
    ),
    (
        put("Nodes 2 Contrasts 0", "Weights", ["a", 1]),
        "Nodes[2].Contrasts[0].Weights[0] in {} is not a weight",
        None,
    ),
    (
        put("Nodes 2 Contrasts 0", "Weights", ["1/0", 1]),
        "Nodes[2].Contrasts[0].Weights[0] in {} is not a weight",
        None,
    ),
    (
        put("Nodes 2 Contrasts 0", "Weights", [0, 0]),
        "Nodes[2].Contrasts[0].Weights in {} has no weight but 0",
        None,
    ),
    (
        put("Nodes 2 Contrasts 0", "Weights", [[1, 0], [0, 1]]),
        "Nodes[2].Contrasts[0].Weights in {} has 2 rows for a t contrast",
        'Use "Test": "F".',
    ),
    (
        put("Nodes 2 Contrasts 0", "Weights", [[1, 0], 1]),
        "Nodes[2].Contrasts[0].Weights[0] in {} is not a weight",
        None,
    ),
    (
        put("Nodes 2 Contrasts 0", "Test", "f"),
        "Nodes[2].Contrasts[0].Test in {} is not known",
        "Did you mean F?",
    ),
    (
        put("Nodes 2 Contrasts 0", "ConditionList", ["age", "age"]),
        "Nodes[2].Contrasts[0].ConditionList in {} names a condition twice",
        None,
    ),
    (drop("Nodes 2 Contrasts 0", "Name"), "Nodes[2].Contrasts[0].Name in {} is missing", None),
    (
        put("Nodes 2 Contrasts 0", "Weight", 1),
        "Nodes[2].Contrasts[0].Weight in {} is not known",
        "Did you mean Weights?",
    ),
    (
        put("Nodes 2 DummyContrasts", "Tset", "t"),
        "Nodes[2].DummyContrasts.Tset in {} is not known",
        "Did you mean Test?",
    ),
    (put("Edges 0", "Source", "rnu"), "Edges[0].Source in {} is not known", "Did you mean run?"),
    (put("Edges 1", "Filter", ["a"]), "Edges[1].Filter in {} is not an object", None),
    (
        put("Edges 1 Filter", "contrast", [None]),
        "Edges[1].Filter.contrast[0] in {} is neither a text nor a whole number",
        None,
    ),
    (
        put("Edges 0", "Source", "groups"),
        "Edges in {} hands on results of the Dataset node 'groups', which is not supported",
        None,
    ),
    (
        put("Edges 1", "Source", "run"),
        "Edges in {} has no edge out of subject",
        "Remove the node, or add the edge.",
    ),
    (drop("Edges", 0), "Edges in {} leaves 2 nodes without inputs: run, subject", None),
    (
        put("Nodes 1", "Level", "Run"),
        "Edges in {} has an edge into the node 'subject' of Level Run, which receives the maps",
        None,
    ),
    (
        put("Nodes 2 Model Software", "bids_group", {"alhpa": 0.1}),
        "Nodes[2].Model.Software.bids_group.alhpa in {} is not known",
        "Did you mean alpha?",
    ),
    (
        put("Nodes 2 Model Software", "bids_group", {"alpha": "x"}),
        "Nodes[2].Model.Software.bids_group.alpha in {} is not a number",
        None,
    ),
    (
        put("Nodes 2 Model Software", "bids_group", {"correction": ["fwe"]}),
        "Nodes[2].Model.Software.bids_group.correction in {} is not known",
        None,
    ),
    (
        put("Nodes 2 Model Software", "bids_group", {"two_sided": 1}),
        "Nodes[2].Model.Software.bids_group.two_sided in {} is not a flag",
        None,
    ),
    (
        put("Nodes 2 Model Software", "bids_group", {"one-sided": True, "two_sided": True}),
        "Nodes[2].Model.Software.bids_group.two_sided in {} contradicts what is said of two_sided beside it",
        None,
    ),
    (
        put("Nodes 1 Model", "Software", {"bids_group": {"center": "grand"}}),
        "Nodes[1].Model.Software in {} has the setting center, which belongs to Dataset nodes",
        "Move it there.",
    ),
    (
        put("Nodes 1 Model", "Software", {"bids_group": {"alpha": 0.2}}),
        "Nodes in {} has two values of the setting alpha",
        None,
    ),
]


@pytest.mark.parametrize(("change", "sentence", "fix"), WRONG)
def test_what_is_wrong_is_named(
    good: dict[str, Any], save: Any, change: Change, sentence: str, fix: str | None
) -> None:
    change(good)
    path = save(good)
    with pytest.raises(UsageError) as error:
        read_model(path)
    assert error.value.sentence == sentence.format(path) + "."
    if fix is not None:
        assert error.value.fix == fix
    assert error.value.exit_code == 64


def test_a_file_that_is_no_json_is_refused(save: Any) -> None:
    with pytest.raises(UsageError, match="is not JSON"):
        read_model(save("{"))
    with pytest.raises(UsageError, match="is not a JSON object"):
        read_model(save([]))


def test_a_file_that_is_not_there_is_a_missing_input(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="cannot be read"):
        read_model(tmp_path / "nothing.json")


def test_edges_in_a_circle_are_refused(good: dict[str, Any], save: Any) -> None:
    good["Nodes"].insert(2, {**good["Nodes"][1], "Name": "again"})
    good["Edges"] += [
        {"Source": "subject", "Destination": "again"},
        {"Source": "again", "Destination": "subject"},
    ]
    with pytest.raises(UsageError, match="run in a circle"):
        read_model(save(good))


@pytest.mark.parametrize("key", ["Steps", "Blocks"])
def test_a_draft_of_the_standard_is_refused_with_the_way_to_nodes(key, tmp_path):
    path = tmp_path / "old.json"
    path.write_text(json.dumps({"Name": "old", "Input": {"task": "t"}, key: [{"Level": "run"}]}))
    with pytest.raises(UsageError, match="draft") as caught:
        read_model(path)
    assert "Nodes" in caught.value.fix
    assert "Factor" in caught.value.fix


def test_capitals_in_input_are_understood(tmp_path):
    path = tmp_path / "model.json"
    node = {"Level": "Dataset", "Name": "d", "GroupBy": ["contrast"], "Model": {"X": [1], "Type": "glm"}}
    whole = {"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": [node]}
    path.write_text(json.dumps({**whole, "Input": {"Task": ["rest"], "Subject": ["01", "02"]}}))
    model = read_model(path)
    assert model.input == {"task": ("rest",), "subject": ("01", "02")}
    assert [remark.split()[0] for remark in model.remarks] == ["Input.Task", "Input.Subject"]
    path.write_text(json.dumps({**whole, "Input": {"Task": ["rest"], "task": ["other"]}}))
    with pytest.raises(UsageError, match="twice"):
        read_model(path)
