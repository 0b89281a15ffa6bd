"""Hostile JSON: sidecars, descriptions, dictionaries, models, filters; and files of options."""

import json
import os

from tests.faults.hostile.of_maps import replace
from tests.faults.hostile.trials import hostile

DEEP = b'{"a":' * 10_000 + b"1" + b"}" * 10_000
DEEP_LIST = b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"
DIGITS = "9" * 400
LONGER = "9" * 5000


def write(path, what):
    """Write bytes, JSON of a value, or put what is no file."""
    if isinstance(what, bytes):
        path.write_bytes(what)
    elif isinstance(what, tuple):
        replace(path, what[0])
    else:
        path.write_text(json.dumps(what))


def sidecar(what):
    return lambda study: write(study.sidecar, what)


def dictionary(what):
    return lambda study: write(study.data / "participants.json", what)


def described(where, what):
    """The description of the dataset (``data``), or of its first-level maps (``first``)."""
    return lambda study: write(getattr(study, where) / "dataset_description.json", what)


def made_by(what):
    return described("first", {"Name": "f", "BIDSVersion": "1.10.0", "GeneratedBy": what})


def model(what):
    def spoil(study):
        write(study.data / "model.json", what)
        return ["--model", str(study.data / "model.json")]

    return spoil


def node(**changes):
    """A model of one node in which some keys are others; a value of bytes stands there as it is."""
    contrast = {"Name": "c", "ConditionList": [1], "Weights": [1], "Test": "t"}
    contrast |= changes.pop("contrast", {})
    group = {
        "Level": "Dataset",
        "Name": "group",
        "GroupBy": ["contrast"],
        "Model": {"X": [1], "Type": "glm", **changes.pop("of_model", {})},
        "Contrasts": [contrast],
        **changes.pop("of_node", {}),
    }
    return model({"Name": "m", "BIDSModelVersion": "1.0.0", "Nodes": [group], **changes})


def raw_weight(text):
    """A weight that JSON spells in a way that Python would not write."""

    def spoil(study):
        options = node(contrast={"Weights": ["WEIGHT"]})(study)
        path = study.data / "model.json"
        path.write_text(path.read_text().replace('"WEIGHT"', text))
        return options

    return spoil


def filters(what):
    def spoil(study):
        write(study.data / "filter.json", what)
        return ["--bids-filter-file", str(study.data / "filter.json")]

    return spoil


def options(name, what):
    def spoil(study):
        write(study.data / name, what)
        return ["--config", str(study.data / name)]

    return spoil


def of_dask(what):
    def spoil(study):
        write(study.data / "slurm.yaml", what)
        return ["--executor", "dask", "--dask-slurm", str(study.data / "slurm.yaml")]

    return spoil


_LAUGHS = b"a: &a [x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (98 + n, 98 + n, b", ".join([b"*%c" % (97 + n)] * 10)) for n in range(10)
)
_SPECIAL = {
    "a FIFO": ("fifo",),
    "a device": ("/dev/zero",),
    "a folder": ("folder",),
    "a link to itself": ("itself",),
}
_NO_OBJECT = {
    "nested 10,000 deep": DEEP,
    "of lists 10,000 deep": DEEP_LIST,
    "empty": b"",
    "a list": [1],
    "a number": 3,
    "null": None,
    "cut short": b'{"a": ',
    "random": b"\xff\xfe" + os.urandom(999),
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NUL": b'{"a": 1}\0',
    "ESC": b'{"\x1b[2J": ',
}
_DOFS = {
    "400 digits": DIGITS.encode(),
    "1e999": b"1e999",
    "NaN": b"NaN",
    "minus infinity": b"-Infinity",
    "text": b'"180"',
    "ESC": b'"\\u001b[2J"',
    "a list": b"[180]",
    "an object": b'{"a": 180}',
    "true": b"true",
    "0": b"0",
    "1e-400": b"1e-400",
    "a surrogate": b'"\\ud800"',
    "a megabyte": b'"' + b"x" * 10**6 + b'"',
}
JSON = {
    **{
        f"sidecar is {name}": hostile(sidecar(what), 66, "sub-03", ".json") for name, what in _SPECIAL.items()
    },
    **{
        f"sidecar is {name}": hostile(sidecar(what), 65, "sub-03", ".json")
        for name, what in _NO_OBJECT.items()
    },
    **{
        f"DegreesOfFreedom is {name}": hostile(
            sidecar(b'{"DegreesOfFreedom": ' + what + b"}"), 65, "sub-03", "DegreesOfFreedom"
        )
        for name, what in _DOFS.items()
    },
    "sidecar says a key twice": hostile(
        sidecar(b'{"DegreesOfFreedom": 3, "DegreesOfFreedom": 180}'), (0, 65), options=()
    ),
    **{
        f"participants.json is {name}": hostile(
            dictionary(what), (0, 65, 66), "participants.json", options=("--formula", "~ age")
        )
        for name, what in {**_SPECIAL, **_NO_OBJECT}.items()
    },
    **{
        f"Levels are {name}": hostile(
            dictionary({"age": {"Levels": what}}), (0, 65), options=("--formula", "~ age")
        )
        for name, what in {
            "a number": 3,
            "a list of lists": [[1], [2]],
            "of ESC": {"\x1b[2J": "\x1b"},
            "a surrogate": {"\ud800": "a"},
            "nested": {"43": {"a": {}}},
            "10,000": {str(n): "x" for n in range(10_000)},
            "a megabyte": {"x" * 10**6: "y"},
        }.items()
    },
    **{
        f"dictionary's entry is {name}": hostile(
            dictionary({"age": what}), (0, 65), options=("--formula", "~ age")
        )
        for name, what in {
            "a list": [1],
            "text of a megabyte": "x" * 10**6,
            "odd units": {"Units": {"a": 1}, "Description": [1]},
            "ESC": {"Units": "\x1b[2J", "Description": "\x1b]0;owned\x07"},
            "a surrogate": {"Units": "\ud800", "Description": "\ud800"},
        }.items()
    },
    **{
        f"description of the dataset is {name}": hostile(
            described("data", what), 16, "dataset_description.json"
        )
        for name, what in {**_SPECIAL, **_NO_OBJECT}.items()
        if name != "a link to itself"
    },
    "description of the dataset has wrong types": hostile(
        described("data", {"Name": {"a": []}, "BIDSVersion": [1]}), (0, 16)
    ),
    **{
        f"description of the maps is {name}": hostile(
            described("first", what), (65, 66), "dataset_description.json"
        )
        for name, what in {**_SPECIAL, **_NO_OBJECT}.items()
        if name != "a link to itself"
    },
    **{
        f"GeneratedBy is {name}": hostile(made_by(what), 65, "dataset_description.json", "GeneratedBy")
        for name, what in {
            "text": "fmriprep",
            "a number": 3,
            "true": True,
            "a list of numbers": [1, 2],
            "a list of lists": [[{"Name": "x"}]],
            "of a name that is an object": [{"Name": {"a": 1}}],
            "of a name that is a list": [{"Name": ["x"]}],
        }.items()
    },
    "GeneratedBy has names of ESC": hostile(
        lambda s: made_by([{"Name": "\x1b[2Jx"}, {"Name": "y"}])(s), 0, options=("-v",)
    ),
    "GeneratedBy is 10,000 programs": hostile(made_by([{"Name": f"p{n}"} for n in range(10_000)]), (0, 65)),
    **{f"model is {name}": hostile(model(what), 66, "model.json") for name, what in _SPECIAL.items()},
    **{f"model is {name}": hostile(model(what), (64, 65), "model.json") for name, what in _NO_OBJECT.items()},
    **{
        f"weight of {name}": hostile(raw_weight(what), 64, "model.json", "weight")
        for name, what in {
            "1e999999999": '"1e999999999"',
            "1e-999999999": '"1e-999999999"',
            "1/0": '"1/0"',
            "400 digits": f'"{DIGITS}"',
            "400 digits, a number": DIGITS,
            "a fraction of 400 digits": f'"1/{DIGITS}"',
            "1e999": "1e999",
            "NaN": "NaN",
            "true": "true",
            "a list": "[[[1]]]",
            "an object": '{"a": 1}',
            "ESC": '"\\u001b[2J"',
            "a megabyte": f'"{"1" * 10**6}"',
        }.items()
    },
    "Nodes is a number": hostile(model({"Name": "m", "Nodes": 3}), 64, "Nodes"),
    "Nodes is 1,000 nodes": hostile(
        model({"Name": "m", "Nodes": [{"Level": "Dataset", "Name": f"n{n}"} for n in range(1000)]}),
        64,
        "Nodes",
    ),
    "name of a model is 5,000 characters": hostile(node(Name="n" * 5000), 64, "name"),
    "name of a model leads out": hostile(node(Name="../../owned"), (0, 64)),
    "name of a model is ESC": hostile(node(Name="\x1b[2J"), (0, 64)),
    "name of a model is an object": hostile(node(Name={"a": 1}), 64, "Name"),
    "name of a model is a surrogate": hostile(node(Name="\ud800"), (0, 64)),
    "description of a model is a number": hostile(node(Description=3), (0, 64)),
    "name of a contrast is 5,000 characters": hostile(node(contrast={"Name": "c" * 5000}), 64, "name"),
    "name of a contrast leads out": hostile(node(contrast={"Name": "../../owned"}), (0, 64)),
    "name of a node is 5,000 characters": hostile(node(of_node={"Name": "n" * 5000}), (0, 64)),
    "formula of a model explodes": hostile(
        node(of_model={"X": ["age"], "Formula": "~ bs(age, df=50) * bs(age, df=51) * cr(age, df=52)"}), 64
    ),
    "X of a model is 20,000 columns": hostile(
        node(of_model={"X": [f"c{n}" for n in range(20_000)]}), (64, 65)
    ),
    "X of a model is an object": hostile(node(of_model={"X": {"a": 1}}), 64, "X"),
    "GroupBy is an object": hostile(node(of_node={"GroupBy": {"a": 1}}), 64, "GroupBy"),
    "Software is a list": hostile(node(of_model={"Software": [1]}), 64, "Software"),
    "alpha of a model is text": hostile(
        node(of_model={"Software": {"bids_group": {"alpha": "1e999999999"}}}), 64, "alpha"
    ),
    "alpha of a model is an object": hostile(
        node(of_model={"Software": {"bids_group": {"alpha": {"a": 1}}}}), 64, "alpha"
    ),
    "seed of a model is 400 digits": hostile(
        node(of_model={"Software": {"bids_group": {"random_seed": int(DIGITS)}}}), (0, 64)
    ),
    "mask of a model is a device": hostile(
        node(of_model={"Software": {"bids_group": {"mask": "/dev/zero"}}}), 66, "/dev/zero"
    ),
    "Edges that go round": hostile(node(Edges=[{"Source": "group", "Destination": "group"}]), 64, "Edges"),
    "Transformations of wrong types": hostile(
        node(of_node={"Transformations": {"Transformer": "pybids-transforms-v1", "Instructions": [3]}}), 64
    ),
    "Scale by a power that never ends": hostile(
        node(
            of_node={
                "Transformations": {
                    "Transformer": "pybids-transforms-v1",
                    "Instructions": [{"Name": "Assign", "Input": ["age"], "Value": "1e999999999"}],
                }
            }
        ),
        64,
    ),
    **{f"filter is {name}": hostile(filters(what), 66, "filter.json") for name, what in _SPECIAL.items()},
    **{
        f"filter is {name}": hostile(filters(what), (64, 65), "filter.json")
        for name, what in _NO_OBJECT.items()
    },
    "filter of an unknown entity with ESC": hostile(filters({"\x1b[2J": "1"}), (18, 64)),
    "filter of a label of a megabyte": hostile(filters({"task": "x" * 10**6}), (18, 64)),
    "filter of nested lists": hostile(filters({"task": [["a"], {"b": 1}]}), (18, 64)),
    "filter of 400 digits": hostile(filters(b'{"run": ' + DIGITS.encode() + b"}"), (18, 64)),
    "filter of a fraction": hostile(filters({"run": 1e308}), (18, 64)),
}
CONFIG = {
    **{
        f"options are {name}": hostile(options("o.yaml", what), 66, "o.yaml")
        for name, what in _SPECIAL.items()
    },
    "options of a billion laughs": hostile(options("o.yaml", _LAUGHS), 64, "o.yaml"),
    "options nested 10,000 deep": hostile(options("o.yaml", b"a: " + b"[" * 10_000), 64, "o.yaml"),
    "options of code": hostile(
        options("o.yaml", b"mask: !!python/object/apply:os.system ['touch owned']"), (64, 66)
    ),
    "options that contain themselves": hostile(options("o.yaml", b"formula: &a [*a]\n"), 64, "o.yaml"),
    "options of NUL": hostile(options("o.yaml", b"mask: a\0b"), 64, "o.yaml"),
    "options of ESC": hostile(options("o.yaml", b'"\\e[2J": 1'), 64),
    "options that name a path with NUL": hostile(options("o.yaml", b'mask: "a\\0b"'), (64, 66)),
    "options that are random": hostile(options("o.yaml", b"\xff" + os.urandom(999)), 64, "o.yaml"),
    "options whose formula is a surrogate": hostile(options("o.yaml", b'formula: "~ \\ud800"'), 64),
    "options of TOML nested 10,000 deep": hostile(options("o.toml", b"a = " + b"[" * 10_000), 64, "o.toml"),
    "options of TOML with 5,000 digits": hostile(
        options("o.toml", b"random_seed = " + LONGER.encode()), 64, "o.toml"
    ),
    "options of TOML that are a FIFO": hostile(options("o.toml", ("fifo",)), 66, "o.toml", "not a file"),
    "options of a cluster are a FIFO": hostile(of_dask(("fifo",)), 66, "slurm.yaml", "not a file"),
    "options of a cluster are a device": hostile(of_dask(("/dev/zero",)), 66, "slurm.yaml", "not a file"),
    "options of a cluster are no options": hostile(of_dask(b"[" * 10_000), 64, "slurm.yaml"),
    "options of a cluster are random": hostile(of_dask(b"\xff" + os.urandom(99)), 64, "slurm.yaml"),
}
