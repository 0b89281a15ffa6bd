"""Which maps of which people: selection by labels, and what is left ambiguous."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bids_group.bids.index import (
    ALIASES,
    FILE_ENTITIES,
    WalkedFolder,
    group_by,
    refuse_unlisted,
    same_label,
)
from bids_group.bids.near_labels import plain_label
from bids_group.bids.statmaps import MAPS, contrast_of
from bids_group.config import Selection
from bids_group.config.options import options_of
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.labels import natural_order, run_key
from bids_group.records import Exclusion, FirstLevelMap, Notice, note, warn
from bids_group.words import counted, list_some, listed, suggest

_OPTIONS = {one.entity: one for one in reversed(options_of(Selection)) if one.entity is not None}
"""The option that selects by an entity (of two, the one that keeps)."""

_PERSONAL = ("subject", "session", "run")
_ONE_OF = ("node", "task", "space", "res", "den")
_PLURALS = {"res": "resolutions (res)", "den": "densities (den)", "node": "FitLins nodes"}

_OF_SCANS = {"acq", "ce", "dir", "rec"}
"""Keys that say how somebody was scanned, which may differ between sites."""

_COMPARED = {"sub", "ses", "run", "task", "space", "res", "den", "contrast", "taskcontrast", "hemi"}
"""Keys that other checks compare, or that tell the analyses apart."""


@dataclass(slots=True)
class Choice:
    """Maps that are still in, what went and why, and what is to be said of it."""

    maps: list[FirstLevelMap]
    exclusions: list[Exclusion] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def keep(self, is_kept: Callable[[FirstLevelMap], bool], reason: str) -> None:
        """Keep the maps that pass; the others leave with a reason."""
        self.leave({m.effect: reason for m in self.maps if not is_kept(m)})

    def leave(self, reasons: Mapping[Path, str]) -> None:
        """Exclude maps, each for its reason."""
        self.exclusions.extend(m.exclude(reasons[m.effect]) for m in self.maps if m.effect in reasons)
        self.maps = [m for m in self.maps if m.effect not in reasons]

    def leave_people(self, reasons: Mapping[str, str]) -> None:
        """Exclude people, each for one reason, without naming their maps."""
        self.exclusions.extend(Exclusion(subject=label, reason=reasons[label]) for label in sorted(reasons))
        self.maps = [m for m in self.maps if m.subject not in reasons]


def wanted_labels(selection: Selection, entity: str) -> tuple[str, ...]:
    """Labels of an entity that an option names, without their key; none where all are wanted."""
    option = _OPTIONS[entity]
    labels: tuple[str, ...] | str = option.convert(getattr(selection, option.attribute)) or ()
    return (labels,) if isinstance(labels, str) else labels


def check_listed(unlisted: Iterable[WalkedFolder], selection: Selection) -> None:
    """Refuse to go on without a folder in which maps of a selected person, session and node could lie."""
    for folder in unlisted:
        filters = normal_filters(selection)
        label, names = folder.entities.get("subject_folder"), ("subject_folder", "session_folder", "node")
        chosen = [
            not wanted or folder.entities[name] in wanted or "*" in wanted
            for name in names
            if name in folder.entities
            for entity in [name.removesuffix("_folder")]
            for wanted in (wanted_labels(selection, entity), filters.get(entity))
        ]
        if all(chosen) and label not in _OPTIONS["subject"].convert(selection.exclude_participant_labels):
            fix = f"Make it readable, or leave out its participant: --exclude-participant-label {label}"
            raise refuse_unlisted(folder.path, folder.problem, fix=fix if label else None)


def select_results(choice: Choice, selection: Selection) -> None:
    """Narrow by what the maps are: filters, task, space, resolution, density, node and contrast."""
    for entity, wanted in normal_filters(selection).items():
        if entity not in _PERSONAL:
            _filter(choice, entity, wanted)
    for entity in ("task", "space", "res", "den", "node", "contrast"):
        _narrow(choice, entity, selection)


def select_people(choice: Choice, selection: Selection, people: Iterable[str]) -> None:
    """Narrow by person, session and run. ``people``: every participant of table and maps.

    People who were not selected become exclusions of their own, without naming each of their maps. Refused
    is a label that names nobody, or no session or run.
    """
    everyone = set(people)
    wanted = set(wanted_labels(selection, "subject"))
    unwanted = set(_OPTIONS["subject"].convert(selection.exclude_participant_labels))
    for labels, option in ((wanted, "--participant-label"), (unwanted, "--exclude-participant-label")):
        for label in (label for label in natural_order(labels) if label not in everyone):
            alike = [other for other in natural_order(everyone) if plain_label(other) == plain_label(label)]
            close = f"Did you mean '{alike[0]}'?" if alike else suggest(label, everyone)
            if len(parts := re.split("[,;]", label)) > 1:
                close = f"Write labels apart: {option} {' '.join(part.strip() for part in parts)}"
            raise SelectionError(
                f"There is no participant '{label}'.",
                found=list_some(natural_order(everyone), 30, none="nobody"),
                fix=close or f"Check {option}.",
            )
    reasons = dict.fromkeys(everyone - wanted if wanted else (), "not selected (--participant-label)")
    choice.leave_people(reasons | dict.fromkeys(unwanted, "left out (--exclude-participant-label)"))
    for entity, items in normal_filters(selection).items():
        if entity in _PERSONAL:
            _filter(choice, entity, items)
    for entity in ("session", "run"):
        _narrow(choice, entity, selection)


def normal_filters(selection: Selection) -> dict[str, tuple[str | None, ...]]:
    """Give the filters the names and types of entities: tuples of labels, ``"*"`` (any) or None (absent)."""
    known = [*FILE_ENTITIES, "node", "suffix", "extension"]
    filters = {}
    for key, value in selection.bids_filter.items():
        entity = ALIASES.get(key, key)
        if entity not in known:
            raise UsageError(
                f"The BIDS filter names an unknown entity '{key}'.",
                expected=", ".join(known),
                fix=suggest(key, known),
            )
        values = value if isinstance(value, tuple | list) else (value,)
        filters[entity] = tuple(None if item is None else str(item) for item in values)
    return filters


def _label_of(m: FirstLevelMap, entity: str) -> str | None:
    return m.contrast if entity == "contrast" else m.entities.get(entity)


def _filter(choice: Choice, entity: str, wanted: Sequence[str | None]) -> None:
    """Keep the maps that one of the items of a filter passes; refused where none passes a map."""

    def passes(m: FirstLevelMap, item: str | None) -> bool:
        label = m.entities.get(entity)
        if entity == "contrast" and label is None:
            label = contrast_of(m.entities)
        return (item == "*" and label is not None) or same_label(entity, item, label)

    there = choice.maps
    void = [item for item in wanted if not any(passes(m, item) for m in there)]
    words = list_some(("null" if item is None else item for item in void), 10)
    if len(void) == len(wanted):
        raise SelectionError(
            f"No first-level map passes the BIDS filter {entity} = {words}.",
            found=f"{entity}: {_describe_labels(there, entity)}",
            fix=f"Say --input-suffix {wanted[0]}."
            if entity == "suffix" and wanted[0] not in (None, "*")
            else "Change the file given with --bids-filter-file.",
        )
    if void and entity != "extension":
        sentence = f"The BIDS filter {entity} = {words} passes no map; "
        sentence += f"there are {_describe_labels(there, entity)}."
        choice.notices.append(warn("selection", sentence))
    reason = f"not selected (--bids-filter-file, {entity})"
    choice.keep(lambda m: any(passes(m, item) for item in wanted), reason)


def _narrow(choice: Choice, entity: str, selection: Selection) -> None:
    """Keep the maps with a label that an option names; refused is one that no map has."""
    wanted, flag, there = wanted_labels(selection, entity), _OPTIONS[entity].flag, choice.maps
    if not wanted:
        return
    known = {label for m in there if (label := _label_of(m, entity)) is not None}
    for label in wanted:
        if not any(same_label(entity, label, other) for other in known):
            raise SelectionError(
                f"No first-level map has {entity} '{label}'.",
                found=f"{entity}: {_describe_labels(there, entity)}",
                fix=suggest(label, known)
                or (f"Write {flag} {' or '.join(sorted(known))}." if known else f"Leave {flag} out."),
            )
    choice.keep(
        lambda m: any(same_label(entity, label, _label_of(m, entity)) for label in wanted),
        _not_selected(entity),
    )


def _not_selected(entity: str) -> str:
    return f"not selected ({_OPTIONS[entity].flag})"


def check_one_of_each(maps: Sequence[FirstLevelMap]) -> None:
    """Refuse more than one node, task, space, resolution, density or kind of file, and series and labels."""
    for entity in _ONE_OF:
        labels = {m.entities.get(entity) for m in maps}
        if len(labels) > 1:
            named = natural_order(label for label in labels if label is not None)
            fix = " or ".join(f"{_OPTIONS[entity].flag} {label}" for label in named)
            if entity == "node":
                fix += " (a node of runs is the input of pooling, a node of subjects its result)"
            if None in labels:
                fix += f'; those without: --bids-filter-file with {{"{entity}": null}}'
            raise UsageError(
                f"The selected maps have {len(labels)} {_PLURALS.get(entity, f'{entity}s')}.",
                found=_describe_nodes(maps) if entity == "node" else _describe_labels(maps, entity),
                expected="one in an analysis",
                fix=fix,
            )
    by_ending = group_by(maps, lambda m: m.entities.get("extension", ".nii.gz"))
    endings = [ending for ending in natural_order(by_ending) if ending in MAPS]
    choose = f'--bids-filter-file with {{"extension": …}}: {", ".join(endings or MAPS)}'
    if others := [m for ending, those in by_ending.items() if ending not in MAPS for m in those]:
        raise UsageError(
            f"{counted(len(others), 'selected file is', 'selected files are')} no map by its name.",
            found=list_some((m.effect.name for m in others), 3),
            expected=listed(MAPS, "or"),
            fix=f"Choose by {choose}.",
        )
    kinds = group_by(maps, lambda m: m.form)
    if len(kinds) > 1:
        raise UsageError(
            f"The selected maps are of {len(kinds)} kinds.",
            found=", ".join(f"{kind} ({counted(len(those), 'map')})" for kind, those in kinds.items()),
            expected="one kind in an analysis: volumes, surfaces (GIFTI), CIFTI or tables of regions",
            fix=f"Choose by {choose}.",
        )


def _describe_labels(maps: Iterable[FirstLevelMap], entity: str) -> str:
    counts = Counter(_label_of(m, entity) or "" for m in maps)
    parts = (
        f"{label or f'no {entity}'} ({counted(counts[label], 'map')})" for label in natural_order(counts)
    )
    return list_some(parts, 30, none="no map at all")


def _describe_nodes(maps: Iterable[FirstLevelMap]) -> str:
    by_node = group_by(maps, lambda m: m.entities.get("node") or "")
    words = []
    for node in natural_order(by_node):
        those = by_node[node]
        level = next((name for name in ("run", "session") if any(getattr(m, name) for m in those)), "subject")
        n_people = len({m.subject for m in those})
        words.append(f"{node or 'no node'} ({len(those)} maps of {n_people} people, by {level})")
    return ", ".join(words)


def check_spellings(choice: Choice, asked: Collection[str]) -> None:
    """Refuse contrasts that differ in case or blanks alone, where no row has both and not all were named.

    Of one that was not selected, whose people are lost, a warning tells.
    """
    not_asked = _not_selected("contrast")
    gone = {one.subject for one in choice.exclusions if one.path is None}
    others: list[FirstLevelMap | Exclusion] = [
        one for one in choice.exclusions if one.reason == not_asked and one.subject not in gone
    ]
    for those in group_by(
        [*others, *choice.maps], lambda one: "".join((one.contrast or "").casefold().split())
    ).values():
        rows = {
            name: {(one.subject, one.session, run_key(one.run)) for one in found}
            for name, found in group_by(those, lambda one: one.contrast or "").items()
        }
        if len(rows) < 2 or len(set().union(*rows.values())) < sum(map(len, rows.values())):
            continue
        used = {m.contrast for m in choice.maps} & rows.keys()
        rare = min(rows, key=lambda name: (name in used, len(rows[name]), name))
        names = list_some(natural_order({f"sub-{row[0]}" for row in rows[rare]}), 10)
        found = ", ".join(f"{name} ({counted(len(rows[name]), 'row')})" for name in sorted(rows))
        if len(used) > 1 and not used <= set(asked):
            choose = (
                f"or choose one: {_OPTIONS['contrast'].flag} {max(rows, key=lambda name: len(rows[name]))}"
            )
            raise UsageError(
                "Contrasts differ in upper and lower case or blanks alone, and no row has both.",
                found=f"{found}; {rare} in {names}",
                expected="one spelling of a contrast, else each is an analysis of its own",
                fix=f"Rename the files, {choose} (or name them all, if they are not the same)",
            )
        if used and rare not in used:
            sentence = (
                f"{rare} ({names}) is not selected; it differs from {listed(sorted(used))} in case alone."
            )
            choice.notices.append(warn("maps", sentence, "Rename the files if it is the same contrast."))


def check_rows(maps: Iterable[FirstLevelMap]) -> None:
    """Refuse two maps for one row, and maps of two levels (with and without run or session) side by side."""
    for (subject, contrast), found in group_by(maps, lambda m: (m.subject, m.contrast)).items():
        if len(found) == 1:
            continue
        runs = {(m.session, bool(m.run)) for m in found}
        sessions = {session for session, _ in runs}
        is_mixed = {"session": None in sessions and len(sessions) > 1, "run": len(runs) > len(sessions)}
        for entity in (name for name, is_so in is_mixed.items() if is_so):
            raise UsageError(
                f"sub-{subject} has maps of contrast '{contrast}' with and without {entity}.",
                found=list_some((m.effect.name for m in found), 10),
                expected="maps of one level: the ones may be pooled from the others",
                fix=f'--bids-filter-file with {{"{entity}": null}} without, {{"{entity}": "*"}} with',
            )
        rows = group_by(found, lambda m: (m.session, run_key(m.run)))
        for twins in (those for those in rows.values() if len(those) > 1):
            named = {"session": twins[0].session, "run": twins[0].run}
            where = "".join(f", {entity} {label}" for entity, label in named.items() if label)
            names = sorted({name for one in twins for name in one.entities})
            differing = [name for name in names if len({one.entities.get(name) for one in twins}) > 1]
            raise UsageError(
                f"sub-{subject}{where} has {len(twins)} maps of contrast '{contrast}'.",
                found=list_some((one.effect for one in twins), 10)
                + (f"; they differ in {', '.join(differing)}" if differing else ""),
                expected="one map",
                fix="Choose with --bids-filter-file, or list the maps in a table with --maps.",
            )


def tell_mixed_names(choice: Choice) -> None:
    """Tell of keys in whose labels people's maps of a contrast differ: ``desc-smoothed`` of some, say.

    Keys of BIDS or not; one that labels nearly everybody apart, such as a date, is left alone. Compared are
    maps of one session and run, as those of others may be labelled otherwise.
    """
    kinds: dict[str, dict[tuple[str, ...], set[str]]] = {}
    for those in group_by(choice.maps, lambda m: (m.contrast, m.session, run_key(m.run))).values():
        labels: dict[str, list[dict[str, str]]] = {}
        for m in those:
            parts = (part.partition("-") for part in m.effect.name.split(".")[0].split("_"))
            labels.setdefault(m.subject, []).append({key: label for key, mark, label in parts if mark})
        keys = {key for own in labels.values() for one in own for key in one} - _COMPARED
        for key in keys:
            found: dict[tuple[str, ...], set[str]] = {}
            for subject, own in labels.items():
                kind = tuple(natural_order({one.get(key, "") for one in own}))
                found.setdefault(kind, set()).add(subject)
            is_told = 1 < len(found) <= max(2, len(labels) // 2) and len(found) < len(labels)
            for kind, people in found.items() if is_told else ():
                kinds.setdefault(key, {}).setdefault(kind, set()).update(people)
    for key, found in sorted(kinds.items()):
        said = (
            f"{listed(f'{key}-{one}' if one else f'no {key}' for one in kind)} "
            f"({list_some((f'sub-{one}' for one in natural_order(people)), 6)})"
            for kind, people in sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
        )
        fix = f'If they are not alike, choose: --bids-filter-file with {{"{key}": …}}, or a table (--maps).'
        tell = note if key in _OF_SCANS else warn
        choice.notices.append(tell("maps", f"The maps of people differ in {key}: {list_some(said, 6)}.", fix))


def check_producers(maps: Iterable[FirstLevelMap]) -> None:
    """Refuse maps of different programs in one analysis: their effects are not on one scale."""
    first: dict[tuple[str, str | None], FirstLevelMap] = {}
    for m in maps:
        first.setdefault((m.contrast, m.producer), m)
    for contrast, those in group_by(first.values(), lambda m: m.contrast).items():
        if len(those) > 1:
            raise DataError(
                f"The maps of contrast '{contrast}' were made by different programs.",
                found="; ".join(f"{m.dataset}: {m.producer or 'unknown'}" for m in those),
                expected="one program: the effects of two are not on the same scale",
                fix="Name one dataset with --derivatives, or mend GeneratedBy in dataset_description.json.",
            )


def check_someone_left(choice: Choice, selection: Selection) -> None:
    """Refuse a selection that leaves no map."""
    if not choice.maps:
        reasons = sorted({exclusion.reason for exclusion in choice.exclusions})
        labels = list_some(selection.participant_labels, 10, none="the selection")
        raise SelectionError(
            f"No first-level map is left of {labels}.",
            found=list_some(reasons, 10, none="these people have no maps"),
            fix="Widen the selection.",
        )
