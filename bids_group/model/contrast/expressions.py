"""What a contrast expression says, in records: which effects, how much of each, which rows together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressor:
    """A coefficient of the design: ``column`` as the design names it, ``typed`` as the user did."""

    column: str
    typed: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldAt:
    """``group=patient``: where a mean or slope is held, as typed."""

    name: str
    value: str
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Mean:
    """``mean(group=patient, age=30)``."""

    places: tuple[HeldAt, ...]
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Slope:
    """``slope(n_cigs, group=patient)``."""

    covariate: str
    places: tuple[HeldAt, ...]
    position: int


Meaning = Regressor | Mean | Slope


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """``0.5 * A - B``: coefficients and what they multiply; ``constant`` is what has no term."""

    parts: tuple[tuple[float, Meaning], ...] = ()
    constant: float = 0.0

    def scaled(self, by: float) -> Combination:
        """Multiply everything by a number."""
        parts = tuple((by * weight, meaning) for weight, meaning in self.parts)
        return Combination(parts=parts, constant=by * self.constant)

    def plus(self, other: Combination) -> Combination:
        """Add another combination."""
        return Combination(parts=self.parts + other.parts, constant=self.constant + other.constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class TermTest:
    """``test(group:n_cigs)``."""

    term: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Rows tested together (one row: by itself)."""

    rows: tuple[Combination, ...]
    is_list: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """A vector or a matrix of numbers, one per regressor in each row."""

    rows: tuple[tuple[float, ...], ...]
    is_matrix: bool = False


Expression = Joint | Weights | TermTest
