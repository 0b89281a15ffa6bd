"""Shuffles of the rows of the data: permutations and sign flips of units within cells.

A unit is a row, or a whole exchangeability block of rows. Units change places only with units of the same
cell. Shuffle number k is a function of the seed and of k alone; number 0 leaves everything in place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import factorial, prod

import numpy as np

from bids_group.inference.shuffling.partition import Codes, Doubles

SHUFFLES_PER_STREAM = 32
"""Shuffles drawn from one random stream; a part of what shuffle number k is."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Units:
    """What moves together, and what may change places.

    ``unit_of_row``: ``(n_obs,)``, numbered from 0; ``cell_of_unit``: ``(n_units,)``. Units of a cell that
    is permuted have the same number of rows; their rows correspond in the order they stand in.
    """

    unit_of_row: Codes
    cell_of_unit: Codes

    @property
    def n_units(self) -> int:
        """Number of units."""
        return int(self.cell_of_unit.size)

    @property
    def rows_of_unit(self) -> list[Codes]:
        """Rows of each unit in their order."""
        return [np.flatnonzero(self.unit_of_row == unit) for unit in range(self.n_units)]

    @property
    def orbits(self) -> Codes:
        """Rows that permutations can exchange have the same number, shape ``(n_obs,)``."""
        orbits = np.empty(self.unit_of_row.size, dtype=np.intp)
        for unit, rows in enumerate(self.rows_of_unit):
            orbits[rows] = self.cell_of_unit[unit] * self.unit_of_row.size + np.arange(rows.size)
        return np.unique(orbits, return_inverse=True)[1]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Consecutive shuffles: row i of a shuffled map is ``signs[k, i] * map[sources[k, i]]``."""

    sources: Codes
    signs: Doubles

    def moved(self, columns: Doubles) -> Doubles:
        """Apply the inverse shuffles to regressors ``(n_obs, m)``: ``moved @ y`` equals ``X' @ shuffled(y)``.

        It has the shape ``(m, n_shuffles, n_obs)``.
        """
        moved = np.empty((columns.shape[1], *self.sources.shape))
        for row, column in zip(moved, columns.T, strict=True):
            np.put_along_axis(row, self.sources, self.signs * column, axis=1)
        return moved


@dataclass(frozen=True, kw_only=True, eq=False)
class Shuffles:
    """All shuffles of an analysis: every distinct one once, or ``n_requested`` beside the unshuffled data.

    ``kinds``: rows of the design that are equal have the same number; exchanging them changes nothing.
    """

    units: Units
    kinds: Codes
    has_permutations: bool
    has_flips: bool
    n_requested: int
    seed: int

    @cached_property
    def n_distinct(self) -> int:
        """Number of shuffles that can differ, the unshuffled data included."""
        flips = 2**self.units.n_units if self.has_flips else 1
        if not self.has_permutations:
            return flips
        return flips * prod(
            factorial(len(kinds)) // prod(map(factorial, Counter(kinds).values()))
            for kinds in self._kinds_by_cell.values()
        )

    @property
    def is_exhaustive(self) -> bool:
        """Whether every distinct shuffle is done once."""
        return self.n_distinct - 1 <= self.n_requested

    @property
    def n_others(self) -> int:
        """Number of shuffles beside the unshuffled data."""
        return self.n_distinct - 1 if self.is_exhaustive else self.n_requested

    def batch(self, start: int, stop: int) -> Batch:
        """Shuffles number ``start`` … ``stop − 1``; at most ``n_others + 1``."""
        stop = min(stop, self.n_others + 1)
        if self.is_exhaustive:
            return self._on_rows(*self._listed(start, stop))
        first = start // SHUFFLES_PER_STREAM
        drawn = [self._stream(number) for number in range(first, -(-stop // SHUFFLES_PER_STREAM))]
        orders, signs = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        here = slice(start - first * SHUFFLES_PER_STREAM, stop - first * SHUFFLES_PER_STREAM)
        return self._on_rows(orders[here], signs[here])

    @cached_property
    def _kinds_by_cell(self) -> dict[int, list[Hashable]]:
        """For each cell the kind of every unit in it: the kinds of its rows."""
        cells: dict[int, list[Hashable]] = {}
        for unit, rows in enumerate(self.units.rows_of_unit):
            cells.setdefault(int(self.units.cell_of_unit[unit]), []).append(tuple(self.kinds[rows]))
        return cells

    @cached_property
    def _arranged(self) -> list[tuple[Codes, Codes]]:
        """Units of each cell, and all distinct ways to deal them to its places."""
        found = []
        for cell, kinds in self._kinds_by_cell.items():
            members = np.flatnonzero(self.units.cell_of_unit == cell)
            found.append((members, members[_arrangements(kinds)]))
        return found

    @cached_property
    def _table(self) -> tuple[Codes, Codes]:
        """Rows of each unit ``(n_units, longest)``, and the column there of each row ``(n_obs,)``."""
        rows = self.units.rows_of_unit
        table = np.full((self.units.n_units, max(map(len, rows))), -1, dtype=np.intp)
        position = np.empty(self.units.unit_of_row.size, dtype=np.intp)
        for unit, members in enumerate(rows):
            table[unit, : members.size] = members
            position[members] = np.arange(members.size)
        return table, position

    def _stream(self, number: int) -> tuple[Codes, Doubles]:
        """Draw one stream of shuffles; the very first shuffle of all leaves everything in place."""
        random = np.random.Generator(np.random.Philox(key=self.seed, counter=[0, 0, 0, number]))
        n_units, cells = self.units.n_units, self.units.cell_of_unit
        orders = np.tile(np.arange(n_units), (SHUFFLES_PER_STREAM, 1))
        signs: Doubles = np.ones((SHUFFLES_PER_STREAM, n_units))
        if self.has_permutations:
            keys = random.random((SHUFFLES_PER_STREAM, n_units))
            by_cell = np.argsort(cells, kind="stable")
            ranks = np.unique(cells, return_inverse=True)[1]
            orders[:, by_cell] = np.argsort(ranks + keys, axis=1, kind="stable")
        if self.has_flips:
            signs -= 2.0 * random.integers(0, 2, size=(SHUFFLES_PER_STREAM, n_units))
        if number == 0:
            orders[0], signs[0] = np.arange(n_units), 1.0
        return orders, signs

    def _listed(self, start: int, stop: int) -> tuple[Codes, Doubles]:
        """List distinct shuffles in a fixed order: arrangements of cells, then signs, in mixed radix."""
        n_units = self.units.n_units
        orders = np.tile(np.arange(n_units), (stop - start, 1))
        signs = np.ones((stop - start, n_units))
        numbers = np.arange(start, stop)
        if self.has_permutations:
            for members, arrangements in self._arranged:
                orders[:, members] = arrangements[numbers % len(arrangements)]
                numbers = numbers // len(arrangements)
        if self.has_flips:
            signs -= 2.0 * ((numbers[:, None] >> np.arange(n_units)) & 1)
        return orders, signs

    def _on_rows(self, orders: Codes, signs: Doubles) -> Batch:
        """Spell out for rows what happens to units; units that only flip may differ in size."""
        unit_of_row = self.units.unit_of_row
        if not self.has_permutations:
            sources = np.tile(np.arange(unit_of_row.size), (len(orders), 1))
            return Batch(sources=sources, signs=signs[:, unit_of_row])
        table, position = self._table
        return Batch(sources=table[orders[:, unit_of_row], position], signs=signs[:, unit_of_row])


def _arrangements(kinds: Sequence[Hashable]) -> Codes:
    """All distinct ways to deal units to the places of their kinds, the unchanged one first.

    Row r of the result says which unit (position in ``kinds``) comes to each place; shape
    ``(n_arrangements, n_units)``.
    """
    numbered = np.array([list(dict.fromkeys(kinds)).index(kind) for kind in kinds], dtype=np.intp)
    places = np.argsort(numbered, kind="stable")
    found = []
    for dealt in _multiset_orders(sorted(numbered.tolist())):
        order = np.empty(len(kinds), dtype=np.intp)
        order[places] = np.argsort(dealt, kind="stable")
        found.append(order)
    unchanged = next(i for i, order in enumerate(found) if np.array_equal(order, np.arange(len(kinds))))
    found.insert(0, found.pop(unchanged))
    return np.array(found)


def _multiset_orders(items: list[int]) -> Iterator[list[int]]:
    """Distinct orders of a sorted list, lexicographically (Knuth, algorithm 7.2.1.2 L)."""
    while True:
        yield list(items)
        pivot = len(items) - 2
        while pivot >= 0 and items[pivot] >= items[pivot + 1]:
            pivot -= 1
        if pivot < 0:
            return
        other = len(items) - 1
        while items[other] <= items[pivot]:
            other -= 1
        items[pivot], items[other] = items[other], items[pivot]
        items[pivot + 1 :] = items[:pivot:-1]
