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
from bids_group.labels import camel_label
from bids_group.output.disk.lock import take_turn
from bids_group.output.disk.manifest import COMMAND, TABLES, record_outputs
from bids_group.output.disk.writing import (
    json_text,
    table_text,
    write_bytes,
    write_if_changed,
    write_json,
    write_text,
)
from bids_group.records import Cohort, GroupAnalysis, OutputFile
from bids_group.records.sidecars import RunRecord

APP_NAME = "bids_group"
_BIDS_VERSION = "1.11.0"
_BIDSIGNORE = (
    "group",
    "figures",
    "logs",
    ".work",
    "*_statmap.*",
    "*_design.*",
    "*_clusters.*",
    "*.html",
    "ledger.tsv",
)
"""Names without trailing slash: the validator takes no other."""

_PARTICIPANTS_JSON = {
    "Description": "People with pooled maps in this dataset",
    "participant_id": {"Description": "Participant, as in the input dataset"},
    "analysed": {
        "Description": "Whether the person is in at least one group model (ledger.tsv says why not)",
        "Levels": {"yes": "in a group model", "no": "in none", "n/a": "no group model was run yet"},
    },
}

_README = """# Group analysis of first-level maps

Written by bids_group. Start with `report.html`.

| where | what |
|---|---|
| `report.html` | the whole analysis on one page |
| `ledger.tsv` | every participant and map: used or not, and why |
| `participants.tsv` | everyone with maps here; `analysed` says who is in a group model |
| `sub-*/` | maps pooled over runs and sessions; `stat-n` is the number of maps at each voxel |
| `group/` | group maps, designs, masks, cluster tables and labels, values at peaks, nulls, figures |
| `code/model-*_smdl.json` | the resolved model: run it again to get the same results |
| `code/command.json` | the command, versions, seeds and hashes of the inputs |
| `code/analysis.json`, `code/outputs.json` | which analysis this folder holds, and which files are its own |
| `logs/` | log, citations, crash reports |

## How to read the maps

* `stat-p` holds plain p-values in (0, 1]; those with `desc-` are corrected, the sidecar says how (but
  `desc-permutation`: each element's own p by shuffling). They are two-sided unless the sidecar says
  otherwise.
* `stat-z` is signed and does not depend on sidedness (`desc-varianceGroups`: what corrections by
  shuffling judged where groups have variances of their own).
* Outside the analysis mask (`desc-analysis_mask`) maps are 0, and 1 where they hold p-values.
* In pooled maps, a voxel where `stat-n` is 0 was observed in no map; its effect is missing, not zero.
"""


def write_dataset(output_dir: Path, cohort: Cohort) -> None:
    """Write dataset_description.json, README.md and .bidsignore; many jobs may do it at the same time.

    What another program or person wrote there is kept: its description gets this app's entry, its README
    stays, its .bidsignore grows by the lines that are missing.
    """
    with take_turn(output_dir):
        _write_description(output_dir, cohort.dataset_names)
        if not (output_dir / "README.md").exists():
            write_text(output_dir / "README.md", _README)
        _write_bidsignore(output_dir / ".bidsignore")


def write_participants(
    output_dir: Path, analyses: Iterable[GroupAnalysis] | None = None
) -> OutputFile | None:
    """Write participants.tsv/.json: everyone with a ``sub-*`` folder here, and who is in a group model.

    Parameters
    ----------
    analyses
        The group models; None in ``participant`` jobs, which keep what stands there and add people with
        ``n/a``.

    Returns
    -------
    OutputFile or None
        None where there is no ``sub-*`` folder: BIDS then wants no table.
    """
    if not _people_with_folders(output_dir):
        return None
    record_outputs(output_dir, TABLES[:2])
    with take_turn(output_dir):
        people = _people_with_folders(output_dir)
        marks = _analysed_before(output_dir) if analyses is None else _analysed_in(analyses)
        absent = "n/a" if analyses is None else "no"
        table = pd.DataFrame(
            {"participant_id": people, "analysed": [marks.get(one, absent) for one in people]}
        )
        write_if_changed(output_dir / "participants.tsv", table_text(table))
        write_if_changed(output_dir / "participants.json", json_text(_PARTICIPANTS_JSON))
    return OutputFile(path=Path("participants.tsv"))


def write_ledger(
    output_dir: Path, ledger: pd.DataFrame, *, labels: Collection[str] | None = None
) -> OutputFile:
    """Write ledger.tsv, one row per participant and map.

    Parameters
    ----------
    ledger
        Has a column ``participant_id``; sorted already.
    labels
        In ``participant`` jobs, the people this job is about (without ``sub-``): their rows replace the
        earlier ones, the rows of all others stay as they are. None: the ledger is complete.
    """
    path = output_dir / "ledger.tsv"
    record_outputs(output_dir, TABLES[2:])
    with take_turn(output_dir):
        table = ledger if labels is None else _merge_ledger(path, ledger, {f"sub-{one}" for one in labels})
        write_if_changed(path, table_text(table))
    return OutputFile(path=Path("ledger.tsv"))


def model_path(model: Mapping[str, Any]) -> Path:
    """Name the file of the resolved model."""
    return Path("code") / f"model-{camel_label(str(model.get('Name', ''))) or 'unnamed'}_smdl.json"


def write_model(output_dir: Path, model: Mapping[str, Any]) -> OutputFile:
    """Write the resolved BIDS Stats Model, which reproduces the run, to ``code/model-<Name>_smdl.json``."""
    path = model_path(model)
    record_outputs(output_dir, [path])
    write_json(output_dir / path, model)
    return OutputFile(path=path)


def write_command(output_dir: Path, info: RunRecord, *, label: str | None = None) -> OutputFile:
    """Write arguments, versions, seeds and input hashes to ``code/command.json``.

    ``label``: of a ``participant`` job, whose record goes to ``logs/command_<label>.json`` so that jobs keep
    out of each other's way.
    """
    path = COMMAND if label is None else Path("logs") / f"command_{label}.json"
    if label is None:
        record_outputs(output_dir, [path])
    write_json(output_dir / path, info)
    return OutputFile(path=path)


def write_crash(output_dir: Path, text: str) -> Path | None:
    """Keep the traceback of a bug in ``logs/``; None where even that cannot be written."""
    now = datetime.now(tz=UTC)
    path = output_dir / "logs" / f"crash-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.txt"
    about = f"bids_group {__version__}, Python {platform.python_version()}, {platform.platform()}"
    try:
        write_text(path, f"{about}\n\n{text}\n")
    except BidsGroupError:
        return None
    return path


def _write_description(output_dir: Path, source_datasets: Mapping[str, Path]) -> None:
    path = output_dir / "dataset_description.json"
    earlier = _read_description(path)
    links = {name: _relative_link(root, output_dir) for name, root in sorted(source_datasets.items())}
    description = {
        **{key: value for key, value in earlier.items() if key not in ("Name", "BIDSVersion", "DatasetType")},
        "Name": earlier.get("Name", "Group analysis of first-level maps"),
        "BIDSVersion": earlier.get("BIDSVersion", _BIDS_VERSION),
        "DatasetType": "derivative",
        "GeneratedBy": _generators(earlier, output_dir),
        "SourceDatasets": [{"URL": link} for link in links.values()],
        "DatasetLinks": {**earlier.get("DatasetLinks", {}), **links},
    }
    write_if_changed(path, json_text({key: description[key] for key in sorted(description)}))


def check_description(output_dir: Path) -> None:
    """Refuse a ``dataset_description.json`` that ours cannot be joined with, before anything is written."""
    _read_description(output_dir / "dataset_description.json")


def _read_description(path: Path) -> dict[str, Any]:
    content = read_json(path, wrong=OutputError, fix="Repair or remove it.", is_optional=True)
    kinds = {"GeneratedBy": list, "DatasetLinks": dict}
    if any(not isinstance(content.get(key, kind()), kind) for key, kind in kinds.items()):
        raise OutputError(
            f"The file {path} cannot be joined with ours.",
            expected='{"GeneratedBy": [{"Name": …}], …}',
            fix="Repair or remove it.",
        )
    if content.get("DatasetType") == "raw":
        raise OutputError(
            f"OUTPUT_DIR is a raw dataset: {path.parent}.",
            found=f'"DatasetType": "raw" in {path.name}',
            expected="a folder of its own, or a dataset of first-level maps",
            fix="Give another OUTPUT_DIR.",
        )
    return content


def _generators(earlier: Mapping[str, Any], output_dir: Path) -> list[dict[str, Any]]:
    """Keep other programs in front; in derivatives/ BIDS wants the first name to be part of the folder's."""
    about = "Group-level analysis of first-level maps"
    own = {"Name": APP_NAME, "Version": __version__, "Description": about, **_container()}
    entries = earlier.get("GeneratedBy", [])
    others = [one for one in entries if not isinstance(one, dict) or one.get("Name") != APP_NAME]
    folder = output_dir.resolve()
    if not others and folder.parent.name == "derivatives" and APP_NAME not in folder.name:
        others = [
            {"Name": folder.name, "Description": f"A group analysis; the program that made it is {APP_NAME}"}
        ]
    return [*others, own]


def _container() -> dict[str, Any]:
    """Describe the container by its environment: container/start.sh sets the tag, Apptainer its variable."""
    tag = os.environ.get("BIDS_GROUP_CONTAINER")
    image = os.environ.get("APPTAINER_CONTAINER") or os.environ.get("SINGULARITY_CONTAINER")
    if not tag and not image:
        return {}
    return {"Container": {"Type": "apptainer" if image else "docker", "Tag": tag or Path(str(image)).name}}


def _relative_link(root: Path, output_dir: Path) -> str:
    relative = os.path.relpath(root.resolve(), output_dir.resolve())
    return quote(Path(relative).as_posix())


def _write_bidsignore(path: Path) -> None:
    earlier = path.read_bytes().splitlines() if path.is_file() else []
    missing = [line.encode() for line in _BIDSIGNORE if line.encode() not in earlier]
    if missing:
        write_bytes(path, b"\n".join([*earlier, *missing]) + b"\n")


def _people_with_folders(output_dir: Path) -> list[str]:
    with os.scandir(output_dir) as entries:  # no look at each of thousands of folders
        return sorted(one.name for one in entries if one.name.startswith("sub-") and one.is_dir())


def _analysed_in(analyses: Iterable[GroupAnalysis]) -> dict[str, str]:
    return {f"sub-{row.subject}": "yes" for analysis in analyses for row in analysis.observations}


def _analysed_before(output_dir: Path) -> dict[str, str]:
    table = _read_table(output_dir / "participants.tsv")
    if table is None or not {"participant_id", "analysed"} <= set(table.columns):
        return {}
    return dict(zip(table["participant_id"], table["analysed"], strict=True))


def _merge_ledger(path: Path, ledger: pd.DataFrame, people: Collection[str]) -> pd.DataFrame:
    """Join as text, so that the rows of others come out as they went in."""
    own = pd.DataFrame(
        [line.split("\t") for line in table_text(ledger).splitlines()[1:]], columns=ledger.columns
    )
    own = own[own["participant_id"].isin(people)]
    earlier = _read_table(path)
    if earlier is None or list(earlier.columns) != list(own.columns):
        return own
    others = earlier[~earlier["participant_id"].isin(people)]
    return pd.concat([others, own]).sort_values("participant_id", kind="stable")


def _read_table(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    return pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, quoting=3)
