"""The scaling policies, read from template.yaml as they stand there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).resolve().parents[2] / "template.yaml"
#: The mapping of what depends on EmbedCompute.
_COMPUTES = "Computes"


@dataclass(frozen=True)
class Policies:
    """How the embed service scales. Times in seconds.

    Attributes
    ----------
    target
        Visible messages for each task.
    per_wanted
        Whether these are divided by the tasks that are wanted, and not by those that run.
    """

    least: int
    most: int
    target: float
    out_cooldown_s: float
    in_cooldown_s: float
    from_zero_cooldown_s: float
    idle_periods: int
    visibility_s: float
    buffer_tokens: float
    per_wanted: bool
    chunk_concurrency: int
    store_concurrency: int


@cache
def policies(compute: str, path: Path = TEMPLATE) -> Policies:
    """Read them; a parameter has its default, or what the template takes for this EmbedCompute."""
    read = yaml.load(path.read_text(), _Loader)
    resources, parameters = read["Resources"], read["Parameters"]

    def of(value: Any) -> float:
        return float(parameters[value]["Default"] if isinstance(value, str) else value)

    def properties(name: str) -> dict[str, Any]:
        return dict(resources[name]["Properties"])

    def by_compute(parameter: str, name: str) -> float:
        return float(parameters[parameter]["Default"] or read["Mappings"][_COMPUTES][compute][name])

    tracking = properties("EmbedBacklogPolicy")["TargetTrackingScalingPolicyConfiguration"]
    from_zero = properties("EmbedFromZeroPolicy")["StepScalingPolicyConfiguration"]
    return Policies(
        least=int(of(properties("EmbedScaling")["MinCapacity"])),
        most=int(of(properties("EmbedScaling")["MaxCapacity"])),
        target=by_compute("EmbedBacklogPerTask", "BacklogPerTask"),
        out_cooldown_s=of(tracking["ScaleOutCooldown"]),
        in_cooldown_s=of(tracking["ScaleInCooldown"]),
        from_zero_cooldown_s=of(from_zero["Cooldown"]),
        idle_periods=int(of(properties("EmbedIdleAlarm")["EvaluationPeriods"])),
        visibility_s=of(properties("EmbedQueue")["VisibilityTimeout"]),
        buffer_tokens=by_compute("EmbedBufferTokens", "BufferTokens"),
        per_wanted=_divisor(tracking) == "DesiredTaskCount",
        chunk_concurrency=int(
            of(properties("ChunkEventSource")["ScalingConfig"]["MaximumConcurrency"])
        ),
        store_concurrency=int(
            of(properties("StoreEventSource")["ScalingConfig"]["MaximumConcurrency"])
        ),
    )


def _divisor(tracking: dict[str, Any]) -> str:
    queries = tracking["CustomizedMetricSpecification"]["Metrics"]
    metrics = [query["MetricStat"]["Metric"] for query in queries if "MetricStat" in query]
    [name] = [one["MetricName"] for one in metrics if one["Namespace"] == "ECS/ContainerInsights"]
    return str(name)


class _Loader(yaml.SafeLoader):
    """YAML in which `!Ref Name` is the name, and other functions are nothing."""


_Loader.add_constructor("!Ref", lambda loader, node: node.value)
_Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
