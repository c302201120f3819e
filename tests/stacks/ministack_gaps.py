"""What MiniStack 1.5.33 leaves out of a template that it deploys, done through its APIs.

Each is a gap between what the template says and what it does; AWS and LocalStack have none of them.
"""

from __future__ import annotations

import json

from embedpipe.local.intrinsics import load
from embedpipe.local.template import ACCOUNT, REGION

from tests.stacks.stack import TEMPLATE, Stack


def fill(stack: Stack) -> None:
    """Make the stack what its template says."""
    _say_numbers_again(stack)
    _make_any_methods(stack)
    _make_secrets_without_punctuation(stack)


def _say_numbers_again(stack: Stack) -> None:
    """Give event source mappings their concurrency as a number: a parameter comes as text there.

    An event source mapping that compares a number with text polls nothing.
    """
    functions = stack.aws("lambda")
    for name in ("Chunk", "Store"):
        most = int(stack.parameters[f"{name}MaximumConcurrency"])
        functions.update_event_source_mapping(
            UUID=stack.resources[f"{name}EventSource"], ScalingConfig={"MaximumConcurrency": most}
        )


def _make_any_methods(stack: Stack) -> None:
    """Make the methods that its import of OpenAPI passes over: `x-amazon-apigateway-any-method`."""
    gateway = stack.aws("apigateway")
    api = stack.resources["Api"]
    function = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{stack.resources['ApiFunction']}"
    uri = f"arn:aws:apigateway:{REGION}:lambda:path/2015-03-31/functions/{function}/invocations"
    for resource in gateway.get_resources(restApiId=api)["items"]:
        method = {"restApiId": api, "resourceId": resource["id"], "httpMethod": "ANY"}
        gateway.put_method(**method, authorizationType="NONE")
        gateway.put_integration(**method, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)


def _make_secrets_without_punctuation(stack: Stack) -> None:
    """Generate secrets anew: it puts punctuation where the template excludes it."""
    manager = stack.aws("secretsmanager")
    for logical_id, resource in load(TEMPLATE)["Resources"].items():
        if resource["Type"] != "AWS::SecretsManager::Secret":
            continue
        wanted = resource["Properties"]["GenerateSecretString"]
        value = manager.get_random_password(
            PasswordLength=wanted["PasswordLength"], ExcludePunctuation=wanted["ExcludePunctuation"]
        )["RandomPassword"]
        if "SecretStringTemplate" in wanted:
            named = {wanted["GenerateStringKey"]: value}
            value = json.dumps({**json.loads(wanted["SecretStringTemplate"]), **named})
        manager.put_secret_value(SecretId=stack.resources[logical_id], SecretString=value)
