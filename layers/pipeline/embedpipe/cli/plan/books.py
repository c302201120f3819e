"""The books that come with the package, and the rows that a user puts in their place."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from embedpipe.domain.capacity.book import Book, Books, Row

_YOURS = "your file"


class _Row(BaseModel):
    """A row of a file; a bare number will do in a user's."""

    model_config = ConfigDict(extra="forbid")

    value: float
    unit: str = ""
    source: str = _YOURS
    date: str = ""
    assumption: str = ""

    def row(self, known: Row | None) -> Row:
        """Give the row; the unit of a known one stays."""
        unit = self.unit or (known.unit if known else "")
        return Row(self.value, unit, self.source, self.date, self.assumption)


class BookError(ValueError):
    """A file of figures or prices cannot be used; the message says why."""


def load(
    figures: Path | None = None, prices: Path | None = None, *, price_factor: float = 1.0
) -> Books:
    """Give both books, with the user's rows in place of ours.

    Raises
    ------
    BookError
        A file cannot be read, or has rows that nothing asks for.
    """
    return Books(
        figures=_with_yours(shipped("figures.yaml"), figures),
        prices=_with_yours(_dearer(shipped("prices.yaml"), price_factor), prices),
    )


def shipped(name: str) -> Book:
    """Give a book that comes with the package."""
    text = files("embedpipe.cli.plan").joinpath(name).read_text(encoding="utf-8")
    return Book(_rows(yaml.safe_load(text), name, {}))


def _dearer(book: Book, factor: float) -> Book:
    """Scale prices for another region; what is free stays as much, and a share a share."""
    kept = [name for name in book if name.endswith("_free") or name == "managed_instances_fee"]
    return book.scaled(factor, but=kept)


def _with_yours(book: Book, path: Path | None) -> Book:
    if path is None:
        return book
    try:
        read = yaml.safe_load(path.read_text(encoding="utf-8"))  # JSON is YAML
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise BookError(f"{path} cannot be read: {type(exc).__name__}") from exc
    if isinstance(read, dict) and isinstance(read.get("figures"), dict):
        read = read["figures"]  # as bench.service_times writes it
    known = {name: book.row(name) for name in book}
    rows = _rows(read, str(path), known)
    if unknown := sorted(rows.keys() - known.keys()):
        raise BookError(f"{path}: nothing asks for {', '.join(unknown)}")
    return book.with_rows(rows)


def _rows(read: Any, name: str, known: dict[str, Row]) -> dict[str, Row]:
    if not isinstance(read, dict):
        raise BookError(f"{name} is not a table of rows by name")
    try:
        parsed = {
            str(key): _Row.model_validate(value if isinstance(value, dict) else {"value": value})
            for key, value in read.items()
        }
    except ValidationError as exc:
        raise BookError(f"{name}: {exc.errors()[0]['msg']}") from None
    return {key: row.row(known.get(key)) for key, row in parsed.items()}
