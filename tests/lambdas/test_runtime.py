"""The harness itself: a good answer, and each way in which there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from embedpipe.local.process import Guard

from tests.lambdas.rie import Deployed, FunctionError, Runtime, read_answer, the_emulator

HANDLER = """
import os, time

calls = 0

def lambda_handler(event, context):
    global calls
    calls += 1
    match event.get("do"):
        case "raise":
            raise ValueError("no such thing")
        case "exit":
            os._exit(3)
        case "sleep":
            time.sleep(30)
        case "swell":
            return "x" * 7_000_000
    return {"calls": calls, "left_ms": context.get_remaining_time_in_millis(), **event}
"""


@contextmanager
def a_runtime(folder: Path, text: str, timeout_s: float) -> Iterator[Runtime]:
    (folder / "app.py").write_text(text)
    guard = Guard()
    function = Deployed("toy", folder, timeout_s=timeout_s)
    made = Runtime(the_emulator(), function, guard=guard, log=folder / "toy.log")
    try:
        made.start()
        yield made
    finally:
        made.stop()
        guard.close()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    with a_runtime(tmp_path_factory.mktemp("function"), HANDLER, 60) as made:
        yield made


def failure(runtime: Runtime, what: str) -> str:
    with pytest.raises(FunctionError) as caught:
        runtime.invoke({"do": what})
    return caught.value.kind


def test_an_answer_is_given_and_the_environment_kept(runtime: Runtime) -> None:
    first = runtime.invoke({"say": "ä"})
    second = runtime.invoke({"say": "ö"})

    assert (first["say"], second["say"]) == ("ä", "ö")
    assert second["calls"] == first["calls"] + 1
    assert 0 < first["left_ms"] <= 60_000


def test_the_cost_of_a_cold_start_is_reported(runtime: Runtime) -> None:
    runtime.invoke({})

    cold_ms = runtime.cold_start_ms()
    assert cold_ms is not None
    assert cold_ms > 1


def test_a_handler_that_raises_has_not_answered(runtime: Runtime) -> None:
    assert failure(runtime, "raise") == "ValueError"


def test_a_handler_that_ends_its_process_has_not_answered(runtime: Runtime) -> None:
    assert failure(runtime, "exit") == "Runtime.ExitError"
    assert runtime.invoke({})["calls"] == 1


def test_a_handler_that_takes_too_long_has_not_answered(tmp_path: Path) -> None:
    with a_runtime(tmp_path, HANDLER, 2) as runtime:
        assert failure(runtime, "sleep") == "Sandbox.Timedout"


def test_an_answer_that_is_too_large_is_none(runtime: Runtime) -> None:
    assert failure(runtime, "swell") == "Function.ResponseSizeTooLarge"


def test_invocations_at_once_wait_for_each_other(runtime: Runtime) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda n=n: answers.append(runtime.invoke({"n": n})))
        for n in range(4)
    ]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(answer["n"] for answer in answers) == [0, 1, 2, 3]


@pytest.mark.parametrize("text", ['{"statusCode": 500, "body": "{}"}', '"errorMessage"', "null"])
def test_what_a_handler_may_answer_is_no_error(text: str) -> None:
    read_answer(text)


def test_a_handler_that_cannot_be_imported_has_not_answered(tmp_path: Path) -> None:
    with a_runtime(tmp_path, "import nothing_of_this_name", 60) as runtime:
        assert failure(runtime, "") == "Runtime.ImportModuleError"
