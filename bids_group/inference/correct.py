"""What is significant: every contrast judged by every correction asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from bids_group.config import InferenceSpec
from bids_group.executor import ONE_THREAD, Executor
from bids_group.inference.checks import check_geometry, check_inference
from bids_group.inference.corrections.familywise import judge_familywise
from bids_group.inference.corrections.maxima import Null
from bids_group.inference.corrections.nulls import build_nulls
from bids_group.inference.corrections.parametric import judge_without_shuffling
from bids_group.inference.corrections.question import Question
from bids_group.inference.shuffling.scheme import Scheme
from bids_group.records import ContrastResult, GroupData, Significance


def correct_group(
    data: GroupData,
    results: Sequence[ContrastResult],
    spec: InferenceSpec,
    schemes: Sequence[Scheme] | None = None,
    *,
    n_contrasts: int | None = None,
    executor: Executor = ONE_THREAD,
    work_dir: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> tuple[Significance, ...]:
    """Judge every contrast by every correction.

    Parameters
    ----------
    data, results
        Maps (NaN = not observed), and the fitted contrasts of their design, in its order.
    schemes
        How rows are shuffled for each contrast, from `check_inference`; it is asked where they are not given.
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
    """
    if schemes is None:
        _, schemes = check_inference(
            data.design,
            spec,
            blocks=data.blocks,
            variance_groups=data.variance_groups,
            subjects=data.subjects,
            estimator=data.estimator,
            n_contrasts=n_contrasts,
            is_complete=data.is_complete,
        )
    n_together = max(n_contrasts or 1, len(results)) if spec.familywise == "across-contrasts" else 1
    questions = [Question.about(data, result, spec, n_together) for result in results]
    nulls: Sequence[Null | None] = [None] * len(questions)
    if spec.needs_shuffling:
        nulls = build_nulls(questions, schemes, executor, work_dir, on_progress)
    geometry = check_geometry(data.elements, spec) if data.geometry is None else ()
    found = []
    for question, null in zip(questions, nulls, strict=True):
        own_p, told = (None, ()) if null is None else (null.by_shuffling, null.notices)
        # whose statistic the uncorrected p by shuffling is, whatever the correction beside it
        of_own_p = [] if own_p is None else [one for one in told if one.topic == "variance"]
        for rule in spec.rules:
            if rule.measure is not None and null is not None:
                judged = judge_familywise(question, null, rule, rule.measure)
            else:
                judged = judge_without_shuffling(question, rule)
            notices = (*judged.notices, *(geometry if rule.is_clusterwise else ()), *of_own_p)
            found.append(replace(judged, notices=tuple(dict.fromkeys(notices)), by_shuffling=own_p))
    return tuple(found)
