"""The cohort: from folders and tables to the maps of an analysis and the people they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from bids_group.bids.cells_of_design import find_cell_factors, type_factors
from bids_group.bids.content import check_presence, check_twins, check_volumes, read_headers
from bids_group.bids.covariates import Study, read_study
from bids_group.bids.datasets import Source, check_bids_dir, find_sources
from bids_group.bids.design_matrix import read_design_matrix, settle_tables
from bids_group.bids.exclusions import exclude_leftovers, exclude_mapless, sort_exclusions
from bids_group.bids.findings import describe_findings
from bids_group.bids.index import index_dataset
from bids_group.bids.maps_table import read_maps_table
from bids_group.bids.screening import screen
from bids_group.bids.selection import (
    Choice,
    check_listed,
    check_one_of_each,
    check_rows,
    select_people,
    select_results,
)
from bids_group.bids.sessions import order_sessions
from bids_group.bids.statistics import check_statistics
from bids_group.bids.statmaps import Candidate, Found, pair_statmaps
from bids_group.bids.suitability import (
    check_effects,
    check_found,
    check_producers,
    check_someone_left,
    leave_many_volumes,
    refuse_surfaces,
)
from bids_group.bids.zeros import tell_zeros
from bids_group.config import Inputs, Selection
from bids_group.errors import UsageError
from bids_group.records import Cohort, FirstLevelMap, Table


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
    matrix = None if inputs.design_matrix is None else read_design_matrix(inputs.design_matrix)
    sources, found = _find_maps(inputs, selection, output_dir)
    check_found(found, sources, selection.input_suffix)
    check_effects(found, selection)
    has_sessions = any(candidate.map.session is not None for candidate in found.candidates)
    factors = {name for candidate in found.candidates for name, _ in candidate.map.factors}
    study = read_study(inputs, _subjects(found), has_sessions=has_sessions, further=factors)
    in_matrix = () if matrix is None else matrix.frame.index.get_level_values(0)
    everyone = sorted({*study.listed, *_subjects(found), *in_matrix})

    choice = Choice(candidates=list(found.candidates), notices=[*study.notices, *found.notices])
    select_results(choice, selection)
    in_dataset = tuple(choice.candidates)
    select_people(choice, selection, everyone)
    check_someone_left(choice, selection)
    if selection.exclude_where is not None:
        screen(choice, selection.exclude_where, study, inputs.bids_dir)
        check_someone_left(choice, selection)
    _check_maps(choice, selection, is_table=inputs.maps_table is not None)

    maps = _sort_maps(choice.candidates)
    labels = [m.session for m in maps if m.session is not None]
    sessions, order_notices = order_sessions(labels, study.session_levels)
    contrasts = {m.contrast for m in maps}
    without_variance = [c.map for c in in_dataset if c.map.contrast in contrasts and c.map.variance is None]
    exclusions = [*choice.exclusions, *exclude_leftovers(found.leftovers)]
    exclusions.extend(exclude_mapless(maps, everyone, exclusions))
    return Cohort(
        maps=maps,
        tables=settle_tables(_type_tables(study, maps, inputs.maps_table), matrix),
        cell_factors=find_cell_factors(maps),
        everyone=tuple(everyone),
        exclusions=sort_exclusions(exclusions),
        notices=(
            *choice.notices,
            *order_notices,
            *describe_findings(maps, sources, study, in_dataset, without_variance),
        ),
        dataset_names={"raw": inputs.bids_dir, **{source.name: source.root for source in sources}},
        has_variance_everywhere=not without_variance,
        sessions=sessions,
        design_matrix=matrix,
    )


def _check_maps(choice: Choice, selection: Selection, *, is_table: bool) -> None:
    """Check what is selected: first names, then whether the files are here, then what is in them."""
    check_one_of_each(choice.candidates)
    refuse_surfaces(choice.candidates)
    check_rows(choice.candidates)
    check_presence(candidate.map for candidate in choice.candidates)
    headers = read_headers(candidate.map for candidate in choice.candidates)
    leave_many_volumes(choice, selection, headers)
    maps = [candidate.map for candidate in choice.candidates]
    check_volumes(maps, headers)
    choice.notices.extend(check_statistics(maps, headers, selection, is_name_free=is_table))
    check_producers(maps)
    choice.notices.extend(check_twins(maps))
    choice.notices.extend(tell_zeros(maps, headers))


def _find_maps(inputs: Inputs, selection: Selection, output_dir: Path) -> tuple[tuple[Source, ...], Found]:
    stat = selection.input_stat or "effect"
    if inputs.maps_table is not None:
        if inputs.derivatives:
            raise UsageError("Maps are named by --maps and by --derivatives.", fix="Use one of them.")
        source, found = read_maps_table(inputs.maps_table, stat)
        return (source,), _with_suffix(found, selection.input_suffix)
    sources = find_sources(inputs, output_dir, selection.input_suffix)
    parts = []
    for source in sources:
        index = index_dataset(source.root)
        check_listed(index.unlisted, selection)
        parts.append(pair_statmaps(source, index.files, stat, selection.input_suffix))
    return sources, Found(
        candidates=tuple(candidate for part in parts for candidate in part.candidates),
        leftovers=tuple(leftover for part in parts for leftover in part.leftovers),
    )


def _with_suffix(found: Found, suffix: str) -> Found:
    """Say of the maps of a table, whose names say nothing, what they are."""
    candidates = (replace(one, map=replace(one.map, suffix=suffix)) for one in found.candidates)
    return replace(found, candidates=tuple(candidates))


def _subjects(found: Found) -> set[str]:
    return {c.map.subject for c in found.candidates} | {leftover.subject for leftover in found.leftovers}


def _sort_maps(candidates: Iterable[Candidate]) -> tuple[FirstLevelMap, ...]:
    """Sort by contrast, person, session and run: the order of files on disk does not matter."""

    def key(m: FirstLevelMap) -> tuple[str, str, str, int, str]:
        number = int(m.run) if m.run and m.run.isdigit() else -1
        return m.contrast, m.subject, m.session or "", number, m.run or ""

    return tuple(sorted((candidate.map for candidate in candidates), key=key))


def _type_tables(study: Study, maps: Sequence[FirstLevelMap], listing: Path | None) -> tuple[Table, ...]:
    """Type the columns over the people and sessions that have maps: nobody else settles a kind."""
    visits = study.visits((m.subject, m.session) for m in maps if m.session is not None)
    people = study.people({m.subject for m in maps})
    of_maps = type_factors(maps, study.typing, listing)
    return tuple(table for table in (people, visits, of_maps) if table is not None)
