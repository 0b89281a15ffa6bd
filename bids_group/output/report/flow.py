"""Who is in: from everyone in the ledger to the analysed rows, with reasons."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import pandas as pd

from bids_group.words import counted, list_some

_BOX, _SIDE, _GAP, _LINE = 320, 400, 34, 17


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Some people (or single maps) that are not in, and the reason."""

    reason: str
    people: tuple[str, ...]
    n_maps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Counts of people and maps: ``lost`` people are out, ``trimmed`` maps are of people who are in."""

    n_everyone: int
    n_people: int
    n_rows: int
    n_maps_used: int
    lost: tuple[Loss, ...]
    trimmed: tuple[Loss, ...]
    kind: str = "first-level"


def count_flow(
    ledger: pd.DataFrame,
    people_of_rows: Sequence[str],
    contrasts: Sequence[str],
    kind: str = "first-level",
) -> Flow:
    """Count people and maps of one analysis.

    Parameters
    ----------
    ledger
        Text columns ``participant_id``, ``contrast``, ``file``, ``used`` and ``reason``.
    people_of_rows
        Whose row each row of the design is (``sub-01``).
    contrasts
        First-level contrasts that the analysis stands on; rows of the ledger about others are left out.
    kind
        What the maps are called.
    """
    rows = ledger[_is_about(ledger, contrasts)]
    people, used = rows["participant_id"], rows["used"] == "yes"
    analysed = set(people_of_rows)
    is_in = people.isin(analysed)
    return Flow(
        n_everyone=ledger["participant_id"].nunique(),
        n_people=len(analysed),
        n_rows=len(people_of_rows),
        n_maps_used=int((used & is_in & rows["file"].notna()).sum()),
        lost=_lost_people(ledger[~ledger["participant_id"].isin(analysed)], contrasts),
        trimmed=_lost_maps(rows[is_in & ~used]),
        kind=kind,
    )


def _is_about(rows: pd.DataFrame, contrasts: Sequence[str]) -> pd.Series[bool]:
    return rows["contrast"].isna() | rows["contrast"].isin(list(contrasts))


def _lost_people(rows: pd.DataFrame, contrasts: Sequence[str]) -> tuple[Loss, ...]:
    """Name everybody who is out once, with every reason noted for them."""
    by_reason: dict[str, list[str]] = {}
    for person, own in rows.groupby("participant_id", sort=True):
        about = own[_is_about(own, contrasts)]
        reasons = list(dict.fromkeys(about["reason"].dropna()))
        if not reasons:
            is_elsewhere = (own["used"] == "yes").any()
            reasons = ["in another group model of this run" if is_elsewhere else "no reason noted"]
        by_reason.setdefault("; ".join(reasons), []).append(str(person))
    losses = [Loss(reason=reason, people=tuple(people), n_maps=0) for reason, people in by_reason.items()]
    return tuple(sorted(losses, key=lambda loss: (-len(loss.people), loss.reason)))


def _lost_maps(rows: pd.DataFrame) -> tuple[Loss, ...]:
    reasons = rows["reason"].fillna("no reason noted")
    losses = [
        Loss(
            reason=str(reason),
            people=tuple(sorted(set(rows.loc[members.index, "participant_id"]))),
            n_maps=len(members),
        )
        for reason, members in reasons.groupby(reasons, sort=False)
    ]
    return tuple(sorted(losses, key=lambda loss: (-loss.n_maps, loss.reason)))


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowBox:
    """A box of the picture: corner, size and lines of text, in pixels."""

    x: int
    y: int
    width: int
    height: int
    lines: tuple[str, ...]
    is_side: bool


def lay_out(flow: Flow) -> tuple[list[FlowBox], int, int]:
    """Place the boxes of a CONSORT-like picture; returns them with the width and height of the whole."""
    side = [_loss_lines(loss, "people") for loss in flow.lost]
    trimmed = [_loss_lines(loss, "maps") for loss in flow.trimmed]
    boxes, y = [_box(0, ("Everyone in the participants table", f"or with maps: {flow.n_everyone}"))], 0
    y = boxes[0].height
    for lines, after in ((side, _people_lines(flow)), (trimmed, _rows_lines(flow))):
        for text in lines:
            boxes.append(_box(y + _GAP // 2, text, is_side=True))
            y = boxes[-1].y + boxes[-1].height
        boxes.append(_box(y + _GAP, after))
        y = boxes[-1].y + boxes[-1].height
    return boxes, _BOX + 40 + _SIDE, y


def _people_lines(flow: Flow) -> tuple[str, ...]:
    return (f"In the analysis: {counted(flow.n_people, 'person', 'people')}",)


def _rows_lines(flow: Flow) -> tuple[str, ...]:
    maps = counted(flow.n_maps_used, f"{flow.kind} map")
    return f"Analysed: {counted(flow.n_rows, 'row')} of the design", f"pooled from {maps}"


def _loss_lines(loss: Loss, unit: str) -> tuple[str, ...]:
    what = counted(len(loss.people), "person", "people") if unit == "people" else counted(loss.n_maps, "map")
    names = list_some(loss.people, 8, none="")
    return (*textwrap.wrap(f"Out: {what}: {loss.reason}", 56), *textwrap.wrap(names, 56))


def _box(y: int, lines: tuple[str, ...], *, is_side: bool = False) -> FlowBox:
    height = 18 + _LINE * len(lines)
    return FlowBox(
        x=_BOX + 40 if is_side else 0,
        y=y,
        width=_SIDE if is_side else _BOX,
        height=height,
        lines=lines,
        is_side=is_side,
    )


def arrows_between(boxes: Sequence[FlowBox]) -> list[tuple[int, int, int, int]]:
    """Lines down from one main box to the next, and across to each side box."""
    main = [box for box in boxes if not box.is_side]
    middle = main[0].width // 2
    down = [(middle, above.y + above.height, middle, below.y) for above, below in pairwise(main)]
    levels = [(box, box.y + box.height // 2) for box in boxes if box.is_side]
    return down + [(middle, level, box.x, level) for box, level in levels]
