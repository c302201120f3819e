"""The stack of template.yaml on an emulator: that it is this stack, and does its work by itself."""

from __future__ import annotations

import json

import pytest

from tests.e2e.client import Client, Queues, wait_until
from tests.e2e.targets import LOCALSTACK, chosen
from tests.stacks.deployed import DeployedStack

#: An alarm is evaluated once a minute, and LocalStack looks at the minute before.
ALARM_S = 240.0


def test_every_resource_of_the_template_is_created(stack: DeployedStack) -> None:
    found = {one["LogicalResourceId"]: one["ResourceStatus"] for one in stack.summaries()}

    # The transform appends a digest to the name of a layer.
    missing = [name for name in stack.wanted() if not any(one.startswith(name) for one in found)]

    assert missing == []
    assert set(found.values()) == {"CREATE_COMPLETE"}


def test_functions_run_what_the_layer_brings(stack: DeployedStack, client: Client) -> None:
    assert client.is_healthy()

    loaded = stack.libraries("pydantic_core")

    assert loaded
    assert [path for path in loaded if not path.is_relative_to(stack.scratch)] == []


@pytest.mark.timeout(600)
def test_a_dead_letter_rings_the_alarm_of_its_queue_until_sqs_has_moved_it_back(
    stack: DeployedStack, client: Client, queues: Queues
) -> None:
    if chosen() != LOCALSTACK:
        pytest.skip(f"{chosen()} measures no queues and has no message move tasks")
    before = _alarm(stack)

    queues.send("StoreQueue", json.dumps({"stranger": "here"}))
    wait_until(lambda: _alarm(stack) == "ALARM", what="the alarm rings", timeout_s=ALARM_S)
    _control(client, "pause")
    moved = client.request("POST", "/embeddings/dlq/redrive", json=_redrive())
    wait_until(lambda: _tasks(stack) == ["COMPLETED"], what="SQS has moved it", timeout_s=60)
    wait_until(lambda: _alarm(stack) == "OK", what="the alarm is quiet again", timeout_s=ALARM_S)
    waiting = [queues.count("StoreDlq"), queues.count("StoreQueue")]
    _control(client, "resume")
    wait_until(lambda: queues.count("StoreDlq") == 1, what="it was rejected again")
    queues.purge("StoreDlq")

    assert before != "ALARM"
    assert moved.status_code == 202, moved.text
    assert waiting == [0, 1]


def test_the_schedule_invokes_maintenance(stack: DeployedStack) -> None:
    wait_until(
        lambda: stack.rows(b"SELECT FROM maintenance_cursors WHERE name = 'compactor'"),
        what="maintenance has run",
        timeout_s=110,
        pause_s=1,
    )


def _alarm(stack: DeployedStack) -> str:
    names = [stack.resources["StoreDlqAlarm"]]
    [alarm] = stack.aws("cloudwatch").describe_alarms(AlarmNames=names)["MetricAlarms"]
    state: str = alarm["StateValue"]
    return state


def _tasks(stack: DeployedStack) -> list[str]:
    sqs = stack.aws("sqs")
    attributes = sqs.get_queue_attributes(
        QueueUrl=stack.resources["StoreDlq"], AttributeNames=["QueueArn"]
    )
    source = attributes["Attributes"]["QueueArn"]
    return [one["Status"] for one in sqs.list_message_move_tasks(SourceArn=source)["Results"]]


def _redrive() -> dict[str, str]:
    return {"stage": "store", "operator_note": "a test"}


def _control(client: Client, action: str) -> None:
    body = {"stage": "store", "action": action, "note": "a test"}
    answer = client.request("POST", "/embeddings/stage/control", json=body)
    assert answer.status_code == 200, answer.text
