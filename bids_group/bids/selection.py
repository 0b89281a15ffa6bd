"""Which maps of which people: selection by labels, and what is left ambiguous."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bids_group.bids.entities import (
    OPTION_OF,
    bare_label,
    name_some,
    read_vocabulary,
    run_key,
    same_label,
    suggest,
)
from bids_group.bids.index import Folder, refuse_unlisted
from bids_group.bids.statmaps import Candidate, contrast_of
from bids_group.config import Selection
from bids_group.errors import SelectionError, UsageError
from bids_group.labels import natural_order
from bids_group.records import Exclusion, Notice

_PERSONAL = ("subject", "session", "run")
_ONE_OF = ("node", "task", "space", "res", "den")


@dataclass(slots=True)
class Choice:
    """Candidates that are still in, what went and why, and what is to be said of it."""

    candidates: list[Candidate]
    exclusions: list[Exclusion] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def keep(self, is_kept: Callable[[Candidate], bool], reason: str) -> None:
        """Keep the candidates that pass; the others leave with a reason."""
        gone = [candidate for candidate in self.candidates if not is_kept(candidate)]
        self.candidates = [candidate for candidate in self.candidates if is_kept(candidate)]
        self.exclusions.extend(exclude(candidate, reason) for candidate in gone)


def exclude(candidate: Candidate, reason: str) -> Exclusion:
    """Name a map that leaves the analysis."""
    m = candidate.map
    return Exclusion(
        subject=m.subject,
        session=m.session,
        run=m.run,
        task=m.task,
        contrast=m.contrast,
        path=m.effect,
        reason=reason,
    )


def check_listed(unlisted: Iterable[Folder], selection: Selection) -> None:
    """Refuse to go on without a folder in which selected maps could lie.

    Raises
    ------
    MissingInputError
        Names the folder, and the option that leaves it out.
    """
    for folder in unlisted:
        if _could_hold(folder.entities, selection):
            label = folder.entities.get("subject_folder")
            fix = f"Make it readable, or leave out its participant: --exclude-participant-label {label}"
            raise refuse_unlisted(folder.path, str(folder.problem), fix=fix if label else None)


def _could_hold(folders: Mapping[str, str], selection: Selection) -> bool:
    """Whether maps in a folder of this person, session and node could be selected."""
    person = folders.get("subject_folder")
    if person in {bare_label(label, "sub") for label in selection.exclude_participant_labels}:
        return False
    filters = normal_filters(selection)
    for name, entity, key, labels in (
        ("subject_folder", "subject", "sub", selection.participant_labels),
        ("session_folder", "session", "ses", selection.session_labels),
        ("node", "node", "node", _one(selection.node)),
    ):
        label = folders.get(name)
        wanted = {bare_label(one, key) for one in labels}
        if label is not None and not _passes(label, wanted, filters.get(entity)):
            return False
    return True


def _passes(label: str, wanted: set[str], allowed: tuple[str | None, ...] | None) -> bool:
    is_wanted = not wanted or label in wanted
    return is_wanted and (allowed is None or label in allowed or "*" in allowed)


def select_results(choice: Choice, selection: Selection) -> None:
    """Narrow by what the maps are: filters, task, space, resolution, density, node and contrast.

    Raises
    ------
    SelectionError
        Nothing has the label; lists what there is.
    """
    for entity, wanted in normal_filters(selection).items():
        if entity not in _PERSONAL:
            _filter(choice, entity, wanted)
    for entity, key, labels in (
        ("task", "task", selection.task_labels),
        ("space", "space", _one(selection.space)),
        ("res", "res", _one(selection.res)),
        ("den", "den", _one(selection.den)),
        ("node", "node", _one(selection.node)),
    ):
        _narrow(choice, entity, tuple(bare_label(label, key) for label in labels), OPTION_OF[entity])
    contrasts = tuple(bare_label(label, "contrast") for label in selection.first_level_contrasts)
    _narrow(choice, "contrast", contrasts, "--first-level-contrast")


def select_people(choice: Choice, selection: Selection, people: Iterable[str]) -> None:
    """Narrow by person, session and run. ``people``: every participant of table and maps.

    People who were not selected become exclusions of their own, without naming each of their maps.

    Raises
    ------
    SelectionError
        A label names nobody, or no session or run.
    """
    everyone = set(people)
    wanted = {bare_label(label, "sub") for label in selection.participant_labels}
    unwanted = {bare_label(label, "sub") for label in selection.exclude_participant_labels}
    _check_people(wanted, everyone, "--participant-label")
    _check_people(unwanted, everyone, "--exclude-participant-label")
    reasons = {
        subject: "not selected (--participant-label)"
        for subject in everyone
        if wanted and subject not in wanted
    }
    reasons |= dict.fromkeys(unwanted, "left out (--exclude-participant-label)")
    choice.candidates = [candidate for candidate in choice.candidates if candidate.map.subject not in reasons]
    choice.exclusions.extend(Exclusion(subject=label, reason=reasons[label]) for label in sorted(reasons))
    for entity, wanted_filter in normal_filters(selection).items():
        if entity in _PERSONAL:
            _filter(choice, entity, wanted_filter)
    for entity, key, labels in (
        ("session", "ses", selection.session_labels),
        ("run", "run", selection.run_labels),
    ):
        _narrow(choice, entity, tuple(bare_label(label, key) for label in labels), OPTION_OF[entity])


def normal_filters(selection: Selection) -> dict[str, tuple[str | None, ...]]:
    """Give the filters the names and types of entities: tuples of labels, ``"*"`` (any) or None (absent).

    Raises
    ------
    UsageError
        A key is no entity.
    """
    vocabulary = read_vocabulary()
    known = [*vocabulary["file_entities"], "node", "suffix", "extension"]
    filters = {}
    for key, value in selection.bids_filter.items():
        entity = vocabulary["aliases"].get(key, key)
        if entity not in known:
            raise UsageError(
                f"The BIDS filter names an unknown entity '{key}'.",
                expected=", ".join(known),
                fix=suggest(key, known),
            )
        values = value if isinstance(value, tuple | list) else (value,)
        filters[entity] = tuple(None if item is None else str(item) for item in values)
    return filters


def label_of(candidate: Candidate, entity: str) -> str | None:
    """Label of an entity of a candidate's effect file (``contrast`` is the first-level contrast)."""
    if entity == "contrast":
        return candidate.map.contrast
    return candidate.entities.get(entity)


def _one(label: str | None) -> tuple[str, ...]:
    return () if label is None else (label,)


def _filter(choice: Choice, entity: str, wanted: Sequence[str | None]) -> None:
    def passes(candidate: Candidate, item: str | None) -> bool:
        label = candidate.entities.get(entity)
        if entity == "contrast" and label is None:
            label = contrast_of(candidate.entities)
        return (item == "*" and label is not None) or same_label(entity, item, label)

    there = choice.candidates
    void = [item for item in wanted if not any(passes(candidate, item) for candidate in there)]
    if len(void) == len(wanted):
        words = name_some("null" if item is None else item for item in wanted)
        raise SelectionError(
            f"No first-level map passes the BIDS filter {entity} = {words}.",
            found=f"{entity}: {_describe_labels(there, entity)}",
            fix=f"Say --input-suffix {wanted[0]}."
            if entity == "suffix" and wanted[0] not in (None, "*")
            else "Change the file given with --bids-filter-file.",
        )
    if void and entity != "extension":
        words = name_some("null" if item is None else item for item in void)
        sentence = (
            f"The BIDS filter {entity} = {words} passes no map; there are {_describe_labels(there, entity)}."
        )
        choice.notices.append(Notice(severity="warning", topic="selection", sentence=sentence))
    choice.keep(
        lambda c: any(passes(c, item) for item in wanted), f"not selected (--bids-filter-file, {entity})"
    )


def _narrow(choice: Choice, entity: str, wanted: Sequence[str], option: str) -> None:
    if not wanted:
        return
    there = choice.candidates
    known = {label for c in there if (label := label_of(c, entity)) is not None}
    for label in wanted:
        if not any(same_label(entity, label, other) for other in known):
            raise SelectionError(
                f"No first-level map has {entity} '{label}'.",
                found=f"{entity}: {_describe_labels(there, entity)}",
                fix=suggest(label, known)
                or (f"Choose one of these with {option}." if known else f"Leave {option} out."),
            )
    choice.keep(
        lambda c: any(same_label(entity, label, label_of(c, entity)) for label in wanted),
        f"not selected ({option})",
    )


def _check_people(labels: Iterable[str], everyone: set[str], option: str) -> None:
    for label in natural_order(labels):
        if label not in everyone:
            padded = [other for other in everyone if other.lstrip("0") == label.lstrip("0")]
            raise SelectionError(
                f"There is no participant '{label}'.",
                found=name_some(natural_order(everyone), 30) or "nobody",
                fix=f"Did you mean '{padded[0]}'?"
                if padded
                else suggest(label, everyone) or f"Check {option}.",
            )


def check_one_of_each(candidates: Sequence[Candidate]) -> None:
    """Refuse more than one node, task, space, resolution or density.

    Raises
    ------
    UsageError
        Lists them with their number of maps.
    """
    for entity in _ONE_OF:
        labels = {label_of(candidate, entity) for candidate in candidates}
        if len(labels) > 1:
            raise UsageError(
                f"The selected maps have {len(labels)} {_plural(entity)}.",
                found=_describe_nodes(candidates)
                if entity == "node"
                else _describe_labels(candidates, entity),
                expected="one in an analysis",
                fix=_how_to_choose(entity, labels),
            )


def _plural(entity: str) -> str:
    words = {"res": "resolutions (res)", "den": "densities (den)", "node": "FitLins nodes"}
    return words.get(entity, f"{entity}s")


def _how_to_choose(entity: str, labels: set[str | None]) -> str:
    named = natural_order(label for label in labels if label is not None)
    choices = " or ".join(f"{OPTION_OF[entity]} {label}" for label in named)
    node = (
        " (a node of runs is the input of pooling, a node of subjects its result)" if entity == "node" else ""
    )
    absent = f'; those without: --bids-filter-file with {{"{entity}": null}}' if None in labels else ""
    return f"{choices}{node}{absent}"


def _describe_labels(candidates: Iterable[Candidate], entity: str) -> str:
    counts: dict[str, int] = defaultdict(int)
    for candidate in candidates:
        counts[label_of(candidate, entity) or ""] += 1
    parts = [
        f"{label or f'no {entity}'} ({counts[label]} map{'s' if counts[label] > 1 else ''})"
        for label in natural_order(counts)
    ]
    return name_some(parts, 30) or "no map at all"


def _describe_nodes(candidates: Iterable[Candidate]) -> str:
    by_node: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_node[label_of(candidate, "node") or ""].append(candidate)
    words = []
    for node in natural_order(by_node):
        maps = [candidate.map for candidate in by_node[node]]
        level = (
            "by run"
            if any(m.run for m in maps)
            else "by session"
            if any(m.session for m in maps)
            else "by subject"
        )
        words.append(
            f"{node or 'no node'} ({len(maps)} maps of {len({m.subject for m in maps})} people, {level})"
        )
    return ", ".join(words)


def check_rows(candidates: Iterable[Candidate]) -> None:
    """Refuse two maps for one row, and maps of two levels (with and without run or session) side by side.

    Raises
    ------
    UsageError
        Names the files and the entities in which they differ.
    """
    by_effect: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        by_effect[candidate.map.subject, candidate.map.contrast].append(candidate)
    for found in by_effect.values():
        _check_levels(found)
        _check_single(found)


def _check_levels(candidates: Sequence[Candidate]) -> None:
    with_session = {bool(c.map.session) for c in candidates}
    by_session: dict[str | None, set[bool]] = defaultdict(set)
    for candidate in candidates:
        by_session[candidate.map.session].add(bool(candidate.map.run))
    is_mixed = {"session": len(with_session) > 1, "run": any(len(has) > 1 for has in by_session.values())}
    for entity in (name for name in ("session", "run") if is_mixed[name]):
        m = candidates[0].map
        raise UsageError(
            f"sub-{m.subject} has maps of contrast '{m.contrast}' with and without {entity}.",
            found=name_some(c.map.effect.name for c in candidates),
            expected="maps of one level: the ones may be pooled from the others",
            fix=f'--bids-filter-file with {{"{entity}": null}} without, {{"{entity}": "*"}} with',
        )


def _check_single(candidates: Sequence[Candidate]) -> None:
    rows: dict[tuple[str | None, str | None], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        rows[candidate.map.session, run_key(candidate.map.run)].append(candidate)
    for twins in (found for found in rows.values() if len(found) > 1):
        m = twins[0].map
        run = f", run {m.run}" if m.run else ""
        session = f", session {m.session}" if m.session else ""
        differing = _differing(candidate.entities for candidate in twins)
        raise UsageError(
            f"sub-{m.subject}{session}{run} has {len(twins)} maps of contrast '{m.contrast}'.",
            found=name_some(str(c.map.effect) for c in twins)
            + (f"; they differ in {differing}" if differing else ""),
            expected="one map",
            fix="Choose with --bids-filter-file, or list the maps in a table with --maps.",
        )


def _differing(entities: Iterable[Mapping[str, str]]) -> str:
    named = list(entities)
    names = sorted({name for found in named for name in found})
    return ", ".join(name for name in names if len({found.get(name) for found in named}) > 1)
