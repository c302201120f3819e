"""The stack of template.yaml on an emulator: that it is this stack, and does its work by itself."""

from __future__ import annotations

from tests.e2e.client import Client, wait_until
from tests.stacks.deployed import DeployedStack


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


def test_the_schedule_invokes_maintenance(stack: DeployedStack) -> None:
    wait_until(
        lambda: stack.rows(b"SELECT FROM maintenance_cursors WHERE name = 'compactor'"),
        what="maintenance has run",
        timeout_s=110,
        pause_s=1,
    )
