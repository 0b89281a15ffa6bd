"""Datasets: whether they are BIDS, who made them, and which of them hold first-level maps."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_group.bids.index import WalkedFolder, list_inside, refuse_unlisted, walk
from bids_group.config import Inputs
from bids_group.elements import expand
from bids_group.errors import (
    DataError,
    MissingInputError,
    NotBidsError,
    OutputError,
    SelectionError,
    UsageError,
)
from bids_group.json_files import generated_by, peek_json
from bids_group.records import Cohort
from bids_group.words import list_some

DESCRIPTION = "dataset_description.json"
OWN_NAME = "bids_group"
"""Our name in ``GeneratedBy``: what we wrote is never a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSource:
    """A dataset of first-level maps: its name in BIDS URIs, its folder, and who made it (None: not said).

    ``table`` is that of ``--maps``, where the maps are no dataset but a list. ``unsearched``: folders of
    other datasets that could not be listed when this one was found.
    """

    name: str
    root: Path
    producer: str | None = None
    has_own_maps: bool = False
    table: Path | None = None
    unsearched: tuple[Path, ...] = ()


def check_bids_dir(inputs: Inputs) -> None:
    """Refuse a folder that is no BIDS dataset; only its description is asked for, no ``sub-*`` folder.

    Where ``--maps`` names the maps, a table of the participants alone will do.
    """
    bids_dir, are_maps_named = inputs.bids_dir, inputs.maps_table is not None
    if not bids_dir.is_dir():
        raise MissingInputError(f"There is no folder {bids_dir}.", fix="Check BIDS_DIR, the first argument.")
    if inputs.skip_bids_validation:
        return
    path = bids_dir / DESCRIPTION
    has_table = inputs.participants_tsv is not None or (bids_dir / "participants.tsv").is_file()
    if are_maps_named and has_table and not os.path.lexists(path):
        return
    if not path.is_file():
        raise NotBidsError(
            f"{bids_dir} is not a BIDS dataset.",
            found="no dataset_description.json"
            + (" (a link points nowhere)" if path.is_symlink() and not path.exists() else ""),
            expected='a dataset_description.json with at least {"Name": …, "BIDSVersion": …}',
            fix="With --maps a participants.tsv with a column participant_id is enough: put it there, or use "
            "--skip-bids-validation."
            if are_maps_named
            else "Check BIDS_DIR, the first argument, or use --skip-bids-validation.",
        )
    description = peek_json(path)
    absent = [key for key in ("Name", "BIDSVersion") if not (description or {}).get(key)]
    if description is None or absent:
        raise NotBidsError(
            f"{path} does not describe a BIDS dataset.",
            found="not a JSON object" if description is None else f"no {' and no '.join(absent)}",
            expected="a JSON object with Name and BIDSVersion",
            fix="Mend the file, or use --skip-bids-validation.",
        )


def read_producers(root: Path) -> tuple[str, ...]:
    """Names of the programs in ``GeneratedBy``, each once, in their order (nilearn repeats itself)."""
    _, entries = _find_generators(peek_json(root / DESCRIPTION) or {})
    names = {
        one["Name"]: None
        for one in entries
        if isinstance(one, dict) and one.get("Name") and isinstance(one["Name"], str)
        if one["Name"] == OWN_NAME or OWN_NAME not in str(one.get("Description"))  # else ours, renamed
    }
    return tuple(names)


def describe_datasets(cohort: Cohort) -> tuple[str | None, list[str]]:
    """Give the name that BIDS_DIR gives itself, and the programs that made the maps, with their versions."""
    about = {name: peek_json(root / DESCRIPTION) or {} for name, root in cohort.dataset_names.items()}
    dataset = about.pop("raw", {}).get("Name")
    made = [one for each in about.values() for one in generated_by(each) if one.get("Name") != OWN_NAME]
    programs = [" ".join(str(one[key]) for key in ("Name", "Version") if one.get(key)) for one in made]
    return None if dataset is None else str(dataset), [*dict.fromkeys(filter(None, programs))]


def _find_generators(description: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Find the key that says who made a dataset, and what stands there, as a list."""
    key = next((one for one in ("GeneratedBy", "PipelineDescription") if description.get(one)), "GeneratedBy")
    entries = description.get(key) or []
    return key, entries if isinstance(entries, list) else [entries]


def find_sources(inputs: Inputs, output_dir: Path, suffix: str) -> tuple[MapSource, ...]:
    """Find the datasets of first-level maps: those of ``--derivatives``, else the only one there is.

    That lies in ``BIDS_DIR/derivatives``, or is OUTPUT_DIR where another program wrote maps of people there.
    """
    unlisted: list[WalkedFolder] = []
    if inputs.derivatives:
        pairs = [(name, root.absolute()) for name, root in inputs.derivatives]
        for _, root in pairs:
            _check_named(root, suffix)
    else:
        pairs = [(None, _find_only(inputs.bids_dir, output_dir, suffix, unlisted))]
    for _, root in pairs:  # the dataset itself and its derivatives/ are fine
        output, source = output_dir.resolve(), root.resolve()
        if source in output.parents and output.relative_to(source).parts[0] != "derivatives":
            raise OutputError(
                f"OUTPUT_DIR lies inside a dataset of first-level maps: {output_dir}.",
                found=f"first-level maps in {root}",
                expected="a folder outside of it: what is written there must never be taken for its maps",
                fix="Give a folder beside it, for example derivatives/bids_group.",
            )
    unsearched = tuple(Path(folder.path) for folder in unlisted)
    return tuple(replace(source, unsearched=unsearched) for source in _name_sources(pairs))


def _check_named(root: Path, suffix: str) -> None:
    """Refuse a folder of ``--derivatives`` that is not there, was written by us, or is one of datasets."""
    if not root.is_dir():
        raise MissingInputError(f"There is no folder {root}.", fix="Check --derivatives.")
    if read_producers(root) == (OWN_NAME,):
        raise UsageError(
            f"{root} was written by this program and cannot be a source.",
            found=f"GeneratedBy {OWN_NAME}",
            expected="a dataset of first-level maps",
            fix="Name the dataset that the first-level analysis wrote.",
        )
    if (root / DESCRIPTION).exists():
        return
    datasets = (folder for folder in list_inside(root)[0] if (folder / DESCRIPTION).exists())
    if inner := [folder for folder in datasets if any(list_maps(folder, [], suffix))]:
        raise UsageError(
            f"{root} is not a dataset but a folder of datasets.",
            found="; ".join(map(_describe, inner)),
            expected="a folder with dataset_description.json",
            fix=f"--derivatives {inner[0]}",
        )


def _find_only(bids_dir: Path, output_dir: Path, suffix: str, unlisted: list[WalkedFolder]) -> Path:
    """Find the only dataset with maps of people; ``unlisted`` gets the folders of others that hide theirs."""
    derivatives = bids_dir / "derivatives"
    is_one = (derivatives / DESCRIPTION).exists()
    places = [derivatives.absolute()] if is_one else list_inside(derivatives.absolute())[0]
    places = [folder for folder in places if folder.resolve() != output_dir.resolve()]
    if any(name != OWN_NAME for name in read_producers(output_dir)):
        places.append(output_dir.absolute())
    found: list[Path] = []
    for place in places:
        producers, problems = read_producers(place), list[WalkedFolder]()
        maps = list_maps(place, problems, suffix)
        if producers != (OWN_NAME,) and any(OWN_NAME not in producers or not is_own_map(one) for one in maps):
            found.append(place)
        else:
            unlisted += problems
    if not found and unlisted:
        raise refuse_unlisted(unlisted[0].path, unlisted[0].problem)
    words, example = say_maps(suffix)
    if not found:
        from bids_group.bids.layouts import propose_option

        names = ", ".join(folder.name for folder in list_inside(derivatives)[0])
        raise SelectionError(
            f"No {words} were found in {derivatives}.",
            found=f"{names or 'no folders'}; no …_{suffix} files of people in them",
            expected=example,
            fix=f"--derivatives {bids_dir} (it holds {suffix}s itself)"
            if any(list_maps(bids_dir, [], suffix))
            else propose_option([derivatives, bids_dir], suffix)
            or "Name the folder with --derivatives PATH, or list the maps in a table with --maps.",
        )
    if len(found) > 1:
        raise UsageError(
            f"More than one dataset holds {words}.",
            found="; ".join(map(_describe, found)),
            expected="one, or a choice",
            fix=f"Choose with --derivatives, for example --derivatives {found[0]}",
        )
    return found[0]


def list_maps(root: Path, unlisted: list[WalkedFolder], suffix: str) -> Iterator[Path]:
    """Walk through the maps of people below a folder; ``unlisted`` gets the folders that hide theirs."""
    for folder in walk(root):
        if folder.problem is not None:
            unlisted.append(folder)
        start = "" if "subject_folder" in folder.entities else "sub-"
        for name in folder.names:
            if f"_{suffix}." in name and name.startswith(start) and not name.endswith(".json"):
                yield Path(folder.path, name)


def is_own_map(path: Path) -> bool:
    """Whether this program wrote a map: the sidecar of its effect has the key of the pooling.

    That sidecar is written before any map, so a run that was killed leaves no map that looks foreign.
    """
    path = expand(path)[0]
    stem = re.sub(r"_stat-[a-zA-Z0-9]+_", "_stat-effect_", path.name.split(".")[0])
    return "PoolingKey" in (peek_json(path.with_name(f"{stem}.json")) or {})


def say_maps(suffix: str) -> tuple[str, str]:
    """Say what maps of a suffix are called, and show the name of one."""
    if suffix == "statmap":
        return "first-level maps", "sub-…_contrast-…_stat-effect_statmap.nii.gz"
    return f"{suffix} maps", f"sub-…_{suffix}.nii.gz"


def _name_sources(pairs: list[tuple[str | None, Path]]) -> tuple[MapSource, ...]:
    """Name datasets as they were named, else after their folder, and find who made each."""
    sources: dict[str, MapSource] = {}
    for given, root in dict.fromkeys(pairs):
        stem = re.sub(r"[^A-Za-z0-9_-]", "", root.name)
        stem = "firstlevel" if stem in ("", "raw") else stem
        numbered = (f"{stem}{number}" for number in range(2, len(sources) + 2))
        name = given or next(free for free in (stem, *numbered) if free not in sources)
        if name == "raw" or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UsageError(
                f"A derivative cannot be called '{name}'.",
                expected="letters, digits, - and _; 'raw' stands for BIDS_DIR",
                fix="Choose another name: --derivatives NAME=PATH",
            )
        if name in sources:
            raise UsageError(
                f"Two derivatives are called '{name}'.",
                found=f"{sources[name].root} and {root}",
                fix="Give each its own name: --derivatives NAME=PATH",
            )
        path = root / DESCRIPTION
        if path.exists() and peek_json(path) is None:
            raise DataError(
                f"{path} is not a JSON object, so nothing says which program made the maps.",
                expected='{"GeneratedBy": [{"Name": …}], …}',
                fix="Mend the file.",
            )
        key, entries = _find_generators(peek_json(path) or {})
        for one in entries:
            if not isinstance(one, dict) or not isinstance(one.get("Name", ""), str):
                raise DataError(
                    f"{key} in {path} does not say which program made the maps.",
                    found=repr(one),
                    expected='"GeneratedBy": [{"Name": …}]',
                    fix="Mend the file.",
                )
        producers = read_producers(root)
        others = " + ".join(producer for producer in producers if producer != OWN_NAME)
        is_ours = OWN_NAME in producers
        sources[name] = MapSource(name=name, root=root, producer=others or None, has_own_maps=is_ours)
    return tuple(sources.values())


def _describe(root: Path) -> str:
    return f"{root} ({list_some(read_producers(root), none='made by an unknown program')})"
