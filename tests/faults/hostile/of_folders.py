"""Hostile trees of folders, and what an earlier run left in OUTPUT_DIR, damaged."""

import json
import os
import shutil

from tests.faults.hostile.of_json import DEEP, DIGITS, write
from tests.faults.hostile.trials import hostile

# --------------------------------------------------------------------------------------------
# Folders


def bush(study):
    """Each folder has two links to its own parent's neighbours: 2^30 paths without a cycle."""
    top = study.first / "sub-03" / "bush"
    for depth in range(30):
        (top / str(depth)).mkdir(parents=True)
    for depth in range(29):
        for name in "ab":
            (top / str(depth) / name).symlink_to(f"../{depth + 1}")


def chain(study):
    """Folders within folders, 900 deep."""
    path = study.first / "sub-03"
    for _ in range(900):
        path = path / "d"
    path.mkdir(parents=True)


def crowd(study):
    folder = study.first / "sub-03" / "func"
    for number in range(20_000):
        (folder / f"sub-03_task-a_run-{number}_bold.txt").touch()


def odd_name(name, where="first"):
    def spoil(study):
        (getattr(study, where) / os.fsdecode(name)).mkdir(parents=True, exist_ok=True)

    return spoil


def odd_map(name):
    def spoil(study):
        shutil.copy(study.effect, study.effect.with_name(os.fsdecode(name)))

    return spoil


def linked(where, target):
    def spoil(study):
        path = study.data / where
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)

    return spoil


_STAT = b"_stat-effect_statmap.nii.gz"
TREES = {
    "links that make a bush": hostile(bush, (0, 66)),
    "links that make a bush, for a pattern": hostile(
        lambda s: (
            bush(s),
            ["--maps", str(s.first / "sub-{subject}" / "bush" / "/".join("*" * 25) / "x.nii")],
        )[1],
        (18, 64, 66),
    ),
    "links that make a bush where nothing is": hostile(
        lambda s: (bush(s), [one.unlink() for one in s.first.rglob("*stat-*")], None)[2], (18, 66)
    ),
    "link to a folder above": hostile(linked("derivatives/firstlevel/sub-03/up", "../.."), 0),
    "link to the dataset": hostile(linked("derivatives/firstlevel/sub-03/up", "../../.."), 0),
    "links between two folders": hostile(
        lambda s: (
            linked("derivatives/firstlevel/sub-03/b", "../sub-04")(s),
            linked("derivatives/firstlevel/sub-04/b", "../sub-03")(s),
            None,
        )[2],
        (0, 65),
    ),
    "link to the root of the disk": hostile(linked("derivatives/firstlevel/sub-03/all", "/"), (0, 65, 66)),
    "folder that links to itself": hostile(linked("derivatives/firstlevel/sub-03/loop", "loop"), 0),
    "dataset that links to itself": hostile(linked("derivatives/other", "other"), 0),
    "folders 900 deep": hostile(chain, (0, 66)),
    "folder of 20,000 files": hostile(crowd, 0),
    "folder of ESC": hostile(odd_name(b"sub-\x1b[2J"), (0, 65)),
    "folder of bytes": hostile(odd_name(b"sub-\xff\xfe"), (0, 65)),
    "folder of a line break": hostile(odd_name(b"sub-0\n1"), (0, 65)),
    "map of ESC": hostile(odd_map(b"sub-03_contrast-\x1b[31mx" + _STAT), (0, 64, 65)),
    "map of bytes": hostile(odd_map(b"sub-03_contrast-\xff" + _STAT), (0, 64, 65)),
    "map of a line break": hostile(odd_map(b"sub-03_contrast-a\nb" + _STAT), (0, 64, 65)),
    "map of 255 characters": hostile(
        odd_map(b"sub-03_contrast-" + b"x" * (255 - 16 - len(_STAT)) + _STAT), (64, 65)
    ),
    "person is a file": hostile(lambda s: (s.first / "sub-07").write_text("") and None, 0),
    "person is a FIFO": hostile(lambda s: os.mkfifo(s.first / "sub-07"), 0),
    "derivatives is a file": hostile(
        lambda s: (shutil.rmtree(s.data / "derivatives"), (s.data / "derivatives").write_text("x"), None)[2],
        18,
    ),
    "derivatives is a FIFO": hostile(
        lambda s: (shutil.rmtree(s.data / "derivatives"), os.mkfifo(s.data / "derivatives"), None)[2], 18
    ),
    "sessions table is a FIFO": hostile(
        lambda s: os.mkfifo(s.data / "sub-03" / "sub-03_sessions.tsv"),
        (0, 66),
        options=("--formula", "~ age"),
    ),
    "scans table is a FIFO": hostile(
        lambda s: os.mkfifo(s.data / "sub-03" / "sub-03_scans.tsv"), (0, 66), options=("--formula", "~ age")
    ),
    "phenotype folder is a FIFO": hostile(
        lambda s: os.mkfifo(s.data / "phenotype"), (0, 66), options=("--formula", "~ age")
    ),
    "phenotype folder has a FIFO": hostile(
        lambda s: (
            (s.data / "phenotype").mkdir(),
            os.mkfifo(s.data / "phenotype" / "dose.tsv"),
            ["--formula", "~ dose"],
        )[2],
        (64, 66),
    ),
}

# --------------------------------------------------------------------------------------------
# What an earlier run left, damaged


def left(*places):
    """Files of OUTPUT_DIR, by name, with what stands there now (after a run that was right)."""

    def spoil(study):
        for name, what in places:
            path = study.out / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, what)

    return spoil


def pooled(ending, what):
    def spoil(study):
        path = study.pooled(ending)
        content = what(path.read_bytes()) if callable(what) else what
        write(path, content)

    return spoil


def pooled_json(**changes):
    return pooled("effect_statmap.json", lambda old: json.dumps({**json.loads(old), **changes}).encode())


def listed(**changes):
    def spoil(study):
        path = study.out / "code" / "outputs.json"
        write(path, {**json.loads(path.read_text()), **changes})

    return spoil


_KINDS = {
    "empty": b"",
    "cut short": b'{"Name": ',
    "random": b"\xff" + os.urandom(99),
    "nested 10,000 deep": DEEP,
    "a list": [1],
    "a number of 400 digits": int(DIGITS),
    "a FIFO": ("fifo",),
    "a device": ("/dev/zero",),
    "a folder": ("folder",),
}
_ANOTHER = ("--formula", "~ age", "--overwrite")
LEFT = {
    **{
        f"{name} is {kind}": hostile(left((name, what)), code, name.split("/")[-1])
        for name, code in {
            "code/analysis.json": 73,
            "code/outputs.json": 73,
            "dataset_description.json": 73,
        }.items()
        for kind, what in _KINDS.items()
    },
    **{
        f"sidecar of a pooled map is {kind}": hostile(
            pooled("effect_statmap.json", what), 73 if isinstance(what, tuple) else (0, 73)
        )
        for kind, what in _KINDS.items()
    },
    **{
        f"pooled sidecar with {name}": hostile(pooled_json(**change), (0, 73))
        for name, change in {
            "Files of numbers": {"Files": [1, 2]},
            "Files of text": {"Files": "x"},
            "Files nested": {"Files": {"effect": {"a": 1}}},
            "a key of a list": {"PoolingKey": [1]},
            "hashes of a list": {"InputHashes": [1]},
            "hashes nested": {"InputHashes": {"a": [1]}},
            "a size of text": {"SampleSize": "x"},
            "dof of an object": {"DegreesOfFreedom": {"a": 1}},
            "an affine of text": {"Affine": "x"},
            "a ragged affine": {"Affine": [[1], [2, 3]]},
            "sources of a number": {"Sources": 3},
        }.items()
    },
    **{
        f"pooled map is {name}": hostile(pooled("effect_statmap.nii.gz", what), code)
        for name, what, code in (
            ("empty", b"", 0),
            ("cut short", lambda old: old[:100], 0),
            ("random", lambda old: os.urandom(len(old)), 0),
            ("another one", lambda old: old[:-20] + bytes(20), 0),
            ("a FIFO", ("fifo",), (0, 73)),
            ("a device", ("/dev/zero",), (0, 73)),
            ("a folder", ("folder",), 73),
        )
    },
    "list of files of numbers": hostile(listed(Files=[1, 2]), 73, "outputs.json"),
    "list of files that is a number": hostile(listed(Files=3), 73, "outputs.json"),
    "list of files that lead out": hostile(
        listed(Files=["/etc/passwd", "../data/participants.tsv"]), (0, 73)
    ),
    "list of files of NUL": hostile(listed(Earlier=["group/a\0b"]), (0, 73)),
    "list of files of 5,000 characters": hostile(listed(Earlier=["group/" + "a" * 5000]), (0, 73)),
    "list of files of ESC": hostile(listed(Earlier=["group/\x1b[2J"]), (0, 73)),
    "analysis of other types": hostile(left(("code/analysis.json", {"Nodes": 3, "Datasets": {"a": 1}})), 73),
    "analysis of other types, replaced": hostile(
        left(("code/analysis.json", {"Nodes": [3, {"Model": 4}]})), (0, 73), options=_ANOTHER
    ),
    "description by others' types": hostile(
        left(("dataset_description.json", {"Name": 3, "GeneratedBy": [1, "x"], "DatasetLinks": {"a": [1]}})),
        (0, 73),
    ),
    "GeneratedBy that is an object": hostile(
        left(("dataset_description.json", {"Name": "x", "GeneratedBy": {"Name": "bids_group"}})),
        73,
        "GeneratedBy",
    ),
    "DatasetLinks that are a list": hostile(
        left(("dataset_description.json", {"Name": "x", "DatasetLinks": [1]})), 73, "DatasetLinks"
    ),
    "DatasetLinks that are null": hostile(
        left(("dataset_description.json", {"Name": "x", "DatasetLinks": None, "GeneratedBy": None})), 73
    ),
    ".bidsignore is a folder": hostile(left((".bidsignore", ("folder",))), 73, ".bidsignore"),
    ".bidsignore is a FIFO": hostile(left((".bidsignore", ("fifo",))), 73, ".bidsignore"),
    ".bidsignore is a device": hostile(left((".bidsignore", ("/dev/zero",))), 73, ".bidsignore"),
    "README.md is a folder": hostile(left(("README.md", ("folder",))), (0, 73)),
    "README.md is a link to nowhere": hostile(left(("README.md", ("nowhere",))), (0, 73)),
    "logs is a file": hostile(left(("logs", b"x")), (0, 73)),
    "logs is a FIFO": hostile(left(("logs", ("fifo",))), 73),
    "work folder is a file": hostile(left((".work", b"x")), (0, 73)),
    "group is a FIFO": hostile(left(("group", ("fifo",))), 73, "group"),
    "participants.tsv of others' types": hostile(left(("participants.tsv", os.urandom(999))), 0),
    "participants.tsv is a FIFO now": hostile(left(("participants.tsv", ("fifo",))), (0, 73)),
    "ledger for a job is random": hostile(
        left(("ledger.tsv", b"\xff" + os.urandom(999))), (0, 73), job=("participant", "-q")
    ),
    "ledger for a job is empty": hostile(left(("ledger.tsv", b"")), (0, 73), job=("participant", "-q")),
    "ledger for a job has ragged lines": hostile(
        left(("ledger.tsv", b"participant_id\tx\n1\t2\t3\t4\n1\n")), (0, 73), job=("participant", "-q")
    ),
    "participants for a job is empty": hostile(
        left(("participants.tsv", b"")), (0, 73), job=("participant", "-q")
    ),
    "participants for a job is ragged": hostile(
        left(("participants.tsv", b'participant_id\tanalysed\n1\t2\t3\n\n"')),
        (0, 73),
        job=("participant", "-q"),
    ),
    **{
        f"lock is {name}": hostile(left((".bids_group.lock", what)), (73, 75), "lock")
        for name, what in (
            ("empty", b""),
            ("nested 10,000 deep", DEEP),
            ("of wrong types", {"host": [1], "pid": "x", "place": {"a": 1}, "started": 3}),
            ("random", os.urandom(99)),
            ("a FIFO", ("fifo",)),
            ("a device", ("/dev/zero",)),
            ("a folder", ("folder",)),
            ("a link to nowhere", ("nowhere",)),
            ("of ESC", {"host": "\x1b[2J", "user": "\x1b]0;owned\x07"}),
        )
    },
    **{
        f"lock of turns is {name}": hostile(left((".bids_group.turn", what)), (0, 73, 75))
        for name, what in (("a FIFO", ("fifo",)), ("a folder", ("folder",)), ("a device", ("/dev/zero",)))
    },
    "report from a damaged command": hostile(
        left(("code/command.json", b"[1]")), (0, 65, 73), job=("group", "-q", "--reports-only")
    ),
    "report from a damaged map": hostile(
        lambda s: [write(one, b"x") for one in (s.out / "group").glob("*stat-t_statmap.nii.gz")] and None,
        (65, 73),
        job=("group", "-q", "--reports-only"),
    ),
    "report from a FIFO": hostile(
        lambda s: [write(one, ("fifo",)) for one in (s.out / "group").glob("*_design.tsv")] and None,
        (65, 66, 73),
        job=("group", "-q", "--reports-only"),
    ),
    "report from a damaged ledger": hostile(
        left(("ledger.tsv", b"\0\0")), (0, 65, 73), job=("group", "-q", "--reports-only")
    ),
}


def _of_other_kinds(value):
    """What a damaged file may say in the place of a value."""
    return ["x"] if isinstance(value, str | int | float) else 3


def _respelled(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: _of_other_kinds(value) for key, value in content.items()}))


_AGAIN = ("group", "-q", "--reports-only")
LEFT |= {
    f"report where {pattern} has other kinds": hostile(
        lambda s, at=pattern: [_respelled(one) for one in s.out.glob(at)] and None, code, *words, job=_AGAIN
    )
    for pattern, code, *words in (
        ("code/command.json", 65, "command.json"),
        ("code/model-*_smdl.json", (0, 65)),
        ("group/*_design.json", 65, "_design.json"),
        ("group/*stat-t_statmap.json", 65, "statmap.json"),
        ("group/*desc-fdr_statmap.json", 65, "statmap.json"),
    )
}
LEFT |= {
    f"list of files whose {key} is {what!r}": hostile(listed(**{key: what}), 73, "outputs.json", "damaged")
    for key, what in (("Pooling", "x"), ("Pooling", {"a": 1}), ("Planned", [[]]), ("Format", ["x"]))
}
