"""The cohort: from folders and tables to the maps of an analysis and the people they belong to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bids_group.bids.covariates import Study, find_cell_factors, read_study, type_factors
from bids_group.bids.datasets import MapSource, check_bids_dir, find_sources
from bids_group.bids.design_matrix import read_design_matrix, settle_tables
from bids_group.bids.index import group_by, index_dataset
from bids_group.bids.ledger import add_mapless
from bids_group.bids.map_files import (
    Headers,
    check_statistics,
    check_twins,
    leave_many_volumes,
    read_headers,
    tell_other_names,
    tell_rounded_effects,
)
from bids_group.bids.near_labels import tell_labels, tell_unlike
from bids_group.bids.selection import (
    Choice,
    check_listed,
    check_one_of_each,
    check_producers,
    check_rows,
    check_someone_left,
    check_spellings,
    select_people,
    select_results,
    tell_mixed_names,
    wanted_labels,
)
from bids_group.bids.siblings import check_native
from bids_group.bids.statmaps import Found, check_effects, check_found, pair_statmaps
from bids_group.bids.structures import (
    check_hemispheres,
    keep_hemispheres,
    pair_hemispheres,
    select_structures,
    wanted_hemispheres,
    wanted_structures,
)
from bids_group.config import Inputs, Selection
from bids_group.errors import UsageError
from bids_group.executor import ONE_THREAD, Executor, without_collection
from bids_group.labels import natural_order
from bids_group.records import Cohort, Column, FirstLevelMap, Notice, Table, note, warn
from bids_group.words import counted, list_some, plural


@without_collection()
def gather_cohort(
    inputs: Inputs, selection: Selection, output_dir: Path, executor: Executor = ONE_THREAD
) -> Cohort:
    """Find the first-level maps of an analysis, the people they belong to, and what the tables say of them.

    Every map and every person that is left out becomes an exclusion with a reason. ``output_dir`` is a source
    only where another program wrote statmaps there and nothing else was named; ``executor`` reads headers.

    Raises
    ------
    NotBidsError, MissingInputError
        BIDS_DIR, a derivative, a table or a map is missing or is not what it should be.
    SelectionError, UsageError
        The selection matches nothing, or is ambiguous: several datasets, spaces, or maps for one row.
    DataError
        Tables are malformed, producers differ, only t or z maps, the same map under two people.
    """
    check_bids_dir(inputs)
    matrix = None if inputs.design_matrix is None else read_design_matrix(inputs.design_matrix)
    sources, found, maps_tsv = _find_maps(inputs, selection, output_dir)
    check_found(found, sources, selection.input_suffix)
    check_effects(found, selection.input_stat or "effect", wanted_labels(selection, "contrast"))
    subjects = {m.subject for m in found.maps} | {leftover.subject for leftover in found.leftovers}
    has_sessions = any(m.session is not None for m in found.maps)
    factors = {name for m in found.maps for name, _ in m.factors}
    study = read_study(inputs, subjects, has_sessions=has_sessions, further=factors)
    in_matrix = () if matrix is None else matrix.frame.index.get_level_values(0)
    everyone = sorted({*study.listed, *subjects, *in_matrix})

    choice = Choice(maps=list(found.maps), notices=[*study.notices, *found.notices])
    in_dataset = _select(choice, selection, study, everyone, inputs)
    headers = read_headers(choice.maps, executor)
    _check_headers(choice, selection, headers, inputs)
    maps = tuple(sorted(choice.maps, key=_order))
    spaces = select_structures({path: headers[path].space for m in maps for path in m.files}, selection)
    sessions, order_notices = _order_sessions(maps, study.session_levels)
    contrasts = {m.contrast for m in maps}
    without_variance = [m for m in in_dataset if m.contrast in contrasts and m.variance is None]
    choice.notices += [*order_notices, *_say_found(maps, sources), *_say_labels(study, maps)]
    choice.notices += _say_idle(study, maps, without_variance, len(in_dataset))
    type_over = partial(_type_tables, study, maps, inputs.maps_table)
    return Cohort(
        maps=maps,
        maps_tsv=maps_tsv,
        structures=wanted_structures(selection),
        spaces=spaces,
        tables=settle_tables(type_over(None), matrix),
        tables_over=None if matrix is not None else type_over,
        cell_factors=find_cell_factors(maps),
        everyone=tuple(everyone),
        exclusions=add_mapless([*choice.exclusions, *found.leftovers], maps, everyone),
        notices=tuple(choice.notices),
        dataset_names={"raw": inputs.bids_dir, **{source.name: source.root for source in sources}},
        has_variance_everywhere=not without_variance,
        sessions=sessions,
        design_matrix=matrix,
    )


def _find_maps(
    inputs: Inputs, selection: Selection, output_dir: Path
) -> tuple[tuple[MapSource, ...], Found, str | None]:
    """Find maps, and the table of them that is kept with the results: that of a pattern."""
    if inputs.maps_table is not None:
        if inputs.derivatives:
            raise UsageError("Maps are named by --maps and by --derivatives.", fix="Use one of them.")
        from bids_group.bids.maps_table import read_maps

        source, found, text = read_maps(inputs, selection, output_dir)
        found = replace(found, maps=keep_hemispheres(found.maps, wanted_hemispheres(selection)))
        return (source,), _name_space(found, selection), text
    suffix = selection.input_suffix
    sources = find_sources(inputs, output_dir, suffix)
    parts = []
    for source in sources:
        files, unlisted = index_dataset(source.root)
        check_listed(unlisted, selection)
        paired = pair_hemispheres(files, wanted_hemispheres(selection))
        parts.append(pair_statmaps(source, paired, selection.input_stat or "effect", suffix))
    found = Found(
        maps=tuple(m for part in parts for m in part.maps),
        leftovers={leftover: stats for part in parts for leftover, stats in part.leftovers.items()},
    )
    return sources, _name_space(found, selection), None


def _name_space(found: Found, selection: Selection) -> Found:
    """Give maps the space of ``--space`` where none of them names one; else it selects."""
    space = next(iter(wanted_labels(selection, "space")), None)
    if space is None or not found.maps or any(m.space is not None for m in found.maps):
        return found
    maps = (replace(m, space=space, entities={**m.entities, "space": space}) for m in found.maps)
    said = note("maps", f"The maps name no space; it is {space} (--space).")
    return replace(found, maps=tuple(maps), notices=(*found.notices, said))


def _select(
    choice: Choice, selection: Selection, study: Study, everyone: Sequence[str], inputs: Inputs
) -> tuple[FirstLevelMap, ...]:
    """Select by names and tables; gives the maps of the results that are selected, whoever they are of."""
    select_results(choice, selection)
    in_dataset = tuple(choice.maps)
    select_people(choice, selection, everyone)
    check_someone_left(choice, selection)
    if selection.exclude_where is not None:
        from bids_group.bids.screening import screen

        screen(choice, selection.exclude_where, study, inputs.bids_dir)
        check_someone_left(choice, selection)
    check_one_of_each(choice.maps)
    check_hemispheres(choice.maps, wanted_hemispheres(selection))
    check_rows(choice.maps)
    check_spellings(choice, selection.first_level_contrasts)
    if inputs.maps_table is None:
        tell_mixed_names(choice)
    return in_dataset


def _check_headers(choice: Choice, selection: Selection, headers: Headers, inputs: Inputs) -> None:
    """Check what is selected by what stands in the files."""
    leave_many_volumes(choice, selection, headers)
    is_table = inputs.maps_table is not None
    choice.notices += check_native(choice.maps, headers, inputs.maps_table)
    choice.notices += check_statistics(choice.maps, headers, selection.input_stat, is_name_free=is_table)
    check_producers(choice.maps)
    choice.notices += check_twins(choice.maps, headers)
    choice.notices += tell_rounded_effects(choice.maps, headers)
    choice.notices += tell_other_names(choice.maps, headers)


def _order(m: FirstLevelMap) -> tuple[str, str, str, int, str]:
    """By contrast, person, session and run: the order of files on disk does not matter."""
    run = int(m.run) if m.run and m.run.isdigit() else -1
    return m.contrast, m.subject, m.session or "", run, m.run or ""


def _order_sessions(
    maps: Iterable[FirstLevelMap], declared: Mapping[Path, tuple[str, ...]]
) -> tuple[Column | None, tuple[Notice, ...]]:
    """Put the sessions of the maps into the order that JSON files beside the tables declare.

    Gives the column ``session``, or None (alphabetical order) where no file gives an order, where one lacks a
    session, or where two disagree; the last two with a notice.
    """
    present = natural_order({m.session for m in maps if m.session is not None})
    if len(present) < 2 or not declared:
        return None, ()
    unordered = "sessions are taken in alphabetical order."
    for path, levels in declared.items():
        if absent := [label for label in present if label not in levels]:
            lacking = f"{path} orders the sessions, but its Levels lack {list_some(absent, 10)}: {unordered}"
            return None, (warn("sessions", lacking, f"List every session: {list_some(present, 30)}."),)
    orders = group_by(declared, lambda path: tuple(one for one in declared[path] if one in present))
    if len(orders) > 1:
        said = [f"{paths[0]} ({', '.join(levels)})" for levels, paths in orders.items()]
        sentence = f"Files order the sessions differently: {' and '.join(said[:2])}: {unordered}"
        return None, (warn("sessions", sentence, "Give the sessions one order in all files."),)
    ((levels, (path, *_)),) = orders.items()
    said_by = f"Levels in {path.name}"
    return Column(name="session", kind="categorical", kind_source=said_by, source=path, levels=levels), ()


def _type_tables(
    study: Study,
    maps: Sequence[FirstLevelMap],
    listing: Path | None,
    judged: Collection[tuple[str, str | None]] | None,
) -> tuple[Table, ...]:
    """Type the columns over the people and sessions that have maps; the ``judged`` of them settle kinds."""
    rows = {(m.subject, m.session) for m in maps if m.session is not None}
    of_rows = None if judged is None else {row for row in rows if {row, (row[0], None)} & {*judged}}
    of_people = None if judged is None else {subject for subject, _ in judged}
    return (
        *study.type_rows("subject", {m.subject for m in maps}, judged=of_people),
        *study.type_rows("session", rows, judged=of_rows),
        *type_factors(maps, study.kinds, listing),
    )


def _say_found(maps: Sequence[FirstLevelMap], sources: Sequence[MapSource]) -> list[Notice]:
    """Say what was found, and where some people have maps of runs or sessions and others have not."""
    contrasts = natural_order({m.contrast for m in maps})
    stat, suffix = maps[0].input_stat, maps[0].suffix
    is_contrast = suffix == "statmap"
    n_maps = counted(len(maps), "effect map" if is_contrast else f"{suffix} map")
    n_people = counted(len({m.subject for m in maps}), "participant")
    what = f"{plural(len(contrasts), 'contrast')} " if is_contrast else ""
    places = (
        f"{one.root.name} ({one.producer or 'made by an unknown program'})"
        if one.table is None
        else f"the table {one.table.name}"
        for one in sources
    )
    found = f"Found {n_maps} of {n_people}, {what}{list_some(contrasts, 20)}, in {'; '.join(places)}."
    said = [note("maps", found)]
    if unsearched := [folder for source in sources for folder in source.unsearched]:
        sentence = f"Not searched for maps, as they cannot be listed: {list_some(unsearched, 10)}."
        said.append(warn("maps", sentence, "Name the dataset of the maps with --derivatives."))
    if stat != "effect":
        mixed = "they mix the size of each effect with its precision"
        said.append(warn("maps", f"The data are {stat} maps (--input-stat {stat}): {mixed}."))
    if not is_contrast and any(m.mask is None for m in maps):
        said.append(note("maps", "Where a map has no mask beside it, an exact 0 counts as not observed."))
    for entity in ("session", "run"):
        people = {
            has: {m.subject for m in maps if (getattr(m, entity) is not None) == has} for has in (False, True)
        }
        if all(people.values()):
            has_it, rare = min(people.items(), key=lambda item: len(item[1]))
            names = list_some((f"sub-{label}" for label in natural_order(rare)), 10)
            sentence = f"Maps {'with' if has_it else 'without'} {entity} stand beside others: {names}."
            fix = "Check that all maps are of one level; some may be pooled from several already."
            said.append(warn("maps", sentence, fix))
    return said


def _say_labels(study: Study, maps: Iterable[FirstLevelMap]) -> list[Notice]:
    """Tell of people without a row, and show the labels of the table beside those of the maps."""
    subjects = {m.subject for m in maps}
    rowless = natural_order(subjects - set(study.listed))
    if not study.listed:
        return [*filter(None, [tell_unlike(subjects)])]
    if not rowless:
        return []
    sentence = f"{len(rowless)} of the people with maps have no row in {study.listing}, so no covariates: "
    names = list_some((f"sub-{label}" for label in rowless), 10)
    why = tell_labels({*study.listed}, subjects, study.listing)
    return [*filter(None, [why]), warn("labels", f"{sentence}{names}.")]


def _say_idle(
    study: Study, maps: Sequence[FirstLevelMap], without: Sequence[FirstLevelMap], n_maps: int
) -> list[Notice]:
    """Say where tables of sessions are not used, and how many of ``n_maps`` are ``without`` variance."""
    said = []
    if study.sessions and all(m.session is None for m in maps):
        names = dict.fromkeys(name for part in study.sessions for name in part.frame.columns)
        columns = list_some(names, 10, none="no covariates")
        unused = f"The tables of sessions ({columns}) are not used: the maps name no session."
        fix = "Where people have one row each, leave session_id out of the table (--phenotype)."
        said.append(note("idle", unused, fix))
    if without and all(m.input_stat == "effect" and m.suffix == "statmap" for m in without):
        share, examples = "None", ""
        if len(without) < n_maps:
            share = str(n_maps - len(without))
            examples = f"; without: {list_some((m.effect.name for m in without), 3)}"
        has = f"{share} of the {n_maps} effect maps of the dataset has a variance map{examples}."
        said.append(note("variance", has))
    return said
