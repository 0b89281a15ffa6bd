"""Who is in: from everyone in the ledger to the analysed rows, with reasons."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from bids_group.output.report.markup import fill_template
from bids_group.words import counted, list_some


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
    used, analysed = rows["used"] == "yes", set(people_of_rows)
    is_in = rows["participant_id"].isin(analysed)
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
    """A box of the picture: its place and height in pixels, and lines of text; losses stand at the side."""

    y: int
    height: int
    lines: tuple[str, ...]
    is_side: bool


def draw_flow(flow: Flow) -> tuple[str, int]:
    """Spell a CONSORT-like picture as SVG; returns it with its width in pixels."""
    boxes, (width, side) = lay_out(flow), (320, 400)
    height = boxes[-1].y + boxes[-1].height
    return fill_template("flow.svg.j2", boxes=boxes, main=width, side=side, height=height), width + 40 + side


def lay_out(flow: Flow) -> list[FlowBox]:
    """Place the boxes below each other: everyone, who is out, who is in, maps that are out, rows."""
    maps = counted(flow.n_maps_used, f"{flow.kind} map")
    lost = [_say_loss(loss, counted(len(loss.people), "person", "people")) for loss in flow.lost]
    trimmed = [_say_loss(loss, counted(loss.n_maps, "map")) for loss in flow.trimmed]
    texts: list[tuple[tuple[str, ...], bool]] = [
        (("Everyone in the participants table", f"or with maps: {flow.n_everyone}"), False),
        *((lines, True) for lines in lost),
        ((f"In the analysis: {counted(flow.n_people, 'person', 'people')}",), False),
        *((lines, True) for lines in trimmed),
        ((f"Analysed: {counted(flow.n_rows, 'row')} of the design", f"pooled from {maps}"), False),
    ]
    boxes: list[FlowBox] = []
    for lines, is_side in texts:
        y = boxes[-1].y + boxes[-1].height + (17 if is_side else 34) if boxes else 0
        boxes.append(FlowBox(y=y, height=18 + 17 * len(lines), lines=lines, is_side=is_side))
    return boxes


def _say_loss(loss: Loss, what: str) -> tuple[str, ...]:
    names = list_some(loss.people, 8, none="")
    return (*textwrap.wrap(f"Out: {what}: {loss.reason}", 56), *textwrap.wrap(names, 56))
