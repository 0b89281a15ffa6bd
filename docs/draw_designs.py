"""Draw the designs of ``designs.md`` and write its tables of contrasts anew: ``python docs/draw_designs.py``.

The page is its own source: every command on it is read as the program reads it, and turned into a design for
the people of ``designs/participants.tsv``.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bids_group.cli.parser import read_arguments, translate
from bids_group.config import RunConfig
from bids_group.config.estimators import ESTIMATORS, LEAST_SQUARES, MIXED, Estimator
from bids_group.config.stats_model import split_random
from bids_group.model import build_design
from bids_group.records import Contrast, Design, FirstLevelMap, GroupAnalysis, Observation

DOCS = Path(__file__).parent
PAGE = DOCS / "designs.md"
LEVELS = {
    "group": ("control", "patient"),
    "diagnosis": ("control", "anxiety", "depression"),
    "sex": ("F", "M"),
    "site": ("A", "B", "C"),
}
_SCENARIO = re.compile(
    r"```bash\n(?P<command>bids-group .*?)```\n(?P<between>.*?)<!-- contrasts (?P<name>\w+) -->\n"
    r"(?P<table>.*?)<!-- end -->",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A worked design of the page: its name, its command and its table of contrasts as it stands there."""

    name: str
    command: str
    table: str


def read_scenarios(page: str) -> tuple[Scenario, ...]:
    """Find the commands of the page and the tables that belong to them."""
    return tuple(
        Scenario(name=match["name"], command=match["command"], table=match["table"])
        for match in _SCENARIO.finditer(page)
    )


def build_scenario(scenario: Scenario) -> Design:
    """Build the design of a command for the people of the page."""
    config = read_command(scenario.command)
    rows = read_rows(config)
    observations = tuple(
        Observation(
            subject=row["subject"], session=row.get("session"), contrast="faces", sources=(_map(row),)
        )
        for row in rows.to_dict("records")
    )
    analysis = GroupAnalysis(
        first_level_contrast="faces",
        observations=observations,
        rows=rows.set_axis([row.label for row in observations], axis=0),
        formula=config.analysis.formula,
        contrasts=config.analysis.contrasts,
        has_default_contrasts=not config.analysis.contrasts,
        centering=config.analysis.centering,
        estimator=_estimator(config),
    )
    return build_design(analysis)


def _estimator(config: RunConfig) -> Estimator:
    by_default = MIXED if split_random(config.analysis.formula)[1] else LEAST_SQUARES
    return ESTIMATORS.get(config.analysis.estimator, by_default)


def read_command(command: str) -> RunConfig:
    """Read a command line as the program does."""
    words = shlex.split(command.replace("\\\n", " "))
    return translate(read_arguments(words[1:]))


def read_rows(config: RunConfig) -> pd.DataFrame:
    """Read one row per person, or per session with ``--pooling none``."""
    people = pd.read_csv(DOCS / "designs" / "participants.tsv", sep="\t")
    people["participant_id"] = people["participant_id"].str.removeprefix("sub-")
    for name, levels in LEVELS.items():
        people[name] = pd.Categorical(people[name], categories=list(levels))
    if config.analysis.pooling != "none":
        return people.rename(columns={"participant_id": "subject"})
    sessions = pd.read_csv(DOCS / "designs" / "sessions.tsv", sep="\t", dtype={"session_id": str})
    sessions["participant_id"] = sessions["participant_id"].str.removeprefix("sub-")
    sessions["session_id"] = sessions["session_id"].str.removeprefix("ses-")
    wanted = config.selection.session_labels or tuple(sessions["session_id"].unique())
    rows = sessions[sessions["session_id"].isin(wanted)].merge(people, on="participant_id")
    return rows.rename(columns={"participant_id": "subject", "session_id": "session"})


def _map(row: dict[str, str]) -> FirstLevelMap:
    path = Path(f"sub-{row['subject']}_contrast-faces_stat-effect_statmap.nii.gz")
    return FirstLevelMap(subject=row["subject"], contrast="faces", effect=path, dataset=Path())


def tabulate(design: Design) -> str:
    """Write the contrasts of a design as a table: name, test, words, weights."""
    lines = ["| contrast | test | what it is | weights |", "|---|---|---|---|"]
    for contrast in design.contrasts:
        words = contrast.words.replace("|", "\\|")
        lines.append(f"| `{contrast.name}` | {contrast.test} | {words} | {_weights(contrast, design)} |")
    return "\n".join(lines) + "\n"


def _weights(contrast: Contrast, design: Design) -> str:
    rows = [_say_row(weights, design) for weights in contrast.weights]
    return "<br>".join(rows)


def _say_row(weights: np.ndarray, design: Design) -> str:
    said = [
        f"{weight:.3g} · `{column}`"
        for weight, column in zip(weights, design.matrix, strict=True)
        if abs(weight) > 1e-12
    ]
    n_more = len(said) - 6
    return " + ".join(said[:6]).replace("+ -", "− ") + (f" and {n_more} more" if n_more > 0 else "")


def draw(design: Design, path: Path) -> None:
    """Draw the design matrix, each column in units of its largest value, and the weights below."""
    matrix = design.matrix.to_numpy()
    weights = np.vstack([contrast.weights for contrast in design.contrasts])
    names = [
        contrast.name if len(contrast.weights) == 1 else f"{contrast.name} ({row + 1})"
        for contrast in design.contrasts
        for row in range(len(contrast.weights))
    ]
    with mpl.rc_context({"font.size": 8, "svg.hashsalt": "designs"}):
        figure = _draw(matrix, weights, names, list(design.matrix.columns))
        figure.savefig(path, dpi=80, metadata={"Software": None})


def _draw(matrix: np.ndarray, weights: np.ndarray, names: list[str], columns: list[str]) -> Figure:
    n_rows, n_columns = matrix.shape
    width = 2.6 + 0.34 * n_columns
    heights = (min(0.11 * n_rows, 5), 0.24 * len(names))
    figure = Figure(figsize=(width, 1.5 + sum(heights)), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=heights, sharex=True)
    for axes, numbers, limit in ((above, matrix, np.abs(matrix).max(axis=0)), (below, weights, None)):
        scale = np.abs(numbers).max(axis=1, keepdims=True) if limit is None else limit
        shown = numbers / np.where(scale == 0, 1, scale)
        axes.imshow(shown, cmap="RdBu_r", vmin=-1.7, vmax=1.7, aspect="auto", interpolation="nearest")
    above.set_xticks(range(n_columns), columns, rotation=90)
    above.tick_params(labelbottom=False, labeltop=True, bottom=False, top=True)
    above.set_yticks([])
    above.set_ylabel(f"{n_rows} rows")
    below.set_yticks(range(len(names)), [name if len(name) < 30 else name[:29] + "…" for name in names])
    below.tick_params(bottom=False, labelbottom=False)
    if n_columns <= 14:
        for (row, column), weight in np.ndenumerate(weights):
            text = "" if abs(weight) < 1e-12 else f"{weight:.2g}"
            below.text(column, row, text, ha="center", va="center", fontsize=7)
    return figure


def main() -> None:
    """Write the tables and the pictures anew."""
    page = PAGE.read_text()
    for scenario in read_scenarios(page):
        design = build_scenario(scenario)
        start = f"<!-- contrasts {scenario.name} -->\n"
        page = page.replace(start + scenario.table, start + tabulate(design))
        draw(design, DOCS / "images" / f"design-{scenario.name}.png")
    PAGE.write_text(page)


if __name__ == "__main__":
    main()
