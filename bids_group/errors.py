"""What can go wrong for a user, and the exit code of each."""

from __future__ import annotations

from typing import Self

_MOST_LINES, _MOST_CHARACTERS = 30, 3000
_UNSEEN = [*range(32), *range(127, 160), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_SPELLED = {one: f"\\u{one:04x}" for one in (*_UNSEEN, *range(0xD800, 0xE000)) if chr(one) not in "\n\t"}
"""What a terminal would obey or cannot show: controls, turns of the writing direction, halves of letters."""


def printable(text: str) -> str:
    """Write text so that it can be shown anywhere: of files, tables and names anything may come."""
    return text.translate(_SPELLED)


def cut_short(text: str, most: int = _MOST_CHARACTERS) -> str:
    """End a long text where nobody would read on, and say so."""
    lines = text.split("\n")
    short = "\n".join(lines[:_MOST_LINES])[:most]
    return short if short == text else f"{short} … ({len(text) - len(short)} characters more)"


class BidsGroupError(Exception):
    """One sentence that names the culprit, and up to three lines of help; raised bare, a bug in this program.

    Parameters
    ----------
    sentence
        What is wrong, naming the file, column, participant or contrast.
    found, expected, fix
        What is there, what should be, and what to type or change.
    """

    exit_code = 70

    def __init__(
        self, sentence: str, *, found: str | None = None, expected: str | None = None, fix: str | None = None
    ) -> None:
        super().__init__(sentence)
        self.sentence, self.found, self.expected, self.fix = sentence, found, expected, fix

    def __str__(self) -> str:
        helps = {"found": self.found, "expected": self.expected, "fix": self.fix}
        lines = [f"  {word:<8} {cut_short(text)}" for word, text in helps.items() if text is not None]
        return printable("\n".join([cut_short(self.sentence), *lines]))

    def within(self, name: str) -> Self:
        """Make the same error that says first in which file it is."""
        found, expected, fix = self.found, self.expected, self.fix
        return type(self)(f"{name}: {self.sentence}", found=found, expected=expected, fix=fix)


class NotBidsError(BidsGroupError):
    """BIDS_DIR is not a BIDS dataset."""

    exit_code = 16


class AnalysisLevelError(BidsGroupError):
    """The analysis level is neither ``participant`` nor ``group``."""

    exit_code = 17


class SelectionError(BidsGroupError):
    """The selection matches nothing."""

    exit_code = 18


class UsageError(BidsGroupError):
    """The request is not well formed."""

    exit_code = 64


class FormulaError(UsageError):
    """The formula cannot be read, or asks for what is not allowed."""


class ContrastError(UsageError):
    """A contrast cannot be read, or names what does not exist."""


class DataError(BidsGroupError):
    """The data cannot support the request."""

    exit_code = 65


class DesignError(DataError):
    """The design cannot be estimated from these rows."""


class GridError(DataError):
    """Two maps do not lie on the same grid."""


class MissingInputError(BidsGroupError):
    """An input file or folder is missing or unreadable."""

    exit_code = 66


class OutputError(BidsGroupError):
    """The output cannot be created."""

    exit_code = 73


class RunError(BidsGroupError):
    """Input/output failed while running."""

    exit_code = 74


class LockedError(BidsGroupError):
    """Another run holds OUTPUT_DIR."""

    exit_code = 75
