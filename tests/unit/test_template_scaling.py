"""What the embed service runs on, and how it scales, as the template comes out for each choice."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest
from embedpipe.local import intrinsics

from tests.alarms.metric_math import Series, evaluate
from tests.template import PATH

WITH_SERVICE = {"EmbedImageDigest": f"sha256:{'0' * 64}"}
GPU = "EmbedCapacityProvider"
#: EmbedCompute -> capacity provider, option of its instances, EMBED_PROVIDER, backlog, buffer.
COMPUTES = {
    "gpu": (GPU, "ON_DEMAND", "cuda", 1000, "1048576"),
    "gpu-spot": (GPU, "SPOT", "cuda", 1000, "1048576"),
    "cpu": ("FARGATE", None, "cpu", 100, "131072"),
    "cpu-spot": ("FARGATE_SPOT", None, "cpu", 100, "131072"),
}


@cache
def document() -> dict[str, Any]:
    return intrinsics.load(PATH)


class Deployed:
    """Resources as they come out for some parameters; a resource is its own name."""

    def __init__(self, **parameters: str) -> None:
        self._document = document()
        names = {name: name for name in self._document["Resources"]}
        known = names | WITH_SERVICE | parameters
        self._resolver = intrinsics.Resolver(self._document, known)

    def properties(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._resolver.resolve(
            self._document["Resources"][name]["Properties"]
        )
        return found

    def exists(self, name: str) -> bool:
        condition = self._document["Resources"][name].get("Condition")
        return condition is None or bool(self._resolver.resolve({"Condition": condition}))

    @property
    def variables(self) -> dict[str, str]:
        """Of the task, as text."""
        [container] = self.properties("EmbedTaskDefinition")["ContainerDefinitions"]
        return {one["Name"]: str(one.get("Value")) for one in container["Environment"]}

    @property
    def target(self) -> float:
        """That tracking aims at."""
        policy = self.properties("EmbedBacklogPolicy")["TargetTrackingScalingPolicyConfiguration"]
        return float(policy["TargetValue"])


@pytest.mark.parametrize("compute", COMPUTES)
def test_tasks_run_on_what_was_chosen(compute: str) -> None:
    provider, option, execution, _, _ = COMPUTES[compute]
    deployed = Deployed(EmbedCompute=compute)

    [strategy] = deployed.properties("EmbedService")["CapacityProviderStrategy"]
    capacity = deployed.properties("EmbedCapacity")

    assert strategy["CapacityProvider"] == provider
    assert provider in capacity["CapacityProviders"]
    assert capacity["DefaultCapacityProviderStrategy"] == [strategy]
    assert deployed.variables["EMBED_PROVIDER"] == execution
    assert deployed.exists(GPU) == (provider == GPU)
    if option:
        managed = deployed.properties(GPU)["ManagedInstancesProvider"]
        assert managed["InstanceLaunchTemplate"]["CapacityOptionType"] == option


@pytest.mark.parametrize("compute", COMPUTES)
def test_backlog_and_buffer_go_with_the_speed_of_a_task(compute: str) -> None:
    _, _, _, backlog, buffer = COMPUTES[compute]

    usual = Deployed(EmbedCompute=compute)
    given = Deployed(EmbedCompute=compute, EmbedBacklogPerTask="7", EmbedBufferTokens="512")

    assert (usual.target, usual.variables["EMBED_BUFFER_TOKENS"]) == (backlog, buffer)
    assert (given.target, given.variables["EMBED_BUFFER_TOKENS"]) == (7, "512")


def computed(queries: list[dict[str, Any]], visible: Series, wanted: Series) -> Series:
    """Give what is watched, of the sum of what is visible and the counts of wanted tasks."""
    repeated: Series = []
    for one in wanted:
        repeated.append(one if one is not None or not repeated else repeated[-1])
    series: dict[str, Series] = {"visible": visible, "repeated": repeated}
    for query in queries:
        expression = query.get("Expression", "").replace("FILL(wanted, REPEAT)", "repeated")
        if query["Id"] != "visible" and expression:
            # SUM over an array adds what is reported, as + does.
            summed = re.sub(r"SUM\(\[(\w+), (\w+)\]\)", r"(\1 + \2)", expression)
            series[query["Id"]] = evaluate(summed, series, 60)
    [watched] = [query["Id"] for query in queries if query["ReturnData"]]
    return series[watched]


@pytest.mark.parametrize(
    ("visible", "wanted", "expected"),
    [
        ([900.0, 900.0], [3.0, 9.0], [300.0, 100.0]),
        ([900.0, 900.0], [3.0, None], [300.0, 300.0]),  # the count comes late
        ([0.0, 0.0], [3.0, 3.0], [0.0, 0.0]),
        ([900.0, 900.0], [0.0, 0.0], [None, None]),  # no data: tracking does nothing
        ([900.0, 900.0], [None, None], [None, None]),
    ],
)
def test_tracking_has_a_backlog_where_a_count_of_tasks_is_known(
    visible: Series, wanted: Series, expected: Series
) -> None:
    policy = Deployed().properties("EmbedBacklogPolicy")["TargetTrackingScalingPolicyConfiguration"]

    queries = policy["CustomizedMetricSpecification"]["Metrics"]

    assert computed(queries, visible, wanted) == expected


@pytest.mark.parametrize(
    ("visible", "wanted", "expected"),
    [
        ([9.0, 9.0], [0.0, 0.0], [9.0, 9.0]),
        ([9.0, 9.0], [None, None], [9.0, 9.0]),  # no count while no task runs
        ([9.0, 9.0], [1.0, None], [0.0, 0.0]),
        ([0.0, 0.0], [None, None], [0.0, 0.0]),
        ([None, None], [None, None], [None, None]),  # queues unused for six hours
    ],
)
def test_what_waits_rings_while_no_task_is_known_to_be_wanted(
    visible: Series, wanted: Series, expected: Series
) -> None:
    alarm = Deployed().properties("EmbedFromZeroAlarm")

    assert computed(alarm["Metrics"], visible, wanted) == expected
