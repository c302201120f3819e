"""What a preview shows of a message, and what it never does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from embedpipe.domain.redaction import SHOWN, preview
from hypothesis import given, settings
from hypothesis import strategies as st

CANARY = "canary7f3a9c"
SECRETS = [
    "api_key",
    "apiKey",
    "API-KEY",
    "authorization",
    "token",
    "access_token",
    "password",
    "passwd",
    "secret",
    "client_secret",
    "private_key",
    "cookie",
    "credentials",
    "signature",
]


def shown(value: Any) -> str:
    return json.dumps(preview(json.dumps(value)), ensure_ascii=False)


def test_what_names_the_work_is_shown() -> None:
    body = {
        "msg_schema": "embedpipe.embed.v1",
        "msg_version": 1,
        "tenant_id": "acme",
        "job_id": "a-job",
        "epoch": 3,
        "document_id": "guide-1",
        "batch_no": 2,
    }

    assert preview(json.dumps(body)) == body


def test_text_tokens_and_vectors_are_told_by_size() -> None:
    body = {"tokens": {"data": CANARY}, "texts": [CANARY] * 3, "vectors": CANARY, "text": CANARY}

    told = preview(json.dumps(body))

    assert told == {
        "tokens": "<object of 1 keys>",
        "texts": "<list of 3>",
        "vectors": f"<text of {len(CANARY)} characters>",
        "text": f"<text of {len(CANARY)} characters>",
    }


@pytest.mark.parametrize("key", SECRETS)
def test_secrets_are_never_shown_at_any_depth(key: str) -> None:
    values: list[Any] = [
        {key: CANARY},
        {"job_id": {key: CANARY}},
        {"job_id": [{"a": {key: CANARY}}]},
        {"job_id": json.dumps({key: CANARY})},
        {"document_id": json.dumps({"a": [json.dumps({key: CANARY})]})},
        {"claim_check": {key: CANARY, "bytes": json.dumps({key: CANARY})}},
        {"claim_check": {"bytes": {key: CANARY}}},
        [{key: CANARY}],
        json.dumps({key: CANARY}),
    ]

    assert [value for value in values if CANARY in shown(value)] == []


@pytest.mark.parametrize(
    "text",
    [
        "ep_0123456789abcdef_" + CANARY,
        "sk-abcdefgh" + CANARY,
        "Bearer " + CANARY,
        f"https://user:{CANARY}@host/",
        "AKIAABCDEFGHIJKLMNOP" + CANARY,
        "-----BEGIN PRIVATE KEY-----" + CANARY,
        '{"token": broken ' + CANARY,
    ],
)
def test_what_looks_like_a_secret_is_redacted_wherever_it_stands(text: str) -> None:
    assert preview(json.dumps({"document_id": text})) == {"document_id": "[REDACTED]"}


def test_names_that_nobody_knows_are_counted_and_not_shown() -> None:
    assert preview(json.dumps({CANARY: 1, "x" * 500: 2, "epoch": 1})) == {
        "epoch": 1,
        "...": "<2 more>",
    }


@pytest.mark.parametrize(
    "body",
    [CANARY, f"{{{CANARY}", "[" * 100_000 + CANARY, f'"{CANARY}"', f'["{CANARY}"]', "", "NaN"],
)
def test_what_is_no_object_is_told_by_size(body: str) -> None:
    told = preview(body)

    assert list(told) == ["body"]
    assert CANARY not in str(told)


def test_long_values_are_told_by_size() -> None:
    assert preview(json.dumps({"document_id": "x" * 300})) == {
        "document_id": "<text of 300 characters>"
    }


_KEYS = st.one_of(st.sampled_from([*sorted(SHOWN), *SECRETS, "text", "claim_check"]), st.text())
_HIDDEN = st.recursive(
    st.just(CANARY),
    lambda inner: st.one_of(
        st.dictionaries(_KEYS, inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*SECRETS, "text", "texts", "vectors", "tokens", "content"]), _HIDDEN)
def test_no_canary_under_a_hidden_name_is_ever_seen(key: str, hidden: Any) -> None:
    assert CANARY not in shown({key: hidden, "epoch": 1})
