"""Labels typed in two ways, in the names of maps and in a table, and labels that are no person's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from bids_group.labels import natural_order
from bids_group.records import Notice, warn
from bids_group.words import list_some


def plain_label(label: str) -> str:
    """Write a label without what differs where one is typed twice: its key, case, zeros in front, signs."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", label) if unicodedata.category(c) != "Cf")
    bare = re.sub(r"[\W_]", "", re.sub(r"\.0+$", "", seen.strip()).casefold())
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"^(sub|ses)(?=.)", "", bare))


def _say_near(wanted: Iterable[str], others: Iterable[str], key: str) -> str | None:
    """Say which labels of maps and of a table differ only as `plain_label` has it; None where none do."""
    alike = {plain_label(label): label for label in natural_order(others)}
    pairs = [(one, alike.get(plain_label(one), one)) for one in natural_order(wanted)]
    pairs = [(one, other) for one, other in pairs if one != other]
    if padded := [pair for pair in pairs if len({label.lstrip("0") for label in pair}) == 1]:
        pairs, what = padded, "the zeros in front"
    else:
        what = "case, signs or zeros in front"
    said = (f"{key}-{one} (maps) and {key}-{ascii(other)[1:-1]} (table)" for one, other in pairs)
    alike_said = f"Labels differ in {what}, and are not taken as the same: {list_some(said, 10)}."
    return alike_said if pairs else None


def tell_labels(listed: set[Any], wanted: set[Any], source: object) -> Notice | None:
    """Tell of labels of a table that are not those of the maps, but near to them, or where none is.

    ``listed``, ``wanted``: people, or (person, session), of the table (``source``) and of the maps. Rows that
    a table lacks are no reason.
    """
    if not listed or wanted <= listed:
        return None
    key, lacking, others = "sub", wanted - listed, listed - wanted
    one, other = lacking, others  # between which labels may be near
    if isinstance(next(iter(wanted)), tuple):
        people = {person for person, _ in listed}
        lacking = {row for row in lacking if row[0] in people} or lacking
        at = int(next(iter(lacking))[0] in people)  # else the labels of people differ
        key = "ses" if at else "sub"
        if at:  # sessions that are near to one of the same person on the other side
            plain = [{(row[0], plain_label(row[1])) for row in rows} for rows in (lacking, others)]
            both = plain[0] & plain[1]
            one, other = (
                {row for row in rows if (row[0], plain_label(row[1])) in both} for rows in (one, other)
            )
        one, other, lacking, others = ({row[at] for row in some} for some in (one, other, lacking, others))
        other = other if at else other - {person for person, _ in wanted}
    why = _say_near(one, other, key)
    if doubled := [f"{key}-{label}" for label in natural_order(others) if label.startswith(f"{key}-")]:
        why = f"The prefix {key}- stands twice in labels of {source}: {list_some(doubled, 3)}."
    elif why is None and others and not listed & wanted and not lacking & others:
        named = [list_some((f"{key}-{one}" for one in natural_order(some)), 3) for some in (others, lacking)]
        why = f"No label of {source} ({named[0]}) is that of a map ({named[1]})."
    fix = f"Write the labels in {source} as they stand in the names of the maps."
    return None if why is None else warn("labels", why, fix)


def tell_unlike(people: set[str]) -> Notice | None:
    """Tell of labels without a digit where most people have one: a group's result, a template, a phantom."""
    odd = natural_order(label for label in people if not any(sign.isdigit() for sign in label))
    if not odd or len(people) < 4 * len(odd):
        return None
    are = "has none, and is taken as a person" if len(odd) == 1 else "have none, and are taken as people"
    fix = f"Leave out what is none: --exclude-participant-label {' '.join(odd[:5])}."
    return warn("labels", f"Most people have a number in their label; {list_some(odd, 5)} {are}.", fix)
