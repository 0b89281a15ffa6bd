"""Findings: what was gathered, in sentences for the log, the dry run and the report."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from bids_group.bids.covariates import Study
from bids_group.bids.datasets import Source
from bids_group.bids.entities import name_some
from bids_group.bids.statmaps import Candidate
from bids_group.labels import natural_order
from bids_group.records import FirstLevelMap, Notice


def describe_findings(
    maps: Sequence[FirstLevelMap],
    sources: Sequence[Source],
    study: Study,
    in_dataset: Sequence[Candidate],
    without_variance: Sequence[FirstLevelMap],
) -> list[Notice]:
    """Say what was found, and what a user may not expect of it."""
    return [
        *_say_found(maps, sources),
        *_say_levels(maps),
        *_say_labels(study, maps),
        *_say_sessions(study, maps),
        *_say_variance(without_variance, in_dataset),
    ]


def _say_found(maps: Sequence[FirstLevelMap], sources: Sequence[Source]) -> list[Notice]:
    people = {m.subject for m in maps}
    contrasts = natural_order({m.contrast for m in maps})
    places = "; ".join(source.words for source in sources)
    is_contrast = maps[0].suffix == "statmap"
    kind = "effect" if is_contrast else maps[0].suffix
    what = f"contrast{'s' if len(contrasts) > 1 else ''} " if is_contrast else ""
    sentence = (
        f"Found {len(maps)} {kind} map{'' if len(maps) == 1 else 's'} of "
        f"{len(people)} participant{'' if len(people) == 1 else 's'}, "
        f"{what}{name_some(contrasts, 20)}, in {places}."
    )
    said = [Notice(severity="note", topic="maps", sentence=sentence)]
    unsearched = [folder for source in sources for folder in source.unsearched]
    if unsearched:
        sentence = f"Not searched for maps, as they cannot be listed: {name_some(map(str, unsearched))}."
        fix = "Name the dataset of the maps with --derivatives."
        said.append(Notice(severity="warning", topic="maps", sentence=sentence, fix=fix))
    stat = maps[0].input_stat
    if stat != "effect":
        mixed = "they mix the size of each effect with its precision"
        sentence = f"The data are {stat} maps (--input-stat {stat}): {mixed}."
        said.append(Notice(severity="warning", topic="maps", sentence=sentence))
    if not is_contrast and any(m.mask is None for m in maps):
        sentence = "Where a map has no mask beside it, an exact 0 counts as not observed."
        said.append(Notice(severity="note", topic="maps", sentence=sentence))
    return said


def _say_labels(study: Study, maps: Iterable[FirstLevelMap]) -> list[Notice]:
    """Tell of people without a row, and show the labels of the table beside those of the maps."""
    subjects = {m.subject for m in maps}
    rowless = natural_order(subjects - set(study.listed))
    if not rowless or not study.listed:
        return []
    names = name_some(f"sub-{label}" for label in rowless)
    sentence = (
        f"{len(rowless)} of the people with maps have no row in {study.listing}, so no covariates: {names}."
    )
    said = [Notice(severity="warning", topic="labels", sentence=sentence)]
    spare = [label for label in natural_order(study.listed) if label not in subjects]
    by_number = {label.lstrip("0"): label for label in spare}
    padded = [(label, by_number[label.lstrip("0")]) for label in rowless if label.lstrip("0") in by_number]
    if padded:
        pairs = name_some(f"sub-{one} (maps) and sub-{other} (table)" for one, other in padded)
        sentence = f"Labels differ in the zeros in front, and are not taken as the same: {pairs}."
        said.insert(0, _warn_of_labels(sentence, study))
    elif doubled := [label for label in spare if label.startswith("sub-")]:
        pairs = name_some((f"sub-{label}" for label in doubled), 3)
        sentence = f"The prefix sub- stands twice in labels of {study.listing}: {pairs}."
        said.insert(0, _warn_of_labels(sentence, study))
    elif len(rowless) == len(subjects):
        shown = name_some((f"sub-{label}" for label in spare), 3)
        sentence = (
            f"No label of {study.listing} ({shown}) is that of a map ({name_some(names.split(', '), 3)})."
        )
        said.insert(0, _warn_of_labels(sentence, study))
    return said


def _warn_of_labels(sentence: str, study: Study) -> Notice:
    fix = f"Write the labels in {study.listing} as they stand in the names of the maps."
    return Notice(severity="warning", topic="labels", sentence=sentence, fix=fix)


def _say_variance(without: Sequence[FirstLevelMap], in_dataset: Sequence[Candidate]) -> list[Notice]:
    if not without or any(m.input_stat != "effect" or m.suffix != "statmap" for m in without):
        return []
    share = "None" if len(without) == len(in_dataset) else f"{len(in_dataset) - len(without)}"
    examples = "" if share == "None" else f"; without: {name_some((m.effect.name for m in without), 3)}"
    sentence = f"{share} of the {len(in_dataset)} effect maps of the dataset has a variance map{examples}."
    return [Notice(severity="note", topic="variance", sentence=sentence)]


def _say_levels(maps: Sequence[FirstLevelMap]) -> list[Notice]:
    """Warn where some people have maps of runs or sessions, and others have not."""
    said = []
    for entity in ("session", "run"):
        by_presence: dict[bool, set[str]] = defaultdict(set)
        for m in maps:
            by_presence[getattr(m, entity) is not None].add(m.subject)
        if by_presence[True] and by_presence[False]:
            rare = min(by_presence.items(), key=lambda item: (len(item[1]), item[0]))
            names = name_some(f"sub-{label}" for label in natural_order(rare[1]))
            sentence = f"Maps {'with' if rare[0] else 'without'} {entity} stand beside others: {names}."
            fix = "Check that all maps are of one level; some may be pooled from several already."
            said.append(Notice(severity="warning", topic="maps", sentence=sentence, fix=fix))
    return said


def _say_sessions(study: Study, maps: Iterable[FirstLevelMap]) -> list[Notice]:
    if not study.sessions or any(m.session is not None for m in maps):
        return []
    columns = name_some(study.columns_of_sessions()) or "no covariates"
    sentence = f"The tables of sessions ({columns}) are not used: the maps name no session."
    return [Notice(severity="note", topic="tables", sentence=sentence)]
