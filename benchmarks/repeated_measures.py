"""Do several rows per person keep their promise? Writes docs/repeated_measures.md.

Run from the repository's root::

    python benchmarks/repeated_measures.py                      # everything: 15 minutes on one core
    python benchmarks/repeated_measures.py --n-datasets 50      # a quick look

Errors under the null of the sandwich, of its wild cluster bootstrap, and of a mixed model with a random
intercept: two groups of people (5 : 7) with three visits, and people who differ in level and in slope.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binom
from scipy.stats import f as f_distribution
from threadpoolctl import threadpool_limits

from bids_group.config import InferenceSpec
from bids_group.config.estimators import MIXED, SANDWICH
from bids_group.elements import Elements, Grid
from bids_group.inference.shuffling.engine import (
    VOXELWISE_BATCH,
    Job,
    Scratch,
    build_statistic,
    do_shuffles,
    spell_out,
)
from bids_group.inference.shuffling.partition import build_residuals
from bids_group.inference.shuffling.scheme import choose_scheme
from bids_group.model.fitting import mixed, sandwich
from bids_group.records import Contrast, Design, GroupData, MapStack, RandomTerm

Doubles = npt.NDArray[np.float64]

N_ELEMENTS, N_DRAWS, ALPHA = 200, VOXELWISE_BATCH - 1, 0.05
N_VISITS = 3
CONTRASTS = {
    "group": [[0, 1, 0, 0, 1 / 3, 1 / 3]],
    "change": [[0, 0, 0, 1, 0, 0.5]],
    "group × visit": [[0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1]],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A world without effects.

    ``ratio``: variance of the smaller group beside that of the larger; ``slope_sd``: of people's slopes,
    beside levels and noise of unit variance; ``loss``: how rows go missing, 8 % of them ``at random``, or
    people ``by level``: 30 % of them, after the first visit and the more often the higher they were then.
    """

    n_people: int
    ratio: float = 1.0
    slope_sd: float = 0.5
    loss: str = "at random"

    @property
    def name(self) -> str:
        """What the setting is called in the table."""
        slopes = "people's slopes differ" if self.slope_sd else "one slope"
        return f"{self.n_people} people, {self.ratio:g} : 1, {slopes}, {self.loss}"


def settings() -> Iterator[Setting]:
    """Yield the worlds of the table."""
    for n_people in (12, 20, 40):
        for ratio in (1.0, 2.0):
            yield Setting(n_people=n_people, ratio=ratio)
    for n_people in (20, 40):
        yield Setting(n_people=n_people, slope_sd=0.0)
    for n_people in (20, 40, 100):
        yield Setting(n_people=n_people, slope_sd=0.0, loss="by level")


def draw(setting: Setting, random: np.random.Generator) -> GroupData:
    """Draw rows and maps; elements are independent but for the first visit where drop-out depends on it."""
    n, shape = setting.n_people, (N_VISITS, N_ELEMENTS)
    is_large = np.arange(n) >= round(n * 5 / 12)
    shared = random.normal(size=n)
    level = random.normal(size=(n, N_ELEMENTS)) if setting.loss == "at random" else shared[:, None]
    slope = setting.slope_sd * random.normal(size=(n, N_ELEMENTS))
    noise = random.normal(size=(n, *shape))
    if setting.loss == "by level":
        noise[:, 0] = noise[:, 0, :1]
    maps = level[:, None] + slope[:, None] * np.arange(N_VISITS)[:, None] + noise
    maps *= np.where(is_large, 1.0, np.sqrt(setting.ratio))[:, None, None]
    kept = random.random((n, N_VISITS)) >= 0.08
    if setting.loss == "by level":
        leaves = random.random(n) < 1 / (1 + np.exp(2.4 - 3 * maps[:, 0, 0]))  # 30 % of people
        last = np.where(leaves, random.integers(1, N_VISITS, n), N_VISITS)
        kept = np.arange(N_VISITS) < last[:, None]
    kept[np.arange(n), np.where(kept.any(axis=1), 0, random.integers(0, N_VISITS, n))] |= ~kept.any(axis=1)
    person, visit = np.nonzero(kept)
    return as_group_data(person, visit, is_large[person].astype(float), maps[kept].astype(np.float32))


def as_group_data(
    person: npt.NDArray[np.intp], visit: npt.NDArray[np.intp], group: Doubles, maps: npt.NDArray[np.float32]
) -> GroupData:
    """Put rows of people and visits into a design of group by visit, with a random term."""
    second, third = (visit == 1).astype(float), (visit == 2).astype(float)
    columns = [np.ones(person.size), group, second, third, group * second, group * third]
    labels = tuple(f"sub-{one:03d}_ses-{two}" for one, two in zip(person, visit, strict=True))
    matrix = pd.DataFrame(np.column_stack(columns), index=list(labels))
    subjects = pd.Series(person, index=matrix.index, name="subject")
    ones = pd.DataFrame({"Intercept": np.ones(person.size)}, index=matrix.index)
    contrasts = tuple(
        Contrast(
            name=name, label="", weights=np.array(rows, dtype=float), test="t" if len(rows) == 1 else "F",
            expression="", words="",
        )
        for name, rows in CONTRASTS.items()
    )  # fmt: skip
    design = Design(
        matrix=matrix, contrasts=contrasts, formula="", terms={}, variables=matrix, centering="none",
        centers={}, rank=6, details={},
        random=RandomTerm(text="(1 | subject)", group="subject", groups=subjects, effects=ones),
    )  # fmt: skip
    grid = Grid(shape=(maps.shape[1], 1, 1), affine=np.eye(4))
    return GroupData(
        design=design, stack=MapStack(labels=labels, data=maps), blocks=subjects, subjects=subjects,
        elements=Elements(space=grid, indices=np.arange(maps.shape[1])), estimator=SANDWICH,
    )  # fmt: skip


def findings(job: tuple[Setting, int]) -> list[list[float]]:
    """By contrast: share of elements at 0.05 by the sandwich, any by the bootstrap, share by ``mixed``."""
    setting, seed = job
    data = draw(setting, np.random.default_rng([setting.n_people, int(setting.ratio), seed]))
    as_mixed = replace(data, estimator=replace(MIXED, variant="kenward-roger"))
    found = [bootstrap(data, number, seed) for number in range(len(CONTRASTS))]
    return [share_at_alpha(data), found, share_at_alpha(as_mixed)]


def share_at_alpha(data: GroupData) -> list[float]:
    """Share of elements with p ≤ 0.05 by each contrast, from t or F and its degrees of freedom."""
    fit = {SANDWICH.name: sandwich, MIXED.name: mixed}[data.estimator.name].prepare(data)
    shares = []
    for contrast, one in zip(data.design.contrasts, fit(slice(0, N_ELEMENTS)).estimates, strict=True):
        squared = one.statistic**2 if contrast.test == "t" else one.statistic
        p = f_distribution.sf(squared, len(contrast.weights), one.dof)
        shares.append(float((p <= ALPHA).mean()))
    return shares


def bootstrap(data: GroupData, number: int, seed: int) -> float:
    """Whether a contrast has any family-wise finding, by one batch of draws (as `run_null` does them)."""
    contrast, spec = data.design.contrasts[number], InferenceSpec(n_permutations=N_DRAWS, random_seed=seed)
    scheme = choose_scheme(
        data.design, contrast, spec, blocks=data.blocks, variance_groups=None, estimator=data.estimator
    )
    job = Job(
        scheme=scheme,
        statistic=build_statistic(scheme, contrast.test, is_two_sided=True),
        residuals=build_residuals(data.stack.data, scheme.partition),
    )
    maxima = do_shuffles(job, spell_out(job, 0), job.n_shuffles, Scratch(job))[0][:, 0, 0]
    return float((maxima >= maxima[0] * (1 - 1e-6)).mean() <= ALPHA)


def rates(setting: Setting, n_datasets: int, n_procs: int) -> list[list[float]]:
    """Mean findings over data sets."""
    jobs = [(setting, seed) for seed in range(n_datasets)]
    if n_procs == 1:
        return np.mean([findings(job) for job in jobs], axis=0).tolist()
    with ProcessPoolExecutor(n_procs) as pool:
        return np.mean(list(pool.map(findings, jobs, chunksize=10)), axis=0).tolist()


def interval(n_datasets: int) -> tuple[float, float]:
    """Limits of 99.9 % of shares if the error is exactly alpha."""
    low, high = binom.interval(0.999, n_datasets, ALPHA)
    return low / n_datasets, high / n_datasets


def page(found: dict[str, tuple[int, list[list[float]]]]) -> str:
    """Write the table as Markdown, from the number of data sets and the shares of each setting."""
    lines = []
    for name, (n_datasets, by_method) in found.items():
        cells = [" / ".join(f"{100 * share:.1f}" for share in shares) for shares in by_method]
        limits = " to ".join(f"{100 * limit:.1f}" for limit in interval(n_datasets))
        lines.append(f"| {name} | {n_datasets} | {' | '.join(cells[:2])} | {limits} | {cells[2]} |")
    body = "\n".join(lines)
    return f"""# Several rows per person: errors under the null

Written by `python benchmarks/repeated_measures.py` (`--n-datasets`: the second column).

Two groups of people (5 : 7), three visits, data sets of {N_ELEMENTS} elements in which
nothing is to be found. People differ in level (variance 1, as the noise), and where it is said in slope
(variance 0.25 per visit); in the smaller group all variances are larger where it says 2 : 1. *At random*: 8 %
of the rows are missing. *By level*: 30 % of the people leave after the first or second visit, the more often
the higher they were at the first. The formula is `~ group * visit`; the three numbers of a cell are for the
difference of the groups, the change from the first to the third visit, and the joint test of group by visit
(F on 2).

* **sandwich**: share (%) of elements with p ≤ {ALPHA:g} (CR2, Satterthwaite; F as HTZ);
* **bootstrap**: share (%) of data sets with any family-wise finding (`fwe-voxel`, {N_DRAWS} draws), and where
  99.9 % of such shares lie if the error is exactly {100 * ALPHA:g} % (fewer is allowed);
* **mixed**: share (%) of elements with p ≤ {ALPHA:g} by `(1 | subject)`, Kenward–Roger. Its model is true
  only where people have one slope and groups one variance.

| people | data sets | sandwich | bootstrap | 99.9 % | mixed |
|---|---|---|---|---|---|
{body}

Where drop-out depends on the level, least squares compares other people at the last visit than at the
first: the change errs the more, the more people there are. `mixed` uses what was seen of those who left.
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n-datasets", type=int, default=1000)
    parser.add_argument("--nprocs", type=int, default=1)
    parser.add_argument("--figures", type=Path, default=Path("build/repeated_measures.json"))
    parser.add_argument("--output", type=Path, default=Path("docs/repeated_measures.md"))
    given = parser.parse_args()
    given.figures.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(given.figures.read_text(encoding="utf-8")) if given.figures.exists() else {}
    for setting in settings():
        if known.get(setting.name, [0])[0] >= given.n_datasets:
            continue
        start = time.perf_counter()
        with threadpool_limits(1):
            known[setting.name] = [given.n_datasets, rates(setting, given.n_datasets, given.nprocs)]
        print(setting.name, known[setting.name], f"{time.perf_counter() - start:.0f} s", flush=True)
        given.figures.write_text(json.dumps(known, indent=1), encoding="utf-8")
    given.output.write_text(page({one.name: known[one.name] for one in settings()}), encoding="utf-8")


if __name__ == "__main__":
    main()
