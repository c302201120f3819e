"""Run every mutant's killers over it: none may survive. `make mutants`; not part of `make test`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import Mutant, Outcome, copy_of, mutated, run_tests, survived

#: At once; each has a PostgreSQL of its own.
WORKERS = 2

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy without a fault."""
    return copy_of(tmp_path_factory.mktemp("mutants") / "original")


@pytest.fixture(scope="module")
def outcomes(
    original: Path, request: pytest.FixtureRequest
) -> Iterator[dict[str, Future[Outcome]]]:
    """What the killers of the mutants that were asked for say, each as soon as it is known."""
    wanted = {
        item.callspec.params["mutant"].name
        for item in request.session.items
        if hasattr(item, "callspec") and "mutant" in item.callspec.params
    }

    def run(mutant: Mutant, number: int) -> Outcome:
        folder = original.parent / f"m{number}"
        return run_tests(mutant.killers, mutated(mutant, original, folder), folder / "scratch")

    with ThreadPoolExecutor(WORKERS) as threads:
        yield {
            mutant.name: threads.submit(run, mutant, number)
            for number, mutant in enumerate(MUTANTS)
            if mutant.name in wanted
        }
        threads.shutdown(cancel_futures=True)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_the_suite_kills(mutant: Mutant, outcomes: dict[str, Future[Outcome]]) -> None:
    assert survived(mutant, outcomes[mutant.name].result()) == ""


def test_without_a_fault_all_killers_pass(original: Path) -> None:
    killers = sorted({killer for mutant in MUTANTS for killer in mutant.killers})

    outcome = run_tests(killers, original, original.parent / "scratch")

    assert outcome.failed == {}
    ran = outcome.passed | {name.partition("[")[0] for name in outcome.passed}
    assert set(killers) <= ran, outcome.printed
