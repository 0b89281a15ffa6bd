"""The walk is ours, the names are pybids': the same files and entities, and no folder lost without a word."""

from __future__ import annotations

import errno
import itertools
import logging
import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.bids.index import FILE_ENTITIES, index_dataset, layout_config, parse_names, walk
from bids_group.errors import BidsGroupError, MissingInputError

KEYS = [*FILE_ENTITIES.values(), "foo"]
NOT_OF_NAMES = {"suffix", "extension", "datatype", "scans", "fmap"}


def index_by_pybids(root: Path) -> dict[str, dict[str, str]]:
    """The index of release 0.1: pybids' own layout, with the same configuration."""
    from bids.layout import BIDSLayout, BIDSLayoutIndexer, Tag

    not_maps = r"\.(?:html?|svg|png|jpe?g|gif|pdf|tsv\.gz|csv|txt|log|md|h5|mat|npz?|pkl|toml|ya?ml|bib)$"
    indexer = BIDSLayoutIndexer(
        validate=False,
        index_metadata=False,
        config_filename=".none",
        ignore=[
            re.compile(not_maps, re.IGNORECASE),
            re.compile(r"\.TSV$|(?<!_statmap)\.tsv$"),  # maps of regions are tables
            re.compile(r"^/(?:code|sourcedata|stimuli|logs)(?:/|$)"),
        ],
    )
    layout = BIDSLayout(str(root), validate=False, config=[layout_config(root)], indexer=indexer)
    found: dict[str, dict[str, str]] = {}
    for path, entity, value in layout.session.query(Tag.file_path, Tag.entity_name, Tag._value).all():
        found.setdefault(path, {})[entity] = value
    return {path: one for path, one in found.items() if may_be_of_somebody(Path(path).name, one)}


def may_be_of_somebody(name: str, entities: dict[str, str]) -> bool:
    """What is no sidecar and of no person is nobody's map, and is not kept."""
    return "subject_folder" in entities or "sub-" in name or name.endswith(".json")


def index_by_us(root: Path) -> dict[str, dict[str, str]]:
    files, unlisted = index_dataset(root)
    assert unlisted == ()
    paths = [str(file.path) for file in files]
    assert paths == sorted(paths)
    return {str(file.path): dict(file.entities) for file in files}


def random_name(random: np.random.Generator, *, is_folder: bool) -> str:
    labels = ["01", "a", "B2", "a+b", "", "x_y", "x-y", "é"]
    parts = [f"{random.choice(KEYS)}-{random.choice(labels)}" for _ in range(random.integers(0, 5))]
    if is_folder:
        plain = [
            "func",
            "codeA",
            "models",
            "code",
            "logs",
            "x.zarr",
            ".hidden",
            "sub-01",
            "ses-b",
            "node-r l",
        ]
        return str(random.choice([*plain, "_".join(parts) or "anat"]))
    suffix = random.choice(["statmap", "mask", "", "bold", "a.b"])
    extension = random.choice([".nii.gz", ".nii", ".json", ".tsv", ".TSV", ".dscalar.nii", ".HTML", "", "."])
    return "_".join([*parts, suffix]) + extension


@pytest.mark.parametrize("seed", range(8))
def test_files_and_entities_are_those_of_pybids(tmp_path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    root = tmp_path / "sub-99_task-above" / "ses-above"
    for _ in range(60):
        folder = root
        for _ in range(random.integers(0, 4)):
            folder /= random_name(random, is_folder=True)
        path = folder / random_name(random, is_folder=False)
        if path.name and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            path.touch()
    (root / "sub-link").symlink_to(root.parent / "elsewhere")
    (root.parent / "elsewhere").mkdir()
    (root.parent / "elsewhere" / "sub-link_contrast-a_stat-effect_statmap.nii").touch()
    (root / "sub-01_nowhere_statmap.nii").symlink_to("nowhere")
    assert index_by_us(root) == index_by_pybids(root)


def read_by_pybids(name: str) -> dict[str, str]:
    from bids.layout import Config, parse_file_entities

    entities = list(Config.load(layout_config(Path("/"))).entities.values())
    return {key: str(value) for key, value in parse_file_entities(f"/{name}", entities).items()}


@settings(max_examples=200, deadline=None)
@given(
    folders=st.lists(st.sampled_from(["sub-01", "ses-a", "node-x y", "func", "a.b"]), max_size=3),
    parts=st.lists(
        st.tuples(st.sampled_from(KEYS), st.text("aB0+-_.é", max_size=4)).map("-".join), max_size=6
    ),
    end=st.sampled_from(["statmap.nii.gz", "mask.nii", "statmap.json", "statmap", ".nii"]),
)
def test_any_name_is_read_as_pybids_reads_it(folders: list[str], parts: list[str], end: str) -> None:
    name = "/".join([*folders, "_".join([*parts, end])])
    assert parse_names([name]) == {name: read_by_pybids(name)}


NAMES = (
    "dataset_description.json README participants.tsv a_b.c.d .x _.y é_a+b.nii a-.b task-x_bold.json x-_y.nii"
)
NAMES += " ses-1_sub-2_T1w.nii run-1_run-2_bold.nii.gz contrast-a_b.nii"


@pytest.mark.parametrize("name", NAMES.split())
def test_names_without_people_are_read_as_pybids_reads_them(name: str) -> None:
    assert parse_names([name]) == {name: read_by_pybids(name)}


def test_every_entity_of_pybids_is_known() -> None:
    from bids.layout import Config

    for config in ("bids", "derivatives"):
        for entity in Config.load(config).entities.values():
            if entity.name not in NOT_OF_NAMES:
                key = FILE_ENTITIES[entity.name]
                assert f"{key}-(" in entity.pattern


def test_names_of_the_standard_mean_what_they_mean_to_pybids() -> None:
    from bids.layout import parse_file_entities

    name = "sub-01/ses-a/func/sub-01_ses-a_task-x_acq-hi_run-02_space-S_res-2_desc-d_statmap.nii.gz"
    theirs = parse_file_entities(f"/{name}", config=["bids", "derivatives"])
    ours = parse_names([name])[name]
    assert {key: ours[key] for key in theirs if key != "datatype"} == {
        key: str(value) for key, value in theirs.items() if key != "datatype"
    }


def test_a_link_that_leads_back_up_does_not_double_the_maps(tmp_path: Path) -> None:
    (tmp_path / "sub-01").mkdir()
    (tmp_path / "sub-01" / "sub-01_contrast-a_stat-effect_statmap.nii").touch()
    (tmp_path / "sub-01" / "up").symlink_to(tmp_path)
    (tmp_path / "sub-01" / "round").symlink_to("round")
    names = [file.path.name for file in index_dataset(tmp_path)[0] if "stat" in file.entities]
    assert names == ["sub-01_contrast-a_stat-effect_statmap.nii"]


class Broken:
    """What the system says of a folder: it cannot be opened, or its reading stops in the middle."""

    def __init__(self, folder: Path, number: int, n_read: int | None) -> None:
        self.folder, self.number, self.n_read = str(folder), number, n_read
        self.scandir = os.scandir

    def __call__(self, path: str = "."):
        if os.fspath(path) != self.folder:
            return self.scandir(path)
        if self.n_read is None:
            raise self.error()
        return self

    def error(self) -> OSError:
        return OSError(self.number, os.strerror(self.number), self.folder)

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __iter__(self):
        with self.scandir(self.folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)[: self.n_read]
        raise self.error()


PROBLEMS = [(errno.EACCES, None), (errno.EIO, None), (errno.EIO, 0), (errno.EIO, 1), (errno.ESTALE, 2)]


@pytest.fixture(params=PROBLEMS, ids=lambda problem: f"{errno.errorcode[problem[0]]}-{problem[1]}")
def break_folder(request, monkeypatch):
    return lambda folder: monkeypatch.setattr(os, "scandir", Broken(folder, *request.param))


@pytest.mark.parametrize("where", ["", "sub-02", "sub-02/func", "node-x", "node-x/sub-02"])
def test_a_folder_that_cannot_be_listed_is_named(study, break_folder, where):
    folder = study.derivative()
    study.people(folder, "01 02 03")
    study.maps(folder, ["node-x/sub-02/sub-02_task-y_contrast-b"])
    break_folder(folder / where)
    with pytest.raises(MissingInputError) as caught:
        study.gather()
    assert f"The folder {folder / where} cannot be listed" in caught.value.sentence
    assert caught.value.found in {os.strerror(number) for number, _ in PROBLEMS}


@pytest.mark.parametrize(
    "selection",
    [
        {"participant_labels": ("01", "sub-03")},
        {"exclude_participant_labels": ("sub-02",)},
        {"session_labels": ("b",)},
        {"bids_filter": {"subject": ["01", "03"]}},
        {"bids_filter": {"session": "b"}},
    ],
)
def test_a_folder_of_what_was_not_selected_is_not_missed(study, break_folder, selection):
    folder = study.derivative()
    for label in ("01", "02", "03"):
        for session in "ab":
            study.maps(folder, [f"sub-{label}/ses-{session}/sub-{label}_ses-{session}_contrast-a"])
    break_folder(folder / "sub-02" / "ses-a")
    wanted = study.gather(**selection)
    assert {m.subject for m in wanted.maps} >= {"01", "03"}
    with pytest.raises(MissingInputError):
        study.gather(participant_labels=("02",))


@pytest.mark.parametrize("where", ["figures", "sub-01/figures", "code", "logs", "sourcedata", ".git"])
def test_folders_that_hold_no_maps_are_not_missed(study, break_folder, where):
    folder = study.derivative()
    study.people(folder, "01 02")
    (folder / where).mkdir(parents=True)
    break_folder(folder / where)
    assert len(study.gather().maps) == 2


def test_another_dataset_that_cannot_be_listed_is_told(study, break_folder):
    study.people(study.derivative(), "01 02")
    other = study.derivative("other")
    break_folder(other)
    cohort = study.gather()
    assert len(cohort.maps) == 2
    (told,) = [one for one in cohort.notices if one.severity == "warning"]
    assert str(other) in told.sentence
    assert "--derivatives" in told.fix


@pytest.mark.parametrize("where", ["", "other", "other/sub-01"])
def test_where_no_other_dataset_has_maps_the_folder_is_named(study, break_folder, where):
    folder = study.derivative("other").parent
    (folder / "other" / "sub-01").mkdir()
    break_folder(folder / where)
    with pytest.raises(MissingInputError, match=re.escape(f"{folder / where} cannot be listed")):
        study.gather()


@pytest.mark.parametrize("where", ["sub-02", "sub-02/ses-a"])
def test_scans_tables_are_not_lost_with_their_folder(study, break_folder, where):
    """A motion table that is not seen would keep a person whom --exclude-where is to drop."""
    folder = study.derivative()
    names = [f"sub-{label}/ses-a/sub-{label}_ses-a_task-x_contrast-a" for label in ("01", "02")]
    study.maps(folder, names)
    for label, motion in (("01", "0.1"), ("02", "0.9")):
        rows = f"filename fd_mean\nfunc/sub-{label}_ses-a_task-x_bold.nii.gz {motion}"
        study.table(rows, f"sub-{label}/ses-a/sub-{label}_ses-a_scans.tsv")
    assert [m.subject for m in study.gather(exclude_where="fd_mean > 0.5").maps] == ["01"]
    break_folder(study.raw / where)
    with pytest.raises(BidsGroupError, match="cannot be listed") as caught:
        study.gather(exclude_where="fd_mean > 0.5")
    assert caught.value.exit_code == 66


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@pytest.mark.parametrize("is_linked", [False, True])
def test_processes_are_no_files(tmp_path, is_linked):
    (tmp_path / "sub-01").symlink_to("/proc")
    top, *inner = walk(tmp_path if is_linked else Path("/proc"))
    found = inner if is_linked else [top]
    assert [(one.path, one.names) for one in found] == [
        (str(tmp_path / "sub-01") if is_linked else "/proc", ())
    ]
    assert "no files" in found[0].problem


def test_an_empty_folder_of_that_name_does_not_make_its_disk_one_of_the_machine(tmp_path, monkeypatch):
    """Containers without /proc or /sys keep the folder, on the disk of all else."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "sub-01").mkdir()
    monkeypatch.setattr("bids_group.bids.index._OF_KERNEL", (str(tmp_path / "proc"),))
    assert [folder.problem for folder in walk(tmp_path / "sub-01")] == [None]


def test_two_folders_that_link_to_each_other_are_walked_once_each_way(tmp_path):
    for one, other in (("sub-01", "sub-02"), ("sub-02", "sub-01")):
        (tmp_path / one).mkdir(exist_ok=True)
        (tmp_path / one / "b").symlink_to(f"../{other}")
    found = [(Path(one.path).relative_to(tmp_path).as_posix(), one.problem) for one in walk(tmp_path)]
    assert found == [(".", None), ("sub-01", None), ("sub-01/b", None), ("sub-02", None), ("sub-02/b", None)]


def test_a_long_walk_is_told_with_where_it_is(tmp_path, monkeypatch, caplog):
    for name in ("a/b", "c", "sub-1/func"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "sub-1_contrast-a_stat-effect_statmap.nii").touch()
    clock = itertools.count(0, 6)
    monkeypatch.setattr("bids_group.bids.index.time.monotonic", lambda: next(clock))
    logger = logging.getLogger("bids_group.bids.index")
    logger.addHandler(caplog.handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    assert len(index_dataset(tmp_path)[0]) == 3
    logger.removeHandler(caplog.handler)
    said = [one.getMessage() for one in caplog.records]
    assert said[0].startswith(f"Looking for maps in {tmp_path}: 2 folders, 0 files, now in {tmp_path}/a.")
    assert f": 6 folders, 3 files, now in {tmp_path}/sub-1/func." in said[-1]
    assert len({*said}) == 3


def test_files_of_nobody_are_not_kept_however_many_there_are(tmp_path):
    for number in range(50):
        (tmp_path / f"holiday{number}.nii").touch()
    (tmp_path / "task-x_statmap.json").touch()
    (tmp_path / "sub-1").mkdir()
    (tmp_path / "sub-1" / "contrast-a_stat-effect_statmap.nii").touch()
    found, _ = index_dataset(tmp_path)
    assert [one.path.name for one in found] == ["contrast-a_stat-effect_statmap.nii", "task-x_statmap.json"]
