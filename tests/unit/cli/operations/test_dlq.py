from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.cli.operations.answers import a_letter
from tests.unit.cli.operations.conftest import Run, lines
from tests.unit.cli.operations.fake_operator_api import FakeOperatorApi

DLQ = "/embeddings/dlq"


def by_entry(asked: dict[str, Any]) -> dict[str, Any]:
    return {"entry_id": asked["entry_id"], "state": asked["state"]}


def test_entries_are_listed_in_80_columns(api: FakeOperatorApi, run: Run) -> None:
    spent = a_letter(2, error_code=None, expires_soon=True, state="approved_for_requeue")
    api.lists(DLQ, [a_letter(1), spent])

    done = run("dlq", "list")

    assert done.exit_code == 0
    assert a_letter(1)["entry_id"] in done.output
    assert "DIMENSION_MISMATCH" in done.output
    assert "receives spent" in done.output
    assert "approved" in done.output
    assert max(map(len, lines(done))) <= 80


def test_a_wide_terminal_shows_jobs_and_notes(api: FakeOperatorApi, run: Run) -> None:
    api.lists(DLQ, [a_letter(operator_note="ask [bob]")])

    done = run("dlq", "list", width=200)

    assert "ask [bob]" in done.output
    assert a_letter()["job_id"] in done.output


@pytest.mark.parametrize(
    ("state", "asked"),
    [
        ("approved", "approved_for_requeue"),
        ("approved_for_requeue", "approved_for_requeue"),
        ("ignored", "ignored"),
        ("quarantined", "quarantined"),
        ("requeued", "requeued"),
    ],
)
def test_filters_are_passed_on(api: FakeOperatorApi, run: Run, state: str, asked: str) -> None:
    api.lists(DLQ, [])

    done = run(
        "dlq", "list", "-s", "embedding", "--job", "j", "--error-code", "SCHEMA", "--state", state
    )

    assert "no such dead letters" in done.output
    assert api.asked[0][2] == {
        "stage": "embed",
        "job_id": "j",
        "error_code": "SCHEMA",
        "state": asked,
        "count": "20",
    }


def test_an_unknown_state_is_wrong_usage(api: FakeOperatorApi, run: Run) -> None:
    assert run("dlq", "list", "--state", "lost").exit_code == 2
    assert api.asked == []


def test_show_finds_an_entry_by_its_beginning(api: FakeOperatorApi, run: Run) -> None:
    api.lists(DLQ, [a_letter(number) for number in range(150)])

    done = run("dlq", "show", "0149", "--stage", "embed")

    assert a_letter(149)["entry_id"] in done.output
    assert "[redacted]" in done.output
    assert "1,365 bytes" in done.output
    assert api.asked[0][2]["stage"] == "embed"


@pytest.mark.parametrize(
    ("entry", "code", "said"),
    [("0149", 1, "no entry"), ("0000b3c4-0", 1, "2 entries begin"), ("00", 2, "too short")],
)
def test_an_entry_that_is_not_clear_is_refused(
    api: FakeOperatorApi, run: Run, entry: str, code: int, said: str
) -> None:
    api.lists(DLQ, [a_letter(), a_letter(entry_id="0000b3c4-0ther")])

    done = run("dlq", "show", entry)

    assert done.exit_code == code
    assert said in done.output


@pytest.mark.parametrize(
    ("verb", "state"),
    [("approve", "approved_for_requeue"), ("ignore", "ignored"), ("quarantine", "quarantined")],
)
def test_entries_are_decided_about(api: FakeOperatorApi, run: Run, verb: str, state: str) -> None:
    api.lists(DLQ, [a_letter(number) for number in range(3)])
    api.on("POST", f"{DLQ}/state", by_entry)

    done = run("dlq", verb, "0001", "0002", "--note", "fixed", "--json")

    wanted = [a_letter(number)["entry_id"] for number in (1, 2)]
    assert json.loads(done.output) == [{"entry_id": one, "state": state} for one in wanted]
    assert {asked["operator_note"] for asked in api.bodies(f"{DLQ}/state")} == {"fixed"}


def test_quarantined_ones_are_decided_about_by_filter(api: FakeOperatorApi, run: Run) -> None:
    api.lists(DLQ, [a_letter(number) for number in range(120)])
    api.on("POST", f"{DLQ}/state", by_entry)

    done = run("dlq", "ignore", "-s", "embed", "--error-code", "E", says="y\n")

    assert "120 dead letters: ignored?" in done.output
    assert "120 dead letters ignored" in done.output
    assert (
        api.asked[0][2].items()
        >= {
            "stage": "embed",
            "error_code": "E",
            "state": "quarantined",
        }.items()
    )
    assert len(api.bodies(f"{DLQ}/state")) == 120


def test_by_filter_without_a_terminal_it_wants_a_confirmation(
    api: FakeOperatorApi, run: Run
) -> None:
    api.lists(DLQ, [a_letter(1)])

    done = run("dlq", "quarantine", "--stage", "embed")

    assert done.exit_code == 2
    assert api.asked[0][2]["state"] == "approved_for_requeue"
    assert api.bodies(f"{DLQ}/state") == []


@pytest.mark.parametrize("arguments", [[], ["0001", "--job", "j"]])
def test_which_are_meant_must_be_clear(
    api: FakeOperatorApi, run: Run, arguments: list[str]
) -> None:
    assert run("dlq", "ignore", *arguments).exit_code == 2
    assert api.asked == []


def test_interrupted_decisions_say_how_far_they_came(api: FakeOperatorApi, run: Run) -> None:
    api.lists(DLQ, [a_letter(number) for number in range(3)])

    def decide(asked: dict[str, Any]) -> dict[str, Any]:
        if len(api.bodies(f"{DLQ}/state")) == 3:
            raise KeyboardInterrupt
        return by_entry(asked)

    api.on("POST", f"{DLQ}/state", decide)

    done = run("dlq", "ignore", "--stage", "embed", "--confirm")

    assert done.exit_code == 130
    assert "2 of 3 ignored; asking again continues" in done.stderr


def test_a_typing_error_changes_no_entry(api: FakeOperatorApi, run: Run) -> None:
    api.lists(DLQ, [a_letter(1)])
    api.on("POST", f"{DLQ}/state", by_entry)

    done = run("dlq", "approve", "0001", "9999", "--note", "fixed")

    assert done.exit_code == 1
    assert api.bodies(f"{DLQ}/state") == []


def test_who_approves_says_why(api: FakeOperatorApi, run: Run) -> None:
    api.lists(DLQ, [a_letter(1)])
    api.on("POST", f"{DLQ}/state", by_entry)

    without = run("dlq", "approve", "0001")
    asked = run("dlq", "approve", "0001", says="it is fixed\n")

    assert (without.exit_code, asked.exit_code) == (2, 0)
    assert "--note" in without.output
    assert [one["operator_note"] for one in api.bodies(f"{DLQ}/state")] == ["it is fixed"]


def test_refresh_looks_into_one_queue_or_all(api: FakeOperatorApi, run: Run) -> None:
    nothing = {"added": 0, "gone": 0, "put_back": 0, "failed_jobs": 0, "complete": True}
    seen = [{"stage": "chunk", **nothing}, {"stage": "store", **nothing, "put_back": 2}]
    seen[1]["complete"] = False
    api.on("POST", f"{DLQ}/refresh", {"stages": seen})

    all_of_them = run("dlq", "refresh")
    run("dlq", "refresh", "--stage", "store")

    assert api.bodies(f"{DLQ}/refresh") == [{}, {"stage": "store"}]
    assert lines(all_of_them) == [
        "chunk: nothing new",
        "store: 2 put back; there is more, ask again",
    ]
