"""Writing a demo dataset: a BIDS dataset with tables, and a derivative dataset of first-level maps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bids_group.demo.kinds import CONTRAST, KINDS, LABEL, SPACE, DemoTruth, Irregularity, Kind
from bids_group.errors import OutputError, UsageError

if TYPE_CHECKING:
    from bids_group.demo.people import People

_WORDS = {
    "missing run": "has no map of session {session}, run {run}",
    "missing value": "has n/a for {covariate}",
    "reduced coverage": "the map of session {session}, run {run} does not cover the brain below z = −20 mm",
    "no maps": "stands in participants.tsv and has no maps",
}


def write_demo(
    output_dir: Path,
    *,
    kind: str = "slopes",
    seed: int = 0,
    size_mm: float | None = None,
    n_people: int | None = None,
) -> DemoTruth:
    """Write a BIDS dataset with ``derivatives/firstlevel`` in it, and return what is true in it.

    The same arguments write the same bytes. Maps are float32, 0 outside the brain and where a map does not
    cover it. A map's effect is the person's true effect plus smooth noise whose variance at each voxel is the
    value of its variance map; true effects differ between people with the SD of the kind.

    Parameters
    ----------
    output_dir
        A folder that does not exist yet, or is empty.
    kind
        One of `KINDS`.
    seed
        Of the random generator.
    size_mm
        Edge of a voxel; default: that of the kind.
    n_people
        People with maps; default: that of the kind. Irregular people beyond it are left out.

    Raises
    ------
    UsageError
        There is no such kind.
    OutputError
        ``output_dir`` holds something already, or cannot be written.
    """
    import numpy as np

    from bids_group.demo.effects import build_grid, build_signal
    from bids_group.demo.maps import plan_maps, write_maps
    from bids_group.demo.people import draw_people
    from bids_group.demo.tables import write_tables

    recipe = _find_kind(kind, n_people)
    rng = np.random.default_rng(seed)
    people = draw_people(rng, recipe)
    signal = build_signal(recipe, people, build_grid(size_mm or recipe.size_mm))
    res = f"{size_mm or recipe.size_mm:g}mm".replace(".", "p")
    plans = tuple(plan_maps(recipe, people.labels))
    root = output_dir.absolute()
    truth = DemoTruth(
        kind=kind,
        seed=seed,
        bids_dir=root,
        derivative_dir=root / "derivatives" / "firstlevel",
        first_level_contrast=CONTRAST
        if recipe.suffix == "statmap"
        else f"{LABEL}{recipe.suffix.capitalize()}",
        space=SPACE,
        res=res,
        shape=signal.grid.shape,
        n_mask_voxels=int(signal.mask.sum()),
        subjects=people.labels,
        n_rows=len(people.table),
        n_maps=len(plans),
        places=recipe.places,
        irregular=tuple(_name_irregular(recipe, people)),
        options=recipe.options,
        true_centers=signal.centers,
        between_sd=recipe.between_sd,
    )
    _create(root)
    try:
        write_tables(truth, recipe, people, rng)
        write_maps(truth, signal, plans, rng)
    except OSError as error:
        raise OutputError(f"The demo cannot be written to {root}.", found=error.strerror) from error
    return truth


def _find_kind(name: str, n_people: int | None) -> Kind:
    if name not in KINDS:
        raise UsageError(f"There is no kind of demo named '{name}'.", expected="one of " + ", ".join(KINDS))
    recipe = KINDS[name]
    if n_people is None:
        return recipe
    irregular = tuple(
        (what, n_people if what == "no maps" else position)
        for what, position in recipe.irregular
        if what == "no maps" or position < n_people
    )
    return replace(recipe, n_people=n_people, irregular=irregular)


def _create(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
        is_empty = not any(root.iterdir())
    except OSError as error:
        raise OutputError(f"The folder {root} cannot be made.", found=error.strerror) from error
    if not is_empty:
        raise OutputError(
            f"The folder {root} is not empty.",
            expected="a new or empty folder",
            fix="Name another folder, or remove this one.",
        )


def _name_irregular(recipe: Kind, people: People) -> Iterator[Irregularity]:
    session, run = (recipe.sessions or ("",))[-1], (recipe.runs or ("",))[-1]
    covariate = recipe.covariates[-1]
    for what, position in recipe.irregular:
        words = _WORDS[what].format(session=session, run=run, covariate=covariate)
        yield Irregularity(subject=people.table.index[position], what=what, words=words)
