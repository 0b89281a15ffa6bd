"""Writing a demo dataset: a BIDS dataset with tables, and a derivative dataset of first-level maps."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_group import __version__
from bids_group.demo.kinds import COLUMNS, CONTRAST, KINDS, LABEL, TASK, DemoTruth, Irregularity, Kind
from bids_group.errors import OutputError, UsageError
from bids_group.words import os_failure

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_WORDS = {
    "missing run": "has no map of session {session}, run {run}",
    "missing value": "has n/a for {covariate}",
    "reduced coverage": "the map of session {session}, run {run} does not cover the brain below z = −20 mm",
    "no maps": "stands in participants.tsv and has no maps",
}
_N_TRIALS = 8
_RESPONSES = {
    "TaskName": TASK,
    "trial_type": {"Description": "What was shown", "Levels": {"face": "a face", "house": "a house"}},
    "response_time": {"Description": "Time from the picture to the button press", "Units": "s"},
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

    ``output_dir`` does not exist yet, or is empty; ``kind`` is one of `KINDS`. ``size_mm`` is the edge of a
    voxel, ``n_people`` counts people with maps; default: those of the kind (irregular people beyond are left
    out).

    Raises
    ------
    UsageError
        There is no such kind.
    OutputError
        ``output_dir`` holds something already, or cannot be written.
    """
    import numpy as np

    from bids_group.demo.effects import build_grid, build_signal, draw_people
    from bids_group.demo.maps import plan_maps, write_maps

    recipe = _find_kind(kind, n_people)
    rng = np.random.default_rng(seed)
    people = draw_people(rng, recipe)
    subjects = tuple(people.index[: recipe.n_people])
    signal = build_signal(recipe, people, build_grid(size_mm or recipe.size_mm))
    plans = tuple(plan_maps(recipe, subjects))
    root = output_dir.absolute()
    truth = DemoTruth(
        kind=kind,
        seed=seed,
        bids_dir=root,
        derivative_dir=root / "derivatives" / "firstlevel",
        first_level_contrast=CONTRAST if recipe.is_contrast else f"{LABEL}{recipe.suffix.capitalize()}",
        space=recipe.space or "",
        res=f"{size_mm or recipe.size_mm:g}mm".replace(".", "p"),
        shape=signal.grid.shape,
        n_mask_voxels=int(signal.mask.sum()),
        subjects=subjects,
        n_rows=len(people),
        n_maps=len(plans),
        places=recipe.places,
        irregular=tuple(_name_irregular(recipe, people)),
        options=recipe.options,
        true_centers=signal.centers,
        between_sd=recipe.between_sd,
    )
    with _staged(root) as new:
        there = replace(truth, bids_dir=new, derivative_dir=new / "derivatives" / "firstlevel")
        _write_tables(there, recipe, people, rng)
        write_maps(there, recipe, signal, plans, rng)
    return truth


def _find_kind(name: str, n_people: int | None) -> Kind:
    if name not in KINDS:
        raise UsageError(f"There is no kind of demo named '{name}'.", expected="one of " + ", ".join(KINDS))
    recipe = KINDS[name]
    if n_people is None:
        return recipe
    moved = [(what, n_people if what == "no maps" else at) for what, at in recipe.irregular]
    irregular = tuple((what, at) for what, at in moved if what == "no maps" or at < n_people)
    return replace(recipe, n_people=n_people, irregular=irregular)


@contextmanager
def _staged(root: Path) -> Iterator[Path]:
    """Give a folder in ``root`` whose content is moved up when it is whole.

    What makes it a dataset comes last: a demo that was cut short is none.
    """
    from bids_group.output.disk.lock import part_of, sweep_parts

    try:
        root.mkdir(parents=True, exist_ok=True)
        is_empty = all(one.name.startswith(".part-") for one in root.iterdir())
    except OSError as error:
        raise OutputError(f"The folder {root} cannot be made.", found=error.strerror) from error
    if not is_empty:
        raise OutputError(
            f"The folder {root} is not empty.",
            expected="a new or empty folder",
            fix="Name another folder, or remove this one.",
        )
    new = part_of(root / "demo")
    try:
        sweep_parts(root)
        new.mkdir()
        yield new
        for one in sorted(new.iterdir(), key=lambda path: path.name == "dataset_description.json"):
            one.rename(root / one.name)
    except OSError as error:
        raise os_failure(error, root) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _name_irregular(recipe: Kind, people: pd.DataFrame) -> Iterator[Irregularity]:
    session, run = (recipe.sessions or ("",))[-1], (recipe.runs or ("",))[-1]
    for what, position in recipe.irregular:
        words = _WORDS[what].format(session=session, run=run, covariate=recipe.covariates[-1])
        yield Irregularity(subject=people.index[position], what=what, words=words)


def _write_tables(truth: DemoTruth, recipe: Kind, people: pd.DataFrame, rng: np.random.Generator) -> None:
    """Write everything but maps: descriptions, participants, a few responses per person, and the truth.

    BIDS wants a folder for each person in participants.tsv: hence the responses.
    """
    import numpy as np
    import pandas as pd

    from bids_group.output.disk.writing import write_json, write_table, write_text

    root, maps = truth.bids_dir, "First-level maps" if recipe.is_contrast else "Maps of grey matter"
    generator = {"Name": "firstlevel", "Version": __version__, "Description": "Simulated by bids-group-demo"}
    own = {"Name": "bids-group-demo", "Version": __version__}
    for folder, name, type_, made_by in (
        (root, f"bids-group demo, {truth.kind}", "raw", own),
        (truth.derivative_dir, maps, "derivative", generator),
    ):
        about = {"Name": name, "BIDSVersion": "1.10.0", "DatasetType": type_, "License": "CC0"}
        write_json(folder / "dataset_description.json", {**about, "GeneratedBy": [made_by]})
    write_text(truth.derivative_dir / ".bidsignore", "*_statmap.*\n")
    _write_participants(root, recipe, people)
    for subject in people.index:
        for session in recipe.sessions or (None,):
            parts = [f"sub-{subject}"] + ([f"ses-{session}"] if session else [])
            path = root.joinpath(*parts, "beh", "_".join([*parts, f"task-{TASK}", "beh.tsv"]))
            shown = np.repeat(["face", "house"], _N_TRIALS // 2)
            times = np.round(0.35 + 0.4 * rng.random(_N_TRIALS), 3)
            write_table(path, pd.DataFrame({"trial_type": shown, "response_time": times}))
    write_json(root / f"task-{TASK}_beh.json", _RESPONSES)
    write_text(root / "README.md", fill_template("README.md.j2", truth=truth, recipe=recipe) + "\n")
    write_json(root / "code" / "truth.json", _truth_of(truth))


def fill_template(name: str, **values: Any) -> str:
    """Fill a template of this package."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    loader = PackageLoader("bids_group.demo")
    pages = Environment(loader=loader, autoescape=select_autoescape(), trim_blocks=True)
    return pages.get_template(name).render(values)


def _write_participants(root: Path, recipe: Kind, people: pd.DataFrame) -> None:
    """Write participants.tsv and .json, which names of a factor the levels that this kind has."""
    from bids_group.output.disk.writing import write_json, write_table

    table = people.astype(str)
    for what, position in recipe.irregular:
        if what == "missing value":
            table.loc[table.index[position], recipe.covariates[-1]] = "n/a"
    table.insert(0, "participant_id", [f"sub-{label}" for label in table.index])
    write_table(root / "participants.tsv", table)
    described: dict[str, Any] = {name: dict(COLUMNS[name]) for name in people.columns}
    for name, levels in recipe.factors:
        described[name]["Levels"] = {one: described[name]["Levels"][one] for one in levels}
    write_json(root / "participants.json", described)


def _truth_of(truth: DemoTruth) -> dict[str, Any]:
    record = asdict(truth)
    del record["bids_dir"]
    record["derivative_dir"] = truth.derivative_dir.relative_to(truth.bids_dir).as_posix()
    for place, written in zip(truth.places, record["places"], strict=True):
        written["size_mm3"] = round(place.size_mm3, 1)
    return record
