from __future__ import annotations

import threading
from pathlib import Path

import pytest
from embedpipe.local.errors import InvocationError, ThrottledError

from tests.unit.local.toys import a_pool


def test_an_environment_keeps_its_memory_and_gets_a_lambda_context(tmp_path: Path) -> None:
    source = """
        calls = 0

        def lambda_handler(event, context):
            global calls
            calls += 1
            return {
                "calls": calls,
                "event": event,
                "name": context.function_name,
                "arn": context.invoked_function_arn,
                "left": context.get_remaining_time_in_millis(),
                "ids": len(context.aws_request_id),
            }
    """
    with a_pool(tmp_path, source) as pool:
        pool.invoke({"n": 1})
        second = pool.invoke({"text": "日本\n"})

    assert (second["calls"], second["event"]) == (2, {"text": "日本\n"})
    assert (second["name"], second["ids"]) == ("toy", 36)
    assert second["arn"].endswith(":function:toy")
    assert 0 < second["left"] <= 5000


def test_a_handler_that_raises_is_reported_and_stays(tmp_path: Path) -> None:
    source = """
        import os

        def lambda_handler(event, context):
            if event == "raise":
                raise ValueError("no")
            return os.getpid()
    """
    with a_pool(tmp_path, source) as pool:
        before = pool.invoke("x")
        with pytest.raises(InvocationError) as caught:
            pool.invoke("raise")
        after = pool.invoke("x")

    assert (caught.value.error_type, caught.value.message) == ("ValueError", "no")
    assert before == after
    assert "ValueError: no" in (tmp_path / "toy.log").read_text()


@pytest.mark.parametrize(
    ("statement", "error_type"),
    [
        ("os._exit(3)", "Runtime.ExitError"),
        ("sys.exit(1)", "Runtime.ExitError"),
        ("time.sleep(30)", "Sandbox.Timedout"),
        ("return 'x' * 7_000_000", "Function.ResponseSizeTooLarge"),
        ("return object()", "Runtime.MarshalError"),
    ],
)
def test_what_lambda_ends_is_ended_and_the_next_invocation_works(
    tmp_path: Path, statement: str, error_type: str
) -> None:
    source = f"""
        import os, sys, time

        def lambda_handler(event, context):
            if event == "break":
                {statement}
            return "fine"
    """
    with a_pool(tmp_path, source, timeout_s=1.0) as pool:
        with pytest.raises(InvocationError) as caught:
            pool.invoke("break")

        assert caught.value.error_type == error_type
        assert pool.invoke("work") == "fine"


def test_a_handler_that_cannot_be_imported_says_so(tmp_path: Path) -> None:
    source = "import there_is_no_such_module"

    with a_pool(tmp_path, source) as pool, pytest.raises(InvocationError) as caught:
        pool.start()

    assert caught.value.error_type == "Runtime.ImportModuleError"


def test_only_the_given_variables_reach_a_handler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a real one")
    source = """
        import os

        def lambda_handler(event, context):
            return dict(os.environ)
    """
    with a_pool(tmp_path, source, environment={"CHUNK_QUEUE_URL": "here"}) as pool:
        seen = pool.invoke(None)

    assert seen["CHUNK_QUEUE_URL"] == "here"
    assert seen["AWS_LAMBDA_FUNCTION_NAME"] == "toy"
    assert "AWS_SECRET_ACCESS_KEY" not in seen


def test_one_environment_serves_one_event_at_a_time_and_a_second_starts_when_needed(
    tmp_path: Path,
) -> None:
    source = """
        import os, pathlib, time

        def lambda_handler(event, context):
            mine = pathlib.Path(event["folder"], str(os.getpid()))
            mine.touch()
            while len(list(pathlib.Path(event["folder"]).iterdir())) < event["wait_for"]:
                time.sleep(0.01)
            return os.getpid()
    """
    folder = tmp_path / "seen"
    folder.mkdir()
    code = tmp_path / "code"
    code.mkdir()
    with a_pool(code, source, max_concurrency=2) as pool:
        alone = [pool.invoke({"folder": str(folder), "wait_for": 1}) for _ in range(3)]
        found: list[int] = []
        event = {"folder": str(folder), "wait_for": 2}
        threads = [
            threading.Thread(target=lambda: found.append(pool.invoke(event))) for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert len(set(alone)) == 1
    assert len(set(found)) == 2


def test_a_full_or_closed_pool_throttles(tmp_path: Path) -> None:
    source = "def lambda_handler(event, context): return event"
    with a_pool(tmp_path, source, max_concurrency=1, max_waiting=0) as pool:
        with pool._environment(), pytest.raises(ThrottledError):
            pool.invoke(1)
        pool.close()
        with pytest.raises(ThrottledError):
            pool.invoke(1)
