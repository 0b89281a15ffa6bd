"""Time of the estimators beside ordinary least squares and beside R. Prints a Markdown table for each.

Run from the repository's root, with nothing else on the machine if you can::

    OMP_NUM_THREADS=1 python benchmarks/estimators.py              # all of them
    OMP_NUM_THREADS=1 python benchmarks/estimators.py sandwich     # one

235,375 elements of noise, 200 rows of 90 people with up to three visits, 6 contrasts; one process and one
BLAS thread. Times are processor time, the best of several rounds that alternate, so that other work on the
machine disturbs little. R fits some elements one after the other (``Rscript`` with the package that is named;
left out where it is missing).
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from bids_group.config import InferenceSpec
from bids_group.config.estimators import LEAST_SQUARES, MIXED, SANDWICH, WEIGHTED
from bids_group.elements import Elements, Grid
from bids_group.inference.shuffling.engine import Job, build_statistic, run_null
from bids_group.inference.shuffling.partition import build_residuals
from bids_group.inference.shuffling.scheme import choose_scheme
from bids_group.model import fit_group
from bids_group.records import Contrast, Design, Estimator, GroupData, MapStack, RandomTerm

N_PEOPLE, N_ROWS, N_R_ELEMENTS = 90, 200, 20
N_SHUFFLES = 511


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits:
    """The rows that all estimators are timed on, as a table for R, and as a design."""

    table: pd.DataFrame
    matrix: npt.NDArray[np.float64]

    @classmethod
    def draw(cls) -> Visits:
        """Draw 200 of 270 visits of 90 people in two groups."""
        random = np.random.default_rng(0)
        kept = np.sort(random.choice(3 * N_PEOPLE, N_ROWS, replace=False))
        person, visit = np.divmod(kept, 3)
        group, age = (person >= N_PEOPLE // 2) * 1.0, random.normal(size=N_PEOPLE)[person]
        motion = random.normal(size=N_ROWS)
        table = pd.DataFrame({"person": person, "group": group, "visit": visit, "age": age, "motion": motion})
        second, third = visit == 1, visit == 2
        columns = [np.ones(N_ROWS), group, second, third, group * second, group * third, age, motion]
        return cls(table=table, matrix=np.column_stack(columns).astype(np.float64))

    def as_data(self, estimator: Estimator, maps: npt.NDArray[np.float32]) -> GroupData:
        """Put the rows and maps ``(200, n_elements)`` into records, with six t contrasts."""
        labels = tuple(f"row{number:03d}" for number in range(N_ROWS))
        matrix = pd.DataFrame(self.matrix, index=list(labels))
        contrasts = tuple(contrast_of(np.eye(8)[[number]]) for number in range(6))
        design = Design(
            matrix=matrix, contrasts=contrasts, formula="", terms={}, variables=matrix, centering="none",
            centers={}, rank=8, details={},
        )  # fmt: skip
        people = pd.Series(self.table["person"].to_numpy(), index=matrix.index, name="subject")
        return GroupData(
            design=design,
            stack=MapStack(labels=labels, data=maps),
            elements=Elements(
                space=Grid(shape=(maps.shape[1], 1, 1), affine=np.eye(4)), indices=np.arange(maps.shape[1])
            ),
            estimator=estimator,
            blocks=people,
            subjects=people,
        )


def contrast_of(weights: npt.NDArray[np.float64]) -> Contrast:
    """Name a contrast of some rows of weights."""
    test = "t" if len(weights) == 1 else "F"
    return Contrast(name="c", label="", weights=weights, test=test, expression="", words="")  # type: ignore[arg-type]


def draw_maps(n_elements: int) -> npt.NDArray[np.float32]:
    """Noise, one row at a time."""
    random = np.random.default_rng(1)
    maps = np.empty((N_ROWS, n_elements), np.float32)
    for row in maps:
        row[:] = random.standard_normal(n_elements, dtype=np.float32)
    return maps


def fastest(works: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Best processor time of each work, in rounds that alternate; the first round may compile."""
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.process_time()
            work()
            found[name].append(time.process_time() - start)
    return {name: min(times[1:]) for name, times in found.items()}


def seconds_of_r(script: str, table: pd.DataFrame, maps: npt.NDArray[np.float32]) -> float | None:
    """Run an R script that prints the processor seconds per element; None where R or a package is missing.

    It finds ``rows``, whose columns ``y1`` … are elements.
    """
    if shutil.which("Rscript") is None:
        return None
    with TemporaryDirectory() as folder:
        rows = table.assign(**{f"y{k + 1}": maps[:, k] for k in range(N_R_ELEMENTS)})
        rows.to_csv(Path(folder) / "rows.csv", index=False)
        start = f'rows <- read.csv("rows.csv"); n <- {N_R_ELEMENTS}\n'
        end = "\ninvisible(fit(1)); t <- system.time(for (k in 1:n) fit(k)); cat((t[[1]] + t[[2]]) / n)\n"
        (Path(folder) / "time.R").write_text(start + script + end, encoding="utf-8")
        ran = subprocess.run(["Rscript", "time.R"], cwd=folder, capture_output=True, text=True, check=False)
    return float(ran.stdout) if ran.returncode == 0 else None


SANDWICH_IN_R = """
suppressMessages(library(clubSandwich))
fit <- function(k) {
  rows$y <- rows[[paste0("y", k)]]
  own <- lm(y ~ group * factor(visit) + age + motion, rows)
  coef_test(own, vcov = vcovCR(own, rows$person, "CR2"), test = "Satterthwaite")
}
"""


def sandwich(n_elements: int, rounds: int) -> str:
    """Time the sandwich beside least squares and clubSandwich, and its bootstrap beside other shuffles."""
    visits, maps = Visits.draw(), draw_maps(n_elements)
    ols, robust = visits.as_data(LEAST_SQUARES, maps), visits.as_data(SANDWICH, maps)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fit_group(robust, is_two_sided=True)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    works = {
        "least squares": lambda: fit_group(ols, is_two_sided=True, has_effect_sizes=False),
        "sandwich": lambda: fit_group(robust, is_two_sided=True),
    }
    times = fastest(works, rounds)
    in_r = seconds_of_r(SANDWICH_IN_R, visits.table, maps)
    lines = [
        f"| sandwich, {n_elements:,} elements, 6 contrasts | seconds | ratio |",
        "|---|---|---|",
        f"| ordinary least squares | {times['least squares']:.2f} | |",
        f"| CR2, Satterthwaite's dof | {times['sandwich']:.2f} "
        f"| {times['sandwich'] / times['least squares']:.2f} times least squares |",
    ]
    if in_r is not None:
        whole = in_r * n_elements
        lines.append(
            f"| clubSandwich, {1e3 * in_r:.0f} ms an element | {whole:,.0f} "
            f"| {whole / times['sandwich']:,.0f} times |"
        )
    for test, weights in (("t", np.eye(8)[[1]]), ("F of two rows", np.eye(8)[[4, 5]])):
        shuffle, flip, draw = shuffles(visits, maps[:, : 24 * 1024], contrast_of(weights), rounds)
        lines.append(f"| {test}: Freedman–Lane, a permutation of rows | {shuffle * n_elements:.4f} | |")
        lines.append(f"| {test}: Freedman–Lane, flips of people | {flip * n_elements:.4f} | |")
        ratio = f"{draw / shuffle:.2f} and {draw / flip:.2f} times"
        lines.append(f"| {test}: a draw of the wild bootstrap | {draw * n_elements:.4f} | {ratio} |")
    return "\n".join(lines) + f"\n\nMemory above the maps: {memory:.0f} MB."


def shuffles(
    visits: Visits, maps: npt.NDArray[np.float32], contrast: Contrast, rounds: int
) -> tuple[float, float, float]:
    """Seconds of a shuffle, a flip of people and a draw of the wild bootstrap, for each element."""
    jobs = []
    for estimator, has_blocks, kind in (
        (LEAST_SQUARES, False, "auto"), (LEAST_SQUARES, True, "flips"), (SANDWICH, True, "auto")
    ):  # fmt: skip
        data = visits.as_data(estimator, maps)
        data = replace(data, design=replace(data.design, contrasts=(contrast,)))
        spec = InferenceSpec(n_permutations=N_SHUFFLES, shuffle=kind)  # type: ignore[arg-type]
        scheme = choose_scheme(
            data.design, contrast, spec, blocks=data.blocks if has_blocks else None, variance_groups=None,
            estimator=estimator,
        )  # fmt: skip
        jobs.append(
            Job(
                scheme=scheme,
                statistic=build_statistic(scheme, contrast.test, is_two_sided=True),
                residuals=build_residuals(maps, scheme.partition),
            )
        )
    times = fastest({str(number): (lambda job=job: run_null(job)) for number, job in enumerate(jobs)}, rounds)
    per_element = maps.shape[1] * (N_SHUFFLES + 1)
    first, second, third = (seconds / per_element for seconds in times.values())
    return first, second, third


NESTED = "(1 | family/person)"
MIXED_IN_R = """
suppressMessages(library(lmerTest))
fit <- function(k) {{
  rows$y <- rows[[paste0("y", k)]]
  own <- lmer(y ~ group * factor(visit) + age + motion + {bars}, rows)
  coef(summary(own))
}}
"""


def mixed(n_elements: int, rounds: int) -> str:
    """Time mixed models beside lmerTest: intercepts, of families too, and slopes at even and uneven times."""
    visits, maps = Visits.draw(), draw_maps(n_elements)
    person = visits.table["person"].to_numpy()
    maps += np.random.default_rng(2).standard_normal((N_PEOPLE, n_elements), dtype=np.float32)[person]
    even = visits.table["visit"].to_numpy(dtype=np.float64)
    uneven = even + np.random.default_rng(3).uniform(-0.3, 0.3, N_ROWS)
    lines = [f"| mixed, {n_elements:,} elements, 6 contrasts | seconds | lmerTest, ms an element | ratio |"]
    lines.append("|---|---|---|---|")
    for title, times, term, share in (
        ("an intercept", None, "1", 1), ("intercept and slope", even, "1 + time", 1),
        ("intercept and slope, uneven times", uneven, "1 + time", 8),
        ("30 families of people", None, NESTED, 1),
    ):  # fmt: skip
        data = visits.as_data(MIXED, maps[:, : n_elements // share])
        columns = {"Intercept": np.ones(N_ROWS)} | ({} if times is None else {"time": times - times.mean()})
        effects = pd.DataFrame(columns, index=data.design.matrix.index)
        groups = pd.Series(person, index=effects.index)
        random = RandomTerm(text=f"({term} | subject)", group="subject", groups=groups, effects=effects)
        if term == NESTED:
            random = replace(random, outer="family", outer_groups=groups // 3)
        data = replace(data, design=replace(data.design, random=random), blocks=None)
        seconds = (
            fastest({title: lambda data=data: fit_group(data, is_two_sided=True)}, rounds)[title] * share
        )
        table = visits.table.assign(time=0.0 if times is None else times)
        bars = term if term == NESTED else f"({term} | person)"
        in_r = seconds_of_r(MIXED_IN_R.format(bars=bars), table.assign(family=person // 3), maps)
        ratio = "" if in_r is None else f"{1e3 * in_r:.0f} | {in_r * n_elements / seconds:,.0f} times"
        lines.append(f"| {title} | {seconds:.2f} | {ratio or ' | '} |")
    return "\n".join(lines)


WEIGHTED_IN_R = """
suppressMessages(library(metafor))
fit <- function(k) {
  rows$y <- rows[[paste0("y", k)]]
  rma(y, v, mods = ~ group + age + motion, data = rows, method = "REML", test = "knha",
      control = list(maxiter = 1000))
}
"""


def weighted(n_elements: int, rounds: int) -> str:
    """Time known variances beside metafor: 90 people with one row each, 6 contrasts."""
    random = np.random.default_rng(4)
    group, age, motion = np.repeat([0.0, 1.0], N_PEOPLE // 2), *random.normal(size=(2, N_PEOPLE))
    matrix = np.column_stack([np.ones(N_PEOPLE), group, age, motion])
    labels = tuple(f"sub-{k:02d}" for k in range(N_PEOPLE))
    frame = pd.DataFrame(matrix, index=list(labels), columns=["one", "group", "age", "motion"])
    weights = [*(np.eye(4)[[k]] for k in range(4)), np.array([[0, 0, 1.0, -1]]), np.eye(4)[1:]]
    design = Design(
        matrix=frame, contrasts=tuple(map(contrast_of, weights)), formula="", terms={}, variables=frame,
        centering="none", centers={}, rank=4, details={},
    )  # fmt: skip
    maps, variances = np.empty((2, N_PEOPLE, n_elements), np.float32)
    for values, known in zip(maps, variances, strict=True):
        known[:] = random.gamma(3, 0.5, n_elements)
        values[:] = random.standard_normal(n_elements, dtype=np.float32) * np.sqrt(known + 0.5)
    grid = Grid(shape=(n_elements, 1, 1), affine=np.eye(4))
    data = GroupData(
        design=design,
        stack=MapStack(labels=labels, data=maps, variance=variances),
        elements=Elements(space=grid, indices=np.arange(n_elements)),
        estimator=WEIGHTED,
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fit_group(data, is_two_sided=True)
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    own = fastest({"weighted": lambda: fit_group(data, is_two_sided=True)}, rounds)["weighted"]
    lines = [
        f"| known variances, {n_elements:,} elements, 90 people, 6 contrasts | seconds | ratio |",
        "|---|---|---|",
        f"| REML, Knapp–Hartung | {own:.2f} | |",
    ]
    in_r = seconds_of_r(WEIGHTED_IN_R, frame.assign(v=variances[:, 0]), maps)
    if in_r is not None:
        whole = in_r * n_elements
        lines.append(f"| metafor, {1e3 * in_r:.0f} ms an element | {whole:,.0f} | {whole / own:,.0f} times |")
    return "\n".join(lines) + f"\n\nMemory above the maps: {memory:.0f} MB."


PARTS: Mapping[str, Callable[[int, int], str]] = {"sandwich": sandwich, "mixed": mixed, "weighted": weighted}


def main() -> None:
    """Time what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", default=list(PARTS), choices=[*PARTS, []])
    parser.add_argument("--n-elements", type=int, default=235_375)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    with threadpool_limits(1):
        for name in given.parts:
            print(f"## {name}\n\n{PARTS[name](given.n_elements, given.rounds)}\n", flush=True)


if __name__ == "__main__":
    main()
