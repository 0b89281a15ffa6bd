"""The cohort: from folders and tables to the maps of an analysis and the people they belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bids_group.bids.content import check_presence, check_twins, find_many_volumes
from bids_group.bids.covariates import Study, align, read_study
from bids_group.bids.datasets import Source, check_bids_dir, find_sources
from bids_group.bids.entities import name_some, natural_order
from bids_group.bids.index import index_dataset
from bids_group.bids.maps_table import read_maps_table
from bids_group.bids.screening import screen
from bids_group.bids.selection import (
    Choice,
    check_one_of_each,
    check_rows,
    exclude,
    select_people,
    select_results,
)
from bids_group.bids.statmaps import VOLUMES, Candidate, Found, Leftover, pair_statmaps
from bids_group.config import Inputs, Selection
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.records import Cohort, Exclusion, FirstLevelMap, Notice, Table


def gather_cohort(inputs: Inputs, selection: Selection, output_dir: Path) -> Cohort:
    """Find the first-level maps of an analysis, the people they belong to, and what the tables say of them.

    Every map and every person that is left out becomes an exclusion with a reason.

    Parameters
    ----------
    inputs
        Where maps and tables are.
    selection
        Which of them; labels with or without their key.
    output_dir
        A source only where another program wrote statmaps there and nothing else was named.

    Raises
    ------
    NotBidsError, MissingInputError
        BIDS_DIR, a derivative, a table or a map is missing or is not what it should be.
    SelectionError
        The selection matches nothing; lists what there is.
    UsageError
        The selection is ambiguous: several datasets, spaces, resolutions, tasks, nodes, or maps for one row.
    DataError
        Tables are malformed, producers differ, only t or z maps, the same map under two people.
    """
    check_bids_dir(inputs.bids_dir, is_skipped=inputs.skip_bids_validation)
    sources, found = _find_maps(inputs, selection, output_dir)
    _check_candidates(found, selection)
    study = read_study(inputs, _subjects(found))
    everyone = sorted({*study.listed, *_subjects(found)})

    choice = Choice(candidates=list(found.candidates))
    select_results(choice, selection)
    in_dataset = list(choice.candidates)
    people_out = [*select_people(choice, selection, everyone)]
    _check_someone_left(choice, selection)
    notices = list(study.notices)
    if selection.exclude_where is not None:
        screened, said = screen(choice, selection.exclude_where, study, inputs.bids_dir)
        people_out.extend(screened)
        notices.extend(said)
        _check_someone_left(choice, selection)
    check_one_of_each(choice.candidates)
    _refuse_surfaces(choice.candidates)
    check_rows(choice.candidates)
    check_presence(candidate.map for candidate in choice.candidates)
    notices.extend(_leave_many_volumes(choice, selection))

    maps = _sort_maps(choice.candidates)
    _check_producers(maps)
    notices.extend(check_twins(maps))
    contrasts = {m.contrast for m in maps}
    without_variance = [c.map for c in in_dataset if c.map.contrast in contrasts and c.map.variance is None]
    notices.extend(
        [*_say_found(maps, sources), *_say_labels(study, maps), *_say_variance(without_variance, in_dataset)]
    )
    exclusions = [*people_out, *choice.exclusions, *_exclude_leftovers(found.leftovers)]
    exclusions.extend(_exclude_mapless(maps, everyone, exclusions))
    return Cohort(
        maps=maps,
        tables=_align_tables(study, maps),
        everyone=tuple(everyone),
        exclusions=_sort_exclusions(exclusions),
        notices=tuple(notices),
        dataset_names={"raw": inputs.bids_dir, **{source.name: source.root for source in sources}},
        has_variance_everywhere=not without_variance,
    )


def _find_maps(inputs: Inputs, selection: Selection, output_dir: Path) -> tuple[tuple[Source, ...], Found]:
    if inputs.maps_table is not None:
        if inputs.derivatives:
            raise UsageError("Maps are named by --maps and by --derivatives.", fix="Use one of them.")
        source, found = read_maps_table(inputs.maps_table, selection.input_stat)
        return (source,), found
    sources = find_sources(inputs, output_dir)
    parts = [pair_statmaps(source, index_dataset(source.root), selection.input_stat) for source in sources]
    return sources, Found(
        candidates=tuple(candidate for part in parts for candidate in part.candidates),
        leftovers=tuple(leftover for part in parts for leftover in part.leftovers),
    )


def _subjects(found: Found) -> set[str]:
    return {c.map.subject for c in found.candidates} | {leftover.subject for leftover in found.leftovers}


def _check_candidates(found: Found, selection: Selection) -> None:
    """Refuse a dataset, or a contrast that was asked for, that has other stats than effects only."""
    usable = {candidate.map.contrast for candidate in found.candidates}
    asked = {label.removeprefix("contrast-") for label in selection.first_level_contrasts} - usable
    lacking = [leftover for leftover in found.leftovers if leftover.contrast in asked or not usable]
    if not lacking:
        return
    example = lacking[0]
    only = (
        "of contrast " + name_some(sorted({str(one.contrast) for one in lacking}))
        if usable
        else "in this dataset"
    )
    has_z = selection.input_stat == "effect" and all("z" in leftover.stats for leftover in lacking)
    raise DataError(
        f"There is no stat-{selection.input_stat} map {only}.",
        found=f"{example.path}: {example.reason}",
        expected="maps of effects (contrast estimates): t and z mix the size of an effect with its precision",
        fix="Let the first-level analysis write stat-effect maps"
        + (", or insist with --input-stat z." if has_z else ", or list the maps in a table with --maps."),
    )


def _check_someone_left(choice: Choice, selection: Selection) -> None:
    if choice.candidates:
        return
    labels = name_some(selection.participant_labels) or "the selection"
    reasons = sorted({exclusion.reason for exclusion in choice.exclusions})
    raise SelectionError(
        f"No first-level map is left of {labels}.",
        found=name_some(reasons) or "these people have no maps",
        fix="Widen the selection; --dry-run lists what is there.",
    )


def _refuse_surfaces(candidates: Iterable[Candidate]) -> None:
    others = [c for c in candidates if c.entities.get("extension", ".nii.gz") not in VOLUMES]
    if others:
        raise UsageError(
            f"{len(others)} selected maps are no volumes, and only volumes can be analysed so far.",
            found=name_some((c.map.effect.name for c in others), 3),
            expected=" or ".join(VOLUMES),
            fix='Choose volumes with --space, or --bids-filter-file with {"extension": [".nii.gz", ".nii"]}.',
        )


def _leave_many_volumes(choice: Choice, selection: Selection) -> list[Notice]:
    """Leave out effects of several volumes (F contrasts); refuse them where nothing else remains."""
    shapes = find_many_volumes(c.map for c in choice.candidates)
    gone = [c for c in choice.candidates if c.map.effect in shapes]
    if not gone:
        return []
    contrasts = name_some(sorted({c.map.contrast for c in gone}))
    reason = "its effect has several volumes (an F contrast of several rows), not one value per voxel"
    if selection.first_level_contrasts or len(gone) == len(choice.candidates):
        shape = " × ".join(str(size) for size in shapes[gone[0].map.effect])
        raise UsageError(
            f"First-level contrast {contrasts} cannot be analysed: {reason}.",
            found=f"{gone[0].map.effect} with {shape}",
            expected="a first-level t contrast",
            fix="Choose other contrasts with --first-level-contrast.",
        )
    choice.candidates = [c for c in choice.candidates if c.map.effect not in shapes]
    choice.exclusions.extend(exclude(candidate, reason) for candidate in gone)
    sentence = f"{len(gone)} maps of contrast {contrasts} are left out: {reason}."
    return [Notice(severity="warning", topic="maps", sentence=sentence)]


def _sort_maps(candidates: Iterable[Candidate]) -> tuple[FirstLevelMap, ...]:
    """Sort by contrast, person, session and run: the order of files on disk does not matter."""

    def key(m: FirstLevelMap) -> tuple[str, str, str, int, str]:
        number = int(m.run) if m.run and m.run.isdigit() else -1
        return m.contrast, m.subject, m.session or "", number, m.run or ""

    return tuple(sorted((candidate.map for candidate in candidates), key=key))


def _check_producers(maps: Iterable[FirstLevelMap]) -> None:
    """Refuse maps of different programs in one analysis: their effects are not on one scale."""
    by_contrast: dict[str, dict[str | None, FirstLevelMap]] = defaultdict(dict)
    for m in maps:
        by_contrast[m.contrast].setdefault(m.producer, m)
    for contrast, by_producer in by_contrast.items():
        if len(by_producer) > 1:
            raise DataError(
                f"The maps of contrast '{contrast}' were made by different programs.",
                found="; ".join(f"{m.dataset}: {name or 'unknown'}" for name, m in by_producer.items()),
                expected="one program: the effects of two are not on the same scale",
                fix="Name one dataset with --derivatives, or mend GeneratedBy in dataset_description.json.",
            )


def _say_found(maps: Sequence[FirstLevelMap], sources: Sequence[Source]) -> list[Notice]:
    people = {m.subject for m in maps}
    contrasts = natural_order({m.contrast for m in maps})
    places = "; ".join(
        f"{source.root} ({source.producer or 'made by an unknown program'})" for source in sources
    )
    sentence = (
        f"Found {len(maps)} effect maps of {len(people)} participants, "
        f"contrast{'s' if len(contrasts) > 1 else ''} {name_some(contrasts, 20)}, in {places}."
    )
    said = [Notice(severity="note", topic="maps", sentence=sentence)]
    if any(m.input_stat == "z" for m in maps):
        sentence = (
            "The data are z maps (--input-stat z): they mix the size of each effect with its precision."
        )
        said.append(Notice(severity="warning", topic="maps", sentence=sentence))
    return said


def _say_labels(study: Study, maps: Iterable[FirstLevelMap]) -> list[Notice]:
    """Tell of people without a row, and of labels that differ only in zeros in front."""
    subjects = {m.subject for m in maps}
    rowless = natural_order(subjects - set(study.listed))
    if not rowless or not study.listed:
        return []
    by_number = {label.lstrip("0"): label for label in study.listed if label not in subjects}
    padded = [(label, by_number[label.lstrip("0")]) for label in rowless if label.lstrip("0") in by_number]
    said = []
    if padded:
        pairs = name_some(f"sub-{one} (maps) and sub-{other} (table)" for one, other in padded)
        sentence = f"Labels differ in the zeros in front, and are not taken as the same: {pairs}."
        fix = "Write the labels in participants.tsv as they stand in the names of the maps."
        said.append(Notice(severity="warning", topic="labels", sentence=sentence, fix=fix))
    names = name_some(f"sub-{label}" for label in rowless)
    sentence = (
        f"{len(rowless)} of the people with maps have no row in participants.tsv, so no covariates: {names}."
    )
    return [*said, Notice(severity="warning", topic="labels", sentence=sentence)]


def _say_variance(without: Sequence[FirstLevelMap], in_dataset: Sequence[Candidate]) -> list[Notice]:
    if not without or any(m.input_stat == "z" for m in without):
        return []
    share = "None" if len(without) == len(in_dataset) else f"{len(in_dataset) - len(without)}"
    examples = "" if share == "None" else f"; without: {name_some((m.effect.name for m in without), 3)}"
    sentence = f"{share} of the {len(in_dataset)} effect maps of the dataset has a variance map{examples}."
    return [Notice(severity="note", topic="variance", sentence=sentence)]


def _exclude_leftovers(leftovers: Iterable[Leftover]) -> list[Exclusion]:
    return [
        Exclusion(subject=one.subject, contrast=one.contrast, path=one.path, reason=one.reason)
        for one in leftovers
    ]


def _exclude_mapless(
    maps: Sequence[FirstLevelMap], everyone: Iterable[str], exclusions: Iterable[Exclusion]
) -> list[Exclusion]:
    """Name everybody who has no map in an analysis, and no reason yet."""
    have = {(m.subject, m.contrast) for m in maps}
    contrasts = {contrast for _, contrast in have}
    with_maps = {subject for subject, _ in have}
    lost: dict[str, list[str]] = defaultdict(list)
    said = set()
    for exclusion in exclusions:
        if exclusion.path is None:
            said.add(exclusion.subject)
        else:
            lost[exclusion.subject].append(exclusion.reason)
    found = []
    for subject in (label for label in everyone if label not in said):
        if subject not in with_maps:
            reasons = name_some(dict.fromkeys(lost[subject]), 3)
            reason = f"no map left: {reasons}" if reasons else "no first-level map"
            found.append(Exclusion(subject=subject, reason=reason))
        else:
            absent = natural_order(contrast for contrast in contrasts if (subject, contrast) not in have)
            found.extend(
                Exclusion(subject=subject, contrast=c, reason=f"no map of contrast {c}") for c in absent
            )
    return found


def _sort_exclusions(exclusions: Iterable[Exclusion]) -> tuple[Exclusion, ...]:
    return tuple(
        sorted(exclusions, key=lambda e: (e.subject, e.session or "", e.contrast or "", str(e.path or "")))
    )


def _align_tables(study: Study, maps: Sequence[FirstLevelMap]) -> tuple[Table, ...]:
    people = align(study.people, pd.Index(sorted({m.subject for m in maps}), dtype=object))
    rows = sorted({(m.subject, m.session) for m in maps if m.session is not None})
    if study.sessions is None or not rows:
        return (people,)
    return people, align(study.sessions, pd.MultiIndex.from_tuples(rows))
