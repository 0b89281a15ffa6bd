"""Long lists made short for a page, without losing what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from bids_group.words import counted, list_some

_MOST_PEOPLE = 6
"""People, and columns of a term of `subject`, that are listed; more of them are folded."""


def fold_reasons(reasons: Mapping[str, Mapping[str, int]], whose: Collection[str]) -> Iterator[str]:
    """Spell each reason once, with the first of the people whom it concerns and what is their own of it.

    ``age > 40: age is 51`` and ``age > 40: age is 55`` share one half, and are one line.

    Parameters
    ----------
    reasons
        By reason: the people whom it concerns, with the number of single maps (0: the whole person).
    whose
        People to be told of.
    """
    told = {why: [who for who in concerned if who in whose] for why, concerned in reasons.items()}
    sharing = Counter(half for why in told for half in set(_halves(why)))
    lines: dict[str, list[tuple[str, str, int]]] = {}
    for why, people in told.items():
        first, last = _halves(why)
        shared, own = (first, last) if sharing[first] >= sharing[last] else (last, first)
        if sharing[shared] == 1:
            shared, own = why, ""
        lines.setdefault(shared, []).extend((who, own, reasons[why][who]) for who in people)
    yield from (_spell_reason(why, sorted(people)) for why, people in lines.items() if people)


def _halves(reason: str) -> tuple[str, str]:
    """Split at the last colon; without one both halves are the whole."""
    first, colon, last = reason.rpartition(": ")
    return (first, last) if colon else (reason, reason)


def _spell_reason(reason: str, people: Sequence[tuple[str, str, int]]) -> str:
    n_people, n_maps = len({who for who, _, _ in people}), sum(n for _, _, n in people)
    named = (f"sub-{who}" + (f" ({own})" if own else "") for who, own, _ in people)
    maps = f", {counted(n_maps, 'map')}" if n_maps else ""
    return f"{n_people}{maps}: {reason}: {list_some(named, _MOST_PEOPLE)}"


def folded_terms(terms: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Find the terms that have a column for each of many people."""
    return {
        term: columns
        for term, columns in terms.items()
        if "subject" in term.split(":") and len(columns) > _MOST_PEOPLE
    }


def fold_columns(names: Sequence[str], folded: Mapping[str, Sequence[str]]) -> list[str]:
    """Shorten a list of columns: those of a folded term become one entry that counts them."""
    term_of = {name: term for term, columns in folded.items() for name in columns}
    parts = Counter(term_of.get(name, name) for name in names)
    return [
        f"{'' if n == len(folded[part]) else f'{n} of '}the {len(folded[part])} columns of {part}"
        if part in folded
        else part
        for part, n in parts.items()
    ]


def fold_weights(weights: Mapping[str, float], folded: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """Leave out weights of 0, and make one entry of the columns of a folded term that have one weight."""
    term_of = {name: term for term, columns in folded.items() for name in columns}
    used = {name: weight for name, weight in weights.items() if weight != 0}
    alike: dict[tuple[str, float], list[str]] = {}
    for name, weight in used.items():
        alike.setdefault((term_of.get(name, name), weight), []).append(name)
    return {
        names[0] if len(names) == 1 else f"each of {fold_columns(names, folded)[0]}": weight
        for (_, weight), names in alike.items()
    }
