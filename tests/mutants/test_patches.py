"""The mutants fit the code. Whether the suite kills them, `make mutants` says."""

from __future__ import annotations

import ast
import re
from collections import Counter

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant, check_edits


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_change_finds_its_place(mutant: Mutant) -> None:
    check_edits(mutant)

    assert all(edit.old != edit.new for edit in mutant.edits)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_what_is_changed_is_still_a_program(mutant: Mutant) -> None:
    for edit in mutant.edits:
        if edit.path.endswith(".py"):
            ast.parse(edit.applied())


def test_killers_are_tests_that_there_are() -> None:
    missing = [
        killer
        for mutant in MUTANTS
        for killer in mutant.killers
        for file, _, name in [killer.partition("::")]
        if f"def {name.partition('[')[0].rpartition('::')[2]}(" not in (ROOT / file).read_text()
    ]

    assert missing == []


def test_names_differ_and_signs_are_patterns() -> None:
    assert [name for name, n in Counter(one.name for one in MUTANTS).items() if n > 1] == []
    assert all(mutant.killers and re.compile(mutant.sign) for mutant in MUTANTS)
