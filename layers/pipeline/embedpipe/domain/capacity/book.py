"""Books of figures and prices: each row with its unit, where it comes from, and whether assumed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Row:
    """One figure or price.

    Attributes
    ----------
    source
        Who measured or published it.
    date
        When, as year-month-day or a part of that.
    assumption
        Why it is assumed; empty for what was measured or published as it stands.
    """

    value: float
    unit: str
    source: str
    date: str
    assumption: str = ""


class Book(Mapping[str, float]):
    """Rows by name; indexing gives their values."""

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self._rows = dict(rows)

    def __getitem__(self, name: str) -> float:
        return self._rows[name].value

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def row(self, name: str) -> Row:
        """Give a row with all that is known of it."""
        return self._rows[name]

    def assumed(self) -> Iterator[tuple[str, Row]]:
        """Give the rows that are assumptions."""
        return ((name, row) for name, row in self._rows.items() if row.assumption)

    def with_rows(self, rows: Mapping[str, Row]) -> Book:
        """Give a book in which some rows are replaced or added."""
        return Book({**self._rows, **rows})

    def scaled(self, factor: float, but: Iterable[str] = ()) -> Book:
        """Give a book with all values multiplied, shares and the like left alone."""
        kept = frozenset(but)
        return Book(
            {
                name: row if name in kept else replace(row, value=factor * row.value)
                for name, row in self._rows.items()
            }
        )


@dataclass(frozen=True)
class Books:
    """What the model reckons with: figures of the parts, and prices."""

    figures: Book
    prices: Book
