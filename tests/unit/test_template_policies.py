"""Who may do what: every call of AWS in the code is allowed to who makes it, and nothing else is.

Three tables, each held against the code or the template: the calls of each adapter, the actions
that a call needs, and what each entry point does with the parts that it is wired with.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
from botocore import xform_name
from botocore.session import get_session
from embedpipe.adapters import aws

from tests.template import Stack, as_list, load_stack, statements_of

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "layers/pipeline/embedpipe"
#: Run by people, with their own credentials.
NOT_DEPLOYED = ("local", "cli")

Grants = dict[str, set[str]]

# ------------------------------------------------------------------------------------- in the code

#: Module -> the operations of AWS that it calls, by their Python names.
CALLS = {
    "adapters/sqs.py": {
        "receive_message",
        "delete_message_batch",
        "change_message_visibility",
        "change_message_visibility_batch",
        "send_message",
        "send_message_batch",
        "get_queue_attributes",
    },
    "adapters/sqs_dead_letters.py": {
        "get_queue_attributes",
        "receive_message",
        "change_message_visibility_batch",
        "delete_message_batch",
        "send_message_batch",
        "start_message_move_task",
        "list_message_move_tasks",
        "cancel_message_move_task",
    },
    "adapters/s3.py": {"put_object", "get_object", "delete_object", "list_objects_v2"},
    "adapters/model_files.py": {"get_object", "list_objects_v2"},
    "adapters/catalogue_files.py": {"get_object"},
    "adapters/event_sources.py": {"get_event_source_mapping", "update_event_source_mapping"},
    "adapters/secrets.py": {"get_secret"},
}

#: What a call needs on the resource that it names, or on the bucket of the object.
ACTIONS = {
    "receive_message": {"sqs:ReceiveMessage"},
    "delete_message_batch": {"sqs:DeleteMessage"},
    "change_message_visibility": {"sqs:ChangeMessageVisibility"},
    "change_message_visibility_batch": {"sqs:ChangeMessageVisibility"},
    "send_message": {"sqs:SendMessage"},
    "send_message_batch": {"sqs:SendMessage"},
    "get_queue_attributes": {"sqs:GetQueueAttributes"},
    # It also receives and deletes on the source, and sends to the destination.
    "start_message_move_task": {"sqs:StartMessageMoveTask"},
    "list_message_move_tasks": {"sqs:ListMessageMoveTasks"},
    "cancel_message_move_task": {"sqs:CancelMessageMoveTask"},
    "put_object": {"s3:PutObject"},
    # Without leave to list, S3 answers 403 for an object that is gone.
    "get_object": {"s3:GetObject", "s3:ListBucket"},
    "delete_object": {"s3:DeleteObject"},
    "list_objects_v2": {"s3:ListBucket"},
    "get_event_source_mapping": {"lambda:GetEventSourceMapping"},
    "update_event_source_mapping": {"lambda:UpdateEventSourceMapping"},
    "get_secret": {"secretsmanager:GetSecretValue"},
}

#: Ways to call AWS that name no operation; Powertools' parameters among them.
OTHER_WAYS = {
    *("generate_presigned_url", "generate_presigned_post", "get_paginator", "get_waiter"),
    *("upload_file", "upload_fileobj", "download_file", "download_fileobj"),
    *("get_secret", "get_parameter", "get_parameters", "get_parameters_by_name", "get_app_config"),
}

# ---------------------------------------------------------------------------------- in the template

LANES = {"EmbedHighQueue", "EmbedQueue", "EmbedLowQueue"}
SOURCES = {"ChunkQueue", *LANES, "StoreQueue"}
DLQS = {"ChunkDlq", "EmbedDlq", "StoreDlq"}
DOCUMENTS, MESSAGES, MODELS = (
    {f"ContentBucket/{prefix}/*"} for prefix in ("documents", "messages", "models")
)
BUCKET = {"ContentBucket"}
MAPPINGS = {"ChunkEventSource", "StoreEventSource"}
SECRET = "secretsmanager:GetSecretValue"

_READ_MODELS: Grants = {"s3:GetObject": MODELS, "s3:ListBucket": BUCKET}
_LOOK: Grants = {"sqs:GetQueueAttributes": SOURCES | DLQS}
_SWITCH: Grants = {
    "lambda:GetEventSourceMapping": MAPPINGS,
    "lambda:UpdateEventSourceMapping": MAPPINGS,
}
_DEAD_LETTERS: Grants = {
    "sqs:ReceiveMessage": DLQS,
    "sqs:ChangeMessageVisibility": DLQS,
    "sqs:DeleteMessage": DLQS,
    "sqs:StartMessageMoveTask": DLQS,
    "sqs:ListMessageMoveTasks": DLQS,
    "sqs:CancelMessageMoveTask": DLQS,
    "sqs:SendMessage": SOURCES,
    "sqs:GetQueueAttributes": SOURCES | DLQS,
    SECRET: {"DlqKeySecret"},
}


def _consume(queue: str, dlq: str) -> Grants:
    """Give what settles messages that the event source mapping delivered."""
    return {"sqs:ChangeMessageVisibility": {queue}, "sqs:SendMessage": {dlq}}


#: Entry point -> part of `bootstrap` that it is wired with -> what it does with that part.
USES: dict[str, dict[str, Grants]] = {
    "api": {
        "database": {SECRET: {"AppDatabaseSecret"}},
        "secret_or": {SECRET: {"ApiKeySecret"}},
        "embedder": {SECRET: {"EmbedTokenSecret"}},
        "outboxes": {"sqs:SendMessage": SOURCES},
        "depths": _LOOK,
        "dead_letter_parts": _DEAD_LETTERS,
        "event_sources": _SWITCH,
        "blobs": {"s3:PutObject": DOCUMENTS | MESSAGES},
        "models": _READ_MODELS,
        "s3": _READ_MODELS,
    },
    "chunk": {
        "database": {SECRET: {"AppDatabaseSecret"}},
        "queue": _consume("ChunkQueue", "ChunkDlq"),
        "embed_outboxes": {"sqs:SendMessage": LANES},
        "blobs": {
            "s3:GetObject": DOCUMENTS | MESSAGES,
            "s3:PutObject": MESSAGES,
            "s3:ListBucket": BUCKET,
        },
        "models": _READ_MODELS,
        "s3": _READ_MODELS,
    },
    "embed": {
        "database": {SECRET: {"AppDatabaseSecret"}},
        "secret_or": {SECRET: {"EmbedTokenSecret"}},
        "ProviderKeys": {SECRET: {"ProviderKeysSecretArn"}},
        "embed_queues": {
            "sqs:ReceiveMessage": LANES,
            "sqs:DeleteMessage": LANES,
            "sqs:ChangeMessageVisibility": LANES,
            "sqs:SendMessage": {"EmbedDlq"},
        },
        "queue": {"sqs:SendMessage": {"StoreQueue"}},
        "blobs": {"s3:GetObject": MESSAGES, "s3:PutObject": MESSAGES, "s3:ListBucket": BUCKET},
        "models": _READ_MODELS,
        "s3": _READ_MODELS,
    },
    "store": {
        "database": {SECRET: {"AppDatabaseSecret"}},
        "queue": _consume("StoreQueue", "StoreDlq"),
        "blobs": {"s3:GetObject": MESSAGES, "s3:ListBucket": BUCKET},
    },
    "maintenance": {
        "database": {SECRET: {"MaintenanceDatabaseSecret"}},
        "queue": {
            "sqs:SendMessage": {"ChunkQueue", "StoreQueue"},
            "sqs:GetQueueAttributes": {"ChunkQueue", "StoreQueue"},
        },
        "embed_outboxes": {"sqs:SendMessage": LANES, "sqs:GetQueueAttributes": LANES},
        "depths": _LOOK,
        "dead_letter_parts": _DEAD_LETTERS,
        "event_sources": _SWITCH,
        "blobs": {
            "s3:PutObject": MESSAGES,
            "s3:ListBucket": BUCKET,
            "s3:DeleteObject": DOCUMENTS,
        },
    },
}

#: Part -> the adapters behind it.
ADAPTERS: dict[str, set[str]] = {
    "database": {"adapters/secrets.py"},
    "secret_or": {"adapters/secrets.py"},
    "embedder": {"adapters/secrets.py"},
    "ProviderKeys": {"adapters/secrets.py"},
    "queue": {"adapters/sqs.py"},
    "embed_queues": {"adapters/sqs.py"},
    "outboxes": {"adapters/sqs.py"},
    "embed_outboxes": {"adapters/sqs.py"},
    "depths": {"adapters/sqs.py"},
    "dead_letter_parts": {"adapters/sqs_dead_letters.py", "adapters/secrets.py"},
    "event_sources": {"adapters/event_sources.py"},
    "blobs": {"adapters/s3.py"},
    "models": {"adapters/model_files.py", "adapters/catalogue_files.py"},
    "s3": {"adapters/catalogue_files.py"},
}
#: Parts that touch no AWS.
WITHOUT_AWS = {"policy"}

#: Done by Lambda in the name of the function: an event source mapping receives and deletes.
MAPPED = {"chunk": "ChunkQueue", "store": "StoreQueue"}
#: What SAM's policy templates grant, as its translator writes them.
POLLER = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes", "ChangeMessageVisibility")

#: With a key of one's own: who sends or keeps makes data keys, who receives or reads decrypts.
KEY: Grants = {"kms:Decrypt": {"KmsKeyArn"}, "kms:GenerateDataKey": {"KmsKeyArn"}}

#: Roles that AWS itself takes on; the code has none of their credentials.
PLATFORM: dict[str, Grants] = {
    "EmbedExecutionRole": {
        "ecr:GetAuthorizationToken": {"*"},
        "ecr:BatchCheckLayerAvailability": {"repository/EmbedRepository"},
        "ecr:BatchGetImage": {"repository/EmbedRepository"},
        "ecr:GetDownloadUrlForLayer": {"repository/EmbedRepository"},
        "logs:CreateLogStream": {"EmbedLogs"},
        "logs:PutLogEvents": {"EmbedLogs"},
    },
    "DatabaseProxyRole": {
        SECRET: {"AppDatabaseSecret", "MaintenanceDatabaseSecret"},
        "kms:Decrypt": {"KmsKeyArn"},
    },
    "EmbedInfrastructureRole": {"iam:PassRole": {"EmbedInstanceRole"}},
}


@pytest.fixture(scope="module")
def stack() -> Stack:
    return load_stack()


def deployed() -> list[Path]:
    modules = [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.relative_to(PACKAGE).parts[0] not in NOT_DEPLOYED
    ]
    return [*modules, *sorted((ROOT / "functions").rglob("*.py"))]


def operations() -> set[str]:
    """Give the Python names of all operations of the services that the code has clients of."""
    session = get_session()
    services = [session.get_service_model(service) for service in get_args(aws.Service)]
    return {xform_name(name) for service in services for name in service.operation_names}


def words(path: Path) -> set[str]:
    """Give attributes and string constants: `getattr` calls an operation by a string.

    What is called without arguments is no operation of ours, but pydantic's `get_secret_value()`.
    """
    nodes = list(ast.walk(ast.parse(path.read_text())))
    bare = {
        id(node.func)
        for node in nodes
        if isinstance(node, ast.Call) and not node.args and not node.keywords
    }
    attributes = {
        node.attr for node in nodes if isinstance(node, ast.Attribute) and id(node) not in bare
    }
    constants = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return attributes | {value for value in constants if isinstance(value, str)}


def imported(node: ast.AST) -> set[str]:
    match node:
        case ast.Import(names=names):
            return {name.name for name in names}
        case ast.ImportFrom(module=str(module)):
            return {module}
    return set()


def parts_of(entry_point: str) -> set[str]:
    """Give the parts that an entry point is wired with, as `bootstrap` reads."""
    path = "bootstrap/worker.py" if entry_point == "embed" else "bootstrap/__init__.py"
    tree: ast.AST = ast.parse((PACKAGE / path).read_text())
    if entry_point != "embed":
        [tree] = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == entry_point
        ]
    nodes = list(ast.walk(tree))
    found = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "parts"
    }
    called = {
        node.func.id
        for node in nodes
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    return (found | (called & set(ADAPTERS))) - WITHOUT_AWS


def merged(all_grants: Iterable[Grants]) -> Grants:
    result: Grants = {}
    for grants in all_grants:
        for action, targets in grants.items():
            result[action] = result.get(action, set()) | targets
    return result


def needed(entry_point: str) -> Grants:
    grants = [KEY, *USES[entry_point].values()]
    if entry_point in MAPPED:
        grants.append({f"sqs:{action}": {MAPPED[entry_point]} for action in POLLER})
    return merged(grants)


def granted(stack: Stack, resource: str) -> Grants:
    properties = stack.document["Resources"][resource]["Properties"]
    return merged(_grants(stack, properties["Policies"]))


def _grants(stack: Stack, policies: list[Any]) -> Iterator[Grants]:
    for policy in policies:
        for template, arguments in policy.items():
            if template == "SQSPollerPolicy":
                [queue] = stack.targets(arguments["QueueName"])
                yield {f"sqs:{action}": {queue} for action in POLLER}
            elif template == "AWSSecretsManagerGetSecretValuePolicy":
                yield {SECRET: stack.targets(arguments["SecretArn"])}
        for statement in statements_of(policy):
            targets = {_target(resource) for resource in as_list(statement["Resource"])}
            yield dict.fromkeys(as_list(statement["Action"]), targets)


def _target(resource: Any) -> str:
    match resource:
        case {"Fn::GetAtt": [name, "Arn"]} | {"Ref": name}:
            return str(name)
        case {"Fn::If": [_, when_true, {"Ref": "AWS::NoValue"}]}:
            return _target(when_true)
        case {"Fn::Sub": text}:
            # `arn:…:event-source-mapping:${X}`, `arn:…:repository/${X}` and `${X.Arn}/prefix/*`
            short = re.sub(r"^arn:.*\$\{AWS::AccountId\}:(event-source-mapping:)?", "", text)
            return re.sub(r"\$\{(\w+)(\.Arn)?\}", r"\1", short)
        case str():
            return resource
    raise AssertionError(resource)


def owner(entry_point: str) -> str:
    """Give the resource that holds an entry point's policies."""
    return "EmbedTaskRole" if entry_point == "embed" else f"{entry_point.capitalize()}Function"


# -------------------------------------------------------------------------------- code and tables


def test_every_call_of_aws_in_the_code_stands_in_the_table() -> None:
    names = operations() | OTHER_WAYS

    found = {
        path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name: calls
        for path in deployed()
        if (calls := words(path) & names)
    }

    assert found == CALLS


def test_clients_of_aws_are_made_in_one_place() -> None:
    makers = {
        path.relative_to(ROOT).as_posix()
        for path in deployed()
        for node in ast.walk(ast.parse(path.read_text()))
        if "boto3" in imported(node)
    }

    assert makers == {"layers/pipeline/embedpipe/adapters/aws.py"}


def test_every_call_has_its_actions() -> None:
    assert set(ACTIONS) == set.union(*CALLS.values())


@pytest.mark.parametrize("entry_point", USES)
def test_the_table_has_the_parts_that_an_entry_point_is_wired_with(entry_point: str) -> None:
    assert set(USES[entry_point]) == parts_of(entry_point)


@pytest.mark.parametrize("entry_point", USES)
def test_a_part_does_nothing_that_its_adapters_cannot(entry_point: str) -> None:
    for part, grants in USES[entry_point].items():
        assert set(grants) <= can(*ADAPTERS[part]), part


@pytest.mark.parametrize("adapter", CALLS)
def test_no_call_is_left_that_no_entry_point_makes(adapter: str) -> None:
    made = {
        action
        for uses in USES.values()
        for part, grants in uses.items()
        if adapter in ADAPTERS[part]
        for action in grants
    }

    assert can(adapter) <= made


def can(*adapters: str) -> set[str]:
    return {action for adapter in adapters for call in CALLS[adapter] for action in ACTIONS[call]}


# --------------------------------------------------------------------------- tables and template


@pytest.mark.parametrize("entry_point", USES)
def test_an_entry_point_may_do_what_it_does_and_nothing_else(
    stack: Stack, entry_point: str
) -> None:
    assert granted(stack, owner(entry_point)) == needed(entry_point)


@pytest.mark.parametrize("role", PLATFORM)
def test_what_aws_does_for_the_task_is_listed(stack: Stack, role: str) -> None:
    assert granted(stack, role) == PLATFORM[role]


def test_no_other_resource_holds_policies(stack: Stack) -> None:
    holders = {
        name
        for name, resource in stack.document["Resources"].items()
        if "Policies" in resource.get("Properties", {})
    }

    assert holders == {*map(owner, USES), *PLATFORM}


@pytest.mark.parametrize("entry_point", USES)
def test_an_entry_point_reads_the_secrets_that_it_is_told_of(
    stack: Stack, entry_point: str
) -> None:
    told = {
        target
        for name, value in environment(stack, entry_point).items()
        if name.endswith("SECRET_ARN")
        for target in stack.targets(value)
    }

    assert needed(entry_point)[SECRET] == told


def environment(stack: Stack, entry_point: str) -> Mapping[str, Any]:
    if entry_point == "embed":
        [container] = stack.properties("EmbedTaskDefinition")["ContainerDefinitions"]
        return {entry["Name"]: entry["Value"] for entry in container["Environment"]}
    variables: Mapping[str, Any] = stack.function(owner(entry_point))["Environment"]["Variables"]
    return variables


def test_a_vpc_without_a_way_out_reaches_every_service_that_a_role_may_call(stack: Stack) -> None:
    # KMS is asked by the services themselves; IAM's only action hands a role on.
    called = {
        action.partition(":")[0]
        for _, statement in stack.statements()
        for action in as_list(statement["Action"])
    } - {"kms", "iam"}

    names = [one["ServiceName"] for one in stack.of_type("AWS::EC2::VPCEndpoint").values()]
    reached = {stack.text(name).rpartition("${AWS::Region}.")[2] for name in names}

    assert called - {"ecr"} <= reached
    assert {"ecr.api", "ecr.dkr", "ecs", "ecs-agent", "ecs-telemetry", "xray"} <= reached
