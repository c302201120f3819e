"""The API as the template defines it, with a usage plan: who comes through to the function.

A stack of its own with a stub for a function, beside the one that the suite runs on. On LocalStack,
as MiniStack asks for no key of API Gateway's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from embedpipe.local import intrinsics

from tests.e2e.targets import LOCALSTACK, chosen
from tests.stacks.deployed import DeployedStack
from tests.stacks.stack import ROOT, Stack

NAME = "planned"
PARTS = ("Api", "ApiKeySecret", "ApiUsagePlan", "ApiPlanKey", "ApiUsagePlanKey")
STUB = "def handler(event, context):\n    return {'statusCode': 200, 'body': event['path']}\n"

Ask = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def ask(stack: DeployedStack) -> Iterator[Ask]:
    """Send a request to a stack with a plan; `key` is its key unless another is given."""
    if chosen() != LOCALSTACK:
        pytest.skip("only LocalStack asks for keys of API Gateway's")
    with_plan = deploy(stack)
    try:
        yield with_plan
    finally:
        remove(stack)


def deploy(stack: Stack) -> Ask:
    formation = stack.aws("cloudformation")
    formation.create_stack(
        StackName=NAME,
        TemplateBody=json.dumps(a_template()),
        Parameters=[{"ParameterKey": "ApiQuotaPerDay", "ParameterValue": "1000"}],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    formation.get_waiter("stack_create_complete").wait(
        StackName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )
    found = formation.describe_stack_resources(StackName=NAME)["StackResources"]
    ids = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in found}
    secret = stack.aws("secretsmanager").get_secret_value(SecretId=ids["ApiKeySecret"])
    url = f"{stack.endpoint_url}/_aws/execute-api/{ids['Api']}/live"

    def ask(method: str, path: str, key: str | None = secret["SecretString"]) -> httpx.Response:
        headers = {"X-API-KEY": key} if key else {}
        return httpx.request(method, url + path, headers=headers, timeout=120, trust_env=False)

    return ask


def remove(stack: Stack) -> None:
    formation = stack.aws("cloudformation")
    formation.delete_stack(StackName=NAME)
    formation.get_waiter("stack_delete_complete").wait(
        StackName=NAME, WaiterConfig={"Delay": 1, "MaxAttempts": 120}
    )


def a_template() -> dict[str, Any]:
    """Give the template's API with everything that a plan adds, before a stub."""
    whole = intrinsics.load(ROOT / "template.yaml")
    resources = {name: whole["Resources"][name] for name in PARTS}
    del resources["Api"]["Properties"]["AccessLogSetting"]
    resources["ApiFunction"] = {
        "Type": "AWS::Serverless::Function",
        "Properties": {
            "InlineCode": STUB,
            "Handler": "index.handler",
            "Runtime": "python3.11",
            "AutoPublishAlias": "live",
            "Events": whole["Resources"]["ApiFunction"]["Properties"]["Events"],
        },
    }
    kept = ("AWSTemplateFormatVersion", "Transform", "Parameters", "Mappings", "Conditions")
    return {name: whole[name] for name in kept} | {"Resources": resources}


@pytest.mark.parametrize("key", [None, "another-key-of-some-length"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/v1/embeddings/models"),
        ("POST", "/api/v1/embeddings"),
        ("POST", "/api/v1/docs"),
        ("GET", "/nothing"),
    ],
)
def test_without_the_key_nothing_is_invoked(
    ask: Ask, method: str, path: str, key: str | None
) -> None:
    answer = ask(method, path, key)

    assert (answer.status_code, answer.json()) == (403, {"message": "Forbidden"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/api/v1/embeddings/models"),
        ("POST", "/api/v1/embeddings"),
        ("GET", "/api/v1/schemas"),
        ("GET", "/nothing/at/all"),
    ],
)
def test_with_the_key_every_path_comes_through(ask: Ask, method: str, path: str) -> None:
    answer = ask(method, path)

    assert (answer.status_code, answer.text) == (200, path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/embeddings/health"),
        ("GET", "/api/v1/embeddings/ready"),
        ("GET", "/api/v1/docs"),
        ("GET", "/api/v1/openapi.json"),
        ("GET", "/api/v1/schemas/embedpipe.chunk.v1.json"),
        ("OPTIONS", "/api/v1/embeddings"),
        ("OPTIONS", "/"),
    ],
)
def test_what_is_public_needs_no_key(ask: Ask, method: str, path: str) -> None:
    answer = ask(method, path, None)

    assert (answer.status_code, answer.text) == (200, path)
