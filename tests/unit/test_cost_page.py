"""The tables of docs/cost.md are what the program says."""

from __future__ import annotations

from bench.cost_tables import PAGE, tables, with_tables


def test_tables_are_what_the_program_says() -> None:
    page = PAGE.read_text()

    # `python -m bench.cost_tables` writes them.
    assert with_tables(page, tables()) == page
