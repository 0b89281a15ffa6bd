"""Rows of invented people, and group analyses made from them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bids_group.config import ContrastRequest
from bids_group.elements import Elements, Grid
from bids_group.model import build_design, join_maps
from bids_group.model.fitting.stack import StackedMaps
from bids_group.records import Design, FirstLevelMap, GroupAnalysis, MapStack, Observation

Analyse = Callable[..., GroupAnalysis]


def make_people(n: int = 36, seed: int = 0) -> pd.DataFrame:
    """Unbalanced factors, covariates related to them, in units of very different size."""
    draw = np.random.default_rng(seed)
    group = draw.choice(["control", "patient", "relative"], n, p=[0.45, 0.35, 0.2])
    group[:3] = ["control", "patient", "relative"]
    sex = draw.choice(["F", "M"], n, p=[0.6, 0.4])
    return pd.DataFrame(
        {
            "subject": [f"{index + 1:02d}" for index in range(n)],
            "group": pd.Categorical(group, categories=["control", "patient", "relative"]),
            "sex": pd.Categorical(sex, categories=["F", "M"]),
            "site": pd.Categorical([["a", "b", "c", "d"][index % 4] for index in range(n)]),
            "age": draw.normal(41, 9, n) + 4 * (group == "patient"),
            "n_cigs": draw.gamma(4, 3, n),
            "volume": draw.normal(1.2e6, 1e5, n),
            "scanner": (np.arange(n) % 3 + 1).astype(float),
        }
    )


@pytest.fixture
def people() -> pd.DataFrame:
    return make_people()


@pytest.fixture
def pairs() -> pd.DataFrame:
    """Two sessions of 14 people in two groups, with a covariate that changes between sessions."""
    first = make_people(14, seed=3).assign(session="pre")
    first["group"] = pd.Categorical(["control", "patient"] * 7)
    second = first.assign(session="post", n_cigs=first["n_cigs"] + 1 + np.arange(14) % 3)
    both = pd.concat([first, second]).sort_values(["subject", "session"]).reset_index(drop=True)
    return both.assign(session=pd.Categorical(both["session"], categories=["pre", "post"]))


@pytest.fixture
def analyse() -> Analyse:
    """Make a GroupAnalysis of rows: ``analyse(rows, "~ age", "slope(age)", centering="none")``."""

    def make(
        rows: pd.DataFrame,
        formula: str,
        *contrasts: str | ContrastRequest,
        centering: str = "grand",
        **more: object,
    ) -> GroupAnalysis:
        sessions: Sequence[str | None] = list(rows["session"]) if "session" in rows else [None] * len(rows)
        observations = tuple(
            Observation(subject=subject, session=session, contrast="faces", sources=(_map_of(subject),))
            for subject, session in zip(rows["subject"], sessions, strict=True)
        )
        requests = tuple(c if isinstance(c, ContrastRequest) else _request(c) for c in contrasts)
        return GroupAnalysis(
            first_level_contrast="faces",
            observations=observations,
            rows=rows.set_axis([row.label for row in observations], axis=0),
            formula=formula,
            contrasts=requests,
            has_default_contrasts=not requests,
            centering=centering,
            **more,  # type: ignore[arg-type]
        )

    return make


@pytest.fixture
def design_of(analyse: Analyse) -> Callable[..., Design]:
    """Build the design of rows: ``design_of(rows, "~ age", "slope(age)", centering="none")``."""
    return lambda *asked, **more: build_design(analyse(*asked, **more))


def _request(text: str) -> ContrastRequest:
    return ContrastRequest(expression=text)


def _map_of(subject: str) -> FirstLevelMap:
    return FirstLevelMap(
        subject=subject, contrast="faces", effect=Path(f"sub-{subject}.nii.gz"), dataset=Path("maps")
    )


@pytest.fixture
def join():
    """Give a function that joins an analysis and its maps ``(n_rows, n_elements)`` in one row of voxels."""

    def of(analysis, values):
        data = np.asarray(values, dtype=np.float32)
        grid = Grid(shape=(data.shape[1], 1, 1), affine=np.eye(4))
        labels = tuple(row.label for row in analysis.observations)
        stacked = StackedMaps(
            stack=MapStack(labels=labels, data=data),
            elements=Elements(space=grid, indices=np.arange(data.shape[1])),
            coverage=np.isfinite(data).sum(axis=0).reshape(grid.shape),
            costs=pd.DataFrame(),
            n_lost=0,
            n_needed=len(labels),
        )
        return join_maps(stacked, build_design(analysis), analysis, None, None)

    return of


@pytest.fixture
def make_visits(analyse, join):
    """Give a function that makes rows ``(n_people, k, n_elements)`` the data of a formula."""

    def of(values, formula="~ session + subject", *contrasts, people=None, lost=(), **more):
        n, k, n_elements = np.shape(values)
        names = [f"{number:02d}" for number in range(n)]
        people = pd.DataFrame(index=range(n)) if people is None else people
        rows = people.loc[np.repeat(np.arange(n), k)].reset_index(drop=True)
        rows = rows.assign(subject=np.repeat(names, k), session=pd.Categorical(list("abcdefgh"[:k]) * n))
        kept = np.setdiff1d(np.arange(n * k), lost)
        analysis = analyse(rows.iloc[kept], formula, *(contrasts or ("test(session)",)), **more)
        return join(analysis, np.reshape(values, (n * k, n_elements))[kept])

    return of
