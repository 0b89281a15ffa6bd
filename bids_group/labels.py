"""Labels of file names: letters and digits only, made from whatever people call their contrasts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache


def natural_order(labels: Iterable[str]) -> list[str]:
    """Sort numbers as numbers, also within labels, and before letters: 2, 10, wk2, wk10."""
    return sorted(labels, key=_natural_key)


def _natural_key(label: str) -> tuple[tuple[bool, int, str], ...]:
    parts = (part for part in re.split(r"(\d+)", label) if part)
    return tuple((not part.isdecimal(), int(part[:1000]) if part.isdecimal() else 0, part) for part in parts)


@lru_cache(maxsize=10_000)
def camel_label(text: str) -> str:
    """Turn a name into a label of letters and digits, case kept.

    ``>`` becomes ``Gt`` and `` - `` between blanks ``Minus``; accents are dropped; every other character goes
    and the letter after it is upper-cased: ``f-test`` → ``fTest``, ``faces > houses`` → ``facesGtHouses``.
    Empty where nothing is left.
    """
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    spelled = re.sub(r"(?<=\s)-(?=\s)", " Minus ", plain).replace(">", " Gt ")
    words: list[str] = re.findall(r"[A-Za-z0-9]+", spelled)
    return "".join(words[:1]) + "".join(upper_first(word) for word in words[1:])


def run_key(run: str | None) -> str | None:
    """Give the run as it is compared: without the zeros in front."""
    return str(int(run)) if run is not None and run.isdecimal() else run


def factor_word(column: str, value: str | None) -> str:
    """Spell a factor's value in the name of a contrast: ``order1``."""
    return f"{column}{value or ''}"


def upper_first(text: str) -> str:
    """Upper-case the first letter and keep the rest: what a label looks like behind another."""
    return text[:1].upper() + text[1:]


def is_adult_mni(space: str | None) -> bool:
    """Whether a space is one of the adult MNI templates, which agree to a few millimetres."""
    return space is not None and re.match(r"MNI(152|305|Colin27|ICBM152|$)", space) is not None


def without_words(text: str, labels: Iterable[str | None]) -> str:
    """Take labels, with their keys (``sub-``), out of the name of a map where they stand as words."""
    for label in filter(None, labels):
        text = re.sub(rf"(?<![A-Za-z0-9])(?:[a-z]+-)?{re.escape(label)}(?![A-Za-z0-9])", "", text)
    return re.sub(r"[_.-]{2,}", "_", text).strip("_.- ")
