"""Options and values as people type them who know other programs: what is meant, ready to paste."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bids_group.config.options import Option
from bids_group.config.request import OPTIONS
from bids_group.errors import UsageError
from bids_group.words import closest, quote_for_shell, suggest

_AMOUNT = re.compile(r"\s*(?P<number>[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?)\s*(?P<unit>%|[A-Za-z]*)\s*")

_NAMES: Mapping[str, str] = {
    **dict.fromkeys(
        ("n-cpus", "ncpus", "nthreads", "n-threads", "threads", "n-jobs", "jobs", "cpus"), "--nprocs"
    ),
    **dict.fromkeys(("seed", "rng-seed"), "--random-seed"),
    **dict.fromkeys(("n-perm", "nperm", "n-perms", "permutations", "num-permutations"), "--n-permutations"),
    **dict.fromkeys(
        ("covariates", "covariate", "covars", "regressors", "confounds"), '--formula "~ COLUMN + COLUMN"'
    ),
    **dict.fromkeys(("threshold", "z-threshold", "cluster-threshold", "cdt"), "--cluster-forming-p 0.001"),
    **dict.fromkeys(("output", "output-dir", "out-dir", "outdir"), "bids-group BIDS_DIR OUTPUT_DIR group"),
    **dict.fromkeys(("bids-dir", "input", "input-dir"), "bids-group BIDS_DIR OUTPUT_DIR group"),
    **dict.fromkeys(("fwhm", "smooth"), "--smoothing-fwhm"),
    **dict.fromkeys(("memory", "mem", "mem-mb"), "--mem-gb"),
    **dict.fromkeys(("subject", "subjects", "subject-label", "participants"), "--participant-label"),
}
"""What options of other programs are called here."""

_CHOICES: Mapping[str, str] = {
    "listwise": "drop", "fixed": "precision", "ffx": "precision", "fe": "precision", "average": "mean",
    "lme": "mixed", "lm": "ols", "glm": "ols", "sign-flips": "flips", "sign-flipping": "flips",
}  # fmt: skip
"""What values of other programs are called here."""


def read_word(option: Option, typed: str) -> Any:
    """Read a word of the value of an option: a choice, or a number; others are refused (`UsageError`)."""
    known = {str(one): one for one in option.choices}
    if option.kind == "integer" and re.fullmatch(r"\s*[+]?\d+\s*", typed):  # 06 is 6
        typed = str(int(typed))
    if typed in known:
        return known[typed]
    if known:
        fix = guess_choice(option, typed)
        raise UsageError(f"There is no {option.name} {typed!r}.", expected=", ".join(known), fix=fix)
    try:
        return int(typed) if option.kind == "integer" else float(typed)
    except ValueError as error:
        what = f"{'a whole number' if option.kind == 'integer' else 'a number'} {option.bounds}".rstrip()
        sentence = f"{option.flag} takes a number, not {typed!r}."
        raise UsageError(sentence, expected=what, fix=_guess_number(option, typed)) from error


def guess_choice(option: Option, typed: str) -> str | None:
    """Write the option with the choice that is meant; where several hold the word, with each."""
    plain, known = typed.casefold().replace("_", "-"), [str(one) for one in option.choices]
    near = [one for one in known if plain in (one, *one.split("-"))]
    meant = near or [*filter(None, [closest(_CHOICES.get(plain, typed), known)])]
    return f"Write {' or '.join(f'{option.flag} {one}' for one in meant)}." if meant else None


def _guess_number(option: Option, typed: str) -> str | None:
    """Read a number with a unit, a percent sign or a decimal comma."""
    amount = _AMOUNT.fullmatch(typed)
    if amount is None:
        return None
    number = float(amount["number"].replace(",", ".")) / (100 if amount["unit"] == "%" else 1)
    is_whole = option.kind != "integer" or number.is_integer()
    written = f"{int(number)}" if number.is_integer() else f"{number:.12g}"
    return f"Write {option.flag} {written}." if is_whole else None


def guess_option(name: str, known: Sequence[str], help_: str) -> str:
    """Say what an option that there is not is called here."""
    plain = name.lstrip("-").replace("_", "-").casefold()
    if plain in _NAMES:
        return f"Write {_NAMES[plain]}."
    correction = next(one for one in OPTIONS if one.name == "correction")
    if any(plain in str(one).split("-") for one in correction.choices):  # --tfce
        return str(guess_choice(correction, plain))
    return suggest(name, known, mark="") or help_


def join_words(typed: Sequence[str], at: int) -> str | None:
    """Join words without quotes to the value of the option before them: ``--formula ~ age`` lacks quotes.

    A shell puts the home folder in the place of a ``~`` that stands alone.
    """
    if f"--{typed[at]}" in {one.flag for one in OPTIONS}:  # an option without its dashes
        start, flag = at + 1, f"--{typed[at]}"
    else:
        start = next((n + 1 for n in range(at - 1, -1, -1) if typed[n].startswith("--")), 0)
        flag = typed[start - 1] if start else ""
    option = next((one for one in OPTIONS if one.flag == flag and one.kind in ("text", "texts")), None)
    end = next((n for n in range(start, len(typed)) if typed[n].startswith("--")), len(typed))
    words = ["~" if word == str(Path.home()) else word for word in typed[start:end]]
    return f"Write {flag} {quote_for_shell(' '.join(words))}." if option and words else None


def order_words(words: Sequence[str], levels: Sequence[str]) -> str:
    """Write the first three words in their order: the folders, then the level."""
    level = next((one for one in words if one in levels), levels[-1])
    folders = [word for word in words[:3] if word not in levels][:2]
    spelled = [quote_for_shell(one) if " " in one else one for one in folders]
    return f"Write bids-group {' '.join([*spelled, *['OUTPUT_DIR'] * (2 - len(spelled))])} {level}."
