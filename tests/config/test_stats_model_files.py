"""Model files: what is understood, what is refused and in which words."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
                "Software": {
                    "bids_group": {"alpha": 0.01, "n-permutations": 500},
                    "FSL": {"anything": 1},
                    "bidspm": {"alpha": 0.01, "Results": []},
                },
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


class Change(NamedTuple):
    """A key of a place such as ``Nodes 2 Model`` has another value, or goes."""

    place: str
    key: str | int
    value: Any = ...

    def __call__(self, model: Any) -> None:
        for step in self.place.split():
            model = model[int(step)] if step.isdigit() else model[step]
        if self.value is ...:
            del model[self.key]
        else:
            model[self.key] = self.value

    @property
    def spelled(self) -> str:
        """The place as messages name it: ``Nodes[2].Model.X``."""
        steps = [*self.place.split(), str(self.key)]
        return "".join(f"[{one}]" if one.isdigit() else f".{one}" for one in steps).removeprefix(".")


def sentence(change: Change, told: str, path: Path | str) -> str:
    """Spell a message: what is told of the place that was changed, a part of it or another."""
    part, is_part, rest = told.partition("|")
    if is_part:
        return f"{change.spelled}{part} in {path} {rest}"
    other = re.match(r"(Nodes|Edges)(\[\d\])?(\.\w+)*: ", told)
    return f"{other[0][:-2] if other else change.spelled} in {path} {told[other.end() if other else 0 :]}"


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (Change("", "BIDSModelVersion"), "is missing; 1.0.0 was assumed."),
        (Change("Input", "task", "faces"), "should be a list; it was taken as a list of one."),
        (Change("Nodes 2 Model", "Type"), 'is missing; "glm" was assumed.'),
        (Change("Nodes 2", "Level", "dataset"), "should be capitalised."),
        (Change("Nodes 2", "GroupBy", "contrast"), "should be a list; it was taken as a list of one."),
        (Change("Nodes 2 Contrasts 0", "Test"), 'is missing; "t" was assumed.'),
        (
            Change("Nodes 0", "DummyContrasts", {"Conditions": ["face"], "Test": "t"}),
            '.Conditions|is an old name of "Contrasts".',
        ),
        (Change("Edges 1 Filter", "contrast", "face"), "should be a list; it was taken as a list of one."),
    ],
)
def test_leniency_is_remarked_on(good: dict[str, Any], save: Any, change: Change, remark: str) -> None:
    change(good)
    strict = read_model(save(GOOD))
    lenient = read_model(save(good))
    assert lenient.remarks == (sentence(change, remark, "model-x_smdl.json"),)
    assert lenient.nodes[2].group_by == strict.nodes[2].group_by
    assert lenient.nodes[2].level == strict.nodes[2].level
    assert lenient.edges == strict.edges
    assert lenient.input == strict.input


WRONG: list[tuple[Change, str]] = [
    (Change("", "Node", []), "is not known. Did you mean Nodes?"),
    (Change("", "Nodes"), "is missing."),
    (Change("", "Name", ""), "is not a text."),
    (Change("", "Nodes", {}), "is not a list."),
    (Change("Nodes 2", "Levle", 1), "is not known. Did you mean Level?"),
    (Change("Nodes 2", "GroupBy"), "is missing."),
    (Change("Nodes 2", "Level", "Datset"), "is not known. Did you mean Dataset?"),
    (Change("Nodes 2", "Model", []), "is not an object."),
    (Change("Nodes 2 Model", "X"), "is missing."),
    (Change("Nodes 2 Model", "Formulae", "1"), "is not known. Did you mean Formula?"),
    (Change("Nodes 2 Model", "Type", "ols"), "is not known."),
    (Change("Nodes 2 Model", "X", [1, 2.5]), "[1]|is neither a text nor a whole number."),
    (
        Change("Nodes 2 Model", "X", ["age*"]),
        "has the wildcard 'age*', which is not supported above the run level. Name the variables.",
    ),
    (Change("Nodes 2 Model", "HRF", {}), "is not supported at the dataset level."),
    (Change("Nodes 1 Model", "Options", {"Mask": {}}), "is not supported at the subject level."),
    (Change("Nodes 2", "Transformations", []), "is not an object."),
    (Change("Nodes 2 Transformations", "Transformer", "my"), "is not known."),
    (Change("Nodes 2 Transformations", "Instructions", ["Factor"]), "[0]|is not an object."),
    (Change("Nodes 2 Transformations", "Instructions", [{"Input": []}]), "[0].Name|is not a text."),
    (
        Change("Nodes 2", "GroupBy", ["contrast", "subject"]),
        "has a model for each subject, which is no group analysis.",
    ),
    (
        Change("Nodes 1", "GroupBy", ["contrast"]),
        'would mix people in a node of Level Subject. Add "subject".',
    ),
    (
        Change("Nodes 1", "Name", "run"),
        "Nodes: has two nodes of the name 'run'. Give each node a name of its own.",
    ),
    (Change("Nodes", 2), "Nodes: has no node of Level Dataset, so that there is no group analysis."),
    (Change("Nodes 2 Contrasts 0", "Weights", [1]), "has 1 weights for 2 conditions."),
    (Change("Nodes 2 Contrasts 0", "Weights", ["a", 1]), "[0]|is not a weight."),
    (Change("Nodes 2 Contrasts 0", "Weights", ["1/0", 1]), "[0]|is not a weight."),
    (Change("Nodes 2 Contrasts 0", "Weights", [0, 0]), "has no weight but 0."),
    (
        Change("Nodes 2 Contrasts 0", "Weights", [[1, 0], [0, 1]]),
        'has 2 rows for a t contrast. Use "Test": "F".',
    ),
    (Change("Nodes 2 Contrasts 0", "Weights", [[1, 0], 1]), "[0]|is not a weight."),
    (Change("Nodes 2 Contrasts 0", "Test", "f"), "is not known. Did you mean F?"),
    (Change("Nodes 2 Contrasts 0", "ConditionList", ["age", "age"]), "names a condition twice."),
    (Change("Nodes 2 Contrasts 0", "Name"), "is missing."),
    (Change("Nodes 2 Contrasts 0", "Weight", 1), "is not known. Did you mean Weights?"),
    (Change("Nodes 2 DummyContrasts", "Tset", "t"), "is not known. Did you mean Test?"),
    (Change("Edges 0", "Source", "rnu"), "is not known. Did you mean run?"),
    (Change("Edges 1", "Filter", ["a"]), "is not an object."),
    (Change("Edges 1 Filter", "contrast", [None]), "[0]|is neither a text nor a whole number."),
    (
        Change("Edges 0", "Source", "groups"),
        "Edges: hands on results of the Dataset node 'groups', which is not supported.",
    ),
    (
        Change("Edges 1", "Source", "run"),
        "Edges: has no edge out of subject. Remove the node, or add the edge.",
    ),
    (Change("Edges", 0), "Edges: leaves 2 nodes without inputs: run, subject."),
    (
        Change("Nodes 1", "Level", "Run"),
        "Edges: has an edge into the node 'subject' of Level Run, which receives the maps.",
    ),
    (
        Change("Nodes 2 Model Software", "bids_group", {"alhpa": 0.1}),
        ".alhpa|is not known. Did you mean alpha?",
    ),
    (Change("Nodes 2 Model Software", "bids_group", {"alpha": "x"}), ".alpha|is not a number."),
    (Change("Nodes 2 Model Software", "bids_group", {"correction": ["fwe"]}), ".correction|is not known."),
    (Change("Nodes 2 Model Software", "bids_group", {"two_sided": 1}), ".two_sided|is not a flag."),
    (
        Change("Nodes 2 Model Software", "bids_group", {"one-sided": True, "two_sided": True}),
        ".two_sided|contradicts what is said of two_sided beside it.",
    ),
    *(
        (
            Change("Nodes 2 Model", "Software", {name: {"one_sided": True}}),
            f".{name}|is not known. Did you mean",
        )
        for name in ("bids-group", "bidsgroup", "BIDS_Group")
    ),
    (
        Change("Nodes 2 Model", "Software", {"one-sided": True}),
        '.one-sided|stands beside bids_group. Write "Software": {"bids_group": {"one-sided": …}}.',
    ),
    (
        Change("Nodes 1 Model", "Software", {"bids_group": {"center": "grand"}}),
        "has the setting center, which belongs to Dataset nodes. Move it there.",
    ),
    (
        Change("Nodes 1 Model", "Software", {"bids_group": {"alpha": 0.2}}),
        "Nodes: has two values of the setting alpha.",
    ),
]
"""What is told of the place, of a part of it (``[1]|``) or of another (``Nodes: ``); some with the fix."""


@pytest.mark.parametrize(("change", "told"), WRONG)
def test_what_is_wrong_is_named(good: dict[str, Any], save: Any, change: Change, told: str) -> None:
    change(good)
    path = save(good)
    with pytest.raises(UsageError) as caught:
        read_model(path)
    error = caught.value
    assert f"{error.sentence} {error.fix}".startswith(sentence(change, told, path))
    assert error.exit_code == 64


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


@pytest.mark.parametrize(("key", "value"), [("GroupBy", '["contrast", "group"]'), ("Contrasts", "[]")])
def test_a_key_that_stands_twice_is_refused(good, save, key, value):
    path = save(good)
    path.write_text(path.read_text().replace(f'"{key}":', f'"{key}": {value}, "{key}":', 1))
    with pytest.raises(UsageError, match=f"has the key '{key}' twice in one object"):
        read_model(path)
