"""First-level maps of a dataset: effect, variance, dof and mask that belong together, and their sidecars."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from bids_group.bids.datasets import MapSource, is_own_map, say_maps
from bids_group.bids.index import IndexedFile, path_order
from bids_group.bids.region_lines import variance_column
from bids_group.elements import form_of
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.json_files import read_json
from bids_group.labels import upper_first
from bids_group.records import Exclusion, FirstLevelMap, Notice
from bids_group.words import list_some

VOLUMES = (".nii", ".nii.gz")
MAPS = (*VOLUMES, ".func.gii", ".shape.gii", ".gii", ".dscalar.nii", ".pscalar.nii", ".tsv")
"""What a map of effects may be: a volume, surfaces, CIFTI, a table of regions."""
LABELS = ("session", "run", "task", "space", "res", "den", "node")
"""Entities of a file that are fields of its map."""

_NOT_IN_SIDECARS = {"extension", "subject_folder", "session_folder"}
_NOT_SHARED = _NOT_IN_SIDECARS | {"stat", "suffix"}

_DOF = "DegreesOfFreedom"
_ABSENT = object()

Entities = Mapping[str, str]
Shape = tuple[str, ...]
"""The entities that a name has, sorted."""
Labels = tuple[str | None, ...]
Shapes = list[tuple[Shape, dict[Labels, Path]]]
InputStat = Literal["effect", "z", "t"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What datasets hold: maps, and results that cannot be analysed, each with the stats that it has."""

    maps: tuple[FirstLevelMap, ...]
    leftovers: Mapping[Exclusion, tuple[str, ...]]
    notices: tuple[Notice, ...] = ()


def pair_statmaps(
    source: MapSource, files: Iterable[IndexedFile], input_stat: InputStat, suffix: str
) -> Found:
    """Put together what belongs to one effect: variance, dof and mask of the same entities.

    A file without subject (a group result) is no first-level map. Files of another ``suffix`` are effects by
    themselves. Refused are two variance or dof maps of one effect.
    """
    results: dict[frozenset[tuple[str, str]], dict[str, list[IndexedFile]]] = {}
    masks: dict[str, list[IndexedFile]] = {}
    sidecars: list[IndexedFile] = []
    for file in (_with_person(file, suffix) for file in files):
        entities, own_suffix = file.entities, file.entities.get("suffix")
        extension = entities.get("extension", "")
        if extension == ".json":
            sidecars += [file] if own_suffix in (None, suffix) else []  # others say nothing of these maps
        elif "subject" not in entities:
            continue
        elif own_suffix == "mask" != suffix and extension in (*MAPS[:-1], ".label.gii"):
            masks.setdefault(entities["subject"], []).append(file)
        elif own_suffix == suffix:
            if source.has_own_maps and suffix == "statmap" and is_own_map(file.path):
                continue
            kind = "volume" if extension in VOLUMES else extension
            shared = {**_without(_NOT_SHARED, entities), "extension": kind}
            stat = entities.get("stat", "") if suffix == "statmap" else "effect"
            if extension == ".tsv" and not stat:  # effects and what belongs to them, a column each
                stat = "effect"
            results.setdefault(frozenset(shared.items()), {}).setdefault(stat, []).append(file)
    find_dof = _dof_finder(sidecars)
    maps: list[FirstLevelMap] = []
    leftovers: dict[Exclusion, tuple[str, ...]] = {}
    for by_stat in results.values():
        if leftover := _why_not(next(iter(by_stat.values()))[0], by_stat, input_stat):
            leftovers[leftover] = tuple(sorted(by_stat))
            continue
        for effect in by_stat[input_stat]:
            maps.append(_build_map(effect, by_stat, masks, source, input_stat, find_dof))
    by_path = sorted(leftovers.items(), key=lambda item: str(item[0].path))
    maps.sort(key=lambda m: path_order(m.effect))
    return Found(maps=tuple(maps), leftovers=dict(by_path))


def contrast_of(entities: Entities) -> str | None:
    """Name of the first-level contrast; of other maps label (or parameter) and suffix: ``GMProbseg``."""
    suffix = entities.get("suffix", "statmap")
    if suffix != "statmap":
        label = entities.get("label") or entities.get("param")
        return suffix if label is None else label + upper_first(suffix)
    return entities.get("taskcontrast") or entities.get("contrast")  # HALFpipe's are contrasts of groups


def _with_person(file: IndexedFile, suffix: str) -> IndexedFile:
    """Take subject and session from the folders where the name lacks them; refuse a disagreement."""
    missing = {}
    for entity, key in (("subject", "sub"), ("session", "ses")):
        if not (folder := file.entities.get(f"{entity}_folder")):
            continue
        if (named := file.entities.get(entity)) is None:
            missing[entity] = folder
        elif named != folder and file.entities.get("suffix") in {suffix, "mask"}:
            raise DataError(
                f"Folder and file name disagree about the {entity} of {file.path}.",
                found=f"{key}-{folder} and {key}-{named}",
                expected="the same label",
                fix="Move or rename the file.",
            )
    return IndexedFile(path=file.path, entities={**file.entities, **missing}) if missing else file


def _without(names: set[str], entities: Entities) -> dict[str, str]:
    return {name: label for name, label in entities.items() if name not in names}


def _why_not(file: IndexedFile, stats: Iterable[str], input_stat: str) -> Exclusion | None:
    """Say why a result cannot be analysed: its name has no contrast, or there is no map of the stat."""
    contrast = contrast_of(file.entities)
    reason = "its name has no contrast of letters and digits"
    if contrast is not None:
        if input_stat in stats:
            return None
        words = list_some((f"stat-{stat}" if stat else "no stat" for stat in sorted(stats)), 10)
        reason = f"no stat-{input_stat} map of this contrast, only {words}"
    return Exclusion(subject=file.entities["subject"], path=file.path, contrast=contrast, reason=reason)


def _build_map(
    effect: IndexedFile,
    by_stat: Mapping[str, Sequence[IndexedFile]],
    masks: Mapping[str, Sequence[IndexedFile]],
    source: MapSource,
    input_stat: InputStat,
    find_dof: Callable[[IndexedFile], float | None],
) -> FirstLevelMap:
    """Make a map of an effect, with variance, dof (a map, or a number) and the mask that fits best.

    That is a mask of the same person and grid, which contradicts nothing and has most in common.
    """
    entities = effect.entities
    labels: dict[str, Any] = {name: entities.get(name) for name in LABELS}
    beside: dict[str, Path | None] = {}
    for stat in ("variance", "dof"):
        found = by_stat.get(stat, ()) if input_stat == "effect" or stat == "dof" else ()
        if len(found) > 1:
            raise UsageError(
                f"{effect.path} has {len(found)} {stat} maps.",
                found=list_some((file.path for file in found), 10),
                expected="one",
                fix="Remove the copies, or list the maps in a table with --maps.",
            )
        beside[stat] = found[0].path if found else None
    fitting: list[tuple[tuple[int, bool], Path]] = []
    for mask in masks.get(entities["subject"], ()):
        shared = _without(_NOT_SHARED, mask.entities)
        same_grid = all(shared.get(name) == entities.get(name) for name in ("space", "res", "den", "node"))
        agrees = all(entities.get(name) == label for name, label in shared.items() if name != "desc")
        is_alike = form_of(mask.path.name) == form_of(effect.path.name)
        if same_grid and agrees and is_alike and shared.get("desc") in (None, "brain"):
            fitting.append(((len(shared) - ("desc" in shared), "desc" not in shared), mask.path))
    return FirstLevelMap(
        subject=entities["subject"],
        contrast=contrast_of(entities) or "",
        effect=effect.path,
        dataset=source.root,
        producer=source.producer,
        variance=beside["variance"] or (variance_column(effect.path) if input_stat == "effect" else None),
        dof=beside["dof"] or find_dof(effect),
        mask=sorted(fitting, key=lambda one: one[0])[-1][1] if fitting else None,
        input_stat=input_stat,
        suffix=entities.get("suffix", "statmap"),
        entities=entities,
        **labels,
    )


def _folder_of(path: Path | str) -> str:
    return str(path).rpartition(os.sep)[0]


def _dof_finder(sidecars: Iterable[IndexedFile]) -> Callable[[IndexedFile], float | None]:
    """Make a function that finds ``DegreesOfFreedom`` in the sidecars of an effect (None: they do not tell).

    By the inheritance principle: those nearer to a file, and with more entities, speak last. A sidecar is
    opened only where it is asked for.
    """
    by_folder: dict[str, dict[Shape, dict[Labels, Path]]] = {}
    for file in sidecars:
        named = _without(_NOT_IN_SIDECARS, file.entities)
        names = tuple(sorted(named))
        shapes = by_folder.setdefault(_folder_of(file.path), {})
        shapes.setdefault(names, {})[tuple(map(named.get, names))] = file.path

    @cache
    def read(path: Path) -> Any:
        return read_json(path).get(_DOF, _ABSENT)

    @cache
    def shapes_down_to(folder: str) -> Shapes:
        parent, own = _folder_of(folder), by_folder.get(folder, {})
        above = [] if parent == folder else shapes_down_to(parent)
        return [*above, *sorted(own.items(), key=lambda item: (len(item[0]), item[0]))] if own else above

    def look_up(shapes: Shapes, named: Entities) -> Any:
        value = None
        for names, paths in shapes:
            path = paths.get(tuple(map(named.get, names)))
            said = _ABSENT if path is None else read(path)
            value = value if said is _ABSENT else said
        return value

    def find(effect: IndexedFile) -> float | None:
        named, shapes = effect.entities, shapes_down_to(_folder_of(effect.path))
        if not shapes:
            return None
        sides = [{**named, "hemi": letter} for letter in named.get("hemi", "")] or [{**named}]
        return _check_dof([look_up(shapes, side) for side in sides], effect.path)

    return find


def _check_dof(said: Sequence[Any], effect: Path) -> float | None:
    """Give the dof that sidecars tell of an effect (of each hemisphere); refuse two, and what is no dof."""
    value, *others = said
    if any(other != value for other in others):
        raise DataError(
            f"The sidecars of the hemispheres of {effect} have different {_DOF}.",
            found=list_some(map(json.dumps, said)),
            expected="one number for both",
            fix="Mend the sidecars, or take the entry out.",
        )
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (is_number and math.isfinite(value) and value > 0):
        raise DataError(
            f"{_DOF} in the sidecar of {effect} is no positive number.",
            found=json.dumps(value),
            expected="a number above 0",
            fix="Mend the sidecar, or take the entry out.",
        )
    return None if value is None else float(value)


def check_found(found: Found, sources: Sequence[MapSource], suffix: str) -> None:
    """Refuse datasets without any result of a person, and results that name no contrast."""
    roots, (words, example) = ", ".join(str(source.root) for source in sources), say_maps(suffix)
    first = next(iter(found.leftovers), None)
    if not found.maps and first is None:
        from bids_group.bids.layouts import propose_option

        is_empty = all(not any(source.root.iterdir()) for source in sources)
        fix = propose_option((source.root for source in sources), suffix)
        fix = fix or "Check --derivatives, or list the maps with --maps."
        raise SelectionError(
            f"There are no {words} in {roots}.",
            found="an empty folder" if is_empty else f"no …_{suffix} file of a person",
            expected=example,
            fix=f"datalad get -n {roots}" if is_empty else fix,
        )
    if not found.maps and first and all(leftover.contrast is None for leftover in found.leftovers):
        raise SelectionError(
            f"The maps in {roots} cannot be told apart by contrast.",
            found=f"{first.path}: {first.reason}",
            expected=example,
            fix="Rename the files, or list the maps with --maps.",
        )


def check_effects(found: Found, input_stat: InputStat, asked: Iterable[str]) -> None:
    """Refuse a dataset, or a contrast that was ``asked`` for, that has other stats than effects only."""
    usable = {m.contrast for m in found.maps}
    absent = {*asked} - usable
    lacking = {
        one: stats
        for one, stats in found.leftovers.items()
        if one.contrast and (one.contrast in absent or not usable)
    }
    if not lacking:
        return
    example = next(iter(lacking))
    of = "of contrast " + list_some(sorted({str(one.contrast) for one in lacking}), 10)
    others = [stat for stat in ("z", "t") if all(stat in stats for stats in lacking.values())]
    fix = "Let the first-level analysis write stat-effect maps, or "
    insists = others and input_stat == "effect"
    fix += f"insist with --input-stat {others[0]}." if insists else "list the maps in a table with --maps."
    raise DataError(
        f"There is no stat-{input_stat} map {of if usable else 'in this dataset'}.",
        found=f"{example.path}: {example.reason}",
        expected="maps of effects (contrast estimates): t and z mix the size of an effect with its precision",
        fix=fix,
    )
