"""Does a result hold without single people? Significant contrasts are tested again, all else made anew."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from bids_group import model, output
from bids_group.config.corrections import UNCORRECTED
from bids_group.errors import DataError, UsageError
from bids_group.records import Contrast, ContrastResult, Design, GroupData, Significance
from bids_group.records.sidecars import Sidecar
from bids_group.workflow.one_analysis import fit_and_judge, stack
from bids_group.workflow.preparation import MOST_LEFT_OUT, PlannedAnalysis, RunPlan, leave_out

LOGGER = logging.getLogger(__name__)

_NOTHING: Mapping[str, object] = {"p": None, "effect": None, "n_elements": None, "holds": "n/a"}
_MARKED, _INFLUENTIAL = "marked in the table of quality", "carries this contrast most"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claim:
    """What a correction found of a contrast: where its strongest cluster lies (indices of the grid).

    It is that of the smallest corrected p, of these the one with the highest peak, whatever its sign.
    ``p``: the smallest corrected p in the cluster; ``effect`` (of t) at its ``peak``; ``n_elements``: of the
    whole brain that are significant.
    """

    correction: str
    place: npt.NDArray[np.intp]
    peak: int
    p: float
    effect: float | None
    n_elements: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Question:
    """A contrast with something to lose: its claims, and who is left out for which reason.

    ``subjects``: whose row each of the design is; ``has_own_dof`` as in `Estimator`.
    """

    contrast: Contrast
    design: Design
    subjects: pd.Series
    has_own_dof: bool
    claims: tuple[Claim, ...]
    people: Mapping[str, str]
    path: str
    sidecar: Sidecar


def ask(
    context: output.Context,
    results: Sequence[ContrastResult],
    significances: Sequence[Significance],
    quality: pd.DataFrame,
) -> tuple[Question, ...]:
    """Note what each significant contrast claims, and whom to leave out.

    These are marked people, then who moves it most. What is noted is small: the maps need not be kept. That
    something is absent is not asked again.
    """
    data, analysis, found = context.data, context.analysis, []
    subjects = analysis.rows["subject"].astype(str)
    is_two_sided = context.spec.inference.is_two_sided
    marked = dict.fromkeys(subjects[quality.index[quality["is_outlier"].astype(bool)]])
    for result in (one for one in results if one.contrast.bounds is None):
        own = [one for one in significances if one.contrast == result.contrast.name]
        claims = tuple(claim for one in own for claim in _claims(data, result, one))
        if not claims:
            continue
        people = dict.fromkeys(list(marked)[:MOST_LEFT_OUT], _MARKED)
        if len(people) < MOST_LEFT_OUT:
            row = model.find_most_influential(data, result, is_two_sided=is_two_sided)
            people.setdefault(str(subjects[row]), _INFLUENTIAL)
        path, sidecar = output.describe_sensitivity(context, result)
        found.append(
            Question(
                contrast=result.contrast,
                design=data.design,
                subjects=subjects,
                has_own_dof=data.estimator.has_own_dof,
                claims=claims,
                people=people,
                path=path,
                sidecar=sidecar,
            )
        )
    return tuple(found)


def _claims(data: GroupData, result: ContrastResult, found: Significance) -> Iterator[Claim]:
    if found.correction == UNCORRECTED.name or found.p_corrected is None or not found.clusters:
        return
    corrected, height = found.p_corrected, np.abs(result.maps["z"]) if "z" in result.maps else None
    clusters = [one for one in found.clusters if found.is_significant[one.elements].any()]
    if not clusters:
        return
    cluster = min(
        clusters,
        key=lambda one: (corrected[one.elements].min(), 0 if height is None else -height[one.elements].max()),
    )
    peak = cluster.peaks[0].element if cluster.peaks else int(cluster.elements[0])
    effect = result.maps.get("effect")
    yield Claim(
        correction=found.correction,
        place=data.elements.indices[cluster.elements],
        peak=int(data.elements.indices[peak]),
        p=float(corrected[cluster.elements].min()),
        effect=None if effect is None or effect.ndim > 1 else float(effect[peak]),
        n_elements=int(found.is_significant.sum()),
    )


def test_again(plan: RunPlan, planned: PlannedAnalysis, questions: Sequence[Question]) -> None:
    """Leave each person out, test what may hang on them, and write a table for each contrast."""
    rows: dict[str, list[dict[str, object]]] = {one.contrast.name: [] for one in questions}
    for person in dict.fromkeys(person for one in questions for person in one.people):
        asked = [one for one in questions if person in one.people]
        LOGGER.info("Again without sub-%s: %s", person, ", ".join(one.contrast.name for one in asked))
        folder = plan.work_dir / f"without-{person}"
        folder.mkdir(parents=True, exist_ok=True)
        for name, row in _rows_of(plan, planned, person, asked, folder):
            rows[name].append(row)
        shutil.rmtree(folder, ignore_errors=True)
    for one in questions:
        table = pd.DataFrame(rows[one.contrast.name])
        output.write_described(plan.config.output_dir, one.path, table, one.sidecar)


def _rows_of(
    plan: RunPlan, planned: PlannedAnalysis, person: str, asked: Sequence[Question], folder: Path
) -> list[tuple[str, dict[str, object]]]:
    """Test contrasts without a person, and say of each claim what is left; maps are gone with the return."""
    claims = [(one, claim) for one in asked for claim in one.claims]
    left: list[Mapping[str, object]] = [{} for _ in claims]
    note = "not among the contrasts without them"
    try:
        smaller, again = leave_out(plan, planned, person, {one.contrast.name for one in asked})
        _, data = stack(smaller, again, folder, on_map=None, whole=planned.analysis)
        fit, found = fit_and_judge(smaller, again, data, folder, has_effect_sizes=False)
        left = [_left(one.contrast.name, claim, data, fit.results, found) for one, claim in claims]
    except (DataError, UsageError) as error:  # too few people for a level, a contrast, or any shuffles
        note = error.sentence
    return [
        (
            one.contrast.name,
            {**_tell(plan, one, claim, person, own or _NOTHING), "note": None if own else note},
        )
        for (one, claim), own in zip(claims, left, strict=True)
    ]


def _tell(
    plan: RunPlan, question: Question, claim: Claim, person: str, left: Mapping[str, object]
) -> dict[str, object]:
    """Say whom a claim was tested without, what it was, and what is left of it."""
    spec, why = plan.spec.inference, question.people[person]
    share = None
    if not question.has_own_dof:  # else p is not that of independent rows
        share = model.share_lost(
            question.design,
            question.contrast,
            claim.p,
            spec.alpha,
            subjects=question.subjects,
            is_two_sided=spec.is_two_sided,
            is_largest=why == _INFLUENTIAL,
        )
    return {
        "left_out": f"sub-{person}",
        "reason": why,
        "correction": claim.correction,
        "p_all": claim.p,
        "effect_all": claim.effect,
        "n_elements_all": claim.n_elements,
        **left,
        "share_of_normal_data": share,
    }


def _left(
    name: str,
    claim: Claim,
    data: GroupData,
    results: Sequence[ContrastResult],
    significances: Sequence[Significance],
) -> Mapping[str, object]:
    """Say what is left of a claim about the contrast ``name``; nothing where it was not tested."""
    result = next((one for one in results if one.contrast.name == name), None)
    found = next((o for o in significances if (o.contrast, o.correction) == (name, claim.correction)), None)
    if result is None or found is None or found.p_corrected is None:
        return {}
    indices = data.elements.indices
    here, at_peak = np.isin(indices, claim.place), np.flatnonzero(indices == claim.peak)
    effect = result.maps.get("effect")
    if effect is None or effect.ndim > 1:  # of a joint test there is no sign
        effect = None
    elif claim.effect is not None:
        here &= effect * claim.effect >= 0  # an effect that has turned round is another one
    return {
        "p": float(found.p_corrected[here].min()) if here.any() else None,
        "effect": None if effect is None or not at_peak.size else float(effect[at_peak[0]]),
        "n_elements": int(found.is_significant.sum()),
        "holds": "yes" if bool(found.is_significant[here].any()) else "no",
    }
