"""What API Gateway does in front of the API: who comes through, and what it answers by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from embedpipe.api.table import OPERATIONS
from embedpipe.domain.origins import parse_origins
from embedpipe.local.intrinsics import Resolver

from tests.template import Stack, load_stack

ANY = "x-amazon-apigateway-any-method"
RESPONSES = "x-amazon-apigateway-gateway-responses"
KEYED: list[dict[str, list[str]]] = [{"ApiKey": []}]
PLAN = ("ApiUsagePlan", "ApiPlanKey", "ApiUsagePlanKey")


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack()


def resolved(stack: Stack, value: Any, **parameters: str) -> Any:
    return Resolver(stack.document, parameters).resolve(value)


def body(stack: Stack, **parameters: str) -> dict[str, Any]:
    """Give the definition as CloudFormation makes it of some parameters."""
    definition: dict[str, Any] = resolved(
        stack, stack.properties("Api")["DefinitionBody"], **parameters
    )
    return definition


def methods(definition: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in definition["paths"].items():
        for verb, method in item.items():
            yield path, verb, method


# -------------------------------------------------------------------------------------- usage plan


def test_without_a_quota_there_is_one_method_for_everything_and_no_key(stack: Stack) -> None:
    definition = body(stack)

    assert [(path, verb) for path, verb, _ in methods(definition)] == [
        ("/", ANY),
        ("/{proxy+}", ANY),
    ]
    assert all("security" not in method for _, _, method in methods(definition))
    assert set(definition) == {"openapi", "info", "paths"}
    for name in PLAN:
        assert stack.document["Resources"][name]["Condition"] == "HasUsagePlan"
    assert resolved(stack, {"Condition": "HasUsagePlan"}) is False


def test_with_a_quota_everything_wants_a_key_but_what_is_public(stack: Stack) -> None:
    definition = body(stack, ApiQuotaPerDay="1000")

    keyed = {(path, verb) for path, verb, method in methods(definition) if "security" in method}
    open_to_all = {(path, verb) for path, verb, _ in methods(definition)} - keyed

    assert keyed == {("/", ANY), ("/{proxy+}", ANY)}
    assert open_to_all - {("/", "options"), ("/{proxy+}", "options")} == {
        (re.sub(r"{name}\.json$", "{name}", path), operation.method.lower())
        for operation in OPERATIONS
        if operation.is_public
        for path in operation.paths
    }
    assert {("/", "options"), ("/{proxy+}", "options")} <= open_to_all
    assert all(m["security"] == KEYED for _, _, m in methods(definition) if "security" in m)
    assert definition["components"]["securitySchemes"] == {
        "ApiKey": {"type": "apiKey", "name": "x-api-key", "in": "header"}
    }


def test_every_method_goes_to_the_version_that_is_live(stack: Stack) -> None:
    targets = {
        (integration["type"], integration["httpMethod"], integration["uri"]["Fn::Sub"])
        for integration in _integrations(stack.properties("Api")["DefinitionBody"])
    }

    [(kind, method, uri)] = targets
    assert (kind, method) == ("aws_proxy", "POST")
    assert uri.endswith(":lambda:path/2015-03-31/functions/${ApiFunction.Alias}/invocations")


def _integrations(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for item in value:
            yield from _integrations(item)
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "x-amazon-apigateway-integration":
                yield item
            else:
                yield from _integrations(item)


def test_the_key_of_the_plan_is_the_one_that_the_function_compares(stack: Stack) -> None:
    told = stack.function("ApiFunction")["Environment"]["Variables"]
    secret = stack.properties("ApiKeySecret")["GenerateSecretString"]

    value = stack.properties("ApiPlanKey")["Value"]["Fn::Sub"]

    assert told["SINGLE_USER_API_KEY_SECRET_ARN"] == {"Ref": "ApiKeySecret"}
    assert value == ("{{resolve:secretsmanager:${ApiKeySecret}:SecretString:::${ApiKeyVersionId}}}")
    # What API Gateway takes: 20 to 128 letters and digits.
    assert 20 <= secret["PasswordLength"] <= 128
    assert secret["ExcludePunctuation"] is True


def test_the_plan_is_of_the_stage_and_no_looser(stack: Stack) -> None:
    plan, key = stack.properties("ApiUsagePlan"), stack.properties("ApiUsagePlanKey")
    [settings] = stack.properties("Api")["MethodSettings"]

    assert plan["ApiStages"] == [{"ApiId": {"Ref": "Api"}, "Stage": {"Ref": "Api.Stage"}}]
    assert plan["Throttle"] == {
        "RateLimit": settings["ThrottlingRateLimit"],
        "BurstLimit": settings["ThrottlingBurstLimit"],
    }
    assert plan["Quota"] == {"Limit": {"Ref": "ApiQuotaPerDay"}, "Period": "DAY"}
    assert key == {
        "UsagePlanId": {"Ref": "ApiUsagePlan"},
        "KeyId": {"Ref": "ApiPlanKey"},
        "KeyType": "API_KEY",
    }


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [("0", True), ("1", True), ("100000", True), ("00", False), ("0.0", False), ("-1", False)],
)
def test_a_quota_is_a_whole_number_and_none_is_0(stack: Stack, text: str, is_taken: bool) -> None:
    pattern = stack.document["Parameters"]["ApiQuotaPerDay"]["AllowedPattern"]

    assert bool(re.fullmatch(pattern, text)) is is_taken


def test_a_changed_parameter_reaches_the_stage(stack: Stack) -> None:
    # SAM names a deployment by the definition as it is written, and that stays the same.
    assert stack.properties("Api")["AlwaysDeploy"] is True


# -------------------------------------------------------------------------------------------- CORS


def test_pages_may_read_what_api_gateway_answers_by_itself_where_origins_are_named(
    stack: Stack,
) -> None:
    named = body(stack, CorsAllowOrigins="https://a.example,https://b.example")[RESPONSES]

    assert set(named) == {"DEFAULT_4XX", "DEFAULT_5XX"}
    for answer in named.values():
        told = answer["responseParameters"]
        # It cannot choose among origins, and says nothing that is not for everybody.
        assert told["gatewayresponse.header.Access-Control-Allow-Origin"] == "'*'"
        assert answer["responseTemplates"] == {
            "application/json": '{"message":$context.error.messageString}'
        }
    assert RESPONSES not in body(stack)


def test_the_function_is_told_the_origins(stack: Stack) -> None:
    told = stack.function("ApiFunction")["Environment"]["Variables"]

    assert told["CORS_ALLOW_ORIGINS"] == {"Ref": "CorsAllowOrigins"}
    assert stack.document["Parameters"]["CorsAllowOrigins"]["Default"] == ""


@pytest.mark.parametrize(
    ("text", "is_taken"),
    [
        ("", True),
        ("*", True),
        ("https://app.example.com", True),
        ("https://app.example.com,http://localhost:3000,http://[::1]:8080", True),
        ("http://localhost:8080,https://my_app.example.com:4430,chrome-extension://abc", True),
        ("https://app.example.com/", False),
        ("https://app.example.com:443", False),
        ("http://app.example.com:80,https://app.example.com", False),
        ("https://app.example.com:0443", False),
        ("https://me@app.example.com", False),
        ("https://app.example.com?page", False),
        ("https://app..example.com", False),
        ("https://App.example.com", False),
        ("https://*.example.com", False),
        ("*,https://app.example.com", False),
        ("app.example.com", False),
        ("null", False),
    ],
)
def test_a_bad_origin_is_refused_before_the_stack_is_changed(
    stack: Stack, text: str, is_taken: bool
) -> None:
    pattern = stack.document["Parameters"]["CorsAllowOrigins"]["AllowedPattern"]

    assert bool(re.fullmatch(pattern, text)) is is_taken
    # What came through and were refused then would end every invocation.
    with nullcontext() if is_taken else pytest.raises(ValueError, match=r"origin|never sent"):
        parse_origins(text)
