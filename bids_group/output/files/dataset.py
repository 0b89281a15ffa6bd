"""What makes OUTPUT_DIR a BIDS derivative dataset: description, people, ledger, code and logs."""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from bids_group import __version__
from bids_group.errors import BidsGroupError, OutputError
from bids_group.json_files import read_json
from bids_group.output.disk.lock import take_turn
from bids_group.output.disk.manifest import COMMAND, TABLES, record_outputs
from bids_group.output.disk.publishing import write_bytes
from bids_group.output.disk.writing import (
    json_text,
    table_text,
    write_if_changed,
    write_json,
    write_text,
)
from bids_group.records import Cohort, GroupAnalysis
from bids_group.records.sidecars import RunRecord

APP_NAME = "bids_group"
_BIDS_VERSION = "1.11.0"


def _text(name: str) -> str:
    """Read a text that is written as it stands."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def write_dataset(output_dir: Path, cohort: Cohort) -> None:
    """Write dataset_description.json, README.md and .bidsignore; many jobs may do it at the same time.

    What another program or person wrote there is kept: its description gets this app's entry, its README
    stays, its .bidsignore grows by the lines that are missing.
    """
    here = output_dir.resolve()
    links = {
        name: quote(Path(os.path.relpath(root.resolve(), here)).as_posix())
        for name, root in sorted(cohort.dataset_names.items())
    }
    with take_turn(output_dir):
        earlier = read_description(output_dir)
        description = {
            "Name": "Group analysis of first-level maps",
            "BIDSVersion": _BIDS_VERSION,
            **earlier,
            "DatasetType": "derivative",
            "GeneratedBy": _generators(earlier, here),
            "SourceDatasets": [{"URL": link} for link in links.values()],
            "DatasetLinks": {**earlier.get("DatasetLinks", {}), **links},
        }
        text = json_text(dict(sorted(description.items())))
        write_if_changed(output_dir / "dataset_description.json", text)
        if not os.path.lexists(output_dir / "README.md"):
            write_if_changed(output_dir / "README.md", _text("dataset_readme.md"))
        path = output_dir / ".bidsignore"
        lines = path.read_bytes().splitlines() if path.is_file() else []
        ours = _text("bidsignore.txt").encode().splitlines()  # no trailing slash: the validator wants none
        missing = [line for line in ours if line not in lines]
        if missing:
            write_bytes(path, b"\n".join([*lines, *missing]) + b"\n")


def write_participants(output_dir: Path, analyses: Iterable[GroupAnalysis] | None = None) -> None:
    """Write participants.tsv/.json: everyone with a ``sub-*`` folder here, and who is in a group model.

    Where there is no such folder BIDS wants no table. ``analyses`` are the group models; None in
    ``participant`` jobs, which keep what stands there and add people with ``n/a``.
    """
    if not _people_with_folders(output_dir):
        return
    record_outputs(output_dir, TABLES[:2])
    with take_turn(output_dir):
        people, marks, absent = _people_with_folders(output_dir), {}, "no"
        if analyses is None:
            absent, earlier = "n/a", _read_table(output_dir / "participants.tsv")
            if {"participant_id", "analysed"} <= set(earlier.columns):
                marks = dict(zip(earlier["participant_id"], earlier["analysed"], strict=True))
        else:
            marks = {f"sub-{row.subject}": "yes" for one in analyses for row in one.observations}
        analysed = [marks.get(one, absent) for one in people]
        table = pd.DataFrame({"participant_id": people, "analysed": analysed})
        write_if_changed(output_dir / "participants.tsv", table_text(table))
        write_if_changed(output_dir / "participants.json", _text("participants.json"))


def write_ledger(output_dir: Path, ledger: pd.DataFrame, *, labels: Collection[str] | None = None) -> None:
    """Write ledger.tsv, one row per participant and map, sorted already.

    ``labels``: in ``participant`` jobs the people this job is about (without ``sub-``); their rows replace
    the earlier ones, the rows of all others stay as they are. None: the ledger is complete.
    """
    path = output_dir / "ledger.tsv"
    record_outputs(output_dir, TABLES[2:])
    with take_turn(output_dir):
        if labels is not None:  # joined as text, so that the rows of others come out as they went in
            people, earlier = [f"sub-{one}" for one in labels], _read_table(path)
            lines = [line.split("\t") for line in table_text(ledger).splitlines()[1:]]
            own = pd.DataFrame(lines, columns=ledger.columns)
            ledger = own[own["participant_id"].isin(people)]
            if list(earlier.columns) == list(own.columns):
                others = earlier[~earlier["participant_id"].isin(people)]
                ledger = pd.concat([others, ledger]).sort_values("participant_id", kind="stable")
        write_if_changed(path, table_text(ledger))


def write_named(output_dir: Path, name: Path, text: str) -> None:
    """Write a text whose file has a name of its own (relative to OUTPUT_DIR), which is noted before."""
    record_outputs(output_dir, [name])
    write_text(output_dir / name, text)


def write_command(output_dir: Path, info: RunRecord, *, label: str | None = None) -> None:
    """Write arguments, versions, seeds and input hashes to ``code/command.json``.

    ``label``: of a ``participant`` job, whose record goes to ``logs/command_<label>.json`` so that jobs keep
    out of each other's way.
    """
    if label is None:
        record_outputs(output_dir, [COMMAND])
    write_json(output_dir / (COMMAND if label is None else f"logs/command_{label}.json"), info)


def write_crash(output_dir: Path, text: str) -> Path | None:
    """Keep the traceback of a bug in ``logs/``; None where even that cannot be written."""
    now = datetime.now(tz=UTC)
    path = output_dir / "logs" / f"crash-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
    about = f"bids_group {__version__}, Python {platform.python_version()}, {platform.platform()}"
    try:
        write_bytes(path, f"{about}\n\n{text}\n".encode("utf-8", "backslashreplace"))
    except BidsGroupError:
        return None
    return path


def read_description(output_dir: Path) -> dict[str, Any]:
    """Read the description that stands there, and refuse one that ours cannot be joined with."""
    path = output_dir / "dataset_description.json"
    fix = "Repair or remove it."
    content = read_json(path, wrong=OutputError, unreadable=OutputError, fix=fix, is_optional=True)
    kinds = {"GeneratedBy": list, "DatasetLinks": dict}
    for key in (key for key, kind in kinds.items() if not isinstance(content.get(key, kind()), kind)):
        raise OutputError(
            f"The file {path} cannot be joined with ours: its {key}.",
            found=repr(content[key]),
            expected='{"GeneratedBy": [{"Name": …}], "DatasetLinks": {"name": "…"}}',
            fix=fix,
        )
    ignored = output_dir / ".bidsignore"
    if os.path.lexists(ignored) and not ignored.is_file():
        raise OutputError(f"What is called .bidsignore is no file: {ignored}.", fix="Move it away.")
    if content.get("DatasetType") == "raw":
        raise OutputError(
            f"OUTPUT_DIR is a raw dataset: {path.parent}.",
            found=f'"DatasetType": "raw" in {path.name}',
            expected="a folder of its own, or a dataset of first-level maps",
            fix="Give another OUTPUT_DIR.",
        )
    return content


def _generators(earlier: Mapping[str, Any], folder: Path) -> list[dict[str, Any]]:
    """Keep other programs in front; in derivatives/ BIDS wants the first name to be part of the folder's.

    The container is told by its environment: container/start.sh sets the tag, Apptainer its variable.
    """
    own: dict[str, Any] = {"Name": APP_NAME, "Version": __version__}
    own["Description"] = "Group-level analysis of first-level maps"
    tag = os.environ.get("BIDS_GROUP_CONTAINER")
    image = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER")
    if tag or image:
        kind = "apptainer" if image else "docker"
        own["Container"] = {"Type": kind, "Tag": tag or Path(str(image)).name}
    entries = earlier.get("GeneratedBy", [])
    others = [one for one in entries if not isinstance(one, dict) or one.get("Name") != APP_NAME]
    if not others and folder.parent.name == "derivatives" and APP_NAME not in folder.name:
        about = f"A group analysis; the program that made it is {APP_NAME}"
        others = [{"Name": folder.name, "Description": about}]
    return [*others, own]


def _people_with_folders(output_dir: Path) -> list[str]:
    with os.scandir(output_dir) as entries:  # no look at each of thousands of folders
        return sorted(one.name for one in entries if one.name.startswith("sub-") and one.is_dir())


def _read_table(path: Path) -> pd.DataFrame:
    """Read a table of ours as text; one without columns where there is none."""
    if not path.is_file():
        return pd.DataFrame()
    try:
        return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)
    except ValueError as error:
        fix = "Remove it: rows of other jobs come again when these run again."
        raise OutputError(
            f"The table of earlier jobs is damaged: {path}.", found=str(error), fix=fix
        ) from error
