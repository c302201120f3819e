"""What template and code both say of times, sizes and numbers agrees."""

from __future__ import annotations

import re
from typing import Any

import pytest
from embedpipe.adapters import sqs_rules
from embedpipe.adapters.postgres.sessions import CHECKOUT_TIMEOUT_S
from embedpipe.api.table import OPERATIONS
from embedpipe.settings import ApiSettings, ChunkSettings, DatabaseSettings, EmbedSettings, Settings

from functions.chunk import app as chunk
from functions.maintenance import app as maintenance
from functions.store import app as store
from tests.template import Stack, load_stack

#: What Lambda takes as a request that is waited for, the text around the body included.
MAX_INVOCATION_BYTES = 6 * 1024 * 1024
#: Parameter -> the setting that it becomes.
BOUNDS: dict[str, tuple[type[Settings], str]] = {
    "DatabasePort": (DatabaseSettings, "database_port"),
}
RESERVES_S = {
    "ChunkFunction": chunk.RESERVE_S,
    "StoreFunction": store.RESERVE_S,
    "MaintenanceFunction": maintenance.RESERVE_S,
}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack()


def default(settings: type[Settings], name: str) -> Any:
    return settings.model_fields[name].default


def upper(settings: type[Settings], name: str) -> Any:
    [bound] = [b.le for b in settings.model_fields[name].metadata if hasattr(b, "le")]
    return bound


def test_a_queue_takes_what_is_sent_to_it(stack: Stack) -> None:
    largest = upper(ChunkSettings, "max_message_bytes")

    taken = [
        queue.get("MaximumMessageSize", sqs_rules.MAX_BATCH_BYTES)
        for queue in stack.of_type("AWS::SQS::Queue").values()
    ]

    assert min(taken) >= largest


def test_lambda_takes_what_the_api_takes() -> None:
    largest = max(operation.max_body_bytes for operation in OPERATIONS)

    assert default(ApiSettings, "max_content_bytes") <= largest <= MAX_INVOCATION_BYTES


def test_a_message_goes_around_as_often_as_it_is_tried_and_killed(stack: Stack) -> None:
    tries = 1 + default(ChunkSettings, "max_retries") + default(ChunkSettings, "max_deaths")

    for queue in stack.of_type("AWS::SQS::Queue").values():
        if "RedrivePolicy" in queue:
            assert queue["RedrivePolicy"]["maxReceiveCount"] > tries


@pytest.mark.parametrize("function", RESERVES_S)
def test_a_function_has_time_beyond_what_it_keeps_in_reserve(stack: Stack, function: str) -> None:
    assert stack.function(function)["Timeout"] >= 2 * RESERVES_S[function]


@pytest.mark.parametrize("setting", ["query_timeout_s", "sync_timeout_s"])
def test_an_answer_of_the_api_comes_before_its_function_ends(stack: Stack, setting: str) -> None:
    timeout_s = stack.function("ApiFunction")["Timeout"]

    assert default(ApiSettings, setting) <= timeout_s
    assert upper(ApiSettings, setting) <= timeout_s <= 29
    assert timeout_s > CHECKOUT_TIMEOUT_S


@pytest.mark.parametrize("parameter", BOUNDS)
def test_a_parameter_has_the_bounds_of_its_setting(stack: Stack, parameter: str) -> None:
    settings, name = BOUNDS[parameter]
    given = stack.document["Parameters"][parameter]

    [lower] = [b.ge for b in settings.model_fields[name].metadata if hasattr(b, "ge")]

    assert (given["MinValue"], given["MaxValue"]) == (lower, upper(settings, name))
    assert given["Default"] == default(settings, name)


def test_tokens_that_a_task_holds_are_what_its_setting_takes(stack: Stack) -> None:
    pattern = stack.document["Parameters"]["EmbedBufferTokens"]["AllowedPattern"]
    [lower] = [
        b.ge for b in EmbedSettings.model_fields["buffer_tokens"].metadata if hasattr(b, "ge")
    ]
    most = upper(EmbedSettings, "buffer_tokens")
    numbers = {0, 1, lower - 1, lower, 599, 999, 1000, 131_072, 16_000_000, most, most + 1, 10**8}

    taken = {number for number in numbers if re.fullmatch(pattern, str(number))}

    assert taken == {number for number in numbers if lower <= number <= most}


def test_what_depends_on_compute_is_there_for_each(stack: Stack) -> None:
    computes = stack.document["Mappings"]["Computes"]

    assert set(computes) == set(stack.document["Parameters"]["EmbedCompute"]["AllowedValues"])
    assert computes["gpu"]["BufferTokens"] == default(EmbedSettings, "buffer_tokens")
    assert computes["cpu"]["BufferTokens"] < computes["gpu"]["BufferTokens"]


def test_functions_open_no_more_connections_than_one_invocation_uses(stack: Stack) -> None:
    variables = stack.document["Globals"]["Function"]["Environment"]["Variables"]

    assert (variables["PGVECTOR_POOL_MIN_SIZE"], variables["PGVECTOR_POOL_MAX_SIZE"]) == ("0", "2")
