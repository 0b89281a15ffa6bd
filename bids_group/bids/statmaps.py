"""First-level maps of a dataset: effect, variance, dof and mask that belong together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bids_group.bids.datasets import Source, is_own_map
from bids_group.bids.entities import name_some
from bids_group.bids.index import IndexedFile
from bids_group.bids.sidecars import Sidecars, read_dof
from bids_group.errors import DataError, UsageError
from bids_group.labels import upper_first
from bids_group.records import FirstLevelMap, Notice

VOLUMES = (".nii", ".nii.gz")
_NOT_SHARED = {"stat", "extension", "suffix", "subject_folder", "session_folder"}
_MASK_DESCRIPTIONS = (None, "brain")

Entities = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A map that could be analysed: the map, and every entity of its effect file."""

    map: FirstLevelMap
    entities: Entities


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A result of a person that is no candidate, and why."""

    subject: str
    path: Path
    contrast: str | None
    stats: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one or several datasets hold."""

    candidates: tuple[Candidate, ...]
    leftovers: tuple[Leftover, ...]
    notices: tuple[Notice, ...] = ()


def pair_statmaps(
    source: Source,
    files: Iterable[IndexedFile],
    input_stat: Literal["effect", "z", "t"] = "effect",
    suffix: str = "statmap",
) -> Found:
    """Put together what belongs to one effect: variance, dof and mask of the same entities.

    A file without subject (a group result) is no first-level map. The contrast is ``taskcontrast`` where a
    name has it (HALFpipe calls its group contrasts ``contrast``), else ``contrast``. Files of another
    ``suffix`` are effects by themselves.

    Raises
    ------
    DataError
        Folder and file name say different subjects or sessions.
    UsageError
        An effect has two variance or dof maps.
    """
    listed = [_with_person(file, suffix) for file in files]
    groups: dict[frozenset[tuple[str, str]], list[IndexedFile]] = defaultdict(list)
    masks: dict[str, list[IndexedFile]] = defaultdict(list)
    for file in listed:
        if not _is_ours(source, file):
            _sort_in(file, groups, masks, suffix)
    sidecars = Sidecars(source.root, [file for file in listed if file.entities.get("extension") == ".json"])
    candidates: list[Candidate] = []
    leftovers: list[Leftover] = []
    for group in groups.values():
        by_stat = _by_stat(group) if suffix == "statmap" else {"effect": group}
        leftover = _why_not(group, by_stat, input_stat)
        if leftover:
            leftovers.append(leftover)
            continue
        for effect in by_stat[input_stat]:
            first_level = _build_map(source, effect, by_stat, masks, sidecars, input_stat)
            candidates.append(Candidate(map=first_level, entities=effect.entities))
    candidates.sort(key=lambda candidate: candidate.map.effect)
    leftovers.sort(key=lambda leftover: leftover.path)
    return Found(candidates=tuple(candidates), leftovers=tuple(leftovers))


def contrast_of(entities: Entities) -> str | None:
    """Name of the first-level contrast; of other maps label (or parameter) and suffix: ``GMProbseg``."""
    suffix = entities.get("suffix", "statmap")
    if suffix != "statmap":
        label = entities.get("label") or entities.get("param")
        return suffix if label is None else label + upper_first(suffix)
    return entities.get("taskcontrast") or entities.get("contrast")


def _with_person(file: IndexedFile, suffix: str) -> IndexedFile:
    """Take subject and session from the folders where the name lacks them; refuse a disagreement."""
    entities = dict(file.entities)
    for entity, key in (("subject", "sub"), ("session", "ses")):
        folder = entities.get(f"{entity}_folder")
        named = entities.setdefault(entity, folder) if folder else entities.get(entity)
        if folder and named != folder and entities.get("suffix") in {suffix, "mask"}:
            raise DataError(
                f"Folder and file name disagree about the {entity} of {file.path}.",
                found=f"{key}-{folder} and {key}-{named}",
                expected="the same label",
                fix="Move or rename the file.",
            )
    return IndexedFile(path=file.path, entities=entities)


def _is_ours(source: Source, file: IndexedFile) -> bool:
    is_map = file.entities.get("suffix") == "statmap" and file.entities.get("extension") != ".json"
    return source.has_own_maps and is_map and is_own_map(file.path)


def _sort_in(
    file: IndexedFile,
    groups: dict[frozenset[tuple[str, str]], list[IndexedFile]],
    masks: dict[str, list[IndexedFile]],
    suffix: str,
) -> None:
    entities = file.entities
    extension = entities.get("extension", "")
    if "subject" not in entities or extension == ".json":
        return
    if entities.get("suffix") == "mask" != suffix and extension in VOLUMES:
        masks[entities["subject"]].append(file)
    elif entities.get("suffix") == suffix:
        kind = "volume" if extension in VOLUMES else extension
        groups[frozenset({*_shared(entities).items(), ("extension", kind)})].append(file)


def _shared(entities: Entities) -> dict[str, str]:
    return {name: label for name, label in entities.items() if name not in _NOT_SHARED}


def _by_stat(group: Sequence[IndexedFile]) -> dict[str, list[IndexedFile]]:
    by_stat: dict[str, list[IndexedFile]] = defaultdict(list)
    for file in group:
        by_stat[file.entities.get("stat", "")].append(file)
    return by_stat


def _why_not(
    group: Sequence[IndexedFile], by_stat: Mapping[str, Sequence[IndexedFile]], input_stat: str
) -> Leftover | None:
    stats = tuple(sorted(by_stat))
    contrast = contrast_of(group[0].entities)
    if contrast is None:
        reason = "its name has no contrast of letters and digits"
    elif input_stat not in by_stat:
        words = name_some(f"stat-{stat}" if stat else "no stat" for stat in stats)
        reason = f"no stat-{input_stat} map of this contrast, only {words}"
    else:
        return None
    subject = group[0].entities["subject"]
    return Leftover(subject=subject, path=group[0].path, contrast=contrast, stats=stats, reason=reason)


def _build_map(
    source: Source,
    effect: IndexedFile,
    by_stat: Mapping[str, Sequence[IndexedFile]],
    masks: Mapping[str, Sequence[IndexedFile]],
    sidecars: Sidecars,
    input_stat: Literal["effect", "z", "t"],
) -> FirstLevelMap:
    entities = effect.entities
    has_effect = input_stat == "effect"
    dof_map = _only(effect, by_stat, "dof")
    return FirstLevelMap(
        subject=entities["subject"],
        contrast=contrast_of(entities) or "",
        effect=effect.path,
        dataset=source.root,
        session=entities.get("session"),
        run=entities.get("run"),
        task=entities.get("task"),
        space=entities.get("space"),
        res=entities.get("res"),
        den=entities.get("den"),
        node=entities.get("node"),
        variance=_only(effect, by_stat, "variance") if has_effect else None,
        dof=dof_map or read_dof(sidecars, effect),
        mask=_find_mask(entities, masks.get(entities["subject"], ())),
        input_stat=input_stat,
        producer=source.producer,
        suffix=entities.get("suffix", "statmap"),
    )


def _only(effect: IndexedFile, by_stat: Mapping[str, Sequence[IndexedFile]], stat: str) -> Path | None:
    found = by_stat.get(stat, ())
    if len(found) > 1:
        raise UsageError(
            f"{effect.path} has {len(found)} {stat} maps.",
            found=name_some(str(file.path) for file in found),
            expected="one",
            fix="Remove the copies, or list the maps in a table with --maps.",
        )
    return found[0].path if found else None


def _find_mask(entities: Entities, masks: Iterable[IndexedFile]) -> Path | None:
    """Find the mask that fits best: same person and grid, nothing that contradicts, most in common."""
    fitting = [mask for mask in masks if _mask_fits(_shared(mask.entities), entities)]
    fitting.sort(
        key=lambda mask: (
            len(_shared(mask.entities)) - ("desc" in mask.entities),
            "desc" not in mask.entities,
        )
    )
    return fitting[-1].path if fitting else None


def _mask_fits(mask: Entities, entities: Entities) -> bool:
    same_grid = all(mask.get(name) == entities.get(name) for name in ("space", "res", "den", "node"))
    others = {name: label for name, label in mask.items() if name != "desc"}
    agrees = all(entities.get(name) == label for name, label in others.items())
    return same_grid and agrees and mask.get("desc") in _MASK_DESCRIPTIONS
