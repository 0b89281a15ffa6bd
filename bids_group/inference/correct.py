"""What is significant: every contrast judged by every correction asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bids_group.config import InferenceSpec
from bids_group.elements.adjacency import build_adjacency
from bids_group.executor import ONE_THREAD, Executor
from bids_group.inference.checks import check_geometry, check_inference
from bids_group.inference.corrections.familywise import Null, judge_familywise
from bids_group.inference.corrections.nulls import Shuffling, build_nulls
from bids_group.inference.corrections.parametric import judge_without_shuffling
from bids_group.inference.corrections.question import Question
from bids_group.records import ContrastResult, GroupData, Notice, Significance, UncorrectedP


def correct_group(
    data: GroupData,
    results: Sequence[ContrastResult],
    spec: InferenceSpec,
    *,
    n_contrasts: int | None = None,
    executor: Executor = ONE_THREAD,
    work_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Significance, ...]:
    """Judge every contrast by every correction.

    Parameters
    ----------
    data
        Design, maps (finite where shuffling is asked for), blocks and variance groups.
    results
        The fitted contrasts, those of the design.
    spec
        What changes the result.
    n_contrasts
        Contrasts of the whole run, of which these may be a part; with ``across-contrasts`` family-wise errors
        are counted over all of them.
    executor, work_dir
        How the work is done, and where finished batches of shuffles are kept so that a run that was killed
        goes on. Neither changes a bit of the result.
    on_progress
        Called with the number of shuffles done and the number of all.

    Returns
    -------
    In the order contrasts × ``spec.corrections``.

    Raises
    ------
    UsageError, DataError
        As `check_inference`.
    """
    check_inference(
        data.design,
        spec,
        is_complete=data.is_complete,
        blocks=data.blocks,
        variance_groups=data.variance_groups,
        subjects=data.subjects,
        estimator=data.estimator,
        n_contrasts=n_contrasts,
    )
    adjacency = build_adjacency(data.elements, spec.connectivity)
    n_together = max(n_contrasts or 1, len(results)) if spec.familywise == "across-contrasts" else 1
    questions = [Question.about(data, result, spec, adjacency, n_together) for result in results]
    shuffling = Shuffling(executor=executor, work_dir=work_dir, on_progress=on_progress)
    nulls = build_nulls(questions, shuffling) if spec.needs_shuffling else [None] * len(questions)
    geometry = check_geometry(data.elements, spec)
    found: list[Significance] = []
    for question, null in zip(questions, nulls, strict=True):
        for rule in spec.rules:
            if rule.measure is not None and null is not None:
                verdict = judge_familywise(question, null, rule, rule.measure)
            else:
                verdict = judge_without_shuffling(question, rule)
            notices = verdict.notices + (geometry if rule.is_clusterwise else ()) + _of_variance(null)
            found.append(replace(verdict, notices=tuple(dict.fromkeys(notices)), by_shuffling=_alone(null)))
    return tuple(found)


def _of_variance(null: Null | None) -> tuple[Notice, ...]:
    """Say whose statistic the uncorrected p by shuffling is, whatever the correction beside it."""
    if null is None or null.p_uncorrected is None:
        return ()
    return tuple(one for one in null.notices if one.topic == "variance")


def _alone(null: Null | None) -> UncorrectedP | None:
    if null is None or null.p_uncorrected is None:
        return None
    return UncorrectedP(p=null.p_uncorrected, details=null.details)
