from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from bids_group import output
from bids_group.records import Cohort, PooledMap

VALIDATOR = shutil.which(
    "bids-validator-deno", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
)
FORK = multiprocessing.get_context("fork")


def cohort_of(tmp_path: Path) -> Cohort:
    roots = {"raw": tmp_path / "raw", "firstlevel": tmp_path / "raw" / "derivatives" / "first level"}
    return Cohort(maps=(), tables=(), everyone=(), dataset_names=roots)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def ledger_of(*people: str, used: str = "yes") -> pd.DataFrame:
    rows = [(f"sub-{one}", run, used, "") for one in people for run in (1, 2)]
    return pd.DataFrame(rows, columns=["participant_id", "run", "used", "reason"])


def test_the_description_links_its_sources_by_relative_paths(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "derivatives" / "bids_group-slopes"
    folder.mkdir(parents=True)
    output.write_dataset(folder, cohort_of(tmp_path))
    description = read_json(folder / "dataset_description.json")
    assert description["DatasetType"] == "derivative"
    assert description["DatasetLinks"] == {"raw": "../..", "firstlevel": "../first%20level"}
    assert [one["Name"] for one in description["GeneratedBy"]] == ["bids_group"]
    assert str(tmp_path) not in json.dumps(description)


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("derivatives/bids_group", ["bids_group"]),
        ("derivatives/smoking", ["smoking", "bids_group"]),
        ("derivatives/bids-group", ["bids-group", "bids_group"]),
        ("elsewhere", ["bids_group"]),
    ],
)
def test_in_derivatives_the_first_name_is_part_of_the_folders(
    tmp_path: Path, folder: str, names: list[str]
) -> None:
    (tmp_path / folder).mkdir(parents=True)
    for _ in range(2):  # the second write changes nothing
        output.write_dataset(tmp_path / folder, cohort_of(tmp_path))
        description = read_json(tmp_path / folder / "dataset_description.json")
        assert [one["Name"] for one in description["GeneratedBy"]] == names


def test_what_another_program_wrote_is_kept(tmp_path: Path) -> None:
    theirs = {"Name": "GLM", "BIDSVersion": "1.9.0", "GeneratedBy": [{"Name": "nilearn"}], "License": "CC0"}
    (tmp_path / "dataset_description.json").write_text(json.dumps(theirs))
    (tmp_path / "README.md").write_text("theirs")
    (tmp_path / ".bidsignore").write_text("extra\n*.html\n")
    output.write_dataset(tmp_path, cohort_of(tmp_path))
    description = read_json(tmp_path / "dataset_description.json")
    assert (description["Name"], description["License"]) == ("GLM", "CC0")
    assert [one["Name"] for one in description["GeneratedBy"]] == ["nilearn", "bids_group"]
    assert (tmp_path / "README.md").read_text() == "theirs"
    ignored = (tmp_path / ".bidsignore").read_text().splitlines()
    assert ignored[:2] == ["extra", "*.html"]
    assert ignored.count("*.html") == 1
    assert {"group", "*_statmap.*"} <= set(ignored)


def test_the_container_is_named_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIDS_GROUP_CONTAINER", "bids-group:0.1.0")
    output.write_dataset(tmp_path, cohort_of(tmp_path))
    entry = read_json(tmp_path / "dataset_description.json")["GeneratedBy"][0]
    assert entry["Container"] == {"Type": "docker", "Tag": "bids-group:0.1.0"}


def test_participants_are_those_with_a_folder_here(made: Any) -> None:
    for label in ("01", "02", "09"):
        (made.output_dir / f"sub-{label}").mkdir(parents=True)
    output.write_participants(made.output_dir)
    table = made.output_dir / "participants.tsv"
    assert table.read_text() == "participant_id\tanalysed\nsub-01\tn/a\nsub-02\tn/a\nsub-09\tn/a\n"
    output.write_participants(made.output_dir, [made.analysis])
    assert table.read_text() == "participant_id\tanalysed\nsub-01\tyes\nsub-02\tyes\nsub-09\tno\n"
    (made.output_dir / "sub-10").mkdir()
    output.write_participants(made.output_dir)
    assert table.read_text().splitlines()[3:] == ["sub-09\tno", "sub-10\tn/a"]


def test_without_folders_there_is_no_table_of_participants(tmp_path: Path) -> None:
    output.write_participants(tmp_path)
    assert not (tmp_path / "participants.tsv").exists()


def test_a_participant_job_replaces_its_own_rows_of_the_ledger_only(tmp_path: Path) -> None:
    output.write_ledger(tmp_path, ledger_of("01", "02", used="no"), labels=["02"])
    output.write_ledger(tmp_path, ledger_of("01", "02"), labels=["01"])
    lines = (tmp_path / "ledger.tsv").read_text().splitlines()
    assert lines[1:] == [
        "sub-01\t1\tyes\tn/a",
        "sub-01\t2\tyes\tn/a",
        "sub-02\t1\tno\tn/a",
        "sub-02\t2\tno\tn/a",
    ]
    output.write_ledger(tmp_path, ledger_of("01"))
    assert len((tmp_path / "ledger.tsv").read_text().splitlines()) == 3


def test_commands_of_participant_jobs_keep_apart(tmp_path: Path) -> None:
    output.write_command(tmp_path, {"Command": ["x"]})
    output.write_command(tmp_path, {"Command": ["y"]}, label="sub-01")
    assert read_json(tmp_path / "logs/command_sub-01.json") == {"Command": ["y"]}
    assert read_json(tmp_path / "code/command.json") == {"Command": ["x"]}


@pytest.mark.parametrize(("name", "file"), [("my model", "myModel"), ("../../x", "x"), ("", "unnamed")])
def test_the_model_is_named_after_its_name(name: str, file: str) -> None:
    assert output.model_path({"Name": name, "Nodes": []}) == Path(f"code/model-{file}_smdl.json")


def test_a_crash_report_that_cannot_be_written_does_not_hide_the_crash(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert output.write_crash(tmp_path / "file", "traceback") is None
    path = output.write_crash(tmp_path, "Traceback: boom")
    assert path is not None
    assert "boom" in path.read_text()


def do_job(folder: Path, cohort: Cohort, pooled: PooledMap, start: Any) -> None:
    start.wait()
    label = pooled.observation.subject
    output.write_dataset(folder, cohort)
    output.write_pooled(folder, pooled, "key", dataset_names=cohort.dataset_names)
    output.write_ledger(folder, ledger_of(*(f"{i:02}" for i in range(1, 9))), labels=[label])
    output.write_participants(folder)
    output.write_command(folder, {"Command": [label]}, label=f"sub-{label}")


@pytest.mark.parametrize("repeat", range(5))
def test_of_eight_jobs_at_once_nothing_is_lost_and_nothing_torn(
    tmp_path: Path, make_pooled: Callable[..., PooledMap], repeat: int
) -> None:
    people = [f"{i:02}" for i in range(1, 9)]
    folder, start = tmp_path / "out", FORK.Event()
    folder.mkdir()
    jobs = [
        FORK.Process(
            target=do_job, args=(folder, cohort_of(tmp_path), make_pooled(one, seed=int(one)), start)
        )
        for one in people
    ]
    for job in jobs:
        job.start()
    start.set()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 8
    together = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    alone = tmp_path / "alone"
    alone.mkdir()
    start.set()
    for one in people:
        do_job(alone, cohort_of(tmp_path), make_pooled(one, seed=int(one)), start)
    assert together == {p.relative_to(alone): p.read_bytes() for p in alone.rglob("*") if p.is_file()}
    assert len(pd.read_csv(folder / "participants.tsv", sep="\t")) == 8
    assert len(pd.read_csv(folder / "ledger.tsv", sep="\t")) == 16


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
@pytest.mark.parametrize("folder", ["out", "raw/derivatives/smoking", "raw/derivatives/bids_group"])
def test_the_official_validator_finds_no_error(
    made: Any, make_pooled: Callable[..., PooledMap], folder: str, tmp_path: Path
) -> None:
    out = tmp_path / folder
    out.mkdir(parents=True)
    whole = made.but(output_dir=out)
    with output.claim_output(out, tmp_path / "raw", level="group"):
        output.check_same_analysis(out, {"Formula": "~ 1"}, is_overwrite=False)
        output.write_dataset(out, made.cohort)
        output.write_named(out, output.model_path({"Name": "slopes"}), "{}")
        for label in ("01", "02"):
            pooled = make_pooled(label)
            output.write_pooled(out, pooled, "key", dataset_names=made.cohort.dataset_names)
        whole.write(
            quality=pd.DataFrame({"mean_effect": np.arange(6.0)}, index=made.data.design.matrix.index)
        )
        output.write_ledger(out, ledger_of("01", "02"))
        output.write_participants(out, [made.analysis])
        output.write_command(out, {"Command": ["bids-group"]})
        output.write_crash(out, "none")
        output.finish_outputs(out)
    (out / "report.html").write_text("<html></html>")
    (out / "logs" / "CITATION.md").write_text("text")
    (out / "group" / "figures").mkdir()
    (out / "group" / "figures" / "a.svg").write_text("<svg/>")
    assert validate(out) == []


def validate(folder: Path) -> list[Any]:
    done = subprocess.run([str(VALIDATOR), "--format", "json", folder], capture_output=True, text=True)
    issues = json.loads(done.stdout)["issues"]["issues"]
    return [issue for issue in issues if issue["severity"] == "error"]
