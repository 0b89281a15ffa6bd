"""Which contrast of one output is compared with which of the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bids_group.compare.sources import Source, Tested
from bids_group.errors import DataError, SelectionError, UsageError
from bids_group.words import suggest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pair:
    """Two contrasts laid side by side; ``label`` is that of file names, ``A=B`` where they were paired."""

    label: str
    a: Tested
    b: Tested

    @property
    def stem(self) -> str:
        """Beginning of the names of figures."""
        return "contrast-" + self.label.replace("=", "_with-")


def match_contrasts(a: Source, b: Source, pairs: Sequence[str]) -> tuple[Pair, ...]:
    """Match by the labels of file names, or as ``pairs`` (``CONTRAST_A=CONTRAST_B``) say.

    Raises
    ------
    UsageError
        A pair is not written as one.
    DataError
        The maps lie in different spaces.
    SelectionError
        No contrast is in both, or a pair names one that is not there; lists what each has.
    """
    _check_spaces(a, b)
    if pairs:
        return tuple(_read_pair(text, a, b) for text in dict.fromkeys(pairs))
    others = {one.key: one for one in b.tested}
    matched = tuple(Pair(label=one.key, a=one, b=others[one.key]) for one in a.tested if one.key in others)
    if not matched:
        raise SelectionError(
            "The two outputs have no contrast in common.",
            found=f"OUT_A has {_list(a)}; OUT_B has {_list(b)}",
            expected="contrasts of the same label in file names",
            fix=f"Say what belongs together: --pairs {a.tested[0].key}={b.tested[0].key}",
        )
    return matched


def _check_spaces(a: Source, b: Source) -> None:
    spaces = [sorted({one.space or "none named" for one in side.tested}) for side in (a, b)]
    if not set(spaces[0]) & set(spaces[1]):
        raise DataError(
            "The two outputs lie in different spaces; their maps cannot be compared element by element.",
            found=f"OUT_A: {', '.join(spaces[0])}; OUT_B: {', '.join(spaces[1])}",
            expected="maps of one space",
            fix="Run one of the analyses again on maps of the other's space (--space).",
        )


def _read_pair(text: str, a: Source, b: Source) -> Pair:
    left, equals, right = (part.strip() for part in text.partition("="))
    if not (equals and left and right) or "=" in right:
        raise UsageError(
            f"--pairs cannot read {text!r}.",
            expected="CONTRAST_A=CONTRAST_B, labels as in file names",
            fix=f"For example --pairs {a.tested[0].key}={b.tested[0].key}",
        )
    one, other = _find(left, a), _find(right, b)
    if one.space != other.space:
        raise DataError(
            f"The contrasts {one.key} and {other.key} lie in different spaces.",
            found=f"{one.space} and {other.space}",
            expected="maps of one space",
            fix="Pair contrasts of one space.",
        )
    return Pair(label=f"{one.key}={other.key}", a=one, b=other)


def _find(name: str, source: Source) -> Tested:
    """Find a contrast by its label in file names, else by the name that its user gave it."""
    found = [one for one in source.tested if one.key == name] or [
        one for one in source.tested if one.contrast.name == name
    ]
    if len(found) != 1:
        raise SelectionError(
            f"OUT_{source.side} has no contrast {name!r}."
            if not found
            else f"Several contrasts of OUT_{source.side} are called {name!r}.",
            found=_list(source),
            expected="a label as in file names",
            fix=suggest(name, [one.key for one in source.tested]),
        )
    return found[0]


def _list(source: Source) -> str:
    return ", ".join(one.key for one in source.tested) or "none"
