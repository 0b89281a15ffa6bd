"""Names of group contrasts in file names: letters and digits, case kept (contract of the file names)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping


def make_label(name: str) -> str:
    """Turn a name into letters and digits, in camel case.

    ``f-test`` → ``fTest``, ``n_cigs`` → ``nCigs``, ``patient > control`` → ``patientGtControl``,
    ``patient - control`` → ``patientMinusControl``.
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(character for character in plain if not unicodedata.combining(character))
    spelled = plain.replace(" - ", " minus ").replace(">", " gt ").replace("<", " lt ")
    words = [word for word in re.split(r"[^A-Za-z0-9]+", spelled) if word]
    return "".join(words[:1]) + "".join(capitalise(word) for word in words[1:])


def capitalise(label: str) -> str:
    """Raise the first letter and keep the others."""
    return label[:1].upper() + label[1:]


def label_contrast(name: str) -> str:
    """Part of the file name that a group contrast adds, its first letter raised: ``slopeDiff`` → ``SlopeDiff``."""
    return capitalise(make_label(name))


def label_term(term: str) -> str:
    """Label of the default test of a term: ``group:n_cigs`` → ``GroupByNCigs``."""
    return "By".join(capitalise(make_label(factor)) for factor in term.split(":"))


def contrast_entity(
    first_level_contrast: str, label: str, group_labels: Mapping[str, str] | None = None
) -> str:
    """Value of ``contrast-`` in the name of a group file.

    The first-level contrast, what the group contrast adds, and the levels of a GroupBy on participants columns:
    ``faces``, ``SlopeDiff``, ``{"group": "patient"}`` → ``facesSlopeDiffGroupPatient``.
    """
    levels = [capitalise(make_label(f"{name} {level}")) for name, level in (group_labels or {}).items()]
    return make_label(first_level_contrast) + label + "".join(levels)
