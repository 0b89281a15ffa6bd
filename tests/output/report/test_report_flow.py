"""The flow of people: everybody is counted once, and leaves with a reason."""

from __future__ import annotations

from itertools import pairwise

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_group.output.report.participants import count_flow, lay_out

COLUMNS = ["participant_id", "contrast", "file", "used", "reason"]


def _ledger(*rows: tuple[str, str | None, str | None, str, str | None]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=COLUMNS)


def test_a_person_with_two_reasons_is_out_once_with_both() -> None:
    ledger = _ledger(
        ("sub-01", "a", "1", "yes", None),
        ("sub-02", "a", "2", "no", "too much motion"),
        ("sub-02", "a", "3", "no", "no value of age"),
        ("sub-02", "a", "4", "no", "too much motion"),
    )
    flow = count_flow(ledger, ["sub-01"], ["a"])
    assert [(loss.reason, loss.people) for loss in flow.lost] == [
        ("too much motion; no value of age", ("sub-02",))
    ]


def test_maps_of_other_contrasts_do_not_count() -> None:
    ledger = _ledger(("sub-01", "a", "1", "yes", None), ("sub-01", "b", "2", "yes", None))
    assert count_flow(ledger, ["sub-01"], ["a"]).n_maps_used == 1


def test_people_of_another_group_model_are_said_to_be_there() -> None:
    ledger = _ledger(("sub-01", "a", "1", "yes", None), ("sub-02", "a", "2", "yes", None))
    (loss,) = count_flow(ledger, ["sub-01"], ["a"]).lost
    assert (loss.reason, loss.people) == ("in another group model of this run", ("sub-02",))


def test_a_contrast_made_below_the_group_counts_the_maps_it_stands_on() -> None:
    ledger = _ledger(("sub-01", "a", "1", "yes", None), ("sub-01", "b", "2", "yes", None))
    assert count_flow(ledger, ["sub-01"], ["a", "b"]).n_maps_used == 2


def test_sessions_are_rows_of_one_person() -> None:
    ledger = _ledger(("sub-01", "a", "1", "yes", None), ("sub-01", "a", "2", "yes", None))
    flow = count_flow(ledger, ["sub-01", "sub-01"], ["a"])
    assert (flow.n_people, flow.n_rows, flow.lost) == (1, 2, ())


def test_first_level_contrasts_as_rows_are_rows_of_one_person_and_other_contrasts_do_not_count() -> None:
    rows = [(f"sub-0{k}", name, f"{k}{name}", "yes", None) for k in (1, 2) for name in "abc"]
    flow = count_flow(_ledger(*rows), ["sub-01", "sub-01", "sub-02", "sub-02"], ["a", "b"])
    assert (flow.n_everyone, flow.n_people, flow.n_rows, flow.n_maps_used, flow.lost) == (2, 2, 4, 4, ())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.sampled_from(["x", "y", None])), min_size=1))
def test_who_is_in_and_who_is_lost_make_everyone(entries: list[tuple[int, bool, str | None]]) -> None:
    ledger = _ledger(*((f"sub-{who}", "a", "f", "yes" if used else "no", why) for who, used, why in entries))
    analysed = sorted({f"sub-{who}" for who, used, _ in entries if used})
    flow = count_flow(ledger, analysed, ["a"])
    assert flow.n_people + sum(len(loss.people) for loss in flow.lost) == flow.n_everyone
    assert (
        flow.n_maps_used + sum(loss.n_maps for loss in flow.trimmed)
        == ledger["participant_id"].isin(analysed).sum()
    )


def test_boxes_do_not_overlap_however_many_reasons_there_are() -> None:
    rows = [(f"sub-{k}", None, None, "no", f"a rather long reason number {k} " * 3) for k in range(12)]
    flow = count_flow(_ledger(("sub-in", "a", "f", "yes", None), *rows), ["sub-in"], ["a"])
    boxes = lay_out(flow)
    edges = [(box.y, box.y + box.height) for box in boxes]
    assert all(bottom <= top for (_, bottom), (top, _) in pairwise(edges))
    assert [box.is_side for box in boxes] == [False, *[True] * 12, False, False]
