"""Every file of events/ through AWS's own Lambda runtime, answers and effects asserted."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.e2e.cloud import with_model
from tests.lambdas.case import EMBED, Case, run
from tests.lambdas.cases import CASES
from tests.lambdas.deployed import Functions
from tests.lambdas.rie import the_emulator
from tests.lambdas.world import World, a_world
from tests.real_model import MODELS_DIR, the_real_model
from tests.sqs_events import EVENTS

# The first case waits for all that the others find running.
pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    the_emulator()
    the_real_model()
    data_dir = with_model(tmp_path_factory.mktemp("world"), MODELS_DIR)
    with a_world(data_dir, data_dir / "models") as made:
        yield made


@pytest.fixture(scope="module")
def functions(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Functions]:
    with Functions.of(world, tmp_path_factory.mktemp("functions")) as made:
        yield made


@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_event_is_answered_and_has_its_effect(
    case: Case, world: World, functions: Functions
) -> None:
    run(case, world, functions.invoke)


@pytest.mark.parametrize("name", sorted({case.function for case in CASES} - {EMBED}))
def test_every_function_reports_what_its_cold_start_took(
    name: str, functions: Functions, record_property: Callable[[str, object], None]
) -> None:
    if functions.cold_start_ms(name) is None:
        functions.invoke(next(case for case in CASES if case.function == name))

    cold_ms = functions.cold_start_ms(name)
    assert cold_ms is not None
    record_property("cold_start_ms", cold_ms)


def test_every_event_has_a_case() -> None:
    assert {path.stem for path in EVENTS.glob("*.json")} == {case.event for case in CASES}


def test_every_function_of_the_template_has_an_event(world: World) -> None:
    assert set(world.functions()) == {case.function for case in CASES} - {EMBED}
