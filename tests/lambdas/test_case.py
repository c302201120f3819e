"""That the table can fail: what is expected is compared with what came."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lambdas.case import check, readable

GIVEN = {"status": 200, "body": {"items": [{"id": 1, "name": "a"}], "next": None}}


@pytest.mark.parametrize(
    "expected",
    [
        {},
        {"status": 200},
        {"body": {"items": [{"id": 1}]}},
        {"body": {"items": ..., "next": None}},
        {"body": {"items": [{"name": ...}]}},
    ],
)
def test_what_is_expected_is_found(expected: dict[str, Any]) -> None:
    check(expected, GIVEN)


@pytest.mark.parametrize(
    "expected",
    [
        {"status": 404},
        {"headers": ...},
        {"body": {"items": []}},
        {"body": {"items": [{"id": 2}]}},
        {"body": {"items": [{"id": 1}, {"id": 2}]}},
        {"body": {"items": {"id": 1}}},
        {"body": {"next": {"cursor": ...}}},
    ],
)
def test_what_is_not_there_is_missed(expected: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="answer"):
        check(expected, GIVEN)


def test_an_answer_for_api_gateway_is_read() -> None:
    assert readable({"statusCode": 202, "body": '{"a": 1}'}) == {"status": 202, "body": {"a": 1}}
    assert readable({"batchItemFailures": []}) == {"batchItemFailures": []}
